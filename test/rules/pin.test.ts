import fc from 'fast-check';
import { expect, test } from 'vitest';
import { lintFlags } from '../../src/rules/flag-lint.ts';
import type { FeatureLike, StrategyLike } from '../../src/rules/flag-shape.ts';
import { flagStage, stageEdits } from '../../src/rules/flag-stage.ts';
import {
  editPin,
  editUnpin,
  isOver,
  MOST_PINS,
  pinFor,
  pinOf,
  pinsOf,
  withoutOver,
} from '../../src/rules/pin.ts';
import { STAGES, stageTarget } from '../../src/rules/stage.ts';
import { everybody, feature, pin, serve, shadow } from '../support/flags.ts';

const FLAG = 'events.serve';
const NOON = Date.parse('2026-05-01T12:00:00.000Z');
const names = {
  route: 'events',
  serve: FLAG,
  shadow: 'events.shadow',
  kill: 'events.kill',
  isolation: 'events.isolation',
};
const ask = (user: string, side: 'legacy' | 'candidate' = 'candidate', untilMs = NOON) => ({
  flag: FLAG,
  user,
  side,
  untilMs,
});
const lookup = (features: readonly FeatureLike[]) => (name: string) =>
  features.findLast(candidate => candidate.name === name);
const canonical = serve(0).strategies[0] ?? everybody();
const serving = (...strategies: StrategyLike[]) => feature(FLAG, { strategies });

test('a pin is two constraints and one variant, in front of everything else', () => {
  const pinned = editPin(serve(125), ask('ann'));
  expect(pinned.strategies[0]).toEqual({
    name: 'flexibleRollout',
    title: 'cutover pin',
    parameters: { rollout: '100', stickiness: 'userId', groupId: FLAG },
    constraints: [
      { contextName: 'userId', operator: 'IN', values: ['ann'], inverted: false },
      {
        contextName: 'currentTime',
        operator: 'DATE_BEFORE',
        value: '2026-05-01T12:00:00.000Z',
        inverted: false,
      },
    ],
    variants: [{ name: 'candidate', weight: 1000, weightType: 'variable', stickiness: 'userId' }],
  });
  expect(pinned.strategies.slice(1)).toEqual(serve(125).strategies);
  expect(pinsOf(pinned)).toEqual([{ users: ['ann'], side: 'candidate', untilMs: NOON }]);
});

test('the same pin again changes nothing; another side or time takes its place', () => {
  const once = editPin(serve(125), ask('ann'));
  expect(editPin(once, ask('ann'))).toBe(once);
  const moved = editPin(once, ask('ann', 'legacy'));
  expect(pinsOf(moved)).toEqual([{ users: ['ann'], side: 'legacy', untilMs: NOON }]);
  const longer = editPin(moved, ask('ann', 'legacy', NOON + 1_000));
  expect(pinsOf(longer)).toEqual([{ users: ['ann'], side: 'legacy', untilMs: NOON + 1_000 }]);
});

test('pins are no reason for complaints, and stages are told from the rest of the flag', () => {
  const share = fc.integer({ min: 0, max: 1000 });
  const side = fc.constantFrom('legacy' as const, 'candidate' as const);
  const edits = fc.array(fc.record({ user: fc.constantFrom('ann', 'bob', 'cy'), side }), {
    maxLength: 5,
  });
  fc.assert(
    fc.property(share, edits, (served, asked) => {
      const flags = [serve(served), shadow(1000)];
      const stage = flagStage(lookup(flags), names);
      const pinned = asked.reduce<FeatureLike>(
        (flag, { user, side }) => editPin(flag, ask(user, side)),
        serve(served),
      );
      expect(lintFlags([pinned, shadow(1000)], [names])).toEqual([]);
      expect(flagStage(lookup([pinned, shadow(1000)]), names)).toEqual(stage);
      expect(pinsOf(pinned)).toHaveLength(new Set(asked.map(({ user }) => user)).size);
    }),
  );
});

test('a change of stage keeps pins, and unpinning gives the flag as it was without', () => {
  const stage = fc.constantFrom(...STAGES);
  const target = (name: string) => stageTarget(name, name === 'canary' ? 12.5 : undefined);
  fc.assert(
    fc.property(stage, stage, (from, to) => {
      const start = stageEdits(lookup([]), names, target(from));
      const old = lookup(start)(FLAG);
      if (old === undefined) throw new Error('a stage without a serve flag');
      const pinned = editPin(editPin(old, ask('ann')), ask('bob', 'legacy'));
      expect(editUnpin(editUnpin(pinned, 'ann'), 'bob')).toEqual(old);
      const flags = [...start, pinned];
      const moved = [...flags, ...stageEdits(lookup(flags), names, target(to))];
      expect(pinsOf(lookup(moved)(FLAG))).toEqual(pinsOf(pinned));
      expect(flagStage(lookup(moved), names).name).toBe(to);
    }),
  );
});

test('what somebody wrote by hand is a pin if it does nothing else, and is listed as one', () => {
  const hand = pin(['ann', ' bob ', ''], 'legacy');
  expect(pinOf(hand)).toEqual({ users: ['ann', 'bob'], side: 'legacy', untilMs: null });
  expect(lintFlags([serving(hand, canonical), shadow(0)], [names])).toEqual([]);
  const [constraint] = hand.constraints ?? [];
  if (constraint === undefined) throw new Error('a pin without constraint');
  const odd: Partial<StrategyLike>[] = [
    { segments: [1] },
    { constraints: [{ ...constraint, inverted: true }] },
    { constraints: [{ ...constraint, operator: 'NOT_IN' }] },
    { constraints: [constraint, { ...constraint, contextName: 'environment' }] },
    { constraints: [constraint, constraint] },
    { constraints: [] },
    { constraints: [constraint, date('no date')] },
    { constraints: [constraint, { ...date('2026-05-01'), operator: 'DATE_AFTER' }] },
    { variants: [] },
    { variants: [{ name: 'blue', weight: 1000 }] },
    { variants: canonical.variants?.map(variant => ({ ...variant, weight: 500 })) },
    { name: 'flexibleRollout', parameters: { rollout: '50' } },
    { name: 'userWithId' },
  ];
  for (const change of odd) expect(pinOf({ ...hand, ...change })).toBeNull();
});

const date = (value: string) => ({
  contextName: 'currentTime',
  operator: 'DATE_BEFORE',
  value,
});

test('one user of several is taken out of a pin, and the others keep it', () => {
  const hand = pin(['ann', 'bob'], 'legacy');
  const without = editUnpin(serving(hand, canonical), 'ann');
  expect(pinsOf(without)).toEqual([{ users: ['bob'], side: 'legacy', untilMs: null }]);
  const moved = editPin(serving(hand, canonical), ask('ann'));
  expect(pinsOf(moved).map(({ users, side }) => [users, side])).toEqual([
    [['ann'], 'candidate'],
    [['bob'], 'legacy'],
  ]);
  expect(editUnpin(moved, 'nobody')).toBe(moved);
  const other = serving(
    { ...hand, constraints: [...(hand.constraints ?? []), date('x')] },
    canonical,
  );
  expect(editUnpin(other, 'ann')).toBe(other);
});

test('a pin is over at its time and not before, and only such pins are dropped', () => {
  const flag = editPin(editPin(serve(0), ask('ann')), ask('bob', 'legacy', NOON + 1));
  const [bob, ann] = pinsOf(flag);
  if (ann === undefined || bob === undefined) throw new Error('two pins are there');
  expect([isOver(ann, NOON - 1), isOver(ann, NOON)]).toEqual([false, true]);
  expect(pinFor(flag, 'ann', NOON - 1)).toEqual(ann);
  expect(pinFor(flag, 'ann', NOON)).toBeNull();
  expect(withoutOver(flag, NOON - 1)).toBe(flag);
  expect(pinsOf(withoutOver(flag, NOON))).toEqual([bob]);
  const forever = serving(pin(['ann'], 'legacy'), canonical);
  expect(withoutOver(forever, NOON * 2)).toBe(forever);
});

test('behind another strategy with constraints it is not said that a pin decides', () => {
  const other: StrategyLike = { ...pin(['ann'], 'legacy'), segments: [1] };
  const pinned = editPin(serving(other, canonical), ask('ann'));
  expect(pinFor(pinned, 'ann', 0)?.side).toBe('candidate');
  expect(pinFor({ ...pinned, strategies: pinned.strategies.toReversed() }, 'ann', 0)).toBeNull();
  expect(pinFor({ ...pinned, enabled: false }, 'ann', 0)).toBeNull();
  expect(pinFor(undefined, 'ann', 0)).toBeNull();
});

test('a flag of nothing but pins does not turn on for everybody with the last of them', () => {
  const [ends] = editPin(serve(0), ask('ann')).strategies;
  for (const left of [
    editUnpin(serving(pin(['ann'], 'candidate')), 'ann'),
    withoutOver(serving(ends ?? everybody()), NOON),
  ]) {
    expect(left.enabled).toBe(true);
    expect(left.strategies).toEqual(serve(0).strategies);
  }
});

test('a flag that is off turns on with a share of nothing, unless that would wake others', () => {
  const off = editPin({ ...serve(500), enabled: false }, ask('ann'));
  expect(off.enabled).toBe(true);
  expect(flagStage(lookup([off]), names).serve).toBe(0);
  expect(flagStage(lookup([editPin(undefined, ask('ann'))]), names).serve).toBe(0);
  const asleep = { ...serving(pin(['bob'], 'candidate'), canonical), enabled: false };
  expect(() => editPin(asleep, ask('ann'))).toThrow(
    'events.serve is off, and to turn it on would wake 1 of its strategies with constraints',
  );
});

test.each([' ann', 'ann\u00a0', '', '\ufeffann'])(
  'the name %j would single out somebody else, so it is refused',
  user => {
    expect(() => editPin(serve(0), ask(user))).toThrow(/begins or ends with a space/);
  },
);

test('there are only so many pins in a flag; a new one for somebody who has one always fits', () => {
  const full = Array.from({ length: MOST_PINS }, (_, i) => `tester-${i}`).reduce<FeatureLike>(
    (flag, user) => editPin(flag, ask(user)),
    serve(0),
  );
  expect(() => editPin(full, ask('ann'))).toThrow(/has 25 pins already; unpin somebody/);
  expect(pinsOf(editPin(full, ask('tester-3', 'legacy')))).toHaveLength(MOST_PINS);
});
