// The guard in a WebSocket's stream against a reader of whole messages: however messages are cut into frames and
// reads, and whatever stands between, a client gets each as it is ruled, in order, and nothing else.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { examine } from '../../src/rules/isolation/inspect.ts';
import { Recipient } from '../../src/rules/isolation/recipient.ts';
import { sanitize } from '../../src/rules/isolation/sanitize.ts';
import { HeldRoom } from '../../src/traffic/held-room.ts';
import { StreamGuard } from '../../src/traffic/stream-guard.ts';
import { controlFrame, OPCODE } from '../../src/wire/frames.ts';
import { MessageReader } from '../../src/wire/message-reader.ts';
import { isolationOf, USER } from '../rules/isolation-case.ts';
import { dice, event, written } from '../rules/json-tree.ts';
import { ControlFrames } from '../support/control-frames.ts';
import { frame } from '../support/frame.ts';

const isolation = isolationOf();
const recipient = new Recipient(USER);

type Mode = 'sanitize' | 'block';

/** A message in frames: where it is cut, in shares of its length, with or without a ping behind each piece. */
const message = fc.record({
  events: fc.oneof(
    event,
    fc.array(event, { maxLength: 3 }).map(list => ({ list })),
  ),
  isBinary: fc.boolean(),
  cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
  pings: fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
});

test.each<Mode>(['sanitize', 'block'])('%s: each message is ruled as if it came alone', mode => {
  fc.assert(
    fc.property(
      fc.array(message, { minLength: 1, maxLength: 5 }),
      fc.array(fc.nat(400), { minLength: 1, maxLength: 40 }),
      dice,
      (messages, reads, roll) => {
        const due: string[] = [];
        let pings = 0;
        const sent: Buffer[] = [];
        for (const { events, isBinary, cuts, pings: between } of messages) {
          const payload = Buffer.from(written(events, roll));
          const opcode = isBinary ? OPCODE.binary : OPCODE.text;
          const ruled = ruling(payload, isBinary, mode);
          if (ruled !== null) due.push(`${opcode} ${ruled}`);
          const ends = cuts.map(share => Math.floor(share * payload.length)).sort((a, b) => a - b);
          const all = [...ends, payload.length];
          let from = 0;
          for (const [nth, end] of all.entries()) {
            const fin = nth === all.length - 1;
            const piece = payload.subarray(from, end);
            sent.push(frame(nth === 0 ? opcode : OPCODE.continuation, { payload: piece, fin }));
            from = end;
            if (between[nth] !== true) continue;
            pings += 1;
            sent.push(controlFrame(OPCODE.ping, Buffer.from(String(pings))));
          }
        }
        const got = throughGuard(mode, Buffer.concat(sent), reads);
        expect(got.messages).toEqual(due);
        expect(got.pings).toEqual(Array.from({ length: pings }, (_, nth) => String(nth + 1)));
      },
    ),
    { numRuns: 1_000 },
  );
});

/** What a client gets of a message that comes alone; null: nothing. */
function ruling(payload: Buffer, isBinary: boolean, mode: Mode): Buffer | null {
  const examined = examine(isolation, recipient, payload, { isBinary });
  if (examined.kind === 'clean' || examined.kind === 'uninspectable') return payload;
  if (mode === 'block') return examined.kind === 'foreign' ? null : payload;
  return sanitize(isolation, recipient, payload, examined.fields);
}

function throughGuard(mode: Mode, bytes: Buffer, reads: readonly number[]) {
  const guard = new StreamGuard({
    ...{ route: 'events', side: 'candidate', id: 's1', subject: USER, isolation, mode },
    watch: {
      fits: () => true,
      prevented: () => undefined,
      narrowed: () => undefined,
      failed: (_route, error) => {
        throw error;
      },
      uninspected: () => undefined,
    },
    compared: () => false,
    room: new HeldRoom(),
  });
  const messages: string[] = [];
  const pings: string[] = [];
  const reader = new MessageReader(
    {
      message: (opcode, payload) => void messages.push(`${opcode} ${payload}`),
      tooLong: () => {
        throw new Error('a message became too long');
      },
    },
    1e7,
  );
  const control = new ControlFrames((_opcode, payload) => void pings.push(String(payload)));
  for (let at = 0, nth = 0; at < bytes.length; nth += 1) {
    const length = Math.max(1, reads[nth % reads.length] ?? 1);
    // A view of memory of its own: what is given may lie in it.
    const passed = guard.push(Buffer.from(bytes.subarray(at, at + length)));
    at += length;
    if (passed === null) continue;
    reader.push(passed);
    control.push(passed);
  }
  expect(guard.atBoundary).toBe(true);
  guard.close();
  return { messages, pings };
}
