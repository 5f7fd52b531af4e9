// What is read back of a leg's stream: messages by their numbers, whatever they are long, and what is torn.
import { expect, test } from 'vitest';
import { longEventOf, readTail } from '../../src/traffic/tail.ts';
import { NOTHING, TailRing } from '../../src/traffic/tail-ring.ts';
import { FrameTracker, OPCODE } from '../../src/wire/frames.ts';
import { frame } from '../support/frame.ts';

const READ_BYTES = 65_536;
const LONG = 'x'.repeat(1_500_000);
const text = (payload: string) => frame(OPCODE.text, { payload });

/** What a service says, as it is read. */
function leg(ring: TailRing) {
  const told = {
    ...{ tracker: new FrameTracker(), tail: NOTHING, tailedSince: Number.NEGATIVE_INFINITY },
    say(bytes: Buffer): void {
      for (let at = 0; at < bytes.length; ) {
        const { tracker } = told;
        const { messages, atMessageBoundary: atBoundary } = tracker;
        const view = bytes.subarray(at, at + READ_BYTES);
        const taken = tracker.push(view, atBoundary ? 'never' : 'message');
        const piece = { bytes: view.subarray(0, taken), messages, atBoundary };
        told.tail = ring.append(told.tail, { ...piece, time: performance.now() });
        at += taken;
      }
    },
    read: (from: number | null = null) => readTail(ring, told, from, 0),
  };
  return told;
}

// The fault: one that was too long to be read was not counted, and those behind it had the numbers before.
test('a message that is too long to be read has its number, and so have those behind it', () => {
  const service = leg(new TailRing());
  for (const payload of ['zero', LONG, 'two']) service.say(text(payload));
  const { messages, partial, isTorn } = service.read();
  expect(messages.map(({ index, payload }) => [index, payload?.toString() ?? null])).toEqual([
    [0, 'zero'],
    [1, null],
    [2, 'two'],
  ]);
  expect(Buffer.concat(messages.flatMap(({ raw }) => raw))).toEqual(
    Buffer.concat(['zero', LONG, 'two'].map(text)),
  );
  expect([Buffer.concat(partial).length, isTorn]).toEqual([0, false]);
  expect(service.read(2).messages.map(({ index }) => index)).toEqual([2]);
});

test('as much as services advertise is read, with the frames that it comes in', () => {
  const service = leg(new TailRing());
  const piece = 'x'.repeat(1_024);
  for (let n = 0; n < 1_024; n += 1) {
    const opcode = n === 0 ? OPCODE.text : OPCODE.continuation;
    service.say(frame(opcode, { payload: piece, fin: n === 1_023 }));
  }
  expect(service.read().messages.map(({ payload }) => payload?.length)).toEqual([1_048_576]);
});

test('of one that is too long, what has come of it is there', () => {
  const service = leg(new TailRing());
  const long = text(LONG);
  service.say(Buffer.concat([text('zero'), long.subarray(0, 1_200_000)]));
  const { messages, partial, isTorn } = service.read();
  expect(messages.map(({ index }) => index)).toEqual([0]);
  expect(Buffer.concat(partial).equals(long.subarray(0, 1_200_000))).toBe(true);
  expect(isTorn).toBe(false);
});

// The fault: with its beginning overwritten nothing told that its rest was still to come.
test('a message whose beginning is gone is torn for as long as it lasts, and what comes behind it is there', () => {
  const ring = new TailRing(16_384);
  const [service, other] = [leg(ring), leg(ring)];
  service.say(frame(OPCODE.text, { payload: 'begin, ', fin: false }));
  for (let n = 0; n < 300; n += 1) other.say(text('y'.repeat(100)));
  service.say(frame(OPCODE.continuation, { payload: 'middle, ', fin: false }));
  expect(service.read()).toMatchObject({ messages: [], partial: [], isTorn: true });
  const next = text('next');
  const end = frame(OPCODE.continuation, { payload: 'end' });
  service.say(Buffer.concat([end, next, next.subarray(0, 3)]));
  const before = performance.now();
  const { messages, partial, isTorn, since } = service.read();
  expect(messages.map(({ index, payload }) => [index, payload?.toString()])).toEqual([[1, 'next']]);
  expect(Buffer.concat(partial)).toEqual(next.subarray(0, 3));
  expect(isTorn).toBe(false);
  // When the torn one ended nothing is known of what came before.
  expect(before - since).toBeLessThan(1_000);
});

test('what is more than the ring holds is no known end of it', () => {
  const service = leg(new TailRing(1_024));
  service.say(text('one'));
  service.say(text('x'.repeat(2_000)));
  expect(service.read()).toMatchObject({ messages: [], since: Number.POSITIVE_INFINITY });
  service.say(text('three'));
  expect(service.read().messages.map(({ index }) => index)).toEqual([2]);
});

test('long messages are the same by their content, however it is framed', () => {
  const parts = [LONG.slice(0, 70_000), LONG.slice(70_000)] as const;
  const fragments = Buffer.concat([
    frame(OPCODE.text, { payload: parts[0], fin: false }),
    frame(OPCODE.continuation, { payload: parts[1] }),
  ]);
  const { key } = longEventOf([text(LONG)]);
  expect(longEventOf([fragments.subarray(0, 9), fragments.subarray(9)]).key).toBe(key);
  expect(longEventOf([text(`${LONG}!`)]).key).not.toBe(key);
});
