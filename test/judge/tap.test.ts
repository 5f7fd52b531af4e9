// A trickle of events through a judge that is not scheduled for a while: a batch went out every 5 ms with
// next to nothing in it, 32 of them were all that it may have in hand, and after a sixth of a second
// whatever came was left out as overload.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Batch, readBatch } from '../../src/judge/batch.ts';
import { BatchTap } from '../../src/judge/tap.ts';
import { UnansweredWrites } from '../../src/judge/unanswered-writes.ts';
import { FrameTracker, wholeFrame } from '../../src/wire/frames.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('a judge that does nothing for seconds gets every event of a trickle once it goes on', async () => {
  const sent: Batch[] = [];
  const tap = new BatchTap({
    send: batch => void sent.push(batch),
    now: () => 0,
    writes: new UnansweredWrites(5_000),
  });
  const stream = tap.stream({ route: 'events', id: 's1', format: 'websocket', subject: null });
  const tracker = new FrameTracker();
  stream.legOpened('legacy', tracker);
  const messages = 1_000;
  for (let i = 0; i < messages; i += 1) {
    stream.follow('legacy', wholeFrame(1, Buffer.from(`{"seq":${i}}`)), tracker);
    await vi.advanceTimersByTimeAsync(10);
  }
  expect(tap.bytesLeftOut).toBe(0);
  expect(tap.flushIfFree()).toBe(false);
  const heldBack = sent.length;
  expect(heldBack).toBeLessThan(32);

  const heard = new FrameTracker();
  for (let batch = sent.shift(); batch !== undefined; batch = sent.shift()) {
    readBatch(batch, {
      piece: ({ bytes, afterGap }) => {
        expect(afterGap).toBe(false);
        heard.push(bytes);
      },
      note: () => undefined,
    });
    tap.returned(batch.bytes, batch.exchangeBytes, { marks: [], settled: [] });
    await vi.advanceTimersByTimeAsync(10);
  }
  expect(heard.messages).toBe(messages);
  expect(tap.flushIfFree()).toBe(true);
});

test('a judge that begins anew is told again what a client has said of users, and when, and that but once a second', () => {
  const sent: Batch[] = [];
  let now = 0;
  const tap = new BatchTap({
    send: batch => void sent.push(batch),
    now: () => now,
    writes: new UnansweredWrites(5_000),
  });
  const stream = tap.stream({ route: 'events', id: 's1', format: 'websocket', subject: null });
  const told = () => {
    tap.flush();
    const notes = sent.splice(0).flatMap(batch => batch.notes);
    return notes.flatMap(note => (note.kind === 'said-address' ? [note.time] : []));
  };
  for (now of [5_000, 5_500, 6_000]) stream.saidAddress();
  expect(told()).toEqual([5_000, 6_000]);
  now = 9_000;
  tap.beginAnew();
  expect(told()).toEqual([6_000]);
});
