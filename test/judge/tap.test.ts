// A trickle of events through a judge that is not scheduled for a while: a batch went out every 5 ms with
// next to nothing in it, 32 of them were all that it may have in hand, and after a sixth of a second
// whatever came was left out as overload.
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  type Batch,
  BUSY_BYTES,
  FLUSH_MS,
  LONGEST_FLUSH_MS,
  readBatch,
} from '../../src/judge/batch.ts';
import { BatchTap } from '../../src/judge/tap.ts';
import { UnansweredWrites } from '../../src/judge/unanswered-writes.ts';
import type { AnswerSample } from '../../src/ports.ts';
import { FrameTracker, wholeFrame } from '../../src/wire/frames.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** One stream of legacy's, and the batches that went out. */
function listening() {
  const sent: Batch[] = [];
  const tap = new BatchTap({
    send: batch => void sent.push(batch),
    now: () => 0,
    writes: new UnansweredWrites(5_000),
  });
  const stream = tap.stream({ route: 'events', id: 's1', format: 'websocket', subject: null });
  const tracker = new FrameTracker();
  stream.legOpened('legacy', tracker);
  return { sent, tap, stream, tracker };
}

test('a judge that does nothing for seconds gets every event of a trickle once it goes on', async () => {
  const { sent, tap, stream, tracker } = listening();
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
      piece: ({ batch, start, end, afterGap }) => {
        expect(afterGap).toBe(false);
        heard.push(batch.subarray(start, end));
      },
      note: () => undefined,
      said: () => undefined,
    });
    tap.returned(batch.bytes, batch.exchangeBytes, { marks: [], settled: [] });
    await vi.advanceTimersByTimeAsync(10);
  }
  expect(heard.messages).toBe(messages);
  expect(tap.flushIfFree()).toBe(true);
});

test('a batch that fills fast waits twice as long, and wakes the judge half as often', async () => {
  const { sent, stream, tracker } = listening();
  const say = (bytes: number) =>
    stream.follow('legacy', wholeFrame(1, Buffer.alloc(bytes, 'x')), tracker);
  say(1_000);
  await vi.advanceTimersByTimeAsync(FLUSH_MS);
  expect(sent).toHaveLength(1);
  say(BUSY_BYTES);
  await vi.advanceTimersByTimeAsync(LONGEST_FLUSH_MS - 1);
  expect(sent).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(sent).toHaveLength(2);
});

/** What clients say, on one socket, and what the judge is told of it. */
function talking() {
  const sent: Batch[] = [];
  const state = { now: 0 };
  const tap = new BatchTap({
    send: batch => void sent.push(batch),
    now: () => state.now,
    writes: new UnansweredWrites(5_000),
  });
  const subject = { id: 'ann', aliases: ['a@example.com'] };
  const stream = tap.stream({ route: 'events', id: 's1', format: 'websocket', subject });
  const told = () => {
    tap.flush();
    const words: string[] = [];
    for (const batch of sent.splice(0)) {
      readBatch(batch, {
        piece: () => undefined,
        note: note => {
          const to = note.kind === 'said-unread' && note.isOverheard ? ' by legacy' : '';
          if (note.kind.startsWith('said-')) words.push(note.kind + to);
        },
        said: ({ stream, names, text, isOverheard }) => {
          const to = isOverheard ? ' to legacy' : '';
          words.push(`${stream} ${JSON.stringify(names)}${to} ${text}`);
        },
      });
      tap.returned(batch.bytes, batch.exchangeBytes, { marks: [], settled: [] });
    }
    return words;
  };
  told();
  return { tap, stream, told, subject, state };
}

test('what a client says is told with his names; what can not be read only as such, and but once a second', () => {
  const { tap, stream, told, subject, state } = talking();
  stream.said(Buffer.from('cancel run1'));
  tap.said(subject, Buffer.from('/threads/t1'));
  tap.said(null, Buffer.from('/threads/t2'));
  const names = '["ann","a@example.com"]';
  // By his connection, and by requests that are none.
  expect(told()).toEqual([`1 ${names} cancel run1`, `0 ${names} /threads/t1`, '0 [] /threads/t2']);
  for (state.now of [5_000, 5_500, 6_000]) stream.said(null);
  stream.said(Buffer.alloc(65_537));
  expect(told()).toEqual(['said-unread', 'said-unread']);
});

test('of more than the judge has time for it is known that there was some, and that a judge begins anew', () => {
  const { tap, stream, told, state } = talking();
  const much = (who: (text: Buffer) => void) => {
    for (let n = 0; n < 100; n += 1) who(Buffer.alloc(65_536, 'a'));
    const words = told();
    const notes = words.filter(word => word.startsWith('said-'));
    return [words.length - notes.length, notes.length, ...new Set(notes)];
  };
  // One has a share, and what is beyond that is his own affair.
  expect(much(text => stream.said(text))).toEqual([4, 1, 'said-unread']);
  // So have all whom nobody knows together: one of them is no reason to hear nobody.
  expect(much(text => tap.said(null, text))).toEqual([4, 1, 'said-unheard']);
  let user = 0;
  const crowd = (text: Buffer) => {
    user += 1;
    tap.said({ id: `user_${user}`, aliases: [] }, text);
  };
  // Who is not heard for want of room is known by name, and nobody else is in doubt for it.
  expect(much(crowd)).toEqual([24, 76, 'said-unread']);
  user = 90;
  expect(much(crowd)).toEqual([0, 90, 'said-unread']);
  state.now = 1_000;
  stream.said(Buffer.from('again'));
  expect(told()).toHaveLength(1);
  tap.beginAnew();
  expect(told()).toEqual(['said-before']);
});

test('a judge that begins anew is told of writes that a side was not given and the other one has to answer yet', () => {
  const told: string[] = [];
  const tap = new BatchTap({
    send: batch =>
      readBatch(batch, {
        piece: () => undefined,
        note: note =>
          void told.push(note.kind === 'writes-left-out' ? `${note.side} ${note.isOver}` : ''),
        said: () => undefined,
      }),
    now: () => 0,
    writes: new UnansweredWrites(5_000),
  });
  const answered = [tap.writeLeftOut('legacy'), tap.writeLeftOut('candidate')];
  tap.writeLeftOut('candidate')();
  answered[0]?.();
  tap.flush();
  expect(told.splice(0)).toEqual(['legacy false', 'candidate false', 'legacy true']);
  tap.beginAnew();
  tap.flush();
  expect(told.splice(0)).toEqual(['', 'candidate false']);
  answered[1]?.();
  tap.flush();
  expect(told).toEqual(['candidate true']);
});

// The fault: one that was never answered kept `missing` from everybody without an end.
test('a write that hangs and that a side was not given counts for a minute, and once more when it is answered', () => {
  const told: string[] = [];
  const state = { now: 0 };
  const tap = new BatchTap({
    send: batch =>
      readBatch(batch, {
        piece: () => undefined,
        note: note => void told.push(note.kind === 'writes-left-out' ? `${note.isOver}` : ''),
        said: () => undefined,
      }),
    now: () => state.now,
    writes: new UnansweredWrites(5_000),
  });
  const toldNow = () => {
    tap.endHanging();
    tap.flush();
    return told.splice(0);
  };
  const hangs = tap.writeLeftOut('candidate');
  state.now = 40_000;
  const isQuick = tap.writeLeftOut('candidate');
  state.now = 59_999;
  expect(toldNow()).toEqual(['false']);
  state.now = 60_000;
  expect(toldNow()).toEqual([]);
  isQuick();
  expect(toldNow()).toEqual(['true']);
  hangs();
  expect(toldNow()).toEqual(['true']);
  tap.writeLeftOut('candidate');
  state.now = 119_999;
  expect(toldNow()).toEqual(['false']);
  state.now = 120_000;
  expect(toldNow()).toEqual(['true']);
});

// The fault: bodies alone were counted. Answers without one, each with up to 64 KiB of fields, were handed over
// without an end to a judge that did nothing.
test('answers without bodies are left out as others are, once the judge has its hands full of their fields', () => {
  const kinds: string[] = [];
  let [handed, inHand] = [0, 0];
  const tap = new BatchTap({
    send: batch => {
      readBatch(batch, {
        piece: () => undefined,
        note: ({ kind }) => void kinds.push(kind),
        said: () => undefined,
      });
      inHand += batch.exchangeBytes;
    },
    now: () => 0,
    writes: new UnansweredWrites(5_000),
  });
  const facts = { route: 'api', subject: null, method: 'GET', primary: 'legacy' } as const;
  const sample: AnswerSample = {
    ...{ status: 304, headers: ['ETag', '"1"', 'X-Long', 'x'.repeat(50_000)] },
    ...{ body: Buffer.alloc(0), marker: null, end: 'complete', code: null, ms: 1 },
  };
  const exchange = (n: number) =>
    tap.exchange({ ...facts, id: `q${n}`, isWrite: false, legacy: sample, candidate: sample });
  for (; handed < 2_000 && !kinds.includes('exchange-left-out'); handed += 1) {
    exchange(handed);
    tap.flush();
  }
  expect(handed).toBeLessThan(200);
  // Half of a pair may find room.
  tap.answered({ ...facts, id: 'alone' }, 'legacy', sample);
  expect(tap.answered({ ...facts, id: 'alone' }, 'legacy', sample)).toBe(false);
  tap.flush();
  expect(tap.bytesLeftOut).toBeGreaterThan(150_000);
  // The judge catches up.
  tap.returned(new ArrayBuffer(0), inHand, { marks: [], settled: [] });
  kinds.length = 0;
  exchange(handed);
  tap.flush();
  expect(kinds).toEqual(['exchange']);
});

test('what legacy alone is told is told as such; what is too much of it is known of some, and takes no room from the rest', () => {
  const { tap, told, state } = talking();
  const named = (n: number) => ({ id: `user_${n}`, aliases: [] });
  tap.said(named(1), Buffer.from('/threads/t1'), true);
  tap.said(null, Buffer.from('/threads/t2'), true);
  for (let n = 0; n < 3; n += 1) tap.said(named(1), null, true);
  tap.said(named(2), Buffer.alloc(65_537), true);
  expect(told()).toEqual([
    ...['0 ["user_1"] to legacy /threads/t1', '0 [] to legacy /threads/t2'],
    ...['said-unread by legacy', 'said-unread by legacy'],
  ]);
  state.now = 5_000;
  // Of half a megabyte a second; and of a thousand users no more than that they said something.
  for (let n = 0; n < 1_100; n += 1) tap.said(named(n), Buffer.alloc(65_536, 'a'), true);
  const words = told();
  const notes = words.filter(word => word === 'said-unread by legacy');
  expect([words.length - notes.length, notes.length]).toEqual([8, 1_000]);
  tap.said(named(1), Buffer.alloc(65_536, 'a'));
  expect(told()).toHaveLength(1);
});

test('so many streams are heard of users who are not compared, and nobody anonymous', () => {
  const { tap, subject } = talking();
  const facts = { route: 'events', id: 's2', format: 'websocket' as const, subject };
  const first = tap.overhear(facts);
  for (let n = 1; n < 20_000; n += 1) tap.overhear(facts);
  expect([tap.overhear(facts), tap.streamsUnheard]).toEqual([null, 1]);
  first?.close();
  expect(tap.overhear(facts)).not.toBeNull();
  expect([tap.overhear({ ...facts, subject: null }), tap.streamsUnheard]).toEqual([null, 1]);
});
