import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lintChange } from '../../src/rules/flag-change.ts';
import { editKill, editShare } from '../../src/rules/flag-edit.ts';
import { type FeatureLike, isKilled, shareOf } from '../../src/rules/flag-shape.ts';
import { everybody, feature, kill, pin, serve } from '../support/flags.ts';

const edit = (share: number) => ({
  name: 'events.serve',
  variant: 'candidate' as const,
  other: 'legacy',
  share,
});
const share = fc.integer({ min: 0, max: 1000 });
const strategy = fc.oneof(
  fc.constant(everybody()),
  fc.constant(pin(['ann'], 'candidate')),
  fc.record({
    name: fc.constantFrom('flexibleRollout', 'default', 'mine'),
    parameters: fc.dictionary(fc.constantFrom('rollout', 'stickiness', 'groupId'), fc.string()),
    segments: fc.array(fc.integer(), { maxLength: 1 }),
    variants: fc.array(
      fc.record({
        name: fc.constantFrom('candidate', 'legacy', 'blue'),
        weight: fc.integer({ min: 0, max: 1000 }),
        stickiness: fc.constantFrom('userId', 'random', null),
      }),
      { maxLength: 3 },
    ),
  }),
);
const anyFeature: fc.Arbitrary<FeatureLike> = fc.record({
  name: fc.constant('events.serve'),
  enabled: fc.boolean(),
  strategies: fc.array(strategy, { maxLength: 4 }),
});

test('whatever a flag looked like, after an edit it has the share that was asked for', () => {
  fc.assert(
    fc.property(fc.option(anyFeature, { nil: undefined }), share, (old, wanted) => {
      expect(shareOf(editShare(old, edit(wanted)), 'candidate')).toBe(wanted);
    }),
  );
});

test('editing to the same share again gives the identical flag, and the old one is never touched', () => {
  fc.assert(
    fc.property(anyFeature, share, (old, wanted) => {
      const before = JSON.stringify(old);
      const once = editShare(old, edit(wanted));
      expect(editShare(once, edit(wanted))).toBe(once);
      expect(JSON.stringify(old)).toBe(before);
    }),
  );
});

test('pins come first in their order, the groupId is kept, and so is everything else', () => {
  const [ann, bob] = [pin(['ann'], 'candidate'), pin(['bob'], 'legacy')];
  const base = serve(100).strategies[0] ?? everybody();
  const old = feature('events.serve', {
    description: 'about',
    strategies: [ann, { ...base, parameters: { ...base.parameters, groupId: 'old' } }, bob],
  });
  const fresh = editShare({ ...old, ...{ team: 'blue' } }, edit(200));
  expect(fresh.strategies.slice(0, 2)).toEqual([ann, bob]);
  expect(fresh.strategies[2]?.parameters).toEqual({
    rollout: '100',
    stickiness: 'userId',
    groupId: 'old',
  });
  expect(fresh).toMatchObject({ description: 'about', team: 'blue' });
});

test('a flag that dealt users out by variants of the feature keeps its users', () => {
  const variants = [
    { name: 'candidate', weight: 100, stickiness: 'userId' },
    { name: 'legacy', weight: 900, stickiness: 'userId' },
  ];
  const rollout = {
    name: 'flexibleRollout',
    parameters: { rollout: '100', stickiness: 'userId', groupId: 'unused for the draw' },
  };
  const fresh = editShare(feature('events.serve', { strategies: [rollout], variants }), edit(200));
  expect(fresh.strategies[0]?.parameters?.groupId).toBe('events.serve');
});

test('a new flag is the canonical one', () => {
  expect(editShare(undefined, edit(125))).toMatchObject({
    name: 'events.serve',
    enabled: true,
    strategies: [
      {
        name: 'flexibleRollout',
        parameters: { rollout: '100', stickiness: 'userId', groupId: 'events.serve' },
        constraints: [],
        variants: [
          { name: 'candidate', weight: 125, weightType: 'fix', stickiness: 'userId' },
          { name: 'legacy', weight: 875, weightType: 'variable', stickiness: 'userId' },
        ],
      },
    ],
  });
});

test('a thrown kill switch kills everybody, whatever it was limited to before', () => {
  const name = 'events.kill';
  const limited = {
    ...feature(name, { enabled: false, strategies: [pin(['ann'], 'x')] }),
    dependencies: [{ feature: 'other' }],
  };
  const thrown = editKill(limited, { name, on: true });
  expect(isKilled(thrown)).toBe(true);
  expect(thrown.dependencies).toBeUndefined();
  expect(thrown.strategies).toHaveLength(2);
  expect(isKilled(editKill(undefined, { name, on: true }))).toBe(true);
  expect(isKilled(editKill(thrown, { name, on: false }))).toBe(false);
  const on = kill(true);
  expect(editKill(on, { name, on: true })).toBe(on);
});

test('two variants keep their order, so that an edit deals nobody out anew', () => {
  const variants = [
    { name: 'legacy', weight: 900, stickiness: 'userId' },
    { name: 'candidate', weight: 100, stickiness: 'userId' },
  ];
  const parameters = { rollout: '100', stickiness: 'userId', groupId: 'events.serve' };
  const old = feature('events.serve', {
    strategies: [{ name: 'flexibleRollout', parameters, variants }],
  });
  const edited = editShare(old, edit(200));
  expect(edited.strategies[0]?.variants?.map(({ name }) => name)).toEqual(['legacy', 'candidate']);
  expect(shareOf(edited, 'candidate')).toBe(200);
  const names = { route: 'events', serve: 'events.serve', shadow: 's', kill: 'k', isolation: 'i' };
  expect(lintChange([old], [edited], [names])).toEqual([]);
});
