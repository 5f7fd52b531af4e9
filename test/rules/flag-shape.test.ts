import { describe, expect, test } from 'vitest';
import {
  dependsOnUser,
  drawsAtRandom,
  type FeatureLike,
  isKilled,
  type StrategyLike,
  shareOf,
} from '../../src/rules/flag-shape.ts';
import { everybody, feature, kill, pin, serve, shadow } from '../support/flags.ts';

const rollout = (percent: string, rest: Partial<StrategyLike> = {}): StrategyLike => ({
  name: 'flexibleRollout',
  parameters: { rollout: percent, stickiness: 'userId', groupId: 'g' },
  ...rest,
});
const sides = (candidate: number, legacy: number, stickiness = 'userId') => [
  { name: 'candidate', weight: candidate, stickiness },
  { name: 'legacy', weight: legacy, stickiness },
];
const of = (...strategies: StrategyLike[]) => feature('f', { strategies });

describe('the share of a serve flag', () => {
  const cases: [string, FeatureLike | undefined, number | undefined][] = [
    ['is nothing when there is no flag', undefined, 0],
    ['is nothing when the flag is off', { ...serve(500), enabled: false }, 0],
    ['is the weight of its variant', serve(125), 125],
    ['is scaled to thousandths', of(everybody(sides(1, 3))), 250],
    ['is never rounded to nothing', of(everybody(sides(1, 99_999))), 1],
    ['is never rounded to all', of(everybody(sides(99_999, 1))), 999],
    ['is not changed by pins', of(pin(['ann'], 'candidate'), everybody(sides(0, 1000))), 0],
    ['is nothing when only pins are left', of(pin(['ann'], 'candidate')), 0],
    [
      'comes from the feature when the strategy has no variants',
      feature('f', { strategies: [rollout('100')], variants: sides(300, 700) }),
      300,
    ],
    [
      'comes from the feature when there are no strategies',
      feature('f', { variants: sides(300, 700) }),
      300,
    ],
    ['is nothing at a rollout of 0 %', of(rollout('0', { variants: sides(500, 500) })), 0],
    [
      'is not told from rollout percents',
      of(rollout('50', { variants: sides(1000, 0) })),
      undefined,
    ],
    [
      'is not told from several base strategies',
      of(everybody(sides(1, 1)), everybody(sides(1, 1))),
      undefined,
    ],
    ['is not told without variants', of(everybody()), undefined],
    ['is not told from other variants', of(everybody([{ name: 'blue', weight: 1 }])), undefined],
    ['is not told from weights of nothing', of(everybody(sides(0, 0))), undefined],
    ['is not told from a draw per call', of(everybody(sides(1, 1, 'random'))), undefined],
    [
      'is not told from a field that users lack',
      of(everybody(sides(1, 1, 'sessionId'))),
      undefined,
    ],
    [
      'is not told from strategies that are not known',
      of({ name: 'mine', variants: sides(1, 1) }),
      undefined,
    ],
    [
      'is not told of a flag that hangs on another',
      { ...serve(1000), dependencies: [{ feature: 'x' }] },
      undefined,
    ],
  ];
  test.each(cases)('%s', (_, flag, share) => {
    expect(shareOf(flag, 'candidate')).toBe(share);
  });
});

test('a shadow flag without variants is on for everybody, with variants it is the weight of `on`', () => {
  expect(shareOf(of(everybody()), 'on')).toBe(1000);
  expect(shareOf(feature('f'), 'on')).toBe(1000);
  expect(shareOf(shadow(10), 'on')).toBe(10);
});

test('a kill flag kills when it is on for anybody who is not singled out', () => {
  expect(isKilled(undefined)).toBe(false);
  expect(isKilled(kill(false))).toBe(false);
  expect(isKilled(kill(true))).toBe(true);
  expect(isKilled(feature('k'))).toBe(true);
  expect(isKilled(of(rollout('1')))).toBe(true);
  expect(isKilled(of(rollout('0')))).toBe(false);
  expect(isKilled(of(pin(['ann'], 'x')))).toBe(false);
});

test('an answer depends on the user only where constraints, percents or weights can tell users apart', () => {
  expect(dependsOnUser({ ...serve(500), enabled: false })).toBe(false);
  expect(dependsOnUser(serve(0))).toBe(false);
  expect(dependsOnUser(serve(1000))).toBe(false);
  expect(dependsOnUser(feature('f'))).toBe(false);
  expect(dependsOnUser(serve(1))).toBe(true);
  expect(dependsOnUser(of(rollout('50')))).toBe(true);
  expect(dependsOnUser(of(pin(['ann'], 'candidate'), everybody(sides(0, 1000))))).toBe(true);
  expect(dependsOnUser({ ...serve(0), dependencies: [{ feature: 'x' }] })).toBe(true);
  const overrides = [{ contextName: 'userId', values: ['ann'] }];
  const singled = [
    { name: 'candidate', weight: 0, overrides },
    { name: 'legacy', weight: 1000 },
  ];
  expect(dependsOnUser(of(everybody(singled)))).toBe(true);
});

test('a draw is random when it is sticky to nothing that a user has', () => {
  expect(drawsAtRandom(serve(500))).toBe(false);
  expect(drawsAtRandom(of(everybody(sides(1, 1, 'default'))))).toBe(false);
  expect(drawsAtRandom(of(everybody(sides(1, 1, 'tenant'))))).toBe(true);
  expect(drawsAtRandom(of(everybody(sides(1, 0, 'tenant'))))).toBe(false);
  expect(drawsAtRandom(of({ name: 'gradualRolloutRandom' }))).toBe(true);
  const parameters = { rollout: '50', stickiness: 'random' };
  expect(drawsAtRandom(of(rollout('50', { parameters })))).toBe(true);
});
