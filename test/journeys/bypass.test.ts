// The emergency lane as an operator uses it: engaged it carries everything to legacy, whatever flags say;
// a restart does not end it; ended, flags decide again, and nobody has lost an event.
import { once } from 'node:events';
import http from 'node:http';
import path from 'node:path';
import pino from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import type { WebSocket } from 'ws';
import { loadConfig } from '../../src/config/load.ts';
import type { WritesView } from '../../src/control/write-view.ts';
import { type RunningProxy, startProxy } from '../../src/main.ts';
import { admin, goldenPath, login, type Stack, stack, tokenFor } from '../support/stack.ts';
import { until } from '../support/until.ts';

/** Catches a hang: services and a proxy, on a machine that may be busy. */
vi.setConfig({ testTimeout: 120_000 });

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function live(config = ''): Promise<Stack> {
  const up = await stack({ stage: ['live'], config });
  open.push(up);
  return up;
}

const bypass = (up: Stack, body: object, proxy: RunningProxy = up.proxy) =>
  admin(proxy, up.folder, '/bypass', body);
const engaged = { state: 'on', reason: 'events lost' };
const ended = { state: 'off', reason: 'found it' };

/** Connections of users that a service holds: WebSockets and streams. */
function connections(up: Stack, side: 'legacy' | 'candidate'): number {
  const [, count] =
    /"(?:total_)?connections":(\d+)/.exec(JSON.stringify(up.services[side].stats())) ?? [];
  return Number(count);
}

async function webSocket(up: Stack, user: string, proxy: RunningProxy = up.proxy) {
  const socket = await login(proxy.listen, user);
  open.push({ close: () => socket.terminate() });
  let text = '';
  socket.on('message', data => {
    text += String(data);
  });
  return { socket, text: () => text };
}

async function stream(up: Stack, user: string) {
  const request = http.get(`${up.proxy.listen}/events`, {
    headers: { authorization: `Bearer ${await tokenFor(user)}` },
    agent: false,
  });
  open.push({ close: () => request.destroy() });
  const [response] = (await once(request, 'response')) as [http.IncomingMessage];
  let text = '';
  response.setEncoding('utf8').on('data', chunk => {
    text += chunk;
  });
  response.on('error', () => undefined);
  return { status: response.statusCode, text: () => text, isWhole: () => response.complete };
}

async function post(proxy: RunningProxy, user: string, run: string): Promise<number> {
  const answer = await fetch(`${proxy.listen}/broadcast`, {
    method: 'POST',
    body: JSON.stringify({ user_id: user, event: { type: 'notice', run_id: run } }),
  });
  await answer.arrayBuffer();
  return answer.status;
}

async function health(proxy: RunningProxy): Promise<string> {
  const answer = await fetch(`${proxy.listen}/health`);
  return ((await answer.json()) as { service: string }).service;
}

const closeOf = async (socket: WebSocket) => ((await once(socket, 'close')) as [number])[0];
const times = (text: string, run: string) => text.split(`"${run}"`).length - 1;

// The fault: what was on its way to the candidate was carried on, and a legacy that failed meanwhile left him there.
test('engaged, it takes nobody to the candidate who was on his way there', async () => {
  const up = await stack();
  open.push(up);
  const { socket } = await webSocket(up, 'user_1001');
  await up.editFlags('live');
  await until('a leg is dialled for him', () => connections(up, 'candidate') === 1);
  expect((await bypass(up, engaged)).status).toBe(200);
  // Before the legs have had their time beside each other.
  let code = 0;
  socket.on('close', how => {
    code = how;
  });
  await up.services.legacy.close();
  await until('he is told', () => code !== 0);
  expect(code).toBe(1_001);
  await until('the leg is let go', () => connections(up, 'candidate') === 0);
});

test('engaged, it carries everything to legacy whatever flags say; ended, flags decide again', async () => {
  const up = await live();
  const older = await webSocket(up, 'user_1001');
  await until('the candidate serves him', () => connections(up, 'candidate') === 1);
  expect((await bypass(up, engaged)).status).toBe(200);
  const before = connections(up, 'legacy');

  const socket = await webSocket(up, 'user_1002');
  const events = await stream(up, 'user_1003');
  expect(events.status).toBe(200);
  await until('legacy serves both', () => connections(up, 'legacy') === before + 2);
  // A stage that leaves legacy out would matter to the decision, and there is none.
  await up.editFlags('complete');
  expect(await goldenPath(up.proxy.listen, 'user_1004')).toBe('done');
  expect(await health(up.proxy)).toBe('legacy');
  const due = up.services.candidate.counts.due;
  for (const user of ['user_1002', 'user_1003']) {
    expect(await post(up.proxy, user, `run of ${user}`)).toBe(200);
  }
  await until('both got theirs', () => {
    const [a, b] = [socket.text(), events.text()];
    return times(a, 'run of user_1002') === 1 && times(b, 'run of user_1003') === 1;
  });
  expect(up.services.candidate.counts.due).toBe(due);
  // Who was there before stays where he was.
  expect(older.socket.readyState).toBe(older.socket.OPEN);
  expect(connections(up, 'candidate')).toBe(1);

  const status = (await admin(up.proxy, up.folder, '/status')).body;
  expect(status).toMatchObject({
    bypass: {
      engaged: { reason: 'events lost' },
      open: { bypass: 2, candidate: 1 },
      legacy: { openSessions: 1, openStreams: 1 },
      failures: {},
    },
    warnings: [expect.objectContaining({ code: 'bypass-engaged' })],
  });

  expect((await bypass(up, ended)).body).toMatchObject({ engaged: null, open: { bypass: 2 } });
  const next = await webSocket(up, 'user_1005');
  await until('the candidate serves him', () => connections(up, 'candidate') === 2);
  // Legacy is out of it, but for those who came in through the bypass: what is posted reaches them too.
  for (const user of ['user_1002', 'user_1005'])
    expect(await post(up.proxy, user, 'later')).toBe(200);
  await until('both got theirs', () =>
    [socket, next].every(({ text }) => times(text(), 'later') === 1),
  );
});

test('a restart in the middle of it does not end it', async () => {
  const up = await live();
  await bypass(up, engaged);
  await up.proxy.close();
  const logged: string[] = [];
  const again = await startProxy({
    loaded: await loadConfig(path.join(up.folder, 'cutover.yaml'), {}),
    env: {},
    logger: pino({}, { write: line => void logged.push(line) }),
  });
  open.push(again);
  expect(logged.join('')).toMatch(/"reason":"events lost".*the bypass is engaged/);
  await webSocket(up, 'user_1001', again);
  await until('legacy serves him', () => connections(up, 'legacy') === 1);
  expect(connections(up, 'candidate')).toBe(0);
  await bypass(up, ended, again);
  await webSocket(up, 'user_1002', again);
  await until('the candidate serves him', () => connections(up, 'candidate') === 1);
});

test('--close-open ends with 1012 what is open, at a pace, and it comes back through the bypass', async () => {
  const up = await live('limits: { drainMs: 1500 }');
  const users = Array.from({ length: 6 }, (_, i) => `user_${1001 + i}`);
  const sockets: Awaited<ReturnType<typeof webSocket>>[] = [];
  for (const user of users) sockets.push(await webSocket(up, user));
  const events = await stream(up, 'user_1101');
  const startedAt = performance.now();
  const closes = sockets.map(async ({ socket }) => ({
    code: await closeOf(socket),
    at: performance.now() - startedAt,
  }));
  const { body } = await bypass(up, { ...engaged, closeOpen: true });
  expect(body).toMatchObject({ ending: { count: 7, overMs: 1_500 } });
  const ends = await Promise.all(closes);
  expect(ends.map(({ code }) => code)).toEqual(ends.map(() => 1012));
  expect(Math.max(...ends.map(({ at }) => at))).toBeGreaterThan(900);
  // A stream has the end that its service would give it, and its client asks again.
  await until('the stream has ended', events.isWhole);
  await until('nobody is left on the candidate', () => connections(up, 'candidate') === 0);
  for (const user of users) await webSocket(up, user);
  expect((await admin(up.proxy, up.folder, '/bypass')).body).toMatchObject({
    open: { bypass: 6, legacy: 0, candidate: 0 },
  });
});

test('as long as somebody is on the candidate, what is posted reaches him there, through an ending at a pace too', async () => {
  const up = await live('limits: { drainMs: 3000 }');
  const older: Awaited<ReturnType<typeof webSocket>>[] = [];
  for (const i of [1, 2, 3, 4]) older.push(await webSocket(up, `user_100${i}`));
  const last = older[3] as (typeof older)[number];
  await until('the candidate serves them', () => connections(up, 'candidate') === 4);
  await bypass(up, engaged);
  const newer = await webSocket(up, 'user_1005');
  const postBoth = async (run: string) => {
    for (const user of ['user_1004', 'user_1005'])
      expect(await post(up.proxy, user, run)).toBe(200);
    await until('both got theirs', () =>
      [last, newer].every(({ text }) => times(text(), run) === 1),
    );
  };
  await postBoth('the first');
  await up.editFlags('shadow');
  await postBoth('after a stage change');

  const closes = older.map(({ socket }) => closeOf(socket));
  await bypass(up, { ...engaged, closeOpen: true });
  await postBoth('while they are ended');
  expect(await Promise.all(closes)).toEqual([1012, 1012, 1012, 1012]);
  await until('nobody is left there', () => connections(up, 'candidate') === 0);

  const writes = async () => {
    const { body } = await admin(up.proxy, up.folder, '/writes');
    return (body as unknown as WritesView).routes.find(({ route }) => route === 'bypass');
  };
  await until('the candidate has answered', async () => (await writes())?.inFlight === 0);
  expect(await writes()).toMatchObject({ both: 6, agreed: 6, primary: 0 });
  expect(await post(up.proxy, 'user_1005', 'and now')).toBe(200);
  await until('he got it', () => times(newer.text(), 'and now') === 1);
  expect(await writes()).toMatchObject({ both: 6, primary: 1 });
});

test('a proxy that takes over follows the bypass of the one that still holds the folder', async () => {
  const up = await live();
  const loaded = await loadConfig(path.join(up.folder, 'cutover.yaml'), {});
  const options = { loaded, env: {}, logger: pino({ level: 'silent' }), takeOver: true };
  const next = await startProxy(options);
  open.push(next);
  await bypass(up, engaged);
  await until('the next one sends everybody to legacy', async () => {
    const due = up.services.candidate.counts.due;
    expect(await goldenPath(next.listen, 'user_1001')).toBe('done');
    return up.services.candidate.counts.due === due;
  });
  await bypass(up, ended);
  await until('and back', async () => {
    const due = up.services.candidate.counts.due;
    expect(await goldenPath(next.listen, 'user_1001')).toBe('done');
    return up.services.candidate.counts.due > due;
  });
});
