// A judge sweeps each session ten times a second: what that costs must follow what is new, not what waits.
import { expect, test } from 'vitest';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';

const EVENTS = 150;
const STEP_MS = 20;

/** The pairs of a stream, all waiting; and how often a value of theirs was read since it was asked last. */
function unlike(eventOf: (side: Side, nth: number) => object) {
  const verdicts: string[] = [];
  let reads = 0;
  const pairing = new Pairing({
    ...{ route: 'events', session: 's', rules: compileRules(DEFAULT_RULES), subject: [] },
    ...{ ids: new IdClasses(), windowMs: 5_000, maxPending: 1_000 },
    onFinding: ({ verdict }) => verdicts.push(verdict),
  });
  for (const side of SIDES) pairing.legOpened(side, 0);
  for (let nth = 0; nth < EVENTS; nth++) {
    for (const side of SIDES) {
      const value = Object.defineProperty(eventOf(side, nth), 'read', {
        enumerable: true,
        get: () => ++reads > 0,
      });
      pairing.event(side, value, 1_000 + nth * STEP_MS);
    }
  }
  const readsOf = (work: () => void) => {
    reads = 0;
    work();
    return reads;
  };
  return { pairing, verdicts, readsOf };
}

// The fault: of events that differ the same pairs were compared in every sweep, so that some thirty streams of tokens
// took all of the judge's core, and nobody was judged.
test.each([
  [
    'with a run of their own',
    (side: Side, nth: number) => ({ type: 'token', run_id: 'r', text: `${side} ${nth}` }),
  ],
  [
    'of another type',
    (side: Side, nth: number) => ({ type: side, run_id: 'r', text: `${side} ${nth}` }),
  ],
  [
    'without a key',
    (side: Side, nth: number) => ({ type: 'price', symbol: 'S', price: nth, ts: `${side} ${nth}` }),
  ],
])('events %s that differ are compared once, however often they are swept', (_, eventOf) => {
  const { pairing, verdicts, readsOf } = unlike(eventOf);
  const last = 1_000 + EVENTS * STEP_MS;
  pairing.sweep(last + 900);
  expect(pairing.pending).toBe(2 * EVENTS);
  expect(
    readsOf(() => {
      for (let at = last + 910; at < 5_900; at += 10) pairing.sweep(at);
    }),
  ).toBe(0);
  for (let at = 5_900; at < last + 6_000; at += 100) pairing.sweep(at);
  expect(pairing.pending).toBe(0);
  expect(new Set(verdicts).has('match')).toBe(false);
});

// The fault: to see whether it is likelier to be another one each was read anew for each that it was held against.
test('an event without a key that differs is read a few times, however many it is held against', () => {
  const alike = {
    type: 'token',
    room: 'a',
    lang: 'en',
    role: 'r',
    model: 'm',
    agent: 'b',
    of: 'c',
  };
  const { pairing, verdicts, readsOf } = unlike((side, nth) => ({
    ...alike,
    text: `${side} ${nth}`,
  }));
  const last = 1_000 + EVENTS * STEP_MS;
  const reads = readsOf(() => {
    for (let at = last; at < last + 6_000; at += 100) pairing.sweep(at);
  });
  expect(verdicts).toEqual(Array(EVENTS).fill('mismatch'));
  expect(reads).toBeLessThan(2 * EVENTS * 8);
});
