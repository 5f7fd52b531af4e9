// From a fault in the candidate to what an engineer sees of it: a real proxy with the shipped
// configuration, both services, users who log in; evidence over the admin API, nothing personal on the
// disk.
import { cp, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type RunningBroadcaster, startBroadcaster } from '../../src/broadcast/server.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { SessionBooks } from '../../src/control/books-routes.ts';
import type { EvidenceSummary, GroupExamples, GroupPage } from '../../src/control/evidence/kept.ts';
import { type RunningProxy, startProxy } from '../../src/main.ts';
import { admin, featuresFor, login, SECRET, tokenFor } from '../support/stack.ts';
import { until } from '../support/until.ts';

const ROOT = path.join(import.meta.dirname, '../..');
const USERS = ['user_1001', 'user_1002', 'user_1003'];
let folder: string;
let services: RunningBroadcaster[];
let proxy: RunningProxy;

const start = async () => {
  const [legacy, candidate] = services;
  const env = {
    ...{ CUTOVER_PORT: '0', CUTOVER_ADMIN_PORT: '0' },
    ...{ CUTOVER_LEGACY: legacy?.url ?? '', CUTOVER_CANDIDATE: candidate?.url ?? '' },
  };
  const loaded = await loadConfig(path.join(folder, 'cutover.yaml'), env);
  proxy = await startProxy({ loaded, env, logger: pino({ level: 'silent' }) });
};
const ask = async <T>(call: string) => (await admin(proxy, folder, call)).body as T;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'cutover-evidence-'));
  await cp(path.join(ROOT, 'cutover.yaml'), path.join(folder, 'cutover.yaml'));
  await mkdir(path.join(folder, 'flags'));
  const flags = { version: 2, features: featuresFor('shadow') };
  await writeFile(path.join(folder, 'flags/events.json'), JSON.stringify(flags));
  const keys = { secret: SECRET };
  const faults = [{ kind: 'wrong-type', rate: 1 } as const];
  services = [
    await startBroadcaster({ kind: 'legacy', keys }),
    await startBroadcaster({ kind: 'ssot', keys, faults, seed: 7 }),
  ];
  await start();
});
afterEach(async () => {
  await proxy.close();
  for (const service of services) await service.close();
  await rm(folder, { recursive: true, force: true });
});

/** A run of three events for a user, as a backend posts them. */
async function run(user: string): Promise<void> {
  for (const type of ['agent_started', 'agent_thinking', 'agent_completed']) {
    const event = {
      type,
      run_id: `run of ${user}`,
      user_id: user,
      data: { message: `to ${user}` },
    };
    const answer = await fetch(`${proxy.listen}/broadcast`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ user_id: user, event }),
    });
    expect(answer.status).toBe(200);
  }
}

test('a fault of the candidate is found by kind and place, with examples, and counted by runs', async () => {
  const kinds = async (filter: string) => (await ask<GroupPage>(`/evidence?${filter}`)).groups;
  const sockets = await Promise.all(USERS.map(user => login(proxy.listen, user)));
  await until(
    'everybody has both legs',
    async () => {
      const [greeting] = await kinds('type=connection_established&verdict=match');
      return greeting?.count === USERS.length;
    },
    60_000,
  );
  for (const user of USERS) await run(user);
  const found = await until(
    'it is found',
    async () => {
      const groups = await kinds('verdict=mismatch&path=/type');
      return groups.length > 0 ? groups : null;
    },
    60_000,
  );
  expect(found[0]).toMatchObject({ route: 'events', kind: 'value', path: '/type' });
  const { examples } = await ask<GroupExamples>(`/evidence/${found[0]?.id}`);
  // Whose it was is still there, and has books of its own.
  const { books } = await ask<SessionBooks>(`/books?session=${examples[0]?.session}`);
  expect(books).toMatchObject({ imbalance: null, legacy: { mismatch: books.candidate.mismatch } });
  expect(books.candidate.mismatch).toBeGreaterThanOrEqual(1);
  for (const socket of sockets) socket.close();
  // The books are closed, units under way are counted, and the next process knows of them.
  await proxy.close();
  await start();
  const { rates } = await ask<EvidenceSummary>('/evidence/summary?route=events');
  const [route] = rates;
  expect(route).toMatchObject({ eventType: null, kinds: { match: expect.any(Number) } });
  expect(route?.units).toBeGreaterThanOrEqual(USERS.length);
  expect(route?.diverged).toBeGreaterThanOrEqual(1);
  expect(await ask('/status')).toMatchObject({
    routes: [{ name: 'events', divergence: { diverged: route?.diverged } }, {}, {}],
  });

  const state = path.join(folder, 'state');
  const tokens = await Promise.all(USERS.map(tokenFor));
  for (const name of await readdir(state)) {
    const content = await readFile(path.join(state, name), 'latin1');
    for (const raw of [...USERS, ...tokens]) expect(content.includes(raw), name).toBe(false);
  }
});
