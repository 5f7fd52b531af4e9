// What nobody should send, and what a judge must survive: a verdict or a reason in bounded time, never
// a crash. Time limits only catch what grows without bound.
import { expect, test } from 'vitest';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { imbalance } from '../../src/rules/pairing/books.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';
import { lineOf } from './compare-case.ts';

const RULES = compileRules({
  ...DEFAULT_RULES,
  allow: [
    { path: '/list', as: 'any-order', by: '/id' },
    { path: '/ids/*', as: 'generated-id', class: 'id' },
  ],
});

function session(maxPending = 1_000) {
  const lines: string[] = [];
  const pairing = new Pairing({
    ...{ route: 'events', session: 's', rules: RULES, subject: [], ids: new IdClasses() },
    ...{ windowMs: 5_000, maxPending },
    onFinding: finding => lines.push(lineOf(finding)),
  });
  pairing.legOpened('legacy', 0);
  pairing.legOpened('candidate', 0);
  return { pairing, lines };
}

/** What becomes of one pair of messages. */
function verdictOn(legacy: unknown, candidate: unknown): string {
  const { pairing, lines } = session();
  pairing.event('legacy', legacy, 2_000);
  pairing.event('candidate', candidate, 2_001);
  pairing.end(2_002);
  expect(imbalance(pairing.books)).toBeNull();
  return lines.join('; ');
}

function nested(depth: number, leaf: string): unknown {
  return JSON.parse(`{"type":"x","seq":1,"a":${'['.repeat(depth)}${leaf}${']'.repeat(depth)}}`);
}

test('nesting is compared to a depth of 64; ten thousand levels are too deep', () => {
  expect(verdictOn(nested(60, '1'), nested(60, '1'))).toBe('match x');
  expect(verdictOn(nested(60, '1'), nested(60, '2'))).toMatch(/^mismatch x value:\/a(\/0)+$/);
  for (const depth of [70, 10_000, 1_000_000]) {
    expect(verdictOn(nested(depth, '1'), nested(depth, '1'))).toBe('unjudged(too-deep) x');
  }
  // Without a key, where content stands in.
  const bare = (leaf: string) => JSON.parse(`${'['.repeat(10_000)}${leaf}${']'.repeat(10_000)}`);
  expect(verdictOn(bare('1'), bare('2'))).toBe('unjudged(too-deep)');
  const objects = (n: number) => JSON.parse(`${'{"a":'.repeat(n)}1${'}'.repeat(n)}`);
  expect(verdictOn(objects(10_000), objects(10_000))).toBe('unjudged(too-deep)');
});

test('a difference found before it gets too deep is one', () => {
  const deep = { ...(nested(10_000, '1') as object) };
  expect(verdictOn({ first: 1, ...deep }, { first: 2, ...deep })).toBe('mismatch x value:/first');
});

test('two million keys, ten megabytes of text, a million elements: bounded', () => {
  const keys = (n: number) => {
    const record: Record<string, unknown> = { type: 'x', seq: 1 };
    for (let i = 0; i < n; i++) record[`k${i}`] = i;
    return record;
  };
  const many = keys(2_000_000);
  expect(verdictOn(many, many)).toBe('unjudged(too-large) x');
  // A difference is one, however much there is behind it.
  expect(verdictOn({ type: 'x', seq: 1 }, keys(200_000))).toBe('mismatch x extra:/k0');
  expect(verdictOn({ type: 'x', seq: 1, data: keys(200_000) }, { type: 'x', seq: 1 })).toBe(
    'mismatch x missing:/data/type',
  );

  const text = (end: string) => ({ type: 'x', seq: 1, t: 'a'.repeat(10_000_000) + end });
  expect(verdictOn(text('a'), text('a'))).toBe('match x');
  expect(verdictOn(text('a'), text('b'))).toBe('mismatch x value:/t');
  // Not keyed, so that all of it makes the digest.
  expect(
    verdictOn({ type: 'x', t: 'a'.repeat(10_000_000) }, { type: 'x', t: 'a'.repeat(10_000_000) }),
  ).toBe('match x');

  const list = (n: number, from = 0) => ({
    ...{ type: 'x', seq: 1 },
    list: Array.from({ length: n }, (_, i) => ({ id: (i + from) % n })),
  });
  expect(verdictOn(list(1_000), list(1_000, 500))).toBe('match x');
  expect(verdictOn(list(300_000), list(300_000, 1))).toBe('unjudged(too-large) x');
  const ids = (side: string) => ({
    ...{ type: 'x', seq: 1 },
    ids: Array.from({ length: 20_000 }, (_, i) => `${side}${i}`),
  });
  expect(verdictOn(ids('l'), ids('c'))).toBe('match x');
}, 120_000);

test('hundreds of differences in one event are cut to what somebody can read', () => {
  const wide = (value: number) => ({
    ...{ type: 'x', seq: 1 },
    o: Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`k${i}`, value])),
  });
  const { pairing } = session();
  const kept: number[] = [];
  const counting = new Pairing({
    ...{ route: 'events', session: 's', rules: RULES, subject: [], ids: new IdClasses() },
    ...{ windowMs: 5_000, maxPending: 10 },
    onFinding: ({ differences }) => kept.push(differences.length),
  });
  counting.event('legacy', wide(1), 1);
  counting.event('candidate', wide(2), 2);
  counting.end(3);
  expect(kept).toEqual([32]);
  expect(pairing.pending).toBe(0);
});

test('a candidate that floods a session with whatever comes to its mind costs no more than it sends', () => {
  const { pairing, lines } = session(2_000);
  let now = 1_000;
  for (let i = 0; i < 30_000; i++) {
    now += 0.2;
    const own = { type: 'x', run_id: `r${i % 7}`, seq: i };
    if (i % 10 === 0) pairing.event('legacy', own, now);
    pairing.event('candidate', { ...own, seq: -i, junk: [i] }, now);
    pairing.event('candidate', { type: `t${i}`, run_id: `run${i}`, junk: i }, now);
    if (i % 500 === 0) pairing.sweep(now);
    expect(pairing.pending).toBeLessThanOrEqual(4_002);
  }
  pairing.end(now);
  expect(imbalance(pairing.books)).toBeNull();
  expect(lines).toHaveLength(63_000);
  expect(pairing.books.candidate.unjudged['window-overrun']).toBeGreaterThan(10_000);
}, 60_000);

test('a thousand events of one key that all differ are a thousand mismatches', () => {
  const { pairing } = session(5_000);
  for (let i = 0; i < 1_000; i++) {
    pairing.event('legacy', { type: 'x', run_id: 'r', n: i }, 2_000 + i);
    pairing.event('candidate', { type: 'x', run_id: 'r', n: -1 - i }, 2_000 + i);
    if (i % 100 === 0) pairing.sweep(2_000 + i);
  }
  for (let sweep = 3_100; sweep < 10_000; sweep += 100) pairing.sweep(sweep);
  expect(pairing.books.legacy.mismatch).toBe(1_000);
  expect(pairing.pending).toBe(0);
});
