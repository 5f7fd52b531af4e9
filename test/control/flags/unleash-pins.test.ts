// Pins on a real Unleash server: written as strategies that its API shows, and by hand where the proxy
// has no token for it.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openUnleashFlags } from '../../../src/control/flags/provider.ts';
import { UnleashAdmin } from '../../../src/control/flags/unleash-admin.ts';
import { pinsOf } from '../../../src/rules/pin.ts';
import { stageTarget } from '../../../src/rules/stage.ts';
import { pin, route, serve, shadow, silent, subject } from '../../support/flags.ts';
import { openedByTest } from '../../support/opened.ts';
import {
  ownFlags,
  type RealUnleash,
  realUnleash,
  unleashMissing,
} from '../../support/unleash-server.ts';
import { until } from '../../support/until.ts';

const HOUR = 3_600_000;

interface Shown {
  readonly id: string;
  readonly title: string | null;
  readonly constraints: readonly { readonly values?: readonly string[] }[];
}

const open = openedByTest();

// Side by side, with flags of their own: most of their time is between two looks, ours and those of its cache.
describe.skipIf(unleashMissing())('pins on a real Unleash server', { concurrent: true }, () => {
  let unleash: RealUnleash;
  let dir: string;
  beforeAll(async () => {
    unleash = await realUnleash();
    dir = await mkdtemp(join(tmpdir(), 'cutover-unleash-'));
  }, 120_000);
  afterAll(() => rm(dir, { recursive: true, force: true }));

  async function follow(name: string, { mayChange = true } = {}) {
    const flags = ownFlags(name);
    await unleash.put(serve(0, flags.serve), shadow(0, flags.shadow));
    const events = route('events', flags);
    const admin = new UnleashAdmin({
      url: unleash.url,
      token: () => unleash.adminToken,
      project: 'default',
      environment: 'development',
      timeoutMs: 10_000,
    });
    const provider = await openUnleashFlags({
      url: unleash.url,
      token: () => unleash.clientToken,
      appName: 'cutover',
      pollMs: 1_000,
      timeoutMs: 10_000,
      maxBytes: 16_000_000,
      backupFile: join(dir, `${flags.serve}.backup`),
      admin: mayChange ? admin : null,
      routes: () => [events],
      logger: silent,
    });
    open.push(provider);
    const strategies = `/${flags.serve}/environments/development/strategies`;
    return {
      flags,
      provider,
      pin: (user: string, side: 'legacy' | 'candidate', forMs = HOUR) =>
        provider.pin(events, { user, side, untilMs: Date.now() + forMs }),
      unpin: (user: string) => provider.unpin(events, user),
      stage: (stage: string, percent?: number) =>
        provider.setStage(events, stageTarget(stage, percent)),
      side: (user: string) => provider.facts(events, subject(user))?.serve,
      pins: () => pinsOf(provider.features().find(flag => flag.name === flags.serve)),
      /** What a person wrote there: more constraints or variants than a pin has are for the test to say. */
      write: (body: object) => unleash.call('POST', strategies, body),
      shown: async () => (await unleash.call('GET', strategies)) as Shown[],
    };
  }

  test('a pin counts when it is answered, both ways, and goes again', async () => {
    const { flags, provider, pin: put, unpin, side, shown, stage } = await follow('pin');
    const change = await put('ann', 'candidate');
    expect(change).toMatchObject({ flag: flags.serve, files: [`unleash:${flags.serve}`] });
    expect([side('ann'), side('bob')]).toEqual(['candidate', 'legacy']);
    expect((await shown()).map(({ title }) => title ?? '')).toContain('cutover pin');
    await stage('live');
    await put('bob', 'legacy');
    expect([side('ann'), side('bob'), side('cy')]).toEqual(['candidate', 'legacy', 'candidate']);
    await put('ann', 'legacy');
    expect([side('ann'), side('bob')]).toEqual(['legacy', 'legacy']);
    expect(await shown()).toHaveLength(3);
    await unpin('ann');
    await unpin('bob');
    expect([side('ann'), side('bob')]).toEqual(['candidate', 'candidate']);
    expect(await shown()).toHaveLength(1);
    const ours = provider.problems().filter(({ flag }) => flag === flags.serve);
    expect(ours).toEqual([]);
  }, 120_000);

  test('names of any characters come back as they went', async () => {
    const { pin: put, side, pins } = await follow('odd');
    const names = ['a,b', 'ü@exämple.de', '"quoted" \\ %', '👩‍👩‍👧', '__proto__'];
    for (const name of names) await put(name, 'candidate');
    expect(
      pins()
        .flatMap(({ users }) => users)
        .sort(),
    ).toEqual(names.toSorted());
    expect(names.map(side)).toEqual(names.map(() => 'candidate'));
    expect(side('a')).toBe('legacy');
  }, 120_000);

  test('an edit touches pins alone: of several users one, and nothing that somebody else wrote', async () => {
    const { unpin, pin: put, side, shown, write } = await follow('others');
    const weighed = { weight: 1000, weightType: 'variable', stickiness: 'userId' };
    const variants = [{ name: 'candidate', ...weighed }];
    const { constraints = [] } = pin(['vip', 'ann'], 'candidate');
    const strategy = { name: 'default', parameters: {}, variants, sortOrder: -5 };
    const full = (constraints ?? []).map(each => ({ ...each, caseInsensitive: false }));
    await write({ ...strategy, title: 'team', constraints: full });
    const tenant = { contextName: 'environment', operator: 'IN', values: ['nowhere'] };
    await write({ ...strategy, title: 'tenant', constraints: [...full, tenant] });
    await put('bob', 'candidate');
    expect([side('vip'), side('ann'), side('bob')]).toEqual(Array(3).fill('candidate'));
    await unpin('ann');
    expect([side('vip'), side('ann'), side('bob')]).toEqual(['candidate', 'legacy', 'candidate']);
    const values = (await shown()).map(({ title, constraints: [first] }) => [
      title ?? '',
      first?.values ?? [],
    ]);
    expect(values).toContainEqual(['tenant', ['vip', 'ann']]);
    expect(values.flat(2)).toContain('vip');
  }, 120_000);

  test('a pin whose time is over does nothing, and the next change takes it away', async () => {
    const { pin: put, side, shown, stage } = await follow('over');
    await put('ann', 'candidate', 1_000);
    await until('its time is over', () => side('ann') === 'legacy');
    expect(await shown()).toHaveLength(2);
    await stage('canary', 0.1);
    expect(await shown()).toHaveLength(1);
  }, 120_000);

  test('without a token that may change flags it says what to set there, and changes nothing', async () => {
    const {
      flags,
      pin: put,
      shown,
      write,
      unpin,
      pins,
    } = await follow('hand', {
      mayChange: false,
    });
    const { constraints } = pin(['vip'], 'legacy');
    await write({
      name: 'default',
      parameters: {},
      variants: [{ name: 'legacy', weight: 1000, weightType: 'variable', stickiness: 'userId' }],
      constraints: constraints?.map(each => ({ ...each, caseInsensitive: false })),
    });
    await until('both are known', () => pins().length === 1);
    const advice = (sentence: RegExp) => ({
      code: 'conflict',
      message: expect.stringMatching(sentence),
    });
    await expect(put('ann', 'candidate')).rejects.toMatchObject(
      advice(
        new RegExp(
          `in this order: 1\\. add to ${flags.serve}, above its other strategies, a gradual rollout strategy: rollout 100%, stickiness userId, groupId ${flags.serve}, the constraints userId IN ann and currentTime DATE_BEFORE \\d{4}-\\S+Z, variant candidate 100%$`,
        ),
      ),
    );
    await expect(unpin('vip')).rejects.toMatchObject(
      advice(
        new RegExp(
          `1\\. remove from ${flags.serve} the strategy with the constraints userId IN vip, variant legacy 100%$`,
        ),
      ),
    );
    expect(await shown()).toHaveLength(2);
  }, 60_000);
});
