// Unleash toggled in its own API moves users; Unleash dies and nothing changes.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningProxy, startProxy } from '../../src/main.ts';
import { shareOf } from '../../src/rules/flag-shape.ts';
import { kill, serve, shadow } from '../support/flags.ts';
import { admin, goldenPath, login, type Stack, sidesOf, stack } from '../support/stack.ts';
import {
  type Instance,
  looks,
  ownInstance,
  realUnleash,
  unleashMissing,
} from '../support/unleash-server.ts';
import { until } from '../support/until.ts';

const POLL_MS = 1_000;
const HOOK_TOKEN = 'a-hook-token-of-some-length';
const users = Array.from({ length: 12 }, (_, i) => `user_${1001 + i}`);

describe.skipIf(unleashMissing())('with a real Unleash server', () => {
  let unleash: Instance;
  let secrets: string;
  let up: Stack;
  beforeAll(async () => {
    unleash = await ownInstance(await realUnleash());
    secrets = await mkdtemp(path.join(tmpdir(), 'cutover-tokens-'));
    await writeFile(path.join(secrets, 'client'), unleash.clientToken);
    await writeFile(path.join(secrets, 'admin'), unleash.adminToken);
    await writeFile(path.join(secrets, 'hook'), HOOK_TOKEN);
  }, 120_000);
  afterEach(() => up.close());
  afterAll(async () => {
    await unleash.kill();
    await rm(secrets, { recursive: true, force: true });
  });

  const config = (pollMs: number) =>
    `flags: { provider: unleash, url: '${unleash.url}', tokenFile: '${secrets}/client', pollMs: ${pollMs}, hookTokenFile: '${secrets}/hook', admin: { tokenFile: '${secrets}/admin' } }`;

  /** Everybody logs in and out; the sides that served them. */
  async function sides(proxy: RunningProxy): Promise<Set<string>> {
    const sockets = await Promise.all(users.map(user => login(proxy.listen, user)));
    const found = new Set(sidesOf(proxy).values());
    for (const socket of sockets) socket.close();
    await until('all have left', () => sidesOf(proxy).size === 0);
    return found;
  }

  /** Everybody would move to the candidate as soon as somebody turns the flag on. */
  const prepare = async () => {
    await unleash.put(serve(1000), shadow(1000), kill(false));
    await unleash.toggle('events.serve', false);
  };
  const shareIs = (proxy: RunningProxy, share: number) =>
    until(`the share is ${share}`, () => {
      const flag = proxy.flags.features().find(({ name }) => name === 'events.serve');
      return flag !== undefined && shareOf(flag, 'candidate') === share;
    });

  test('a toggle in its own API moves users; it dies, and nothing changes, not even by a restart', async () => {
    await prepare();
    up = await stack({ config: config(POLL_MS) });
    await shareIs(up.proxy, 0);
    expect(await sides(up.proxy)).toEqual(new Set(['legacy']));
    await unleash.toggle('events.serve', true);
    const start = performance.now();
    await until('the server tells it', () =>
      unleash.tells('events.serve', ({ enabled }) => enabled),
    );
    const before = looks(up.proxy.flags.remote);
    await shareIs(up.proxy, 1000);
    const tookMs = performance.now() - start;
    console.log(`Unleash toggle to effect: ${tookMs.toFixed(0)} ms (poll ${POLL_MS} ms)`);
    // One may have been under way.
    expect(looks(up.proxy.flags.remote) - before).toBeLessThanOrEqual(2);
    expect(await sides(up.proxy)).toEqual(new Set(['candidate']));

    await unleash.kill();
    await until('the loss is noticed', () => up.proxy.flags.remote?.lastFetch?.ok === false);
    expect(await sides(up.proxy)).toEqual(new Set(['candidate']));
    expect(await goldenPath(up.proxy.listen, 'user_1001')).toBe('done');
    const { body } = await admin(up.proxy, up.folder, '/status');
    expect(body).toMatchObject({
      ready: true,
      warnings: [{ code: 'flags-unreachable' }],
      flags: { provider: 'unleash', lastFetch: { ok: false, error: 'connection refused' } },
    });
    const denied = await admin(up.proxy, up.folder, '/stage', { stage: 'off' });
    expect(denied).toMatchObject({ status: 409 });

    // A new process that finds no Unleash goes on with what the one before it knew.
    await up.proxy.close();
    const loaded = await loadConfig(path.join(up.folder, 'cutover.yaml'), {});
    const logger = pino({ level: 'silent' });
    const second = await startProxy({ loaded, env: {}, logger });
    try {
      expect(await sides(second)).toEqual(new Set(['candidate']));
      const readyz = await fetch(`${await second.admin}/readyz`);
      expect(readyz.status).toBe(200);
      const { warnings } = (await readyz.json()) as { warnings: { code: string }[] };
      expect(warnings.map(({ code }) => code)).toContain('flags-unconfirmed');

      await unleash.restart();
      await until('it is back', () => second.flags.remote?.lastFetch?.ok, 20_000);
      await unleash.toggle('events.serve', false);
      await shareIs(second, 0);
      expect(await sides(second)).toEqual(new Set(['legacy']));
    } finally {
      await second.close();
    }
  }, 120_000);

  test('a hook has it asked at once, and a stage set here is what it shows', async () => {
    await prepare();
    up = await stack({ config: config(60_000) });
    await shareIs(up.proxy, 0);
    await unleash.toggle('events.serve', true);
    // It is asked again soon, and not for ever, by whom it called before its own cache knew.
    await until('the server tells it', () =>
      unleash.tells('events.serve', ({ enabled }) => enabled),
    );
    const start = performance.now();
    const hook = `${await up.proxy.admin}/hooks/unleash`;
    const called = await fetch(hook, {
      method: 'POST',
      headers: { authorization: `Bearer ${HOOK_TOKEN}`, 'content-type': 'application/json' },
      body: '{"type":"feature-environment-enabled"}',
    });
    expect(called.status).toBe(200);
    expect(await called.json()).toMatchObject({ revision: expect.stringMatching(/^unleash:/) });
    await shareIs(up.proxy, 1000);
    console.log(`hook to effect: ${(performance.now() - start).toFixed(0)} ms (poll 60 s)`);

    const set = await admin(up.proxy, up.folder, '/stage', { stage: 'canary', percent: 30 });
    expect(set.status).toBe(200);
    expect(set.body).toMatchObject({
      routes: [{ route: 'events', after: { text: 'canary 30%' } }, {}, {}],
    });
    const shown = JSON.stringify(await unleash.call('GET', '/events.serve'));
    expect(shown).toContain('"name":"candidate","weight":300');
    const found = await sides(up.proxy);
    expect(found).toEqual(new Set(['legacy', 'candidate']));
  }, 120_000);
});
