// The whole proxy under a flag server that is down, refuses and lies (rows 56 to 59): whoever is served
// goes on being served, by the side that the last good flags name, and the operator is told.
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { folder, kill, serve, shadow } from '../support/flags.ts';
import { closeAll, closing } from '../support/lane.ts';
import { admin, goldenPath, login, type Stack, sidesOf, stack } from '../support/stack.ts';
import { json, type Script, status, unleashStub } from '../support/unleash-stub.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);

const FAILURES_OF_TEN_MINUTES = 40;

const users = Array.from({ length: 6 }, (_, i) => `user_${1001 + i}`);

async function withServer() {
  const stub = await unleashStub();
  closing({ close: () => stub.down() });
  const secrets = await folder({ token: 'default:development.some-token' });
  closing({ close: secrets.remove });
  const flags = `flags: { provider: unleash, url: '${stub.url}', tokenFile: '${path.join(secrets.dir, 'token')}', pollMs: 1000, timeoutMs: 1000 }`;
  return { stub, flags };
}

/** The sides that serve new connections. */
async function sides({ proxy }: Stack): Promise<Set<string>> {
  const sockets = await Promise.all(users.map(user => login(proxy.listen, user)));
  const on = () => [...sidesOf(proxy)].filter(([user]) => users.includes(user));
  const found = new Set(on().map(([, side]) => side));
  for (const socket of sockets) socket.close();
  await until('all have left', () => on().length === 0);
  return found;
}

async function readyz({ proxy }: Stack): Promise<{ status: number; warnings: string[] }> {
  const answer = await fetch(`${await proxy.admin}/readyz`);
  const { warnings } = (await answer.json()) as { warnings: { code: string }[] };
  return { status: answer.status, warnings: warnings.map(({ code }) => code) };
}

test('56: a start without it serves everybody from legacy and says so; flags count when it is there', async () => {
  const { stub, flags } = await withServer();
  await stub.down();
  const up = closing(await stack({ config: flags, timeoutMs: 10_000 }));
  expect(await sides(up)).toEqual(new Set(['legacy']));
  expect(await goldenPath(up.proxy.listen, 'user_1001')).toBe('done');
  expect(await readyz(up)).toMatchObject({
    status: 200,
    warnings: expect.arrayContaining(['flags-unknown']),
  });
  const { body } = await admin(up.proxy, up.folder, '/status');
  expect(body).toMatchObject({
    flags: { provider: 'unleash', revision: 'none', lastFetch: { ok: false } },
  });
  const why = await admin(up.proxy, up.folder, '/explain?route=events&user=user_1001');
  expect(why.body).toMatchObject({ decision: { primary: 'legacy', reason: 'flags-unknown' } });

  stub.serve(serve(1000), shadow(1000), kill(false));
  await stub.up();
  await until('the flags are there', () => up.proxy.flags.revision !== 'none', 20_000);
  expect(await sides(up)).toEqual(new Set(['candidate']));
  expect((await readyz(up)).warnings).not.toContain('flags-unknown');
});

test('57 to 59: whatever it answers, nobody moves, and everybody is served all the while', async () => {
  const { stub, flags } = await withServer();
  stub.serve(serve(1000), shadow(1000), kill(false));
  const up = closing(await stack({ config: flags, timeoutMs: 10_000 }));
  await until('the flags are there', () => up.proxy.flags.revision !== 'none');
  const stays = await login(up.proxy.listen, 'user_2001');
  const { revision } = up.proxy.flags;
  const cases: [string, Script][] = [
    ['401', status(401)],
    ['500', status(500)],
    ['garbage', json('{"version":2,"features":[{"name":"eve')],
    ['no flags', json({ version: 2, features: [] })],
    ['a wrong schema', json({ version: 2, features: [{ name: 'events.serve', enabled: 'yes' }] })],
    ['nothing', () => undefined],
  ];
  for (const [what, script] of cases) {
    const before = stub.requests.length;
    stub.answer(script);
    await up.proxy.flags.remote?.refetch().catch(() => undefined);
    await until(`it has answered with ${what}`, () => stub.requests.length > before);
    await until(`${what} is noticed`, () => up.proxy.flags.remote?.lastFetch?.ok === false, 20_000);
    expect([what, up.proxy.flags.revision]).toEqual([what, revision]);
    expect([what, await sides(up)]).toEqual([what, new Set(['candidate'])]);
    expect([what, await goldenPath(up.proxy.listen, 'user_1001')]).toEqual([what, 'done']);
    expect([what, (await readyz(up)).status]).toEqual([what, 200]);
  }
  expect((await readyz(up)).warnings.length).toBeGreaterThan(0);
  // 58: as often as it fails in ten minutes, at the 15 s that lie between two looks by then.
  stub.answer(status(503));
  const failedOften = (up.proxy.flags.remote?.fetches.status ?? 0) + FAILURES_OF_TEN_MINUTES;
  await until('it has failed so often', async () => {
    await up.proxy.flags.remote?.refetch().catch(() => undefined);
    return (up.proxy.flags.remote?.fetches.status ?? 0) >= failedOften;
  });
  expect(up.proxy.flags.revision).toBe(revision);
  expect(sidesOf(up.proxy).get('user_2001')).toBe('candidate');
  // A rollback asks no flag server, and needs none: it is through long before the next look.
  const rolledBack = await admin(up.proxy, up.folder, '/rollback', { reason: 'events lost' });
  expect(rolledBack.body).toMatchObject({ changed: true, kept: true, audited: true });
  const proof = await until('it is through', async () => {
    const { body } = await admin(
      up.proxy,
      up.folder,
      `/proofs/${(rolledBack.body.proof as { id: string }).id}`,
    );
    return body.state === 'running' ? undefined : body;
  });
  expect(proof).toMatchObject({
    ...{ state: 'complete', stillOnCandidate: 0 },
    sessions: { affected: 1, inPlace: 1, closed: 0, failed: 0 },
  });
  expect(proof.tookMs).toBeLessThan(10_000);
  expect(sidesOf(up.proxy).get('user_2001')).toBe('legacy');
  expect(await sides(up)).toEqual(new Set(['legacy']));
  await admin(up.proxy, up.folder, '/release', { reason: 'found it' });
  expect(await sides(up)).toEqual(new Set(['candidate']));
  expect(stays.readyState).toBe(stays.OPEN);
  stub.serve(serve(0), shadow(0), kill(false));
  await until('it is believed again', () => up.proxy.flags.revision !== revision, 20_000);
  expect(await sides(up)).toEqual(new Set(['legacy']));
  stays.close();
}, 120_000);
