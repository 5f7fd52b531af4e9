// Against a real Unleash server: what is set in its own API is what is decided by, and stages set here
// are what its API shows.
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type FlagProvider, openUnleashFlags } from '../../../src/control/flags/provider.ts';
import { UnleashAdmin } from '../../../src/control/flags/unleash-admin.ts';
import { initialFlags } from '../../../src/rules/flag-defaults.ts';
import { shareOf } from '../../../src/rules/flag-shape.ts';
import { stageTarget } from '../../../src/rules/stage.ts';
import { cutover } from '../../support/command.ts';
import { kill, pin, route, serve, shadow, silent, subject } from '../../support/flags.ts';
import { openedByTest } from '../../support/opened.ts';
import {
  looks,
  ownFlags,
  type RealUnleash,
  realUnleash,
  unleashMissing,
} from '../../support/unleash-server.ts';
import { until } from '../../support/until.ts';

/** As a configuration's least. */
const POLL_MS = 1_000;
const open = openedByTest();

// Side by side, with flags of their own: most of their time is between two looks, ours and those of its cache.
describe.skipIf(unleashMissing())('a real Unleash server', { concurrent: true }, () => {
  let unleash: RealUnleash;
  let dir: string;
  beforeAll(async () => {
    unleash = await realUnleash();
    dir = await mkdtemp(join(tmpdir(), 'cutover-unleash-'));
  }, 120_000);
  afterAll(() => rm(dir, { recursive: true, force: true }));

  async function follow(
    flags: ReturnType<typeof ownFlags>,
    {
      token = unleash.adminToken,
      environment = 'development',
      mayChange = true,
      pollMs = POLL_MS,
    } = {},
  ) {
    const events = route('events', flags);
    const admin = new UnleashAdmin({
      url: unleash.url,
      token: () => token,
      project: 'default',
      environment,
      timeoutMs: 5_000,
    });
    const provider = await openUnleashFlags({
      url: unleash.url,
      token: () => unleash.clientToken,
      appName: 'cutover',
      pollMs,
      timeoutMs: 5_000,
      maxBytes: 16_000_000,
      backupFile: join(dir, `${flags.serve}.backup`),
      admin: mayChange ? admin : null,
      routes: () => [events],
      logger: silent,
    });
    open.push(provider);
    return { events, provider };
  }

  const known = (provider: FlagProvider, name: string) =>
    until(`${name} is known`, () => provider.features().some(flag => flag.name === name));

  test('a toggle in its own API takes effect with the next look at it, five times in a row', async () => {
    const names = ownFlags('toggle');
    await unleash.put(serve(1000, names.serve), { ...kill(true, names.kill), enabled: true });
    const { provider, events } = await follow(names, { mayChange: false });
    await known(provider, names.kill);
    let [slowestMs, most] = [0, 0];
    for (const on of [false, true, false, true, false]) {
      await unleash.toggle(names.kill, on);
      const start = performance.now();
      await until('the server tells it', () =>
        unleash.tells(names.kill, ({ enabled }) => enabled === on),
      );
      const before = looks(provider.remote);
      await until('it is seen', () => provider.facts(events, subject('u1'))?.kill === on);
      slowestMs = Math.max(slowestMs, performance.now() - start);
      most = Math.max(most, looks(provider.remote) - before);
    }
    console.log(
      `slowest of five toggles: ${slowestMs.toFixed(0)} ms to effect (poll ${POLL_MS} ms)`,
    );
    // One may have been under way.
    expect(most).toBeLessThanOrEqual(2);
  });

  test('asking at once finds a toggle sooner than a slow poll would', async () => {
    const names = ownFlags('hook');
    const told = (share: number) =>
      until('the server tells it', () =>
        unleash.tells(names.serve, feature => shareOf(feature, 'candidate') === share),
      );
    await unleash.put(serve(0, names.serve));
    await told(0);
    const { provider, events } = await follow(names, { pollMs: 600_000 });
    await known(provider, names.serve);
    await unleash.put(serve(1000, names.serve));
    await told(1000);
    await provider.remote?.refetch();
    expect(provider.stage(events).serve).toBe(1000);
  });

  test('every stage can be set from nothing and is true when it is answered', async () => {
    const names = ownFlags('stages');
    const { provider, events } = await follow(names);
    for (const [stage, percent] of [
      ['off'],
      ['shadow'],
      ['shadow', 25],
      ['canary', 12.5],
      ['canary', 30],
      ['live'],
      ['complete'],
      ['off'],
    ] as const) {
      const target = stageTarget(stage, percent);
      const change = await provider.setStage(events, target);
      expect(change.after).toMatchObject({ name: stage, ...target });
      expect(provider.stage(events)).toEqual(change.after);
      expect(change.revision).toBe(provider.revision);
      expect(change.files.every(file => file.startsWith('unleash:'))).toBe(true);
    }
    // What its server makes of our flags is nothing that we would complain about.
    await provider.setStage(events, stageTarget('shadow', 25));
    await provider.setStage(events, stageTarget('shadow', 50));
    const ours = provider
      .problems()
      .filter(({ flag }) => flag?.startsWith(names.serve.slice(0, -6)));
    expect(ours).toEqual([]);
    await provider.setKill(events, true);
    expect(provider.stage(events)).toMatchObject({ name: 'killed', shadow: 500 });
    await expect(provider.setStage(events, stageTarget('live'))).rejects.toThrow('kill flag');
    await provider.setStage(events, stageTarget('live'), { unkill: true });
    expect(provider.stage(events).name).toBe('live');
  }, 90_000);

  test('a user who is in at a share is in at a greater one, as its server deals them out', async () => {
    const names = ownFlags('nest');
    const { provider, events } = await follow(names);
    const users = Array.from({ length: 400 }, (_, i) => `user_${i}`);
    const inAt = () =>
      users.filter(id => provider.facts(events, subject(id))?.serve === 'candidate');
    await provider.setStage(events, stageTarget('canary', 20));
    const at20 = inAt();
    await provider.setStage(events, stageTarget('canary', 40));
    expect(inAt()).toEqual(expect.arrayContaining(at20));
    expect(at20.length).toBeGreaterThan(40);
    expect(inAt().length).toBeGreaterThan(at20.length);
  }, 60_000);

  test('whom somebody pinned there stays pinned when the stage changes, also below the rest', async () => {
    const names = ownFlags('pins');
    await unleash.put(serve(0, names.serve), shadow(0, names.shadow));
    const strategies = `/${names.serve}/environments/development/strategies`;
    const { constraints, variants } = pin(['vip'], 'candidate');
    const weighed = (variants ?? []).map(variant => ({ ...variant, weightType: 'variable' }));
    await unleash.call('POST', strategies, {
      ...{ name: 'default', parameters: {}, variants: weighed },
      constraints: constraints?.map(constraint => ({ ...constraint, caseInsensitive: false })),
    });
    const { provider, events } = await follow(names);
    await until('the pin is known', () =>
      provider.features().some(flag => flag.name === names.serve && flag.strategies.length === 2),
    );
    const change = await provider.setStage(events, stageTarget('canary', 0.1));
    expect(change.after.serve).toBe(1);
    const serveOf = (id: string) => provider.facts(events, subject(id))?.serve;
    await until('the pin is first', () => serveOf('vip') === 'candidate');
    // Names of flags are new in every run, and with them whom the share of a thousandth takes in.
    const others = Array.from({ length: 1_000 }, (_, n) => serveOf(`user_${n}`));
    expect(others.filter(side => side !== 'legacy').length).toBeLessThan(10);
  }, 60_000);

  test('an archived flag counts as missing, and no stage is written into it', async () => {
    const names = ownFlags('archive');
    await unleash.put(serve(1000, names.serve), shadow(1000, names.shadow));
    const { provider, events } = await follow(names);
    await known(provider, names.shadow);
    await unleash.archive(names.serve);
    await until('it is gone', () => provider.facts(events, subject('u1'))?.serve === 'missing');
    await expect(provider.setStage(events, stageTarget('live'))).rejects.toThrow(
      `flag ${names.serve} is archived in Unleash`,
    );
  });

  test('a token that may not change flags, or an environment that is not there, is said so', async () => {
    const names = ownFlags('denied');
    const denied = await follow(names, { token: unleash.clientToken });
    await expect(
      denied.provider.setStage(denied.events, stageTarget('live')),
    ).rejects.toMatchObject({ code: 'conflict', message: expect.stringMatching(/may not|token/) });
    await unleash.put(serve(0, names.serve), shadow(0, names.shadow));
    const nowhere = await follow(names, { environment: 'nowhere' });
    await known(nowhere.provider, names.shadow);
    await expect(nowhere.provider.setStage(nowhere.events, stageTarget('live'))).rejects.toThrow(
      /no environment nowhere; it has .*development/,
    );
  });

  describe('the command line', () => {
    const config = async (names: ReturnType<typeof ownFlags>) => {
      const folder = await mkdtemp(join(dir, 'cli-'));
      await writeFile(join(folder, 'client'), `${unleash.clientToken}\n`);
      await writeFile(join(folder, 'admin'), `${unleash.adminToken}\n`);
      await writeFile(
        join(folder, 'cutover.yaml'),
        `listen: { port: 8080 }
upstreams: { legacy: { url: 'http://127.0.0.1:1' }, candidate: { url: 'http://127.0.0.1:2' } }
routes:
  - { name: events, path: /ws, protocol: websocket, flags: &f ${JSON.stringify(names)} }
  - { name: sse, path: /events, protocol: sse, flags: *f }
flags: { provider: unleash, url: '${unleash.url}', tokenFile: client, admin: { tokenFile: admin } }
`,
      );
      return folder;
    };

    test('push creates what is missing, once, and overwrites nothing', async () => {
      const names = ownFlags('push');
      const cwd = await config(names);
      await unleash.put(serve(400, names.serve));
      const dry = await cutover(['flags', 'push', '--dry-run', '--json'], { cwd });
      expect(dry.stderr).toBe('');
      const results = (text: string) =>
        JSON.parse(text).flags.map(({ result }: { result: string }) => result);
      expect(results(dry.stdout)).toEqual(['kept', 'created', 'created', 'created']);
      const first = await cutover(['flags', 'push'], { cwd });
      expect(first).toMatchObject({ code: 0, stderr: '' });
      expect(first.stdout).toContain('created');
      // No proxy runs here: it is put on record in the state folder itself.
      const trail = (await readFile(join(cwd, 'state', 'audit.jsonl'), 'utf8')).trimEnd();
      expect(JSON.parse(trail)).toMatchObject({
        action: 'flags-push',
        details: { project: 'default' },
      });
      const again = await cutover(['flags', 'push', '--json'], { cwd });
      expect(results(again.stdout)).toEqual(['kept', 'kept', 'kept', 'kept']);
      const { provider, events } = await follow(names);
      await known(provider, names.isolation);
      expect(provider.stage(events)).toMatchObject({ serve: 400, shadow: 0, kill: false });
    });

    test('pull writes a folder of flags that can be served from, and replaces only its own file', async () => {
      const names = ownFlags('pull');
      const cwd = await config(names);
      await unleash.put(serve(400, names.serve), kill(false, names.kill));
      const { provider } = await follow(names);
      await known(provider, names.kill);
      const pulled = await cutover(['flags', 'pull', '--out', 'flags'], { cwd });
      expect(pulled).toMatchObject({ code: 0, stderr: '' });
      expect(await readdir(join(cwd, 'flags'))).toEqual(['unleash.json']);
      const lint = await cutover(['flags', 'lint', 'flags', '--json'], { cwd });
      const problems: { flag: string }[] = JSON.parse(lint.stdout).problems;
      expect(problems.filter(({ flag }) => flag === names.serve)).toEqual([]);
      expect((await cutover(['flags', 'pull', '--out', 'flags'], { cwd })).code).toBe(0);
      const printed = await cutover(['flags', 'pull'], { cwd });
      expect(JSON.parse(printed.stdout).features.map((f: { name: string }) => f.name)).toContain(
        names.serve,
      );
      const [own] = initialFlags({ route: 'events', ...names });
      await writeFile(join(cwd, 'flags', 'mine.json'), JSON.stringify({ features: [own] }));
      await rm(join(cwd, 'flags', 'unleash.json'));
      const refused = await cutover(['flags', 'pull', '--out', 'flags'], { cwd });
      expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('mine.json') });
      expect(JSON.parse(await readFile(join(cwd, 'flags', 'mine.json'), 'utf8')).features).toEqual([
        JSON.parse(JSON.stringify(own)),
      ]);
    });

    test('a server that is not there, or a wrong token, is one sentence', async () => {
      const cwd = await config(ownFlags('wrong'));
      await writeFile(join(cwd, 'client'), 'default:development.wrong\n');
      const denied = await cutover(['flags', 'pull'], { cwd });
      expect(denied).toMatchObject({ code: 1, stderr: expect.stringContaining('401') });
      expect(denied.stderr).not.toContain('development.wrong');
      const nobody = ['flags', 'push', '--url', 'http://127.0.0.1:1', '--token-file', 'admin'];
      const gone = await cutover(nobody, { cwd });
      expect(gone).toMatchObject({ code: 1, stderr: expect.stringContaining('can not be asked') });
    });
  });
});
