import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { afterEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { CRITICAL_EVENTS } from '../../src/broadcast/event.ts';
import type { BroadcasterOptions, RunningBroadcaster } from '../../src/broadcast/server.ts';
import { startBroadcaster } from '../../src/broadcast/server.ts';
import { mintToken, tokenSubprotocols } from '../../src/broadcast/token.ts';
import { until } from '../support/until.ts';
import { attach, listen, post, SECRET, service } from './listener.ts';

const running: RunningBroadcaster[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map(each => each.close()));
});

async function start(options: Omit<BroadcasterOptions, 'keys'>): Promise<RunningBroadcaster> {
  const broadcaster = await service(options);
  running.push(broadcaster);
  return broadcaster;
}

const wsUrl = (url: string, path = '/ws') => `${url.replace('http', 'ws')}${path}`;

test('the token-bearing subprotocol is echoed verbatim, wherever in the list it stands', async () => {
  const { url } = await start({ kind: 'ssot' });
  const token = await mintToken(SECRET, 'alice');
  const [plain, bearing] = tokenSubprotocols(token);
  for (const offered of [[plain, bearing], [bearing, plain], [`jwt.${token}`], ['chat', bearing]]) {
    const socket = new WebSocket(wsUrl(url), offered);
    const [answer] = await once(socket, 'upgrade');
    const accepted = (answer as IncomingMessage).headers['sec-websocket-protocol'];
    expect(accepted).toBe(offered.find(each => each.startsWith('jwt.')));
    socket.terminate();
  }
});

test('bearer, query and all paths open a socket of the same user', async () => {
  const { url } = await start({ kind: 'legacy' });
  const token = await mintToken(SECRET, 'alice');
  const opened = [
    new WebSocket(wsUrl(url), { headers: { authorization: `Bearer ${token}` } }),
    ...['token', 'jwt', 'auth_token', 'access_token'].map(
      name => new WebSocket(`${wsUrl(url)}?${name}=${token}`),
    ),
    ...['/ws/factory', '/ws/isolated', '/api/v1/websocket'].map(
      path => new WebSocket(wsUrl(url, path), tokenSubprotocols(token)),
    ),
  ];
  for (const listener of opened.map(attach)) {
    const [greeting] = await listener.gets(1);
    expect(greeting).toMatchObject({ type: 'connection_established', data: { user_id: 'alice' } });
  }
});

test('a ticket opens one socket and no second', async () => {
  const { url } = await start({ kind: 'ssot' });
  const authorization = `Bearer ${await mintToken(SECRET, 'alice')}`;
  const answer = await fetch(`${url}/ws/ticket`, { method: 'POST', headers: { authorization } });
  const { ticket } = Object(await answer.json());
  const first = attach(new WebSocket(`${wsUrl(url)}?ticket=${ticket}`));
  await first.gets(1, event => event.type === 'connection_established');
  const second = attach(new WebSocket(`${wsUrl(url)}?ticket=${ticket}`));
  await second.gets(1, event => event.error_code === 'AUTH_FAILED');
  expect((await fetch(`${url}/ws/ticket`, { method: 'POST' })).status).toBe(401);
});

test('a credential that does not hold is told so and closed with 1008, or refused with 403', async () => {
  const stale = await mintToken(SECRET, 'alice', { expiresInS: -1 });
  const forged = await mintToken('another secret of thirty-two bytes', 'alice');
  for (const kind of ['legacy', 'ssot'] as const) {
    const closing = await start({ kind });
    const refusing = await start({ kind, authFailure: 'refuse' });
    for (const offered of [[], tokenSubprotocols(stale), tokenSubprotocols(forged)]) {
      const turnedAway = attach(new WebSocket(wsUrl(closing.url), offered));
      await until('the socket is closed', () => turnedAway.code);
      expect(turnedAway.code).toBe(1008);
      expect(turnedAway.events).toMatchObject([
        { type: 'error_message', error_code: 'AUTH_FAILED' },
      ]);
      const refused = new WebSocket(wsUrl(refusing.url), offered);
      refused.on('error', () => undefined);
      const [, answer] = await once(refused, 'unexpected-response');
      expect((answer as IncomingMessage).statusCode).toBe(403);
    }
  }
});

test('keys of a key set open sockets, and an unknown key does not', async () => {
  const [ours, other] = await Promise.all([generateKeyPair('ES256'), generateKeyPair('ES256')]);
  const jwk = { ...(await exportJWK(ours.publicKey)), kid: 'k1', alg: 'ES256' };
  const broadcaster = await startBroadcaster({ kind: 'ssot', keys: { jwks: { keys: [jwk] } } });
  running.push(broadcaster);
  const sign = (key: typeof ours.privateKey) =>
    new SignJWT({})
      .setProtectedHeader({ alg: 'ES256', kid: 'k1' })
      .setSubject('alice')
      .setExpirationTime('1m')
      .sign(key);
  const good = attach(
    new WebSocket(`${wsUrl(broadcaster.url)}?token=${await sign(ours.privateKey)}`),
  );
  await good.gets(1, event => event.type === 'connection_established');
  const bad = attach(
    new WebSocket(`${wsUrl(broadcaster.url)}?token=${await sign(other.privateKey)}`),
  );
  await bad.gets(1, event => event.error_code === 'AUTH_FAILED');
});

test('what is not understood is answered, and the socket stays open', async () => {
  for (const kind of ['legacy', 'ssot'] as const) {
    const { url } = await start({ kind });
    const alice = await listen(url, 'alice');
    const deep = `{"type":"chat","x":${'['.repeat(50_000)}${']'.repeat(50_000)}}`;
    for (const text of ['{', '"text"', '[]', '{"type":7}', '{"type":"nonsense"}', deep]) {
      alice.say(text);
    }
    alice.say({ type: 'ping', message_id: 'p' });
    await alice.gets(1, event => event.type === 'pong');
    expect(alice.events.map(event => event.error_code).filter(Boolean)).toEqual([
      'JSON_PARSE_ERROR',
      'INVALID_MESSAGE',
      'INVALID_MESSAGE',
      'INVALID_MESSAGE',
      'UNKNOWN_MESSAGE_TYPE',
      'BROADCAST_FAILED',
    ]);
    alice.socket.send(Buffer.from([1, 2, 3]));
    await until('the socket is closed', () => alice.code);
    expect(alice.code).toBe(1003);
  }
});

test('runs of many users at once stay apart, and each is in order', async () => {
  for (const kind of ['legacy', 'ssot'] as const) {
    const { url } = await start({ kind });
    const users = Array.from({ length: 20 }, (_, index) => `user ${index} <ü>`);
    const listeners = await Promise.all(users.map(user => listen(url, user)));
    for (const [index, listener] of listeners.entries()) {
      for (const type of ['chat', 'start_agent']) {
        listener.say({ type, message: `secret of ${users[index]}`, message_id: type });
      }
    }
    for (const [index, listener] of listeners.entries()) {
      const events = await listener.gets(10, event => event.run_id !== undefined);
      const runs = Map.groupBy(events, event => event.run_id);
      expect(runs.size).toBe(2);
      for (const run of runs.values()) expect(run.map(each => each.type)).toEqual(CRITICAL_EVENTS);
      for (const other of users.filter((_, each) => each !== index)) {
        expect(JSON.stringify(events)).not.toContain(`"secret of ${other}"`);
      }
      expect(JSON.stringify(events)).toContain(`secret of ${users[index]}`);
    }
  }
});

test('both services derive the same ids and keys from the same message', async () => {
  const keys: string[][] = [];
  for (const kind of ['legacy', 'ssot'] as const) {
    const due: string[] = [];
    const { url } = await start({ kind, onWritten: (user, key) => due.push(`${user} ${key}`) });
    const alice = await listen(url, 'alice');
    alice.say({ type: 'agent_request', message: 'hi', message_id: '1' });
    alice.say({ type: 'agent_request', message: 'hi', message_id: '2' });
    await alice.gets(10, event => event.run_id !== undefined);
    keys.push(due.sort());
  }
  expect(keys[0]).toEqual(keys[1]);
  expect(new Set(keys[0]).size).toBe(10);
});

test('silent sockets are dropped and answering ones are kept', async () => {
  const { url } = await start({ kind: 'ssot', liveness: { pingEveryMs: 40, pongWithinMs: 40 } });
  const lively = await listen(url, 'alice');
  const silent = attach(
    new WebSocket(wsUrl(url), tokenSubprotocols(await mintToken(SECRET, 'bob')), {
      autoPong: false,
    }),
  );
  await silent.gets(1);
  let pings = 0;
  lively.socket.on('ping', () => pings++);
  await until('the silent one is dropped', () => silent.code !== undefined && pings >= 4);
  expect(silent.code).toBe(1006);
  expect(lively.socket.readyState).toBe(WebSocket.OPEN);
});

test('ingest answers as each service does, and refuses what it can not use', async () => {
  const legacy = await start({ kind: 'legacy' });
  const ssot = await start({ kind: 'ssot' });
  await listen(legacy.url, 'alice');
  await listen(ssot.url, 'alice');
  expect(await post(legacy.url, 'alice', { type: 'note' })).toEqual({ sent: 1 });
  expect(await post(legacy.url, 'bob', { type: 'note' })).toEqual({ sent: 0 });
  expect(await post(ssot.url, 'alice', { type: 'note' })).toMatchObject({
    user_id: 'alice',
    successful_sends: 1,
    is_successful: true,
  });
  expect(await post(ssot.url, 'bob', { type: 'note' })).toMatchObject({ is_successful: false });
  const bodies = ['{', '[]', '{"user_id":"","event":{"type":"x"}}', '{"user_id":"a","event":{}}'];
  for (const body of bodies) {
    const answer = await fetch(`${ssot.url}/broadcast`, { method: 'POST', body });
    expect(answer.status).toBe(400);
  }
  const large = JSON.stringify({ user_id: 'a', event: { type: 'x', pad: 'x'.repeat(1_100_000) } });
  expect((await fetch(`${ssot.url}/broadcast`, { method: 'POST', body: large })).status).toBe(413);
});

test('an event stream carries the events of its user, by bearer or query', async () => {
  const { url } = await start({ kind: 'ssot' });
  const token = await mintToken(SECRET, 'alice');
  expect((await fetch(`${url}/events`)).status).toBe(401);
  const stream = request(`${url}/events?token=${token}`).end();
  const [response] = (await once(stream, 'response')) as [IncomingMessage];
  expect(response.headers['content-type']).toBe('text/event-stream');
  let text = '';
  response.setEncoding('utf8').on('data', chunk => {
    text += chunk;
  });
  await until('the greeting arrived', () => text.includes('connection_established'));
  await post(url, 'bob', { type: 'note', n: 1 });
  await post(url, 'alice', { type: 'note', n: 2, line: 'a\n\nb' });
  await until('the event arrived', () => text.includes('"n":2'));
  const lines = text.split('\n\n').filter(Boolean);
  expect(lines).toHaveLength(2);
  expect(JSON.parse(lines[1]?.slice('data: '.length) ?? '')).toMatchObject({ line: 'a\n\nb' });
  stream.destroy();
  await until('the connection is forgotten', () =>
    JSON.stringify(connectionsOf(running[0])).includes('"connections":0'),
  );
});

function connectionsOf(broadcaster: RunningBroadcaster | undefined): unknown {
  return Object(broadcaster?.stats()).service_info;
}

test('health, configuration and figures are there, everything else is 404', async () => {
  const { url } = await start({ kind: 'legacy' });
  for (const path of ['/health', '/health/live', '/health/ready', '/ws/health', '/ws/config']) {
    expect((await fetch(url + path)).status).toBe(200);
  }
  expect(await (await fetch(`${url}/ws/stats`)).json()).toMatchObject({ users: 0, connections: 0 });
  expect((await fetch(`${url}/elsewhere`)).status).toBe(404);
  const elsewhere = new WebSocket(wsUrl(url, '/elsewhere'));
  elsewhere.on('error', () => undefined);
  const [, answer] = await once(elsewhere, 'unexpected-response');
  expect((answer as IncomingMessage).statusCode).toBe(404);
});

test('a client that resets in the middle of its handshake or run harms nobody', async () => {
  const { url, port } = await start({ kind: 'ssot' });
  const token = await mintToken(SECRET, 'alice');
  for (let n = 0; n < 20; n++) {
    const raw = connect(port, '127.0.0.1');
    await once(raw, 'connect');
    raw.write(
      `GET /ws?token=${token} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
    );
    raw.resetAndDestroy();
  }
  const gone = await listen(url, 'alice');
  gone.say({ type: 'chat', message: 'hi' });
  gone.socket.terminate();
  const alice = await listen(url, 'alice');
  alice.say({ type: 'ping' });
  await alice.gets(1, event => event.type === 'pong');
});

test('a service that ends says so to every socket and closes 1001', async () => {
  for (const kind of ['legacy', 'ssot'] as const) {
    const broadcaster = await service({ kind });
    const alice = await listen(broadcaster.url, 'alice');
    await broadcaster.close();
    await until('the socket is closed', () => alice.code);
    expect(alice.code).toBe(1001);
    expect(alice.events.at(-1)).toMatchObject({
      type: 'connection_error',
      payload: { error_code: 'SERVICE_SHUTDOWN' },
    });
  }
});
