// A small run of the yardstick of isolation: every leak told by its rule, nobody else accused.
import { expect, test } from 'vitest';
import { benchIsolation } from '../../bench/isolation.ts';

test('every kind of leak is told by its rule at its user, and nothing that only looks like one', async () => {
  const result = await benchIsolation({ json: true, events: 3_000, users: 50, seed: 11 });
  expect([result.missed, result.accused]).toEqual([[], []]);
  expect(result).toMatchObject({ found: result.leaks, falseAccusations: 0 });
  expect(Object.keys(result.byRule).sort()).toEqual(['fingerprint', 'ledger', 'marker', 'routing']);
  expect(result.innocents).toBeGreaterThan(30);
  expect(result.onBoth).toBeGreaterThan(0);
  expect(result.unjudged).toBeLessThanOrEqual(0.001);
}, 120_000);
