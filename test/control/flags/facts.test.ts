import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import fc from 'fast-check';
import pino from 'pino';
import { expect, test } from 'vitest';
import { openMemoryFlags } from '../../../src/control/flags/provider.ts';
import { decide } from '../../../src/rules/decide.ts';
import type { FeatureLike } from '../../../src/rules/flag-shape.ts';
import {
  everybody,
  feature,
  kill,
  pin,
  route,
  serve,
  shadow,
  silent,
  subject,
} from '../../support/flags.ts';

const events = route();
const open = (features?: readonly FeatureLike[]) =>
  openMemoryFlags({
    ...(features === undefined ? {} : { features }),
    routes: () => [events],
    logger: silent,
  });
const factsWith = async (features: readonly FeatureLike[], id: string | null = 'ann') =>
  (await open(features)).facts(events, id === null ? null : subject(id));
const base = (flag: FeatureLike) => flag.strategies[0] ?? everybody();

test('nothing is known before the first set', async () => {
  const flags = await open();
  expect(flags.facts(events, subject('ann'))).toBeNull();
  expect(flags).toMatchObject({ revision: 'none', loadedAt: null });
  expect(flags.stage(events).name).toBe('mixed');
  expect(() => flags.planStage(events, { serve: 0, shadow: 0, kill: false })).toThrow('no flags');
  flags.apply([serve(1000)]);
  expect(flags.facts(events, subject('ann'))?.serve).toBe('candidate');
});

test('a serve flag that is missing, off or without a side is told apart', async () => {
  expect((await factsWith([]))?.serve).toBe('missing');
  expect((await factsWith([{ ...serve(1000), enabled: false }]))?.serve).toBe('legacy');
  expect((await factsWith([feature('events.serve')]))?.serve).toBe('unreadable');
  const blue = everybody([{ name: 'blue', weight: 1000 }]);
  expect((await factsWith([feature('events.serve', { strategies: [blue] })]))?.serve).toBe(
    'unreadable',
  );
  expect((await factsWith([serve(1000)]))?.serve).toBe('candidate');
});

test('a pinned user gets his own side, everybody else the share', async () => {
  const pinned = { ...serve(0), strategies: [pin(['ann'], 'candidate'), base(serve(0))] };
  expect((await factsWith([pinned], 'ann'))?.serve).toBe('candidate');
  expect((await factsWith([pinned], 'bob'))?.serve).toBe('legacy');
  expect((await factsWith([pinned], null))?.serve).toBe('legacy');
});

test('nobody is placed by chance: anonymous clients move only when everybody does (61)', async () => {
  expect(await factsWith([serve(999), shadow(999)], null)).toMatchObject({
    serve: 'legacy',
    shadow: false,
  });
  expect(await factsWith([serve(1000), shadow(1000)], null)).toMatchObject({
    serve: 'candidate',
    shadow: true,
  });
});

test('a flag that draws afresh on every call serves legacy, and does so every time', async () => {
  const variants = [
    { name: 'candidate', weight: 500, stickiness: 'sessionId' },
    { name: 'legacy', weight: 500, stickiness: 'sessionId' },
  ];
  const flags = await open([feature('events.serve', { strategies: [everybody(variants)] })]);
  const seen = new Set(
    Array.from({ length: 100 }, () => flags.facts(events, subject('ann'))?.serve),
  );
  expect([...seen]).toEqual(['unreadable']);
  expect(flags.stage(events).name).toBe('mixed');
  expect(flags.problems().map(({ rule }) => rule)).toContain('stickiness');
});

test('shadow, kill and isolation come from their flags', async () => {
  const block = everybody([{ name: 'block', weight: 1000, stickiness: 'userId' }]);
  const all = [
    serve(1000),
    shadow(1000),
    kill(true),
    feature('events.isolation', { strategies: [block] }),
  ];
  expect(await factsWith(all)).toMatchObject({ shadow: true, kill: true, isolation: 'block' });
  const plain = feature('events.shadow', { strategies: [everybody()] });
  expect(await factsWith([plain, feature('events.isolation')])).toMatchObject({
    shadow: true,
    kill: false,
    isolation: undefined,
  });
});

test('the stage of a decision is looked through the kill flag, the shown one is not', async () => {
  const flags = await open([serve(1000), shadow(1000), kill(true)]);
  expect(flags.facts(events, subject('ann'))?.stage.name).toBe('live');
  expect(flags.stage(events)).toMatchObject({ name: 'killed', serve: 1000, kill: true });
});

test('configured names, in any script, take the place of the usual ones (61)', async () => {
  const named = route('events', { serve: 'другой флаг 🚦' });
  const flags = await openMemoryFlags({
    features: [serve(1000, 'другой флаг 🚦')],
    routes: () => [named],
    logger: silent,
  });
  expect(flags.facts(named, subject('ann'))?.serve).toBe('candidate');
  expect(flags.facts(events, subject('ann'))?.serve).toBe('missing');
});

test('flags named like parts of every object do not exist unless somebody writes them', async () => {
  for (const name of ['__proto__', 'constructor', 'toString']) {
    const flags = await openMemoryFlags({ features: [], routes: () => [], logger: silent });
    expect(flags.facts(route('r', { serve: name }), subject('ann'))?.serve).toBe('missing');
    flags.apply([serve(1000, name)]);
    expect(flags.facts(route('r', { serve: name }), subject('ann'))?.serve).toBe('candidate');
  }
});

test('strategies without parameters and constraints without values are evaluated, not stumbled over', async () => {
  const bare = {
    name: 'default',
    constraints: [{ contextName: 'userId', operator: 'NOT_IN' }],
    variants: [{ name: 'candidate', weight: 1 }],
  };
  expect((await factsWith([feature('events.serve', { strategies: [bare] })]))?.serve).toBe(
    'candidate',
  );
});

test('users of any name and length are placed, the same at every look, and stay in as shares grow (61)', async () => {
  const names = ['', ' ', '0', '-1', '__proto__', 'ünï-名-👤', '\u0000', '\ud800', 'a,b', '"{}"'];
  const users = [...names, 'x'.repeat(1_000_000), ...names.map(name => name.repeat(5_000) + 1)];
  const flags = await open([serve(1)]);
  const on = () => users.filter(id => flags.facts(events, subject(id))?.serve === 'candidate');
  let before: string[] = [];
  for (const share of [1, 10, 125, 500, 900, 1000]) {
    flags.apply([serve(share)]);
    const now = on();
    expect(on()).toEqual(now);
    expect(now).toEqual(expect.arrayContaining(before));
    before = now;
  }
  expect(before).toEqual(users);
});

test('a flag whose evaluation fails serves legacy and leaves the other users of the provider alone', async () => {
  const broken = pin(['ann'], 'candidate');
  const values: unknown = [42];
  Object.assign(broken, { constraints: [{ contextName: 'userId', operator: 'IN', values }] });
  const flags = await open([{ ...serve(1000), strategies: [broken] }, shadow(1000)]);
  expect(flags.facts(events, subject('ann'))).toMatchObject({ serve: 'legacy', shadow: false });
  expect(flags.facts(route('other'), subject('ann'))?.serve).toBe('missing');
});

test('what is the same for everybody is settled once, until the flags change', async () => {
  const flags = await open([serve(0), shadow(1000)]);
  const facts = flags.facts(events, subject('ann'));
  expect(flags.facts(events, subject('bob'))).toBe(facts);
  flags.apply([serve(1000), shadow(1000)]);
  expect(flags.facts(events, subject('bob'))).not.toBe(facts);
});

test('failing evaluations are logged at a bounded rate and name no user', async () => {
  const lines: string[] = [];
  const broken = pin(['ann'], 'candidate');
  const values: unknown = [42];
  Object.assign(broken, { constraints: [{ contextName: 'userId', operator: 'IN', values }] });
  const flags = await openMemoryFlags({
    features: [feature('events.serve', { strategies: [broken] })],
    routes: () => [events],
    logger: pino({}, { write: line => lines.push(line) }),
  });
  for (let i = 0; i < 1_000; i++) flags.facts(events, subject('ann-the-user'));
  expect(lines).toHaveLength(1);
  expect(lines[0]).not.toContain('ann');
});

test('a change of several flags is seen whole', async () => {
  const flags = await open([serve(1000), shadow(0)]);
  const seen = new Set<string>();
  const look = () => {
    const facts = flags.facts(events, subject('ann'));
    seen.add(`${facts?.serve} ${facts?.shadow} ${facts?.stage.name}`);
  };
  flags.onChange(look);
  for (let round = 0; round < 50; round++) {
    const on = round % 2 === 0;
    const change = flags.setStage(events, {
      serve: on ? 0 : 1000,
      shadow: on ? 1000 : 0,
      kill: false,
    });
    look();
    await change;
    look();
  }
  expect([...seen].sort()).toEqual(['candidate false complete', 'legacy true shadow']);
});

test('10,000 stage changes through the provider each take effect, and nothing is kept of them', async () => {
  const flags = await open([serve(0), shadow(0)]);
  const revisions = new Set<string>();
  for (let round = 0; round < 10_000; round++) {
    const share = round % 1001;
    const change = await flags.setStage(events, { serve: share, shadow: 1000, kill: false });
    if (flags.stage(events).serve !== share) throw new Error(`round ${round} was lost`);
    revisions.add(change.revision);
  }
  expect(revisions.size).toBe(1001);
});

test('a decision takes microseconds, also while shares are dealt out', async () => {
  const subjects = Array.from({ length: 1_000 }, (_, i) => subject(`user-${i}`));
  const forced = { bypass: false, latch: null, legsOn: [] };
  for (const [name, features] of [
    ['settled flags', [serve(0), shadow(1000), kill(false)]],
    ['a canary', [serve(125), shadow(1000), kill(false)]],
    [
      'a canary with pins and sampled shadowing',
      [
        { ...serve(125), strategies: [pin(['ann'], 'candidate'), base(serve(125))] },
        shadow(500),
        kill(false),
      ],
    ],
  ] as const) {
    const flags = await open(features);
    const run = (times: number) => {
      for (let i = 0; i < times; i++) {
        const who = subjects[i % subjects.length] ?? null;
        decide(who, events, flags.facts(events, who), forced);
      }
    };
    run(20_000);
    // Of several, since in any of them others may have had the processor.
    const tookMs = Array.from({ length: 100 }, () => {
      const start = performance.now();
      run(1_000);
      return performance.now() - start;
    });
    const meanUs = (Math.min(...tookMs) * 1000) / 1_000;
    console.log(`${name}: ${meanUs.toFixed(2)} µs a decision`);
    expect(meanUs).toBeLessThan(20);
  }
});

test('users in a share stay in it at every greater one', async () => {
  const flags = await open([serve(0)]);
  const on = (id: string, share: number) => {
    flags.apply([serve(share)]);
    return flags.facts(events, subject(id))?.serve === 'candidate';
  };
  const share = fc.integer({ min: 0, max: 1000 });
  fc.assert(
    fc.property(fc.string({ minLength: 1, unit: 'binary' }), share, share, (id, a, b) => {
      const [less, more] = a < b ? [a, b] : [b, a];
      expect(!on(id, less) || on(id, more)).toBe(true);
    }),
    { numRuns: 500 },
  );
  expect([on('ann', 0), on('ann', 1000)]).toEqual([false, true]);
});

test.each([1, 10, 125, 500, 999])(
  'a share of %i thousandths holds about as many users',
  async share => {
    const users = 100_000;
    const flags = await open([serve(share)]);
    let inside = 0;
    for (let i = 0; i < users; i++) {
      if (flags.facts(events, subject(`user-${i}`))?.serve === 'candidate') inside += 1;
    }
    const p = share / 1000;
    // Six standard deviations of a binomial draw: a fair hash is never out, a wrong share always.
    expect(inside).toBeGreaterThan(0);
    expect(Math.abs(inside - users * p)).toBeLessThan(6 * Math.sqrt(users * p * (1 - p)));
  },
);

test('serve and shadow flags of one share hold different users', async () => {
  const flags = await open([serve(500), shadow(500)]);
  let both = 0;
  for (let i = 0; i < 1_000; i++) {
    const facts = flags.facts(events, subject(`user-${i}`));
    if (facts?.serve === 'candidate' && facts.shadow) both += 1;
  }
  expect(both).toBeGreaterThan(150);
  expect(both).toBeLessThan(350);
});

test('nothing is written to the temporary folder', async () => {
  const backups = () => readdirSync(tmpdir()).filter(name => name.startsWith('unleash-'));
  const before = backups();
  const flags = await open([serve(500)]);
  flags.facts(events, subject('ann'));
  await flags.close();
  expect(backups()).toEqual(before);
});
