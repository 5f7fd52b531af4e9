import { expect, test } from 'vitest';
import { lintChange } from '../../src/rules/flag-change.ts';
import type { FeatureLike, StrategyLike } from '../../src/rules/flag-shape.ts';
import { everybody, pin, serve } from '../support/flags.ts';

const names = { route: 'r', serve: 'events.serve', shadow: 's', kill: 'k', isolation: 'i' };
const shuffles = (before: FeatureLike, after: FeatureLike) =>
  lintChange([before], [after], [names]).some(({ rule }) => rule === 'reshuffle');
const base = (flag: FeatureLike): StrategyLike => flag.strategies[0] ?? everybody();
const withGroup = (share: number, groupId: string): FeatureLike => {
  const strategy = base(serve(share));
  const parameters = { ...strategy.parameters, groupId };
  return { ...serve(share), strategies: [{ ...strategy, parameters }] };
};

test('a change of weights, pins or descriptions reshuffles nobody', () => {
  expect(shuffles(serve(100), serve(900))).toBe(false);
  expect(shuffles(serve(100), { ...serve(100), description: 'new' })).toBe(false);
  const pinned = { ...serve(100), strategies: [pin(['ann'], 'candidate'), base(serve(100))] };
  expect(shuffles(serve(100), pinned)).toBe(false);
});

test('another groupId reshuffles users while some but not all are in the share', () => {
  expect(shuffles(serve(100), withGroup(100, 'other'))).toBe(true);
  expect(shuffles(serve(0), withGroup(100, 'other'))).toBe(false);
  expect(shuffles(serve(100), withGroup(1000, 'other'))).toBe(false);
});

test('another order, stickiness, total of weights or kind of share reshuffles users', () => {
  const strategy = base(serve(100));
  const variants = strategy.variants ?? [];
  const turned = { ...strategy, variants: variants.toReversed() };
  const sticky = { ...strategy, variants: variants.map(v => ({ ...v, stickiness: 'default' })) };
  const total = { ...strategy, variants: variants.map(v => ({ ...v, weight: v.weight * 2 })) };
  const percent = { ...strategy, parameters: { ...strategy.parameters, rollout: '10' } };
  for (const strategies of [[turned], [sticky], [total], [percent]]) {
    expect(shuffles(serve(100), { ...serve(100), strategies })).toBe(true);
  }
});
