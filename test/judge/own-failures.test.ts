// What a fault of the judge's own costs: the events that it was at, which are in the books as what they are, and
// nobody else's. Each is planted where a comparison, a search for a pair or a sweep may fail half-way.
import { afterEach, expect, test, vi } from 'vitest';
import type { Batch } from '../../src/judge/batch.ts';
import { Docket, WINDOW_MS } from '../../src/judge/docket.ts';
import { BatchTap } from '../../src/judge/tap.ts';
import { UnansweredWrites } from '../../src/judge/unanswered-writes.ts';
import type { AnswerSample } from '../../src/ports.ts';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import { DEFAULT_ISOLATION } from '../../src/rules/isolation/rules.ts';
import { imbalance } from '../../src/rules/pairing/books.ts';
import { Lane } from '../../src/rules/pairing/lane.ts';
import { Legs } from '../../src/rules/pairing/legs.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';
import { Waiting } from '../../src/rules/pairing/pending.ts';
import type { Finding } from '../../src/rules/verdict.ts';
import { FrameTracker, OPCODE, wholeFrame } from '../../src/wire/frames.ts';
import { lineOf } from '../rules/compare-case.ts';
import { unwatched } from './unwatched.ts';

afterEach(() => void vi.restoreAllMocks());

const RULES = {
  ...DEFAULT_RULES,
  allow: [{ path: '/made', as: 'generated-id' as const, class: 'made' }],
};

function judged(onFinding: (finding: Finding) => void = () => undefined) {
  let now = 1_000_000;
  const found: string[] = [];
  const failures: unknown[] = [];
  const batches: Batch[] = [];
  const writes = new UnansweredWrites(WINDOW_MS);
  const watch = unwatched();
  const tap = new BatchTap({ send: batch => void batches.push(batch), now: () => now, writes });
  const docket = new Docket({
    rules: { api: { compare: RULES, noise: null, isolation: DEFAULT_ISOLATION } },
    watch,
    onFinding: finding => {
      onFinding(finding);
      found.push(lineOf(finding));
    },
    onFailure: error => failures.push(error),
  });
  const flush = () => {
    tap.flush();
    for (const batch of batches.splice(0)) {
      const { marks, settled } = docket.take(batch);
      tap.returned(batch.bytes, batch.exchangeBytes, { marks, settled });
    }
  };
  const pass = (ms: number) => {
    flush();
    now += ms;
    docket.sweep(now, writes.look(now));
  };
  const open = (id: string) => {
    const stream = tap.stream({ route: 'api', id, format: 'websocket', subject: null });
    const trackers = { legacy: new FrameTracker(), candidate: new FrameTracker() };
    for (const side of SIDES) stream.legOpened(side, trackers[side]);
    flush();
    return {
      stream,
      say: (side: Side, ...events: object[]) => {
        const frames = events.map(event =>
          wholeFrame(OPCODE.text, Buffer.from(JSON.stringify(event))),
        );
        stream.follow(side, Buffer.concat(frames), trackers[side]);
        flush();
      },
    };
  };
  return {
    ...{ tap, watch, docket, failures, flush, pass, open },
    /** Since the last call of this. */
    found: () => found.splice(0),
    books: () => {
      const books = docket.books().get('api');
      if (books === undefined) throw new Error('nothing was judged');
      expect(imbalance(books)).toBeNull();
      return books;
    },
  };
}

function fail(): never {
  throw new Error('a fault of the judge');
}

const event = (seq: number, made: string) => ({ type: 'token', run_id: 'r', seq, made });

/** Where it fails, and whose event it is at then. */
const PLACES: readonly [string, Side, () => void][] = [
  [
    'as it takes one',
    'legacy',
    () => vi.spyOn(Legs.prototype, 'arrived').mockImplementationOnce(fail),
  ],
  [
    'as one is to wait',
    'legacy',
    () => vi.spyOn(Waiting.prototype, 'add').mockImplementationOnce(fail),
  ],
  [
    'as two are one, and wait no more',
    'candidate',
    () => vi.spyOn(IdClasses.prototype, 'learn').mockImplementationOnce(fail),
  ],
  [
    'as the place of a pair is looked for',
    'candidate',
    () => vi.spyOn(Lane.prototype, 'pair').mockImplementationOnce(fail),
  ],
];

test.each(PLACES)('a judge that fails %s leaves no event without a verdict', (_, side, plant) => {
  const judge = judged();
  const { failures, pass, open, found, books } = judge;
  const [one, other] = [open('s1'), open('s2')];
  pass(WINDOW_MS);
  for (const each of SIDES) for (const { say } of [one, other]) say(each, event(1, `${each} 1`));
  expect(found()).toEqual(['match token', 'match token']);
  one.say('legacy', event(2, 'legacy 2'));
  if (side === 'legacy') plant();
  one.say('legacy', event(3, 'legacy 3'));
  if (side === 'candidate') plant();
  one.say('candidate', event(2, 'candidate 2'));
  expect(failures).toHaveLength(1);
  // Behind the next that both have all is as before; and whoever else is here has not noticed anything.
  for (const each of SIDES) for (const { say } of [one, other]) say(each, event(4, `${each} 4`));
  for (const each of SIDES) one.say(each, event(5, `${each} 5`));
  pass(2 * WINDOW_MS);
  const lines = found();
  expect(lines.filter(line => line === 'match token')).toHaveLength(3);
  expect(lines.filter(line => !line.startsWith('unjudged(judge-restart)'))).toHaveLength(3);
  const { legacy, candidate } = books();
  expect([legacy.seen, candidate.seen]).toEqual([7, 6]);
  expect([legacy.pending, candidate.pending]).toEqual([0, 0]);
  expect([legacy.match, candidate.match]).toEqual([5, 5]);
  expect([legacy.unjudged['judge-restart'], candidate.unjudged['judge-restart']]).toEqual([2, 1]);
  // What they have in common is known again, for a handover.
  pass(2 * WINDOW_MS);
  for (const each of SIDES) one.say(each, event(6, `${each} 6`));
  expect(one.stream.synced).toEqual({ legacy: 6, candidate: 5 });
});

// The fault: the gap that it leaves was taken for the end of another one, and what nobody heard was missing.
test('a side of which nothing is heard is heard no more for a failure at the other one', () => {
  const found: string[] = [];
  const pairing = new Pairing({
    ...{ route: 'api', session: 's', rules: compileRules(RULES), subject: [] },
    ...{ ids: new IdClasses(), windowMs: WINDOW_MS, maxPending: 100 },
    onFinding: finding => found.push(lineOf(finding)),
  });
  for (const side of SIDES) pairing.legOpened(side, 0);
  for (const side of SIDES) pairing.event(side, event(1, 'a'), 10_000);
  pairing.lost('candidate', 10_001, 'unframeable');
  pairing.failed(10_002);
  pairing.event('legacy', event(2, 'b'), 10_003);
  pairing.event('legacy', event(3, 'c'), 10_003 + 2 * WINDOW_MS);
  pairing.sweep(10_003 + 4 * WINDOW_MS);
  expect(found).toEqual(['match token', ...Array(2).fill('unjudged(unframeable) token legacy')]);
});

test('an event at which it fails before pairing is in the books as well', () => {
  const { watch, failures, pass, books, tap, flush } = judged();
  const stream = tap.stream({
    ...{ route: 'api', id: 's', format: 'websocket', subject: { id: 'ann', aliases: [] } },
  });
  const trackers = { legacy: new FrameTracker(), candidate: new FrameTracker() };
  for (const side of SIDES) stream.legOpened(side, trackers[side]);
  flush();
  vi.spyOn(watch.identifiers, 'teach').mockImplementationOnce(fail);
  const frame = wholeFrame(OPCODE.text, Buffer.from('{"type":"a","run_id":"r","seq":1}'));
  stream.follow('legacy', frame, trackers.legacy);
  pass(2 * WINDOW_MS);
  expect(failures).toHaveLength(1);
  expect(books().legacy).toMatchObject({ seen: 1, pending: 0 });
  expect(books().legacy.unjudged['judge-restart']).toBe(1);
});

test('a sweep that fails at one session goes on with the others, and fails once', () => {
  const { failures, pass, open, found, books } = judged();
  const sessions = ['s1', 's2', 's3'].map(open);
  pass(WINDOW_MS);
  for (const { say } of sessions) say('legacy', event(1, 'a'), event(2, 'b'));
  vi.spyOn(Legs.prototype, 'excuse').mockImplementationOnce(fail);
  pass(WINDOW_MS + 1);
  expect(failures).toHaveLength(1);
  expect(found().sort()).toEqual([
    ...Array(4).fill('missing token'),
    ...Array(2).fill('unjudged(judge-restart) legacy'),
  ]);
  pass(WINDOW_MS);
  expect(failures).toHaveLength(1);
  expect(books().legacy).toMatchObject({ seen: 6, pending: 0, missing: 4 });
});

test('a session that fails as it ends, and one whose finding nobody can take, have their verdicts', () => {
  let isFaulty = false;
  const { failures, pass, open, books } = judged(() => {
    if (isFaulty) fail();
  });
  const [one, two] = [open('s1'), open('s2')];
  pass(WINDOW_MS);
  one.say('legacy', event(1, 'a'), event(2, 'b'));
  vi.spyOn(Lane.prototype, 'settle').mockImplementationOnce(fail);
  one.stream.close();
  pass(1);
  two.say('legacy', event(1, 'a'), event(2, 'b'));
  isFaulty = true;
  pass(2 * WINDOW_MS);
  isFaulty = false;
  expect(failures.length).toBeGreaterThan(1);
  expect(books().legacy).toMatchObject({ seen: 4, pending: 0 });
});

test('two answers at which it fails are in the books of both sides', () => {
  const { watch, failures, pass, tap, books } = judged();
  const answer: AnswerSample = {
    ...{ status: 200, headers: [], body: Buffer.from('{}'), marker: null },
    ...{ end: 'complete', code: null, ms: 1 },
  };
  vi.spyOn(watch, 'route').mockImplementationOnce(fail);
  for (const id of ['q1', 'q2']) {
    tap.exchange({
      ...{ route: 'api', id, method: 'GET', primary: 'legacy', isWrite: false },
      ...{ subject: { id: 'ann', aliases: [] }, legacy: answer, candidate: answer },
    });
  }
  pass(1);
  expect(failures).toHaveLength(1);
  for (const side of SIDES) {
    expect(books()[side]).toMatchObject({ seen: 2, match: 1 });
    expect(books()[side].unjudged['judge-restart']).toBe(1);
  }
});
