import { describe, expect, test } from 'vitest';
import { GuardrailsSchema } from '../../src/config/guardrails-schema.ts';
import { type Confidence, confidenceOf } from '../../src/rules/confidence.ts';
import { type Fired, fire, holding, NONE_FIRED } from '../../src/rules/firing.ts';
import {
  type Facts,
  type GuardrailName,
  type Reading,
  readings,
  readingText,
  type Signs,
  type Totals,
  totalsSince,
} from '../../src/rules/guardrails.ts';
import { addLatency, latencyQuantile, noLatencies } from '../../src/rules/latency.ts';

const { windowMs: _, ...RULES } = GuardrailsSchema.parse({});

const signs = (some: Partial<Omit<Signs, 'latency'>> = {}, latencies: number[] = []): Signs => {
  const latency = noLatencies();
  for (const ms of latencies) addLatency(latency, ms);
  return {
    ...{ opened: 0, refused: 0, failures: 0, failing: 0, timeouts: 0 },
    ...{ requests: 0, errors: 0, closes: 0, abnormal: 0, broken: 0, ...some, latency },
  };
};
const facts = (
  candidate: Signs,
  legacy: Signs = signs(),
  more: Partial<Facts> = {},
  { contaminated = 0, ...writes } = { ended: 0, splits: 0, contaminated: 0 },
): Facts => ({
  protocol: 'websocket',
  window: { candidate, legacy, writes, contaminated },
  legacyEver: legacy,
  ...{ divergence: {}, serves: true, isStale: false, ...more },
});
const leaks = (contaminated: number, more: Partial<Facts> = {}, candidate = signs()): Facts =>
  facts(candidate, signs(), more, { ended: 0, splits: 0, contaminated });
/** Legacy is known, and lets everybody in whom it should, and breaks nothing off. */
const sound = signs({ opened: 100, closes: 100 });
const of = (rule: GuardrailName, given: Facts): Reading | undefined =>
  readings(RULES, given).find(reading => reading.rule === rule);
const times = (count: number, ms: number): number[] => new Array<number>(count).fill(ms);
const http = { protocol: 'http' } as const;

describe('what a rule says', () => {
  test.each<[string, GuardrailName, Reading['state'], Facts]>([
    ['no handshake', 'handshakes', 'too-little', facts(signs())],
    ['19 that all failed', 'handshakes', 'too-little', facts(signs({ failures: 19 }))],
    ['one of 20 refused', 'handshakes', 'clear', facts(signs({ opened: 19, refused: 1 }), sound)],
    [
      'two of 20 refused',
      'handshakes',
      'exceeded',
      facts(signs({ opened: 18, refused: 2 }), sound),
    ],
    [
      'two of 20, as with legacy',
      'handshakes',
      'clear',
      facts(signs({ opened: 18, refused: 2 }), signs({ opened: 90, refused: 10 })),
    ],
    [
      'two of 20, and of legacy too few to tell',
      'handshakes',
      'clear',
      facts(signs({ opened: 18, refused: 2 }), signs({ refused: 5 })),
    ],
    [
      'two of 20 refused with a 5xx or 429, and of legacy too few to tell',
      'handshakes',
      'exceeded',
      facts(signs({ opened: 18, refused: 2, failing: 2 }), signs({ refused: 5 })),
    ],
    [
      'two of 20 without an answer, and of legacy too few to tell',
      'handshakes',
      'exceeded',
      facts(signs({ opened: 18, failures: 2 }), signs({ refused: 5 })),
    ],
    [
      'two of 20 refused with a 5xx, as with legacy',
      'handshakes',
      'clear',
      facts(signs({ opened: 18, refused: 2, failing: 2 }), signs({ opened: 90, refused: 10 })),
    ],
    [
      'two of 20, and of legacy too few in the window, but as many of those before',
      'handshakes',
      'clear',
      facts(signs({ opened: 18, refused: 2 }), signs({ opened: 5 }), {
        legacyEver: signs({ opened: 500, refused: 50 }),
      }),
    ],
    [
      'two of 20, which legacy never did',
      'handshakes',
      'exceeded',
      facts(signs({ opened: 18, refused: 2 }), signs(), { legacyEver: signs({ opened: 500 }) }),
    ],
    [
      'no answer in time',
      'timeouts',
      'exceeded',
      facts(signs({ opened: 48, failures: 2, timeouts: 2 })),
    ],
    ['sessions broken off', 'closes', 'exceeded', facts(signs({ closes: 20, abnormal: 5 }), sound)],
    ['sessions that end', 'closes', 'clear', facts(signs({ closes: 500, abnormal: 5 }), sound)],
    [
      'sessions broken off, and of legacy too few to tell',
      'closes',
      'too-little',
      facts(signs({ closes: 60, abnormal: 15 }), signs({ closes: 19 })),
    ],
    [
      'sessions broken off, and of legacy too few in the window, but enough before that were not',
      'closes',
      'exceeded',
      facts(signs({ closes: 60, abnormal: 15 }), signs(), { legacyEver: sound }),
    ],
    [
      'sessions broken off for certain, and of legacy too few to tell',
      'closes',
      'exceeded',
      facts(signs({ closes: 60, abnormal: 15, broken: 13 }), signs({ closes: 19 })),
    ],
    [
      'sessions that end, and of legacy too few to tell',
      'closes',
      'clear',
      facts(signs({ closes: 500, abnormal: 5, broken: 5 }), signs({ closes: 19 })),
    ],
    ['5xx', 'errors', 'exceeded', facts(signs({ requests: 100, errors: 6 }), signs(), http)],
    ['few 5xx', 'errors', 'clear', facts(signs({ requests: 100, errors: 5 }), signs(), http)],
    [
      'a p99 of 100 ms to 20',
      'latency',
      'exceeded',
      facts(signs({}, times(200, 100)), signs({}, times(200, 20))),
    ],
    [
      'a p99 of 60 ms to 20: within the grace',
      'latency',
      'clear',
      facts(signs({}, times(200, 60)), signs({}, times(200, 20))),
    ],
    [
      'nothing to compare the latency with',
      'latency',
      'too-little',
      facts(signs({}, times(200, 9_000))),
    ],
    [
      'writes that one service took alone',
      'writeSplits',
      'exceeded',
      facts(signs(), signs(), {}, { ended: 100, splits: 2, contaminated: 0 }),
    ],
    ['no unit has ended', 'divergence', 'too-little', facts(signs())],
    ['an event of somebody else', 'contamination', 'exceeded', leaks(1)],
    ['none', 'contamination', 'clear', facts(signs())],
  ])('%s: %s is %s', (_name, rule, state, given) => {
    expect(of(rule, given)).toMatchObject({ rule, state });
  });

  test.each([
    [0, 0.009, 'clear'],
    [0.004, 0.02, 'too-little'],
    [0.011, 0.2, 'exceeded'],
  ])('a divergence between %d and %d is %s: the whole interval counts', (lower, upper, state) => {
    const known = { units: 900, diverged: 9, rate: (lower + upper) / 2, lower, upper };
    for (const divergence of [{ run: known }, { session: known }]) {
      expect(of('divergence', facts(signs(), signs(), { divergence }))).toMatchObject({ state });
    }
  });

  // 5 % of 1,000 runs diverged beside 500 sockets that idled for eight hours: 0.2 % of all, and clear.
  test('sessions that idle do not make the runs that diverge few; nor do clean runs hide sessions', () => {
    const divergence = (run: Confidence | undefined, session: Confidence) =>
      of('divergence', facts(signs(), signs(), { divergence: { ...(run && { run }), session } }));
    const [bad, clean] = [
      confidenceOf({ units: 1_000, diverged: 50 }),
      confidenceOf({ units: 24_000, diverged: 0 }),
    ];
    expect(divergence(bad, clean)).toMatchObject({ value: 5, of: 1_000, state: 'exceeded' });
    expect(divergence(clean, bad)).toMatchObject({ value: 5, of: 1_000, state: 'exceeded' });
    expect(divergence(clean, clean)).toMatchObject({ of: 24_000, state: 'clear' });
    expect(divergence(undefined, bad)).toMatchObject({ state: 'exceeded' });
  });

  test('a stream of events lasts as long as its client likes: its latency says nothing', () => {
    const slow = facts(signs({}, times(500, 60_000)), signs({}, times(500, 1)));
    expect(of('latency', { ...slow, protocol: 'sse' })).toBeUndefined();
  });

  test('where the candidate serves nobody, only evidence counts, and nothing is rolled back', () => {
    const given = leaks(3, { serves: false }, signs({ opened: 10, refused: 90 }));
    expect(readings(RULES, given).map(({ rule }) => rule)).toEqual([
      ...['writeSplits', 'divergence', 'contamination'],
    ]);
    expect(of('contamination', given)).toMatchObject({ state: 'exceeded', action: 'hold' });
    expect(of('contamination', leaks(3))).toMatchObject({ action: 'rollback' });
  });

  test('where legacy is stale all rules count, and hold instead of rolling back', () => {
    const given = leaks(1, { isStale: true }, signs({ opened: 10, failures: 90 }));
    for (const rule of ['handshakes', 'contamination'] as const) {
      expect(of(rule, given)).toMatchObject({ state: 'exceeded', action: 'hold' });
    }
  });

  // The fault: with hundreds of closes it said no more than that they were too few.
  test('what can not be told for want of legacy alone says so', () => {
    const closes = (count: number) => facts(signs({ closes: count, abnormal: count }));
    expect(of('closes', closes(60))).toMatchObject({ state: 'too-little', lacks: 'legacy' });
    expect(of('closes', closes(19))).not.toHaveProperty('lacks');
    const slow = (count: number) => facts(signs({}, times(count, 9_000)));
    expect(of('latency', slow(200))).toMatchObject({ state: 'too-little', lacks: 'legacy' });
    expect(of('latency', slow(199))).not.toHaveProperty('lacks');
  });

  test('is told with its figures', () => {
    const reading = of('handshakes', facts(signs({ opened: 18, failures: 2 })));
    expect(reading && readingText(reading)).toBe(
      'handshakes 10 % of 20, limit 5 %: WebSocket handshakes that it refused or failed, beyond what legacy does',
    );
  });
});

test('a window is what came since its first look', () => {
  const early: Totals = {
    candidate: signs({ opened: 100, refused: 50 }, times(10, 500)),
    ...{ legacy: signs(), writes: { ended: 5, splits: 5 }, contaminated: 4 },
  };
  const late: Totals = {
    candidate: signs({ opened: 130, refused: 51 }, [...times(10, 500), ...times(10, 5)]),
    ...{ legacy: signs({ opened: 3 }), writes: { ended: 9, splits: 5 }, contaminated: 5 },
  };
  const { candidate, legacy, writes, contaminated } = totalsSince(late, early);
  expect(candidate).toMatchObject({ opened: 30, refused: 1 });
  expect(latencyQuantile(candidate.latency, 0.99)).toBeLessThan(10);
  expect(legacy.opened).toBe(3);
  expect(writes).toEqual({ ended: 4, splits: 0 });
  expect(contaminated).toBe(1);
});

test.each([0.05, 0.3, 1, 7, 42, 999, 12_345])('the quantile of %d ms is right to a quarter', ms => {
  const counts = noLatencies();
  for (let i = 0; i < 100; i++) addLatency(counts, ms);
  const found = latencyQuantile(counts, 0.99) ?? 0;
  expect(found).toBeGreaterThanOrEqual(Math.max(ms, 0.1) * 0.999);
  expect(found).toBeLessThanOrEqual(Math.max(ms, 0.1) * 1.26);
});

describe('firing', () => {
  const exceeded = (action: Reading['action'] = 'rollback'): Reading => ({
    ...{ rule: 'errors', action, state: 'exceeded', value: 9 },
    ...{ legacy: null, limit: 5, of: 100 },
  });
  const clear = (): Reading => ({ ...exceeded(), state: 'clear', value: 1 });

  test('once, however long it lasts, and again after it has been calm', () => {
    let firings: ReadonlyMap<GuardrailName, Fired> = NONE_FIRED;
    const fired: number[] = [];
    for (let now = 0; now < 100; now += 1) {
      const isBad = now < 20 || now === 25 || now >= 60;
      const step = fire(firings, [isBad ? exceeded() : clear()], now, 10);
      firings = step.firings;
      if (step.fresh.length > 0) fired.push(now);
    }
    expect(fired).toEqual([0, 60]);
  });

  test('again at once when it gets graver: the candidate serves now', () => {
    const first = fire(NONE_FIRED, [exceeded('hold')], 0, 10);
    const second = fire(first.firings, [exceeded('rollback')], 1, 10);
    expect(second.fresh).toHaveLength(1);
    expect(fire(second.firings, [exceeded('hold')], 2, 10).fresh).toHaveLength(0);
  });

  test('an alert holds nothing', () => {
    expect(holding(fire(NONE_FIRED, [exceeded('alert')], 0, 10).firings)).toEqual([]);
    expect(holding(fire(NONE_FIRED, [exceeded('hold')], 0, 10).firings)).toHaveLength(1);
  });
});
