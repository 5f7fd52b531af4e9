// Of a side that can not be heard nothing can be concluded, for as long as that lasts: its copies are left
// out because the judge is behind, or its bytes can not be read as frames.
import { expect, test } from 'vitest';
import type { Batch } from '../../src/judge/batch.ts';
import { Docket, WINDOW_MS } from '../../src/judge/docket.ts';
import { BatchTap } from '../../src/judge/tap.ts';
import { UnansweredWrites } from '../../src/judge/unanswered-writes.ts';
import type { StreamTap } from '../../src/ports.ts';
import { type CompareRules, DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import { DEFAULT_ISOLATION } from '../../src/rules/isolation/rules.ts';
import type { Books } from '../../src/rules/pairing/books.ts';
import { otherSide } from '../../src/rules/pairing/legs.ts';
import { FrameTracker, wholeFrame } from '../../src/wire/frames.ts';
import { unwatched } from './unwatched.ts';

const TICK_MS = 100;

/** The judge without its thread, on a clock that the test moves. */
function judged(compare: CompareRules = DEFAULT_RULES) {
  let now = 1_000_000;
  const writes = new UnansweredWrites(WINDOW_MS);
  const batches: Batch[] = [];
  const tap = new BatchTap({ send: batch => void batches.push(batch), now: () => now, writes });
  const begin = () =>
    new Docket({
      rules: { events: { compare, noise: null, isolation: DEFAULT_ISOLATION } },
      watch: unwatched(),
      onFinding: () => undefined,
      onFailure: error => {
        throw error;
      },
    });
  let docket = begin();
  return {
    tap,
    /** The judge fails; the next one knows nothing. */
    restart: () => {
      batches.length = 0;
      docket = begin();
      tap.beginAnew();
    },
    /** Another session fills all that the judge may have in hand. */
    overload: () => {
      const busy = tap.stream({ route: 'busy', id: 'b', format: 'sse', subject: null });
      busy.legOpened('legacy');
      while (tap.bytesLeftOut === 0) busy.bytes('legacy', Buffer.alloc(100_000, 'y'));
    },
    /** Lets so much time pass in which the judge keeps up, and returns the books. */
    pass: (ms: number): Books => {
      for (const end = now + ms; now < end; ) {
        now += TICK_MS;
        do {
          tap.flushIfFree();
          tap.flush();
          for (const batch of batches.splice(0)) {
            docket.take(batch);
            tap.returned(batch.bytes, batch.exchangeBytes, { marks: [], settled: [] });
          }
          tap.flush();
        } while (batches.length > 0);
        docket.sweep(now, writes.look(now));
      }
      return docket.books().get('events') as Books;
    },
  };
}

const text = (seq: number) => JSON.stringify({ type: 'step', run_id: 'r1', seq });

function webSocket(stream: StreamTap) {
  const trackers = { legacy: new FrameTracker(), candidate: new FrameTracker() };
  for (const side of SIDES) stream.legOpened(side, trackers[side]);
  const bytes = (side: Side, frame: Buffer) => void stream.follow(side, frame, trackers[side]);
  return {
    bytes,
    say: (side: Side, seq: number) => bytes(side, wholeFrame(1, Buffer.from(text(seq)))),
  };
}

function sse(stream: StreamTap) {
  for (const side of SIDES) stream.legOpened(side);
  return (side: Side, seq: number) => stream.bytes(side, Buffer.from(`data: ${text(seq)}\n\n`));
}

for (const format of ['websocket', 'sse'] as const) {
  for (const lost of SIDES) {
    test(`${format}: a copy of ${lost} is left out, and then there is silence: the other one's is unjudged`, () => {
      const { tap, overload, pass } = judged();
      const stream = tap.stream({ route: 'events', id: 's1', format, subject: null });
      const say = format === 'sse' ? sse(stream) : webSocket(stream).say;
      for (const side of SIDES) say(side, 1);
      pass(2 * WINDOW_MS);
      for (const side of SIDES) say(side, 2);
      overload();
      say(lost, 3);
      expect([lost, otherSide(lost)].map(side => stream.hears(side))).toEqual([false, true]);
      pass(700);
      say(otherSide(lost), 3);
      const books = pass(2 * WINDOW_MS);
      expect([books.legacy.missing, books.candidate.extra]).toEqual([0, 0]);
      expect(books[otherSide(lost)].unjudged.overload).toBe(1);
      // It is heard again (of an event stream from the event after the next): what is missing then is missing.
      for (const side of SIDES) say(side, 4);
      expect(stream.hears(lost)).toBe(true);
      pass(2 * WINDOW_MS);
      say('legacy', 5);
      const after = pass(2 * WINDOW_MS);
      expect(after.legacy).toMatchObject({ match: format === 'sse' ? 2 : 3, missing: 1 });
    });
  }
}

for (const format of ['websocket', 'sse'] as const) {
  test(`${format}: what comes behind a judge that failed has its pair before it, and says that it was not the load`, () => {
    const { tap, pass, restart } = judged();
    const stream = tap.stream({ route: 'events', id: 's1', format, subject: null });
    const say = format === 'sse' ? sse(stream) : webSocket(stream).say;
    for (const side of SIDES) say(side, 1);
    pass(2 * WINDOW_MS);
    say('legacy', 2);
    restart();
    pass(500);
    say('candidate', 2);
    const { legacy, candidate } = pass(2 * WINDOW_MS);
    expect(candidate.unjudged).toMatchObject({ 'judge-restart': 1, overload: 0 });
    expect([legacy.missing, candidate.extra]).toEqual([0, 0]);
  });
}

for (const format of ['websocket', 'sse'] as const) {
  test(`${format}: a copy of a candidate that hangs from then on is left out: what it does not say is missing`, () => {
    const { tap, overload, pass } = judged();
    const stream = tap.stream({ route: 'events', id: 's1', format, subject: null });
    const say = format === 'sse' ? sse(stream) : webSocket(stream).say;
    for (const side of SIDES) say(side, 1);
    pass(2 * WINDOW_MS);
    overload();
    say('candidate', 2);
    pass(500);
    say('legacy', 2);
    pass(2 * WINDOW_MS);
    // One window from when it would have been heard again.
    say('legacy', 3);
    say('legacy', 4);
    const { legacy, candidate } = pass(2 * WINDOW_MS);
    expect(legacy).toMatchObject({ match: 1, missing: 2, unjudged: { overload: 1 } });
    expect(candidate.extra).toBe(0);
    // And it is heard when it speaks, of an event stream from the next but one.
    for (const seq of [5, 6]) for (const side of SIDES) say(side, seq);
    expect(pass(2 * WINDOW_MS).legacy).toMatchObject({
      match: format === 'sse' ? 2 : 3,
      missing: 2,
    });
  });
}

test('a candidate that hangs inside of a message of which something is left out is heard when it goes on', () => {
  const { tap, overload, pass } = judged();
  const stream = tap.stream({ route: 'events', id: 's1', format: 'websocket', subject: null });
  const { bytes, say } = webSocket(stream);
  for (const side of SIDES) say(side, 1);
  pass(2 * WINDOW_MS);
  const torn = wholeFrame(1, Buffer.from(text(2)));
  bytes('candidate', torn.subarray(0, 10));
  overload();
  bytes('candidate', torn.subarray(10, 20));
  say('legacy', 2);
  pass(3 * WINDOW_MS);
  say('legacy', 3);
  expect(pass(2 * WINDOW_MS).legacy).toMatchObject({ match: 1, missing: 1 });
  bytes('candidate', torn.subarray(20));
  say('candidate', 4);
  say('legacy', 4);
  const { legacy, candidate } = pass(2 * WINDOW_MS);
  expect(legacy).toMatchObject({ match: 2, missing: 1, unjudged: { overload: 1 } });
  expect(candidate).toMatchObject({ seen: 3, match: 2, extra: 0, unjudged: { overload: 1 } });
  expect(tap.handed('events')).toEqual({ legacy: 4, candidate: 3 });
});

for (const lost of SIDES) {
  test(`${lost} can not be followed: what is said windows later is unjudged, until its leg is opened again`, () => {
    const { tap, pass } = judged();
    const stream = tap.stream({ route: 'events', id: 's1', format: 'websocket', subject: null });
    const { bytes, say } = webSocket(stream);
    for (const side of SIDES) say(side, 1);
    pass(300);
    // A length of 64 bits that begins with ones.
    bytes(lost, Buffer.from([0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255]));
    pass(3 * WINDOW_MS);
    for (const side of SIDES) say(side, 2);
    const books = pass(3 * WINDOW_MS);
    expect([books.legacy.missing, books.candidate.extra]).toEqual([0, 0]);
    expect(books[otherSide(lost)].unjudged.unframeable).toBe(1);
    stream.legClosed(lost, 'by-service');
    const again = new FrameTracker();
    stream.legOpened(lost, again);
    pass(2 * WINDOW_MS);
    stream.follow(lost, wholeFrame(1, Buffer.from(text(3))), again);
    say(otherSide(lost), 3);
    expect(pass(2 * WINDOW_MS).legacy.match).toBe(2);
  });
}

for (const early of SIDES) {
  test(`${early} was read before a client held both back: what the other one says after that is no false alarm`, () => {
    const { tap, pass } = judged();
    const stream = tap.stream({ route: 'events', id: 's1', format: 'websocket', subject: null });
    const { say } = webSocket(stream);
    for (const side of SIDES) say(side, 1);
    pass(2 * WINDOW_MS);
    say(early, 2);
    stream.held(true);
    expect(pass(3 * WINDOW_MS)[early].pending).toBe(1);
    stream.held(false);
    pass(500);
    say(otherSide(early), 2);
    const { legacy, candidate } = pass(2 * WINDOW_MS);
    expect([legacy.missing, candidate.extra, legacy.match]).toEqual([0, 0, 2]);
    // Read again, and nothing came of the other one: that is told, a window later.
    say('legacy', 3);
    stream.held(true);
    pass(WINDOW_MS);
    stream.held(false);
    expect(pass(WINDOW_MS + 2 * TICK_MS).legacy.missing).toBe(1);
  });
}

test('what answers a client that only one service heard is unjudged, and nothing else is', () => {
  const { tap, pass } = judged({ ...DEFAULT_RULES, replies: ['pong'] });
  const stream = tap.stream({ route: 'events', id: 's1', format: 'websocket', subject: null });
  const { bytes, say } = webSocket(stream);
  const pong = () => bytes('legacy', wholeFrame(1, Buffer.from('{"type":"pong"}')));
  for (const side of SIDES) say(side, 1);
  pass(2 * WINDOW_MS);
  pong();
  expect(pass(2 * WINDOW_MS).legacy).toMatchObject({ missing: 1 });
  stream.saidAlone('candidate', false);
  pong();
  pong();
  say('legacy', 2);
  const { legacy } = pass(2 * WINDOW_MS);
  expect(legacy).toMatchObject({ missing: 2, match: 1, duplicate: 0 });
  expect(legacy.unjudged['no-second']).toBe(2);
});
