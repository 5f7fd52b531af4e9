import fc from 'fast-check';
import { expect, test } from 'vitest';
import { OPCODE, wholeFrame } from '../../src/wire/frames.ts';
import { MessageReader } from '../../src/wire/message-reader.ts';

type Seen = readonly [kind: string, opcode: number, text: string];

function reading(maxBytes = 1_000) {
  const seen: Seen[] = [];
  const reader = new MessageReader(
    {
      message: (opcode, payload) => void seen.push(['message', opcode, payload.toString('latin1')]),
      tooLong: bytes => void seen.push(['too-long', bytes, '']),
    },
    maxBytes,
  );
  return { reader, seen };
}

/** One frame of a message that is not the whole of it. */
function fragment(opcode: number, fin: boolean, payload: string, mask?: Buffer): Buffer {
  const frame = wholeFrame(opcode, Buffer.from(payload, 'latin1'), mask);
  if (!fin) frame[0] = (frame[0] as number) & 0x7f;
  return frame;
}

const mask = fc.option(
  fc.uint8Array({ minLength: 4, maxLength: 4 }).map(m => Buffer.from(m)),
  { nil: undefined },
);
const text = fc
  .oneof(fc.string({ maxLength: 40 }), fc.constantFrom('x'.repeat(126), 'y'.repeat(70_000)))
  .map(t => Buffer.from(t).toString('latin1'));
const message = fc.record({
  opcode: fc.constantFrom(1, 2),
  parts: fc.array(text, { minLength: 1, maxLength: 3 }),
  ping: fc.boolean(),
  mask,
});

test('a stream cut anywhere yields its messages, fragments joined, masks taken off, pings passed over', () => {
  fc.assert(
    fc.property(
      fc.array(message, { maxLength: 5 }),
      fc.array(fc.integer({ min: 1, max: 50 })),
      (messages, cuts) => {
        const bytes: Buffer[] = [];
        const due: Seen[] = [];
        for (const { opcode, parts, ping, mask: by } of messages) {
          for (const [i, part] of parts.entries()) {
            bytes.push(
              fragment(i === 0 ? opcode : OPCODE.continuation, i === parts.length - 1, part, by),
            );
            if (ping && i < parts.length - 1)
              bytes.push(wholeFrame(OPCODE.ping, Buffer.from('p'), by));
          }
          due.push(['message', opcode, parts.join('')]);
        }
        const stream = Buffer.concat(bytes);
        const { reader, seen } = reading(1_000_000);
        let at = 0;
        for (const cut of cuts) {
          reader.push(stream.subarray(at, at + cut));
          at = Math.min(at + cut, stream.length);
        }
        reader.push(stream.subarray(at));
        expect(seen).toEqual(due);
        // The same where it lies among other bytes.
        const among = Buffer.concat([Buffer.alloc(3, 0xff), stream, Buffer.alloc(3, 0xff)]);
        const lying = reading(1_000_000);
        let from = 3;
        for (const cut of [...cuts, stream.length]) {
          const to = Math.min(from + cut, 3 + stream.length);
          lying.reader.push(among, from, to);
          from = to;
        }
        expect(lying.seen).toEqual(due);
        expect(reader.lost).toBe(false);
        expect(reader.inMessage).toBe(false);
      },
    ),
  );
});

test('a message beyond the limit is counted, not kept, and the next one is read', () => {
  const { reader, seen } = reading(10);
  reader.push(wholeFrame(1, Buffer.alloc(11, 'a')));
  reader.push(fragment(1, false, 'abcdef'));
  reader.push(fragment(0, true, 'ghijkl', Buffer.from([1, 2, 3, 4])));
  reader.push(wholeFrame(1, Buffer.from('next'), Buffer.from([9, 9, 9, 9])));
  expect(seen).toEqual([
    ['too-long', 11, ''],
    ['too-long', 12, ''],
    ['message', 1, 'next'],
  ]);
});

test.each([
  [
    'a length beyond 2^53',
    Buffer.from([0x81, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
  ],
  ['a continuation of nothing', fragment(0, true, 'x')],
  ['a message inside another', Buffer.concat([fragment(1, false, 'x'), fragment(1, true, 'y')])],
  [
    'a control frame of more than 125 bytes',
    Buffer.concat([Buffer.from([0x89, 126, 0, 200]), Buffer.alloc(200)]),
  ],
])('%s ends the reading for good', (_name, bytes) => {
  const { reader, seen } = reading();
  reader.push(bytes);
  reader.push(wholeFrame(1, Buffer.from('after')));
  expect(reader.lost).toBe(true);
  expect(seen).toEqual([]);
});

test('garbage never throws and never makes it keep more than the limit', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 10 }), pieces => {
      const { reader, seen } = reading(100);
      for (const piece of pieces) reader.push(Buffer.from(piece));
      for (const [kind, , kept] of seen)
        if (kind === 'message') expect(kept.length).toBeLessThanOrEqual(100);
    }),
  );
});

test('after a reset the next byte begins a message', () => {
  const { reader, seen } = reading();
  reader.push(fragment(1, false, 'torn'));
  reader.push(Buffer.from([0x80]));
  reader.reset();
  reader.push(wholeFrame(1, Buffer.from('whole')));
  expect(seen).toEqual([['message', 1, 'whole']]);
});

// Beside row 40: a client whose message never ends could fill the process with pieces of nothing.
test('of two million empty fragments it keeps nothing', () => {
  const { reader } = reading();
  reader.push(fragment(1, false, ''));
  const empty = Buffer.alloc(2 * 100_000, Buffer.from([0x00, 0x00]));
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 20; i += 1) reader.push(empty);
  // Kept, each would be an object of some 100 bytes; what is thrown away may lie about for a while.
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(60 * 1_048_576);
});
