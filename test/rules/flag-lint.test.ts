import { expect, test } from 'vitest';
import { lintFlags } from '../../src/rules/flag-lint.ts';
import type { FeatureLike, StrategyLike } from '../../src/rules/flag-shape.ts';
import { everybody, feature, kill, pin, serve, shadow } from '../support/flags.ts';

const names = {
  route: 'events',
  serve: 'events.serve',
  shadow: 'events.shadow',
  kill: 'events.kill',
  isolation: 'events.isolation',
};
const serving = (...strategies: StrategyLike[]) => feature('events.serve', { strategies });
const canonical = (rest: Partial<StrategyLike> = {}): StrategyLike => ({
  ...(serve(500).strategies[0] ?? everybody()),
  ...rest,
});

test('canonical flags have nothing wrong with them', () => {
  expect(lintFlags([serve(125), shadow(1000), kill(false)], [names])).toEqual([]);
});

test('a route without a serve flag is told', () => {
  expect(lintFlags([], [names])[0]).toMatchObject({ rule: 'missing-flag', level: 'warning' });
});

// The fault: a problem of flags that routes share was told once for each of them.
test('what is wrong with flags that routes share is told once', () => {
  const flags = [serving({ ...canonical(), name: 'gradualRolloutUserId' })];
  const shared = ['sse', 'broadcast'].map(route => ({ ...names, route }));
  expect(lintFlags(flags, [names, ...shared])).toEqual(lintFlags(flags, [names]));
});

const group = '/strategies/0/parameters/groupId';
const cases: [string, FeatureLike, string][] = [
  [
    'no groupId',
    serving(canonical({ parameters: { rollout: '100', stickiness: 'userId' } })),
    `missing-group ${group}`,
  ],
  [
    'rollout percents',
    serving(canonical({ parameters: { rollout: '50', stickiness: 'userId', groupId: 'g' } })),
    'rollout-percent /strategies/0/parameters',
  ],
  [
    'gradual strategies',
    serving({ ...canonical(), name: 'gradualRolloutUserId' }),
    'rollout-percent /strategies/0/parameters',
  ],
  [
    'stickiness left to chance',
    serving(
      canonical({
        variants: [
          { name: 'candidate', weight: 1, stickiness: 'default' },
          { name: 'legacy', weight: 999 },
        ],
      }),
    ),
    'stickiness /strategies/0/variants/0/stickiness',
  ],
  [
    'the candidate not first',
    serving(
      canonical({
        variants: [
          { name: 'legacy', weight: 999, stickiness: 'userId' },
          { name: 'candidate', weight: 1 },
        ],
      }),
    ),
    'order /strategies/0/variants/0',
  ],
  [
    'weights that do not add up',
    serving(
      canonical({
        variants: [
          { name: 'candidate', weight: 1, stickiness: 'userId' },
          { name: 'legacy', weight: 1 },
        ],
      }),
    ),
    'weights /strategies/0/variants',
  ],
  [
    'variants that mean nothing',
    serving(
      canonical({
        variants: [
          { name: 'candidate', weight: 1, stickiness: 'userId' },
          { name: 'blue', weight: 999 },
        ],
      }),
    ),
    'foreign-variant /strategies/0/variants/1/name',
  ],
  ['no variants', serving(everybody()), 'no-variants /strategies/0'],
  ['no strategies', serving(), 'no-strategy /strategies'],
  [
    'several base strategies',
    serving(canonical({ parameters: { rollout: '0' } }), canonical()),
    'several-bases /strategies',
  ],
  [
    'pins that are never reached',
    serving(canonical(), { ...pin(['ann'], 'candidate'), parameters: { groupId: 'g' } }),
    'unreachable /strategies/1',
  ],
  ['dependencies', { ...serve(500), dependencies: [{ feature: 'x' }] }, 'dependency /dependencies'],
  ['fields of nothing', { ...serve(500), ...{ 'en/abled': true } }, 'unknown-field /en~1abled'],
  [
    'unknown fields of a strategy',
    serving({ ...canonical(), ...{ disabled: true } }),
    'unknown-field /strategies/0/disabled',
  ],
  [
    'unknown operators',
    serving({
      ...pin(['ann'], 'candidate'),
      parameters: { groupId: 'g' },
      constraints: [{ contextName: 'userId', operator: 'LIKE' }],
    }),
    'unknown-operator /strategies/0/constraints/0/operator',
  ],
  [
    'a kill switch for some',
    { ...kill(true), strategies: [pin(['ann'], 'x')] },
    'partial-kill /strategies',
  ],
  [
    'an isolation mode that does not exist',
    feature('events.isolation', { strategies: [everybody([{ name: 'maybe', weight: 1 }])] }),
    'isolation-mode /strategies',
  ],
];
test.each(cases)('%s: told with the place', (_, flag, expected) => {
  const found = lintFlags(flag.name === 'events.serve' ? [flag] : [serve(0), flag], [names]);
  expect(found.map(({ rule, path }) => `${rule} ${path}`)).toContain(expected);
  for (const { flag: name, message, fix } of found) {
    expect(name).toBe(flag.name);
    expect(message.length).toBeGreaterThan(0);
    expect(fix.length).toBeGreaterThan(0);
  }
});

test('two flags with one groupId are told, because their samples are the same users', () => {
  const base = shadow(500).strategies[0] ?? everybody();
  const same = { ...base, parameters: { ...base.parameters, groupId: 'events.serve' } };
  const found = lintFlags([serve(500), { ...shadow(500), strategies: [same] }], [names]);
  expect(found).toMatchObject([{ rule: 'shared-group', flag: 'events.shadow', path: group }]);
});
