// Pins as the Unleash client evaluates them, and as they get into flag files.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, expect, test, vi } from 'vitest';
import { createDecider } from '../../../src/control/decider.ts';
import {
  type FlagProvider,
  openFileFlags,
  openMemoryFlags,
} from '../../../src/control/flags/provider.ts';
import type { Side } from '../../../src/rules/decide.ts';
import type { FeatureLike, StrategyLike } from '../../../src/rules/flag-shape.ts';
import { editPin, editUnpin, pinsOf } from '../../../src/rules/pin.ts';
import { stageTarget } from '../../../src/rules/stage.ts';
import {
  everybody,
  feature,
  fileOf,
  folder,
  kill,
  pin,
  route,
  serve,
  shadow,
  silent,
  subject,
} from '../../support/flags.ts';

const events = route();
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const HOUR = 3_600_000;
const ask = (user: string, side: Side, forMs = HOUR) => ({
  flag: 'events.serve',
  user,
  side,
  untilMs: Date.now() + forMs,
});
const holding = (...features: readonly FeatureLike[]) =>
  openMemoryFlags({ features, routes: () => [events], logger: silent });
const servedBy = (flags: FlagProvider, user: string) =>
  createDecider(flags)(events, subject(user)).decision.primary;

async function inFiles(files: Readonly<Record<string, string>>) {
  const { dir, remove } = await folder(files);
  const flags = await openFileFlags({ dir, routes: () => [events], logger: silent });
  cleanups.push(remove, () => flags.close());
  return { dir, flags };
}

test('a pin puts a user on either side, whatever the share says, and nobody else', async () => {
  const users = Array.from({ length: 500 }, (_, i) => `user_${i}`);
  for (const served of [0, 125, 500, 1000]) {
    const before = await holding(serve(served));
    const sides = users.map(user => servedBy(before, user));
    for (const side of ['legacy', 'candidate'] as const) {
      const after = await holding(editPin(serve(served), ask('user_7', side)));
      const moved = users.filter((user, i) => servedBy(after, user) !== sides[i]);
      expect(servedBy(after, 'user_7')).toBe(side);
      expect(moved).toEqual(sides[7] === side ? [] : ['user_7']);
    }
  }
});

const strategy: fc.Arbitrary<StrategyLike> = fc.oneof(
  fc.constant(everybody()),
  fc.constantFrom(...[0, 300, 1000].map(share => serve(share).strategies[0] ?? everybody())),
  fc
    .tuple(fc.subarray(['u1', 'u2', 'u3']), fc.constantFrom('legacy', 'candidate', 'blue'))
    .map(([users, variant]) => pin(users, variant)),
  fc.constantFrom('0', '40', '100').map(rollout => ({
    name: 'flexibleRollout',
    parameters: { rollout, stickiness: 'userId', groupId: 'g' },
  })),
);
const anyFlag: fc.Arbitrary<FeatureLike> = fc.record({
  name: fc.constant('events.serve'),
  enabled: fc.boolean(),
  strategies: fc.array(strategy, { maxLength: 3 }),
  variants: fc.constantFrom([], serve(400).strategies[0]?.variants ?? []),
});

test('whatever the flag was like, pinning and unpinning one user moves nobody else', async () => {
  const others = Array.from({ length: 12 }, (_, i) => `u${i}`).filter(user => user !== 'u1');
  const side = fc.constantFrom('legacy' as const, 'candidate' as const);
  await fc.assert(
    fc.asyncProperty(fc.option(anyFlag, { nil: undefined }), side, async (flag, to) => {
      let pinned: FeatureLike;
      try {
        pinned = editPin(flag, ask('u1', to));
      } catch (error) {
        // Strategies that would wake with the flag: nothing is changed then.
        expect(error).toBeInstanceOf(RangeError);
        return;
      }
      const before = await holding(...(flag === undefined ? [] : [flag]));
      const after = await holding(pinned);
      const back = await holding(editUnpin(pinned, 'u1'));
      expect(servedBy(after, 'u1')).toBe(to);
      for (const user of others) {
        expect(servedBy(after, user)).toBe(servedBy(before, user));
        expect(servedBy(back, user)).toBe(servedBy(before, user));
      }
    }),
    { numRuns: 300 },
  );
});

test('a name of any characters is pinned as itself and as nobody else', async () => {
  const name = fc
    .oneof(
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 30 }),
      fc.constantFrom('a,b', '"', '\\', '%', '*', '.', '__proto__', 'IN', 'ann bob', '\u202e', '0'),
      fc.constantFrom('ü@exämple.de', '{"$ne":1}', '👩‍👩‍👧', 'İ', 'ANN', 'x'.repeat(256)),
    )
    .filter(user => user === user.trim());
  await fc.assert(
    fc.asyncProperty(name, name, async (user, other) => {
      fc.pre(user !== other);
      const flags = await holding(editPin(serve(0), ask(user, 'candidate')));
      expect(servedBy(flags, user)).toBe('candidate');
      expect(servedBy(flags, other)).toBe('legacy');
    }),
    { numRuns: 300 },
  );
});

test('a pin ends by itself, while the flags stay as they are', async () => {
  const wanted = ask('ann', 'candidate');
  const flags = await holding(editPin(serve(0), wanted));
  const { revision } = flags;
  vi.useFakeTimers({ toFake: ['Date'], now: wanted.untilMs - 1 });
  try {
    expect(servedBy(flags, 'ann')).toBe('candidate');
    vi.setSystemTime(wanted.untilMs);
    expect(servedBy(flags, 'ann')).toBe('legacy');
  } finally {
    vi.useRealTimers();
  }
  expect(flags.revision).toBe(revision);
});

test('the kill flag comes before a pin', async () => {
  const flags = await holding(editPin(serve(0), ask('ann', 'candidate')), kill(true));
  expect(createDecider(flags)(events, subject('ann')).decision).toMatchObject({
    primary: 'legacy',
    reason: 'killed',
  });
});

test('a pin gets into the file, takes effect at once, and goes again', async () => {
  const { dir, flags } = await inFiles({ 'events.json': fileOf(serve(125), shadow(1000)) });
  const text = await readFile(join(dir, 'events.json'), 'utf8');
  const { revision } = flags;
  const untilMs = Date.now() + HOUR;
  const change = await flags.pin(events, { user: 'ann', side: 'candidate', untilMs });
  expect(change).toEqual({
    flag: 'events.serve',
    revision: flags.revision,
    files: ['events.json'],
  });
  expect(servedBy(flags, 'ann')).toBe('candidate');
  expect(flags.stage(events)).toMatchObject({ name: 'canary', serve: 125 });
  expect(flags.problems().filter(({ level }) => level === 'error')).toEqual([]);
  const again = await flags.pin(events, { user: 'ann', side: 'candidate', untilMs });
  expect(again.files).toEqual([]);
  await flags.unpin(events, 'ann');
  expect(flags.revision).toBe(revision);
  expect(await readFile(join(dir, 'events.json'), 'utf8')).toBe(text);
  expect((await flags.unpin(events, 'ann')).files).toEqual([]);
});

test('a stage keeps the pins that hold and drops those that are over', async () => {
  const [lasting, over] = [ask('ann', 'candidate'), ask('bob', 'candidate', -1)];
  const pinned = editPin(editPin(serve(0), over), lasting);
  const { dir, flags } = await inFiles({ 'events.json': fileOf(pinned, shadow(0)) });
  expect(flags.planStage(events, stageTarget('live'))).toMatchObject({ pinned: ['events.serve'] });
  await flags.setStage(events, stageTarget('canary', 10));
  const { features } = JSON.parse(await readFile(join(dir, 'events.json'), 'utf8'));
  expect(pinsOf(features[0]).map(({ users }) => users)).toEqual([['ann']]);
  await flags.setStage(events, stageTarget('off'));
  expect(servedBy(flags, 'ann')).toBe('candidate');
  expect(flags.stage(events).name).toBe('off');
});

test('a pin for a route without flags makes them, and legacy goes on serving the rest', async () => {
  const { flags } = await inFiles({});
  const untilMs = Date.now() + HOUR;
  const { files } = await flags.pin(events, { user: 'ann', side: 'candidate', untilMs });
  expect(files).toEqual(['events.json']);
  expect([servedBy(flags, 'ann'), servedBy(flags, 'bob')]).toEqual(['candidate', 'legacy']);
  expect(flags.stage(events).name).toBe('off');
});

test('what can not be had is refused in a sentence, and nothing is written', async () => {
  const asleep = feature('events.serve', {
    enabled: false,
    strategies: [pin(['bob'], 'candidate')],
  });
  const { dir, flags } = await inFiles({ 'events.json': fileOf(asleep) });
  const text = await readFile(join(dir, 'events.json'), 'utf8');
  const wanted = { user: 'ann', side: 'candidate', untilMs: Date.now() + HOUR } as const;
  await expect(flags.pin(events, wanted)).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('would wake 1 of its strategies'),
  });
  await expect(flags.pin(events, { ...wanted, user: ' ann' })).rejects.toMatchObject({
    code: 'conflict',
  });
  expect(await readFile(join(dir, 'events.json'), 'utf8')).toBe(text);
  await writeFile(join(dir, 'events.json'), '{');
  await expect(flags.pin(events, wanted)).rejects.toThrow('the flags are not valid');
});
