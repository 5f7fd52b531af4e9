// How turns of peers become figures: taken in turn, medians, and told to be noisy where they are.
import { expect, test } from 'vitest';
import { compare } from '../../bench/comparison.ts';
import { middle, paired, quantile } from '../../bench/figures.ts';
import { type Busy, LEAST_ROUNDS, type Turn, takeTurns } from '../../bench/rounds.ts';
import type { Contestant } from '../../bench/stage.ts';

const QUIET: Busy = { total: 0.5, foreign: 0.02 };
const LOUD: Busy = { total: 0.9, foreign: 0.4 };
const turn = (cpu: number | null, p99Ms = 1, busy = QUIET): Turn => ({
  ...{ cpuUsPerUnit: cpu, unitsPerSec: 1_000, p50Ms: 0.5, p99Ms, busy },
});

test('quantiles and ratios are of values in order, ratios of the same turn', () => {
  expect(quantile([5, 1, 3, 2, 4], 0.5)).toBe(3);
  expect(quantile([], 0.5)).toBeNaN();
  expect(middle([1, 2, 3, 4, 5])).toEqual([2, 4]);
  expect(paired([10, 40], [5, 10])).toEqual([2, 4]);
});

test('peers take turns, who begins moves on, and there are more rounds where the machine was not quiet', async () => {
  const order: string[] = [];
  const lines = [{ name: 'a' as const }, { name: 'b' as const }];
  let turns = 0;
  await takeTurns<'a' | 'b', { name: 'a' | 'b' }>(
    lines,
    async ({ name }) => {
      order.push(name);
      turns += 1;
      return turn(1, 1, turns <= 2 ? LOUD : QUIET);
    },
    () => undefined,
  );
  expect(order.join('')).toBe('abbaabbaabba');
  expect(order.length).toBe(2 * (LEAST_ROUNDS + 1));
});

test('a comparison has the figures of every peer, and ratios to those that took part', () => {
  const turns = new Map<Contestant, Turn[]>([
    ['direct', Array.from({ length: 5 }, () => turn(null))],
    ['cutover', [30, 20, 24, 22, 26].map(cpu => turn(cpu, 1.4))],
    ['pipe', [25, 20, 20, 20, 20].map(cpu => turn(cpu, 1.1))],
  ]);
  const result = compare(turns, new Map([['cutover', 13]]), () => [
    { what: 'a bound', of: 'cpu', value: 1.2, most: 1.25 },
  ]);
  expect(Object.keys(result.peers)).toEqual(['direct', 'cutover', 'pipe']);
  expect(result.peers.direct).toMatchObject({ cpuUsPerUnit: null, kbPerSocket: null });
  expect(result.peers.cutover).toEqual({
    ...{ cpuUsPerUnit: 24, unitsPerSec: 1_000, p50Ms: 0.5, p99Ms: 1.4, kbPerSocket: 13 },
  });
  expect(result.ratios).toMatchObject({ toPipe: 1.2, toNginx: null, toHaproxy: null });
  expect(result.noise).toEqual({ foreign: 0.02, cpu: 'quiet enough', latency: 'quiet enough' });
  expect(result.targets).toEqual([
    { what: 'a bound', of: 'cpu', value: 1.2, most: 1.25, met: true, told: true },
  ]);
});

test('where others used the machine, latencies are not told', () => {
  const turns = new Map<Contestant, Turn[]>([
    ['cutover', Array.from({ length: 5 }, () => turn(20, 9, LOUD))],
  ]);
  const result = compare(turns, new Map(), () => [
    { what: 'a latency', of: 'latency', value: 9, most: 1 },
  ]);
  expect(result.noise.latency).toBe('too noisy to tell');
  expect(result.targets).toMatchObject([{ met: false, told: false }]);
});
