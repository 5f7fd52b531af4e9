// What becomes of answers and event streams in the judge, without its thread and on a clock that is moved.
import { expect, test } from 'vitest';
import type { Batch } from '../../src/judge/batch.ts';
import { Docket, WINDOW_MS } from '../../src/judge/docket.ts';
import { BatchTap } from '../../src/judge/tap.ts';
import { UnansweredWrites } from '../../src/judge/unanswered-writes.ts';
import type { AnswerSample } from '../../src/ports.ts';
import { type CompareRules, DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import { DEFAULT_ISOLATION } from '../../src/rules/isolation/rules.ts';
import { latencyQuantile } from '../../src/rules/latency.ts';
import { addBooks, type Books, emptyBooks } from '../../src/rules/pairing/books.ts';
import { FrameTracker, OPCODE, wholeFrame } from '../../src/wire/frames.ts';
import { lineOf } from '../rules/compare-case.ts';
import { unwatched } from './unwatched.ts';

const TICK_MS = 100;
const ANN = { id: 'ann', aliases: [] };
const BOB = { id: 'bob', aliases: [] };
const UNKNOWN = 'unjudged(no-second) start legacy';

function judged(compare: CompareRules = DEFAULT_RULES) {
  let now = 1_000_000;
  const found: string[] = [];
  const batches: Batch[] = [];
  const writes = new UnansweredWrites(WINDOW_MS);
  const tap = new BatchTap({ send: batch => void batches.push(batch), now: () => now, writes });
  const docket = new Docket({
    rules: { api: { compare, noise: null, isolation: DEFAULT_ISOLATION } },
    watch: unwatched(),
    onFinding: finding => found.push(lineOf(finding)),
    onFailure: error => {
      throw error;
    },
  });
  const flush = () => {
    do {
      tap.flush();
      for (const batch of batches.splice(0)) {
        const { marks } = docket.take(batch);
        tap.returned(batch.bytes, batch.exchangeBytes, { marks, settled: [] });
      }
      tap.flush();
    } while (batches.length > 0);
  };
  return {
    tap,
    docket,
    flush,
    /** What a sweep is told at the end of it. */
    pass(ms: number) {
      flush();
      now += ms;
      return [now, writes.look(now)] as const;
    },
    /** What was found since the last call of this, once all windows are over. */
    found() {
      for (const end = now + 2 * WINDOW_MS; now < end; now += TICK_MS) {
        flush();
        docket.sweep(now, writes.look(now));
      }
      return found.splice(0);
    },
  };
}

const answer = (body: string, ...headers: string[]): AnswerSample => ({
  ...{ status: 200, headers: ['content-type', 'application/json', ...headers] },
  ...{ body: Buffer.from(body), marker: null, end: 'complete', code: null, ms: 1 },
});

type Judged = ReturnType<typeof judged>;

let number = 0;
function exchange(
  { tap }: Judged,
  user: string | null,
  [legacy, candidate]: readonly [AnswerSample, AnswerSample],
): void {
  number += 1;
  tap.exchange({
    ...{ route: 'api', id: `q${number}`, method: 'GET', primary: 'legacy', isWrite: false },
    subject: user === null ? null : { id: user, aliases: [] },
    ...{ legacy, candidate },
  });
}

// The fault: what was known to be paired off went past a message that one side alone had sent, and when that side's
// session changed hands, its client got it twice.
test('streams are not paired off behind a message that nobody can read, until both have sent one', () => {
  const judge = judged();
  const stream = judge.tap.stream({ route: 'api', id: 's', format: 'websocket', subject: null });
  const trackers = { legacy: new FrameTracker(), candidate: new FrameTracker() };
  for (const side of SIDES) stream.legOpened(side, trackers[side]);
  const say = (side: Side, payload: Buffer) => {
    stream.follow(side, wholeFrame(OPCODE.text, payload), trackers[side]);
    judge.flush();
  };
  const [event, long] = [Buffer.from('{"type":"a"}'), Buffer.alloc(1_500_000, 'x')];
  judge.found();
  for (const side of SIDES) say(side, event);
  expect(stream.synced).toEqual({ legacy: 1, candidate: 1 });
  say('candidate', long);
  for (const side of SIDES) say(side, event);
  expect(stream.synced).toEqual({ legacy: 1, candidate: 1 });
  say('legacy', long);
  expect(stream.synced).toEqual({ legacy: 3, candidate: 3 });
  // One that does not come within two windows does not come.
  say('candidate', long);
  for (let windows = 0; windows < 2; windows += 1) judge.found();
  for (const side of SIDES) say(side, event);
  expect(stream.synced).toEqual({ legacy: 4, candidate: 5 });
});

test('a sweep in parts goes on where it paused, and the next one brings it to its end', () => {
  const judge = judged();
  const { tap, docket } = judge;
  const open = (id: string) => {
    const stream = tap.stream({ route: 'api', id, format: 'websocket', subject: null });
    const trackers = { legacy: new FrameTracker(), candidate: new FrameTracker() };
    for (const side of SIDES) stream.legOpened(side, trackers[side]);
    return () => {
      const frame = wholeFrame(OPCODE.text, Buffer.from('{"type":"a"}'));
      stream.follow('legacy', frame, trackers.legacy);
    };
  };
  const say = ['s1', 's2', 's3'].map(open);
  judge.found();
  const missing = () => docket.books().get('api')?.legacy.missing ?? 0;
  for (const each of say) each();
  judge.pass(WINDOW_MS);
  const writes = judge.pass(WINDOW_MS);
  docket.beginSweep(...writes);
  expect(missing()).toBe(0);
  expect(docket.sweepOn(() => false)).toBe(false);
  expect(missing()).toBe(1);
  // What comes in between waits for its own window.
  say[2]?.();
  judge.flush();
  expect(docket.sweepOn(() => false)).toBe(false);
  expect(missing()).toBe(2);
  docket.beginSweep(...writes);
  expect(missing()).toBe(3);
  expect(docket.sweepOn()).toBe(true);
  expect(docket.sweepOn()).toBe(true);
  expect(missing()).toBe(3);
  judge.found();
  expect(missing()).toBe(4);
});

// Every request had its own map of ids: whatever the candidate made up was right.
test("ids that services make up are mapped one to one over all of a user's answers", () => {
  const judge = judged({ ...DEFAULT_RULES, allow: [{ path: '/order', as: 'generated-id' }] });
  const ask = (user: string | null, legacy: string, candidate: string) => {
    const answers = [legacy, candidate].map(order => answer(JSON.stringify({ order })));
    exchange(judge, user, answers as [AnswerSample, AnswerSample]);
  };
  ask('user_1', 'L1', 'C1');
  ask('user_1', 'L1', 'C1');
  expect(judge.found()).toEqual(['match GET 2xx', 'match GET 2xx']);
  ask('user_1', 'L1', 'C2');
  ask('user_1', 'L2', 'C1');
  const wrong = 'mismatch GET 2xx value:/body/order';
  expect(judge.found()).toEqual([wrong, wrong]);
  // Another user's are his own, and nobody anonymous is known to be the one who came before.
  ask('user_2', 'L1', 'C2');
  for (const candidate of ['C1', 'C2']) ask(null, 'L1', candidate);
  expect(judge.found()).toEqual(['match GET 2xx', 'match GET 2xx', 'match GET 2xx']);
});

test('ids of answers are kept within bounds: users who have not asked for long are forgotten', () => {
  const judge = judged({ ...DEFAULT_RULES, allow: [{ path: '/items/*', as: 'generated-id' }] });
  const many = (side: string) =>
    answer(JSON.stringify({ items: Array.from({ length: 200 }, (_, i) => `${side}${i}`) }));
  const ask = (user: string, legacy: AnswerSample, candidate: AnswerSample) => {
    exchange(judge, user, [legacy, candidate]);
    return judge.found();
  };
  ask('user_0', many('L'), many('C'));
  const others = ['user_0', many('L'), many('D')] as const;
  expect(ask(...others)[0]).toMatch(/^mismatch/);
  for (let user = 1; user <= 1_001; user++) {
    exchange(judge, `user_${user}`, [many('L'), many('C')]);
    if (user % 50 === 0) judge.found();
  }
  judge.found();
  expect(ask(...others)).toEqual(['match GET 2xx']);
});

test('a body that is JSON on one side alone is a mismatch; one that nobody can decode is unjudged', () => {
  const judge = judged();
  exchange(judge, 'user_1', [answer('{"a":1}'), answer('{"a":1')]);
  expect(judge.found()).toEqual(['mismatch GET 2xx type:/body']);
  const unknown = answer('{"a":1}', 'content-encoding', 'compress');
  exchange(judge, 'user_1', [answer('{"a":1}'), unknown]);
  expect(judge.found()).toEqual(['unjudged(not-comparable) GET 2xx']);
});

test('the books have how long both took to answer, of answers that came whole', () => {
  const judge = judged();
  const slow = { ...answer('{"a":1}'), ms: 900 };
  exchange(judge, 'user_1', [answer('{"a":1}'), slow]);
  exchange(judge, 'user_1', [answer('{"a":1}'), { ...slow, end: 'cut' }]);
  exchange(judge, 'user_1', [answer('{"a":1}'), { ...slow, status: 0, end: 'failed', ms: 30_000 }]);
  judge.found();
  const books = judge.docket.books().get('api');
  const of = (counts: readonly number[] | null | undefined) =>
    (counts ?? []).reduce((sum, count) => sum + count, 0);
  expect([of(books?.legacy.latency), of(books?.candidate.latency)]).toEqual([1, 1]);
  expect(latencyQuantile(books?.candidate.latency ?? [], 0.99)).toBeGreaterThan(890);
});

test('the name of an event is compared beside what its data says: browsers listen for it', () => {
  const judge = judged();
  const stream = judge.tap.stream({ route: 'api', id: 's', format: 'sse', subject: null });
  stream.legOpened('legacy');
  stream.legOpened('candidate');
  const event = (name: string | null, seq: number, type: string | null = 'step') => {
    const data = JSON.stringify({ ...(type === null ? {} : { type }), run_id: 'r', seq });
    return Buffer.from(`${name === null ? '' : `event: ${name}\n`}data: ${data}\n\n`);
  };
  const say = (legacy: Buffer, candidate: Buffer) => {
    stream.bytes('legacy', legacy);
    stream.bytes('candidate', candidate);
    return judge.found();
  };
  expect(say(event('step', 1), event('step', 1))).toEqual(['match step']);
  expect(say(event('step', 2), event('pace', 2))).toEqual(['mismatch step value:/event:']);
  expect(say(event('step', 3), event(null, 3))).toEqual(['mismatch step missing:/event:']);
  expect(say(event(null, 4), event('step', 4))).toEqual(['mismatch step extra:/event:']);
  // Where the data names none, the name is the type.
  expect(say(event('step', 5, null), event('step', 5, null))).toEqual(['match step']);
});

// The fault: beside an integer beyond 2^53 both were read again from the text of their data, which has no name in it,
// and a changed one was a match.
test('the name of an event is compared beside integers beyond 2^53 as well', () => {
  const judge = judged();
  const stream = judge.tap.stream({ route: 'api', id: 's', format: 'sse', subject: null });
  stream.legOpened('legacy');
  stream.legOpened('candidate');
  const say = (legacy: string, candidate: string, data: string) => {
    stream.bytes('legacy', Buffer.from(`event: ${legacy}\ndata: ${data}\n\n`));
    stream.bytes('candidate', Buffer.from(`event: ${candidate}\ndata: ${data}\n\n`));
    return judge.found();
  };
  const n = '"n":12345678901234567890';
  const both = `{"type":"step","run_id":"r","seq":1,${n}} `;
  expect(say('a', 'a', both)).toEqual(['match step']);
  const renamed = `{"type":"step","run_id":"r","seq":2,${n}}`;
  expect(say('a', 'b', renamed)).toEqual(['mismatch step value:/event:']);
  expect(say('a', 'a', `[${n.slice(4)}]`)).toEqual(['match a']);
  // The name alone is the type.
  const unnamed = `{"run_id":"r","seq":3,"text":"a b c",${n}}`;
  expect(say('step', 'pace', unnamed)).toEqual(['mismatch step value:/type']);
  // A run whose number is so large has keys with types, too.
  const run = '{"run_id":12345678901234567890,"seq":1}';
  expect(say('step', 'step', run)).toEqual(['match step']);
  expect(say('pace', 'rest', run)).toEqual(['mismatch pace value:/type']);
  // Nothing that the data calls so stands in its place.
  const likewise = `{"type":"step","run_id":"r","seq":4,"event:":"x",${n}}`;
  expect(say('a', 'b', likewise)).toEqual(['mismatch step value:/event:']);
});

// The fault: of a number with an exponent no text was kept, and what both wrote alike was never judged.
test('large integers with an exponent are compared, in answers and in events', () => {
  const judge = judged();
  const ask = (legacy: string, candidate: string) => {
    judge.tap.exchange({
      ...{ route: 'api', id: '1', method: 'GET', isWrite: false, subject: null, primary: 'legacy' },
      ...{ legacy: answer(legacy), candidate: answer(candidate) },
    });
    return judge.found();
  };
  for (const n of ['1e20', '-1.757953203e+18', '1.0E+20']) {
    expect(ask(`{"t":${n}}`, `{"t":${n}}`), n).toEqual(['match GET 2xx']);
    expect(ask(`[1, ${n}]`, `[1, ${n}1]`), n).toEqual(['mismatch GET 2xx value:/body/1']);
  }
  const stream = judge.tap.stream({ route: 'api', id: 's', format: 'sse', subject: null });
  const event = Buffer.from('data: {"type":"step","run_id":"r","seq":1,"ns":1e+18}\n\n');
  for (const side of ['legacy', 'candidate'] as const) {
    stream.legOpened(side);
    stream.bytes(side, event);
  }
  stream.bytes('candidate', event);
  expect(judge.found()).toEqual(['match step', 'duplicate step candidate']);
});

test.each([
  ['left', 'missing step'],
  ['by-service', 'unjudged(no-second) step legacy'],
] as const)('what a leg said last before it ended (%s) and the other did not: %s', (how, line) => {
  const judge = judged();
  const stream = judge.tap.stream({ route: 'api', id: 's', format: 'sse', subject: null });
  const say = (side: Side, seq: number) =>
    stream.bytes(side, Buffer.from(`data: {"type":"step","run_id":"r","seq":${seq}}\n\n`));
  for (const side of SIDES) {
    stream.legOpened(side);
    say(side, 1);
  }
  expect(judge.found()).toEqual(['match step']);
  say('legacy', 2);
  stream.legClosed('legacy', how);
  expect(judge.found()).toEqual([line]);
});

// 2,000 events of a session may wait; of 1 MiB each they are 2 GB, and twenty times as much once parsed.
test('what waits for its pair is bounded by bytes as well, of a session and of all; the oldest are unjudged', () => {
  const judge = judged();
  const half = 'x'.repeat(500_000);
  const session = (id: string) => {
    const stream = judge.tap.stream({ route: 'api', id, format: 'sse', subject: null });
    stream.legOpened('legacy');
    stream.legOpened('candidate');
    return (side: 'legacy' | 'candidate', seq: number, text: string) => {
      const data = JSON.stringify({ type: 'step', run_id: id, seq, text });
      stream.bytes(side, Buffer.from(`data: ${data}\n\n`));
      judge.flush();
    };
  };
  const sessions = Array.from({ length: 8 }, (_, i) => session(`s${i}`));
  for (const say of sessions) for (const side of ['legacy', 'candidate'] as const) say(side, 0, '');
  expect(judge.found()).toEqual(Array(8).fill('match step'));
  const [first] = sessions;
  for (let seq = 1; seq <= 12; seq++) first?.('legacy', seq, half);
  // Of 4 MiB there is room for eight.
  expect(judge.docket.books().get('api')?.legacy).toMatchObject({ pending: 8 });
  // Which of them would have had a pair is not known any more, until both say the same again.
  expect(judge.found()).toEqual(Array(12).fill('unjudged(window-overrun) step legacy'));
  for (const say of sessions) for (let seq = 20; seq < 28; seq++) say('legacy', seq, half);
  expect(judge.docket.books().get('api')?.legacy.pending).toBe(41);
  judge.found();
  expect(judge.docket.books().get('api')?.legacy.pending).toBe(0);
  // Nothing of it is held any more: there is room again.
  for (const say of sessions) say('legacy', 30, half);
  expect(judge.docket.books().get('api')?.legacy.pending).toBe(8);
});

/** Legacy takes a write of bob's late, which began before ann was there; of her run the candidate drops the first step. */
function runBesideLateWrite(judge: Judged, said: { bobs: string; anns: string }): string[] {
  const stream = judge.tap.stream({ route: 'api', id: 's', format: 'sse', subject: ANN });
  const say = (side: Side, now: number, event: object) => {
    const text = JSON.stringify({ ...event, timestamp: new Date(now).toISOString() });
    stream.bytes(side, Buffer.from(`data: ${text}\n\n`));
  };
  const tick = (ms: number): number => {
    const pass = judge.pass(ms);
    judge.docket.sweep(...pass);
    return pass[0];
  };
  judge.tap.said(BOB, Buffer.from(said.bobs));
  const answered = judge.tap.write(BOB);
  answered('candidate');
  const openedAt = tick(105);
  for (const side of SIDES) {
    stream.legOpened(side);
    say(side, openedAt, { type: 'hello' });
  }
  tick(400);
  stream.said(Buffer.from(said.anns));
  answered('legacy');
  const firstAt = tick(10);
  say('legacy', firstAt, { type: 'start', run_id: 'z' });
  for (const side of SIDES) say(side, firstAt, { type: 'step', run_id: 'z' });
  for (let run = 0; run < 8; run += 1) {
    const ids = { run_id: `r${run}` };
    for (const type of ['start', 'step'])
      for (const side of SIDES) say(side, firstAt, { type, ...ids });
  }
  return judge.found().filter(line => !line.startsWith('match'));
}

test.each([
  ['is missing where she named it first', '/broadcast', '{"run_id":"z"}', 'missing start'],
  ['may be its doing where it named that', 'run_id=z', '{"run_id":"z"}', UNKNOWN],
  ['... or where she named another one', '/broadcast', '{"run_id":"z1"}', UNKNOWN],
])('beside a write that legacy takes late the first of a run %s', (_what, bobs, anns, found) => {
  const judge = judged({
    ...DEFAULT_RULES,
    allow: [{ path: '/timestamp', as: 'time', withinMs: 10 }],
  });
  expect(runBesideLateWrite(judge, { bobs, anns })).toEqual([found]);
});

/** Streams of events, one a run, of which the candidate drops the last event in the last one. */
function streamsOfRuns(judge: Judged, endsAfterMs: number, runs = 9): string[] {
  for (let run = 1; run <= runs; run += 1) {
    const stream = judge.tap.stream({
      ...{ route: 'api', id: `s${run}`, format: 'sse', subject: null, primary: 'legacy' },
    });
    for (const side of SIDES) stream.legOpened(side);
    for (let seq = 1; seq <= 5; seq += 1) {
      judge.pass(200);
      const event = Buffer.from(`data: {"type":"step","run_id":"r${run}","seq":${seq}}\n\n`);
      stream.bytes('legacy', event);
      if (seq < 5 || run < runs) stream.bytes('candidate', event);
    }
    judge.pass(endsAfterMs);
    for (const side of SIDES) stream.legClosed(side, 'complete');
    stream.close();
  }
  return judge.found().filter(line => line !== 'match step');
}

// The fault: a stream that ends with its run took along whatever the candidate had not sent of it.
test('on a route whose streams end right behind their last event one that the candidate drops is missing', () => {
  expect(streamsOfRuns(judged(), 1)).toEqual(['missing step']);
});

test.each([
  ['they end at any time', 90, 9],
  ['that is not known yet', 1, 8],
])('... and nobody knows where %s', (_why, endsAfterMs, runs) => {
  const found = streamsOfRuns(judged(), endsAfterMs, runs);
  expect(found).toEqual(['unjudged(no-second) step legacy']);
});

test("a route's books are those of all its sessions, of the ones that are over as well, and of its answers", () => {
  const judge = judged();
  const sum = emptyBooks();
  for (const id of ['s1', 's2']) {
    const stream = judge.tap.stream({ route: 'api', id, format: 'sse', subject: null });
    const say = (side: Side, data: string) => stream.bytes(side, Buffer.from(`data: ${data}\n\n`));
    for (const side of SIDES) stream.legOpened(side);
    for (const side of SIDES) for (const seq of [1, 2]) say(side, `{"type":"step","seq":${seq}}`);
    for (const seq of [3, 4]) say('legacy', `{"type":"step","seq":${seq}}`);
    say('candidate', '{"type":"step","seq":3,"text":"other"}');
    say('candidate', 'x'.repeat(2_000_000));
    judge.found();
    addBooks(sum, judge.docket.booksOf(id) as Books);
    if (id === 's1') stream.close();
  }
  exchange(judge, 'user_1', [answer('{"a":1}'), answer('{"a":1}')]);
  judge.flush();
  sum.legacy.seen += 1;
  sum.candidate.seen += 1;
  sum.legacy.match += 1;
  sum.candidate.match += 1;
  const books = judge.docket.books().get('api');
  expect(books?.legacy).toMatchObject({ seen: 9, match: 5, mismatch: 2 });
  expect({ ...books?.legacy, latency: null }).toEqual(sum.legacy);
  expect({ ...books?.candidate, latency: null }).toEqual(sum.candidate);
});
