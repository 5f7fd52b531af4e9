// What a shutdown leaves to the clients of plain HTTP: whole answers, and the word that nothing more is taken. A
// connection whose answer was ended, but still waited for a slow client, was once cut off as an idle one.
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import { frame } from '../support/frame.ts';
import {
  answer,
  asked,
  closeAll,
  closing,
  connected,
  get,
  isLetGo,
  lines,
  withService,
} from '../support/lane.ts';
import { listenerKeys } from '../support/listener-keys.ts';
import { onTheWay } from '../support/on-the-way.ts';
import { decisionFor, proxy, type TestProxy } from '../support/proxy.ts';
import { RawEnd, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);

/** Far below `headersTimeoutMs`, and above any wait of a busy machine. */
const MOST_MS = 5_000;

/** A connection that is kept: its last answer has been given. */
async function idle(front: TestProxy): Promise<RawEnd> {
  const client = await connected(front);
  client.write('OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n');
  await client.has('\r\n\r\n');
  expect(isLetGo(client)).toBe(false);
  return client;
}

const connectionFields = (end: RawEnd) =>
  lines(end).filter(line => line.startsWith('connection: '));

test('answers of which a slow client has not taken all are not cut off', async () => {
  const MANY = 20;
  // More than the kernel keeps on the way to somebody who does not read: 4 MB here and 6 there.
  const body = `{"x":"${'x'.repeat(900_000)}"}`;
  let answered = 0;
  const service = http.createServer((_request, response) => {
    answered += 1;
    response.setHeader('Content-Type', 'application/json').end(body);
  });
  await new Promise<void>(resolve => service.listen(0, '127.0.0.1', resolve));
  closing({ close: () => void service.close().closeAllConnections() });
  const front = closing(
    await proxy({
      legacy: (service.address() as net.AddressInfo).port,
      identity: { sources: [{ from: 'header', name: 'X-User' }], verify: 'unverified' },
      listen: { trustedProxies: ['127.0.0.1'] },
      // Guarded, each is held until it is whole, and then ended, however slow its client is.
      decider: () => ({
        decision: { ...decisionFor('legacy'), isolation: 'sanitize' },
        revision: 'test',
      }),
    }),
  );
  const client = net.connect(front.port, '127.0.0.1');
  closing({ close: () => client.destroy() });
  await once(client, 'connect');
  client.write(get('/api/x', 'X-User: ann\r\n').repeat(MANY));
  await until('all are there', () => answered === MANY && front.traffic.heldBytes.answers === 0);
  const witness = await idle(front);
  let isDrained = false;
  const draining = front.traffic.drain(1).then(() => {
    isDrained = true;
  });
  await until('what is idle is closed', () => isLetGo(witness));
  expect(isDrained).toBe(false);
  const pieces: Buffer[] = [];
  for await (const piece of client) pieces.push(piece);
  expect(Buffer.concat(pieces).toString('latin1').split(body)).toHaveLength(MANY + 1);
  await draining;
});

describe.each([
  ['of a route', '/api/x', false],
  ['of a path without a route', '/elsewhere', false],
  ['in the bypass', '/api/x', true],
])('%s', (_what, path, bypassed) => {
  const place = () => withService({ bypassed: () => bypassed });

  test('an answer under way says that its connection closes behind it, and it does', async () => {
    const { service, front, client } = await place();
    client.write(get(path));
    const upstream = await asked(service);
    const draining = front.traffic.drain(1);
    upstream.write(answer());
    await client.has('\r\n\r\nok');
    await until('it is closed', () => isLetGo(client));
    expect(connectionFields(client)).toEqual(['connection: close']);
    await draining;
  });

  test('so does the answer to a request that comes meanwhile', async () => {
    const { service, front, client } = await place();
    client.write(get(path));
    (await asked(service)).write(answer('one'));
    await client.has('\r\n\r\none');
    const draining = front.traffic.drain(1);
    client.write(`POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi`);
    const again = await until('it is asked', () =>
      service.connections.find(({ text }) => text.includes('POST ')),
    );
    await again.has('hi');
    again.write(answer('two'));
    await client.has('\r\n\r\ntwo');
    await until('it is closed', () => isLetGo(client));
    expect(connectionFields(client)).toEqual(['connection: keep-alive', 'connection: close']);
    await draining;
  });

  test('of several that are due only the last one does', async () => {
    const { service, front, client } = await place();
    client.write(get(path, 'Authorization: a\r\n') + get(path, 'Authorization: b\r\n'));
    const [first, second] = [await asked(service), await asked(service)];
    const draining = front.traffic.drain(1);
    client.write(get(path, 'Authorization: c\r\n'));
    const third = await asked(service);
    for (const [upstream, text] of [
      [third, 'three'],
      [second, 'two'],
      [first, 'one'],
    ] as const)
      upstream.write(answer(text));
    await until('it is closed', () => isLetGo(client));
    expect(client.text).toMatch(/\r\n\r\none[\s\S]*\r\n\r\ntwo[\s\S]*\r\n\r\nthree$/);
    const kept = 'connection: keep-alive';
    expect(connectionFields(client)).toEqual([kept, kept, 'connection: close']);
    await draining;
  });

  test('what comes behind an answer that says so is not begun', async () => {
    const { service, front, client } = await place();
    client.write(get(path));
    const upstream = await asked(service);
    const other = await idle(front);
    void front.traffic.drain(1);
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n');
    await client.has('\r\n\r\n');
    client.write(get(`${path}?late`, 'Authorization: b\r\n'));
    // What was sent before has been read when this is answered.
    other.write('OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n');
    await until('it is answered', () => isLetGo(other));
    upstream.write('ok');
    await until('it is closed', () => isLetGo(client));
    expect(client.text).toMatch(/\r\n\r\nok$/);
    expect(service.connections.some(({ text }) => text.includes('?late'))).toBe(false);
  });
});

test('an early answer to an upload is whole, and its connection closed once the client has come to an end', async () => {
  const { service, front, client } = await withService();
  client.write('POST /api/x HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n');
  client.write('x'.repeat(1_000));
  const upstream = await asked(service);
  const draining = front.traffic.drain(1);
  upstream.write(answer('enough', '', '413 Content Too Large'));
  await client.has('\r\n\r\nenough');
  client.write('x'.repeat(2_999_000));
  await until('it is closed', () => isLetGo(client));
  expect(client.text).toMatch(/\r\n\r\nenough$/);
  expect(front.reports.filter(({ kind }) => kind === 'failed')).toEqual([]);
  await draining;
});

/** It was once closed as idle when nothing more came of it for half a second. */
test.each([
  ['behind an answer', ''],
  [
    'behind the answer to an upload',
    'POST /api/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi',
  ],
])('half of a request that came %s is waited for', async (_what, before) => {
  const { service, front, client } = await withService();
  client.write(before || get('/api/x'));
  const upstream = await asked(service);
  if (before !== '') await upstream.has('hi');
  upstream.write(answer('one'));
  await client.has('\r\n\r\none');
  const [half, rest] = ['GET /api/x HTTP/1.1\r\nHo', 'st: h\r\n\r\n'];
  client.write(half);
  await until('the proxy has read it', () => onTheWay(client, 'out') === 0);
  const witness = await idle(front);
  void front.traffic.drain(1);
  await until('what is idle is closed', () => isLetGo(witness));
  expect(isLetGo(client)).toBe(false);
  upstream.received = Buffer.alloc(0);
  client.write(rest);
  await upstream.has('\r\n\r\n');
  upstream.write(answer('two'));
  await client.has('\r\n\r\ntwo');
  await until('it is closed', () => isLetGo(client));
});

// The fault: its connection was never idle again, and kept the whole drain waiting for its deadline.
test('an empty line behind a request is no part of a next one', async () => {
  const { service, front, client } = await withService();
  client.write(get('/api/x'));
  (await asked(service)).write(answer());
  await client.has('\r\n\r\nok');
  client.write('\r\n');
  await until('the proxy has read it', () => onTheWay(client, 'out') === 0);
  await front.traffic.drain(1);
  await until('it is closed', () => isLetGo(client));
});

test('the other half of a request may never come: its time is that of any head', async () => {
  const { service, front, client } = await withService({ limits: { headersTimeoutMs: 1_500 } });
  client.write(get('/api/x'));
  (await asked(service)).write(answer());
  await client.has('\r\n\r\nok');
  client.write('GET /api/x HTTP/1.1\r\nHo');
  await until('the proxy has read it', () => onTheWay(client, 'out') === 0);
  void front.traffic.drain(1);
  await client.has('HTTP/1.1 408 Request Timeout');
  await until('it is closed', () => isLetGo(client));
});

test('a WebSocket on a connection that was used before is no idle one', async () => {
  const { service, front, client } = await withService();
  client.write(get('/api/x'));
  (await asked(service)).write(answer());
  await client.has('\r\n\r\nok');
  client.write(upgradeRequest());
  const upstream = await service.next();
  await upstream.accept();
  await client.has('101 Switching Protocols');
  const witness = await idle(front);
  void front.traffic.drain(1);
  await until('what is idle is closed', () => isLetGo(witness));
  expect(isLetGo(client)).toBe(false);
  const before = upstream.received.length;
  client.write(frame(8, { payload: Buffer.from([0x03, 0xf4]) }));
  await until('its answer to the close goes on', () => upstream.received.length > before);
});

describe('a connection on which nothing has been said', () => {
  // The fault: it kept the drain waiting for `headersTimeoutMs`, and then got a 408 that nobody had asked for.
  test('closes without a byte', async () => {
    const { front, client } = await withService();
    const draining = front.traffic.drain(1);
    await until('it is closed', () => isLetGo(client), MOST_MS);
    expect(client.text).toBe('');
    await draining;
  });

  test.each(['before', 'behind'])('closes without a byte in TLS %s the handshake', async when => {
    const { front } = await withService({ secrets: { tls: await listenerKeys() } });
    const client = await connected(front);
    let socket = client.socket;
    if (when === 'behind') {
      socket = tls.connect({ socket, rejectUnauthorized: false });
      await once(socket, 'secureConnect');
    }
    const end = new RawEnd(socket);
    const draining = front.traffic.drain(1);
    await until('it is closed', () => isLetGo(end), MOST_MS);
    expect(end.text).toBe('');
    await draining;
  });

  test.each([
    ['half a head', 'GET /api/x HTTP/1.1\r\nHo', 'st: h\r\n\r\n'],
    ['an upgrade', upgradeRequest(), ''],
  ])('is none with %s', async (_what, text, rest) => {
    const { service, front, client } = await withService();
    client.write(text);
    await until('the proxy has read it', () => onTheWay(client, 'out') === 0);
    const witness = await connected(front);
    void front.traffic.drain(1);
    await until('who is silent is let go', () => isLetGo(witness));
    expect(isLetGo(client)).toBe(false);
    client.write(rest);
    await asked(service);
  });
});
