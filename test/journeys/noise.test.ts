// From a service that never says the same twice to a comparison that is quiet about it: measured by the
// command, written as a file, reviewed, named by the configuration, in force.
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type net from 'node:net';
import path from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningProxy, startProxy } from '../../src/main.ts';
import { cutover } from '../support/command.ts';
import { admin, place } from '../support/stack.ts';
import { until } from '../support/until.ts';

let where: Awaited<ReturnType<typeof place>>;
let services: http.Server[];
let proxy: RunningProxy;
let asking: AbortController;

/** Of a service. */
let nextLoad = Math.random;

/** Its load differs each time, as a rule; its price is what `price` says. */
async function service(price: () => number): Promise<string> {
  const server = http.createServer((_request, response) => {
    response.setHeader('content-type', 'application/json');
    const load = nextLoad();
    response.end(JSON.stringify({ load, node: { load }, price: price() }));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  services.push(server);
  return `http://127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}

let candidatePrice = 1;
beforeEach(async () => {
  services = [];
  nextLoad = Math.random;
  asking = new AbortController();
  const urls = { legacy: await service(() => 1), candidate: await service(() => candidatePrice) };
  where = await place(urls, { stage: ['shadow'] });
  const file = path.join(where.folder, 'cutover.yaml');
  const api =
    '  - { name: api, path: /api/*, protocol: http, flags: { serve: events.serve, shadow: events.shadow } }\n';
  await writeFile(file, (await readFile(file, 'utf8')).replace('identity:', `${api}identity:`));
  proxy = await startProxy({
    loaded: await loadConfig(file, {}),
    env: {},
    logger: pino({ level: 'silent' }),
  });
});
afterEach(async () => {
  asking.abort();
  await proxy.close();
  for (const server of services) {
    server.closeAllConnections();
    server.close();
  }
  await where.close();
});

async function keepAsking(): Promise<void> {
  const { signal } = asking;
  while (!signal.aborted) await (await fetch(`${proxy.listen}/api/x`, { signal })).text();
}
const books = () => proxy.judge.books().get('api')?.legacy;

test('what legacy differs in from itself is noise, once measured, reviewed and named; nothing else is', async () => {
  const { folder } = where;
  void keepAsking().catch(error => {
    // At the end it is aborted in the middle of one.
    if (!asking.signal.aborted) throw error;
  });
  await until('it is compared', () => (books()?.mismatch ?? 0) > 0);
  const env = {
    CUTOVER_ADMIN: await proxy.admin,
    CUTOVER_TOKEN_FILE: path.join(folder, 'state/admin.token'),
  };
  const measure = ['noise', 'measure', '--route', 'api', '--for', '2s', '--share', '50%'];
  const ran = await cutover(measure, { cwd: folder, env });
  expect(ran).toMatchObject({ code: 0, stderr: '' });
  const written = await readFile(path.join(folder, 'api.noise.yaml'), 'utf8');
  expect(written).toMatch(/path: "\/load", pairs: \d+, differed: \d+/);
  expect(written).toMatch(/path: "\/node\/load"/);
  expect(written).not.toMatch(/price/);

  // A file that somebody may have reviewed is left alone.
  const again = await cutover([...measure.slice(0, -4), '--for', '1s'], { cwd: folder, env });
  expect(again).toMatchObject({ code: 1, stderr: expect.stringContaining('is there already') });

  const file = path.join(folder, 'cutover.yaml');
  const named = (await readFile(file, 'utf8')).replace(
    'path: /api/*,',
    'path: /api/*, noise: api.noise.yaml,',
  );
  await writeFile(file, named);
  const checked = await cutover(['config', 'check', file], { cwd: folder });
  expect(checked.stdout).toContain('route api excuses the values of 2 fields of 1 event types');
  expect(await proxy.reload()).toMatchObject({ ok: true });
  await until('it is noise', () => (books()?.noise ?? 0) > 0);
  const before = books()?.mismatch;
  const noise = books()?.noise ?? 0;
  await until('more of it is', () => (books()?.noise ?? 0) > noise + 10);
  expect(books()?.mismatch).toBe(before);

  candidatePrice = 2;
  await until('a price is none', () => (books()?.mismatch ?? 0) > (before ?? 0));
  const refused = await admin(proxy, folder, '/noise', { route: 'api', forMs: 1_000, share: 1 });
  expect(refused.status).toBe(409);
}, 60_000);

// The fault: three pairs were called proof that it never differs.
test('where nothing differed, it says how little the pairs that it saw prove', async () => {
  nextLoad = () => 1;
  void keepAsking().catch(error => {
    if (!asking.signal.aborted) throw error;
  });
  const env = {
    CUTOVER_ADMIN: await proxy.admin,
    CUTOVER_TOKEN_FILE: path.join(where.folder, 'state/admin.token'),
  };
  const measure = ['noise', 'measure', '--route', 'api', '--for', '2s', '--share', '50%'];
  const { stdout } = await cutover(measure, { cwd: where.folder, env });
  const [, pairs, most] =
    /did not differ from itself in (\d+) pairs: by these alone, up to (\S+) % of all may/.exec(
      stdout,
    ) ?? [];
  // So many alike have a chance of 5 % where so large a share differs.
  expect((1 - Number(most) / 100) ** Number(pairs)).toBeCloseTo(0.05, 1);
});

test('what can not be measured is refused with a sentence', async () => {
  const ask = async (body: object) => {
    const answer = await admin(proxy, where.folder, '/noise', body);
    return [answer.status, JSON.stringify(answer.body)];
  };
  const asked = { route: 'api', forMs: 60_000, share: 0.1 };
  expect(await ask({ ...asked, route: 'events' })).toEqual([
    409,
    expect.stringContaining('upstreams.legacyTwin names none'),
  ]);
  expect(await ask({ ...asked, route: 'nowhere' })).toEqual([404, expect.anything()]);
  expect(await ask({ ...asked, share: 2 })).toEqual([422, expect.stringContaining('share')]);
  expect((await ask(asked))[0]).toBe(200);
  expect(await ask(asked)).toEqual([409, expect.stringContaining('is being measured')]);
});
