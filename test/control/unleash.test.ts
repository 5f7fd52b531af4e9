// What an operator sees of an Unleash server, and the hook that it calls.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { cutover } from '../support/command.ts';
import { kill, serve, shadow } from '../support/flags.ts';
import { admin, type Stack, stack } from '../support/stack.ts';
import { status, type UnleashStub, unleashStub } from '../support/unleash-stub.ts';
import { until } from '../support/until.ts';

const HOOK = 'hook-token-0123456789abcdef';
let stub: UnleashStub;
let tokens: string;
let up: Stack | undefined;

beforeEach(async () => {
  stub = await unleashStub();
  stub.serve(serve(500), shadow(1000), kill(false));
  tokens = await mkdtemp(path.join(tmpdir(), 'cutover-tokens-'));
  await writeFile(path.join(tokens, 'client'), 'default:development.client-secret');
  await writeFile(path.join(tokens, 'hook'), HOOK);
});
afterEach(async () => {
  await up?.close();
  up = undefined;
  await stub.down();
  await rm(tokens, { recursive: true, force: true });
});

const hooked = () =>
  `flags: { provider: unleash, url: '${stub.url}', tokenFile: '${tokens}/client', pollMs: 60000, hookTokenFile: '${tokens}/hook' }`;

/** Calls the hook; `headers` as a server elsewhere would send them. */
async function hook(
  { proxy }: Stack,
  headers: Record<string, string>,
  body = '{}',
): Promise<{ status: number; body: Record<string, unknown> }> {
  const url = new URL('/hooks/unleash', await proxy.admin);
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method: 'POST', headers }, response => {
      let text = '';
      response.on('data', chunk => {
        text += chunk;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, body: JSON.parse(text) }),
      );
    });
    request.on('error', reject);
    request.end(body);
  });
}

test('the hook has the flags fetched at once, under any name and with any body', async () => {
  up = await stack({ config: hooked() });
  const { revision } = up.proxy.flags;
  stub.serve(serve(700), shadow(1000));
  const headers = { authorization: `Bearer ${HOOK}`, host: 'cutover.internal:8081' };
  const called = await hook(
    up,
    { ...headers, 'content-type': 'text/anything' },
    'x'.repeat(200_000),
  );
  expect(called).toMatchObject({ status: 200, body: { changed: true } });
  expect(called.body.revision).toBe(up.proxy.flags.revision);
  expect(up.proxy.flags.revision).not.toBe(revision);
  expect(await hook(up, headers)).toMatchObject({ status: 200, body: { changed: false } });
});

test('the hook asks for its own token, and the operator token is none', async () => {
  up = await stack({ config: hooked() });
  const before = stub.requests.length;
  for (const authorization of [
    '',
    'Bearer nonsense',
    HOOK,
    'Bearer default:development.client-secret',
  ])
    expect((await hook(up, { authorization })).status).toBe(401);
  expect(stub.requests.length).toBe(before);
  const stolen = await fetch(`${await up.proxy.admin}/api/v1/status`, {
    headers: { authorization: `Bearer ${HOOK}` },
  });
  expect(stolen.status).toBe(401);
});

test('without a token for it, or with flags in files, there is no hook', async () => {
  up = await stack();
  expect((await hook(up, { authorization: `Bearer ${HOOK}` })).status).toBe(404);
  await up.close();
  up = await stack({ config: hooked().replace(/, hookTokenFile.*/, ' }') });
  expect((await hook(up, { authorization: `Bearer ${HOOK}` })).status).toBe(404);
});

test('a hook whose fetch fails says so', async () => {
  up = await stack({ config: hooked() });
  stub.answer(status(500));
  const called = await hook(up, { authorization: `Bearer ${HOOK}` });
  expect(called).toMatchObject({ status: 502, body: { error: { code: 'upstream-unreachable' } } });
});

test('status, metrics, explain and the command line tell provider, age and the last look', async () => {
  up = await stack({ config: hooked() });
  const { body } = await admin(up.proxy, up.folder, '/status');
  expect(body.flags).toMatchObject({
    provider: 'unleash',
    revision: expect.stringMatching(/^unleash:/),
    lastFetch: { ok: true, error: null, confirmedAt: expect.stringMatching(/^\d{4}-/) },
  });
  const explained = await admin(up.proxy, up.folder, '/explain?route=events&user=u1');
  expect(explained.body.flags).toMatchObject({
    provider: 'unleash',
    revision: up.proxy.flags.revision,
    ageMs: expect.any(Number),
  });
  stub.answer(status(401));
  await hook(up, { authorization: `Bearer ${HOOK}` });
  await until('it is refused', () => up?.proxy.flags.remote?.lastFetch?.ok === false);
  const text = await (await fetch(`${await up.proxy.admin}/metrics`)).text();
  expect(text).toMatch(/cutover_flag_fetches_total\{outcome="changed"\} 1\n/);
  expect(text).toMatch(/cutover_flag_fetches_total\{outcome="unauthorized"\} [1-9]/);
  expect(text).toMatch(/cutover_flags_unconfirmed_seconds [\d.e-]+\n/);
  const words = ['--admin', await up.proxy.admin, '--token-file', 'state/admin.token'];
  const shown = await cutover(['status', ...words], { cwd: up.folder });
  expect(shown.stdout).toContain('unleash server: the server refuses the token (401)');
  expect(shown.stdout).toContain('The flag server refuses the token');
  expect(`${shown.stdout}${text}${up.logged.join('')}`).not.toContain('client-secret');
});

test('a stage without a token for it is refused with what to set in Unleash', async () => {
  up = await stack({ config: hooked() });
  const words = ['--admin', await up.proxy.admin, '--token-file', 'state/admin.token'];
  const refused = await cutover(['stage', 'canary', '25%', '--route', 'events', ...words], {
    cwd: up.folder,
  });
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain('1. turn events.serve on');
  expect(refused.stderr).toContain('candidate 25% and legacy 75%');
  const planned = await cutover(['stage', 'canary', '25%', '--dry-run', ...words], {
    cwd: up.folder,
  });
  expect(planned).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('would write unleash:events.serve'),
  });
});
