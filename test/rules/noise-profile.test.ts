// Legacy's noise, measured: what a profile takes in, what it never does, and what a comparison by it finds.
import { describe, expect, test } from 'vitest';
import { type Answer, judgeAnswers } from '../../src/rules/compare/answers.ts';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { type MeasuredProfile, profileOf } from '../../src/rules/noise-profile.ts';
import { type Measured, NoiseTally } from '../../src/rules/noise-tally.ts';
import type { Finding } from '../../src/rules/verdict.ts';

const RULES = DEFAULT_RULES;
type Pair = readonly [legacy: unknown, other: unknown];

const answer = (body: unknown): Answer => ({
  ...{ status: 200, headers: {}, body, isCut: false, latencyMs: 1 },
});

function judged([legacy, other]: Pair, rules = compileRules(RULES)): Finding {
  return judgeAnswers(rules, {
    ...{ route: 'api', id: 'r', method: 'GET', isWrite: false, at: 0 },
    ...{ ids: new IdClasses(), subject: [], legacy: answer(legacy), candidate: answer(other) },
  });
}

function measured(pairs: Partial<Record<Measured, readonly Pair[]>>): MeasuredProfile {
  const tally = new NoiseTally([], RULES.envelopes);
  for (const each of ['twin', 'candidate'] as const) {
    for (const pair of pairs[each] ?? []) tally.add(each, judged(pair), true);
  }
  return profileOf({ route: 'api', rules: RULES, counts: tally.counts, measuredAt: 7 });
}

/** So many pairs of which some differ at `name`. */
const differing = (name: string, count: number, of: number): Pair[] =>
  Array.from({ length: of }, (_, i) => [
    { [name]: 'a', same: 1 },
    { [name]: i < count ? 'b' : 'a', same: 1 },
  ]);

describe('a place at which legacy differs from itself', () => {
  test('is in the profile, and what differs there alone is noise', () => {
    const { profile, unexcused, pairs } = measured({
      twin: differing('load', 30, 100),
      candidate: differing('load', 33, 100),
    });
    expect(profile).toEqual({
      ...{ version: 1, route: 'api', measuredAt: 7 },
      fields: [{ eventType: 'GET 2xx', path: '/load', pairs: 100, differed: 30 }],
    });
    expect([unexcused, pairs]).toEqual([[], { twin: 100, candidate: 100 }]);
    const rules = compileRules(RULES, profile);
    expect(judged([{ load: 'a' }, { load: 'b' }], rules).verdict).toBe('noise');
    expect(judged([{ load: 'a' }, { load: 'a' }], rules).verdict).toBe('match');
  });

  test('is not, where the candidate differs more often by both thresholds', () => {
    const twin = differing('load', 30, 100);
    const { profile, unexcused } = measured({ twin, candidate: differing('load', 90, 100) });
    expect(profile.fields).toEqual([]);
    expect(unexcused).toMatchObject([
      { path: '/load', differed: 30, why: expect.stringContaining('more often') },
    ]);
    // 40 to 30 is 14 % relative.
    const near = measured({ twin, candidate: differing('load', 40, 100) });
    expect(near.profile.fields).toHaveLength(1);
  });

  test('is one place, whichever element of an array it is', () => {
    const twin: Pair[] = [
      [{ items: [{ at: 1 }, { at: 2 }] }, { items: [{ at: 3 }, { at: 4 }] }],
      [{ items: [{ at: 1 }] }, { items: [{ at: 1 }] }],
    ];
    expect(measured({ twin }).profile.fields).toEqual([
      { eventType: 'GET 2xx', path: '/items/*/at', pairs: 2, differed: 1 },
    ]);
  });

  test('and that a rule excuses already is none', () => {
    const rules = compileRules({ ...RULES, allow: [{ path: '/load', as: 'anything' }] });
    const tally = new NoiseTally([], RULES.envelopes);
    tally.add('twin', judged([{ load: 'a' }, { load: 'b' }], rules), true);
    expect(tally.counts.get('GET 2xx')).toMatchObject({ pairs: { twin: 1 }, places: new Map() });
  });
});

describe('never excused, and told', () => {
  test.each<[string, Pair, string]>([
    ['what is absent', [{ a: 1, x: 1 }, { a: 1 }], '/x'],
    ['another type', [{ x: 1 }, { x: '1' }], '/x'],
    ['another length', [{ x: [1] }, { x: [1, 2] }], '/x'],
    ['another order', [{ x: [1, 2] }, { x: [2, 1] }], '/x'],
    ['who made it', [{ user_id: 'a' }, { user_id: 'b' }], '/user_id'],
    [
      'whom it is for',
      [{ data: { target_user_id: 'a' } }, { data: { target_user_id: 'b' } }],
      '/data/target_user_id',
    ],
    ['what it is', [{ type: 'a' }, { type: 'b' }], '/type'],
    ['part of the event key', [{ run_id: 'a' }, { run_id: 'b' }], '/run_id'],
    ['a body that is no JSON', ['a', 'b'], '/body'],
  ])('%s', (_, pair, path) => {
    const { profile, unexcused } = measured({ twin: [pair] });
    expect(profile.fields).toEqual([]);
    expect(unexcused).toMatchObject([{ path, pairs: 1, differed: 1, why: expect.any(String) }]);
  });

  test('a profile excuses values, and not that a field is gone or of another type', () => {
    const { profile } = measured({ twin: differing('load', 1, 1) });
    const rules = compileRules(RULES, profile);
    expect(judged([{ load: 'a' }, {}], rules).verdict).toBe('mismatch');
    expect(judged([{ load: 'a' }, { load: 1 }], rules).verdict).toBe('mismatch');
    expect(judged([{ load: 'a' }, { load: ['b'] }], rules).verdict).toBe('mismatch');
  });
});

test('a key that the configuration calls data is none of a profile', () => {
  const tally = new NoiseTally(['/balances/*'], RULES.envelopes);
  for (const name of ['alice', 'bob']) {
    const at = (load: number) => ({ data: { balances: { [name]: { load } } } });
    tally.add('twin', judged([at(1), at(2)]), true);
  }
  const { profile } = profileOf({
    route: 'api',
    rules: RULES,
    counts: tally.counts,
    measuredAt: 7,
  });
  expect(profile.fields).toMatchObject([{ path: '/data/balances/*/load', pairs: 2, differed: 2 }]);
});

test('what is counted is bounded', () => {
  const tally = new NoiseTally([], RULES.envelopes);
  const many = (letter: string) =>
    Object.fromEntries(
      Array.from({ length: 30 }, (_, i) => [`${letter}${'abcdefghij'[i % 10]}${'klm'[i % 3]}`, 0]),
    );
  for (let i = 0; i < 500; i++) {
    const path = `p${i.toString(36)}`.replace(/\d/g, 'x');
    const finding = judged([many(path), {}]);
    tally.add('twin', { ...finding, eventType: `t${i.toString(36)}` }, true);
  }
  const places = [...tally.counts.values()].reduce((sum, type) => sum + type.places.size, 0);
  expect(tally.counts.size).toBe(200);
  expect(places).toBeLessThanOrEqual(2_000);
});
