import { once } from 'node:events';
import type http from 'node:http';
import type net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { controlFrame } from '../../src/wire/frames.ts';
import { acceptFor } from '../../src/wire/handshake.ts';
import { freePort } from '../support/free-port.ts';
import { type ProxyOptions, proxy, type TestProxy } from '../support/proxy.ts';
import { KEY, type RawServer, rawClient, rawServer, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function withService(
  options: Partial<ProxyOptions> = {},
): Promise<{ service: RawServer; front: TestProxy }> {
  const service = await rawServer();
  const front = await proxy({ legacy: service.port, ...options });
  open.push(service, front);
  return { service, front };
}

async function client(port: number) {
  const end = await rawClient(port);
  open.push({ close: () => end.socket.destroy() });
  return end;
}

const text = (message: string) =>
  Buffer.concat([Buffer.from([0x81, message.length]), Buffer.from(message)]);

describe('the handshake that a service sees', () => {
  test("is the client's own: path, query, cookies, credentials, Origin, subprotocols in order", async () => {
    const { service, front } = await withService();
    const end = await client(front.port);
    end.write(
      upgradeRequest(
        '/ws?token=a%2Fb&x',
        'Origin: https://app.test\r\nCookie: a=1; b=2\r\nAuthorization: Bearer t\r\nSec-WebSocket-Protocol: jwt-auth, jwt.abc, json\r\nX-Own: Yes\r\n',
      ),
    );
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    expect(upstream.text).toMatch(/^GET \/ws\?token=a%2Fb&x HTTP\/1\.1\r\nHost: proxy\.test\r\n/);
    for (const line of [
      'Origin: https://app.test',
      'Cookie: a=1; b=2',
      'Authorization: Bearer t',
      'Sec-WebSocket-Protocol: jwt-auth, jwt.abc, json',
      'X-Own: Yes',
      'Upgrade: websocket',
      'Connection: Upgrade',
      'X-Forwarded-For: 127.0.0.1',
    ]) {
      expect(upstream.text.split('\r\n')).toContain(line);
    }
    expect(upstream.text).toMatch(/\r\nX-Request-Id: \S+\r\nTraceparent: 00-\S+\r\n/);
    expect(upstream.text).toMatch(/\r\nX-Cutover-Session: [0-9a-f-]{36}\r\n/);
  });

  test('offers no compression, and carries nothing that only the proxy may claim', async () => {
    const { service, front } = await withService();
    const end = await client(front.port);
    end.write(
      upgradeRequest(
        '/ws',
        'Sec-WebSocket-Extensions: permessage-deflate\r\nX-Forwarded-For: 10.0.0.1\r\nX_Forwarded_For: 10.0.0.1\r\nX-Cutover-Session: mine\r\n',
      ),
    );
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    expect(upstream.text).not.toMatch(/permessage-deflate|10\.0\.0\.1|: mine/);
  });

  test('follows the configured rewrite, Host and extra fields of its side', async () => {
    const { service, front } = await withService({
      upstream: {
        rewrite: [{ prefix: '/ws', to: '/api/v1/websocket' }],
        hostHeader: 'upstream',
        headers: { 'X-Key': 'k' },
      },
    });
    const end = await client(front.port);
    end.write(upgradeRequest('/ws?a', 'X-Key: forged\r\n'));
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    expect(upstream.text).toMatch(/^GET \/api\/v1\/websocket\?a HTTP/);
    expect(upstream.text).toContain(`Host: 127.0.0.1:${service.port}\r\n`);
    expect(upstream.text).toContain('X-Key: k\r\n');
    expect(upstream.text).not.toContain('forged');
  });
});

test('a client of ws gets the subprotocol that the service chose, its fields, and messages both ways', async () => {
  const wss = new WebSocketServer({
    port: 0,
    host: '127.0.0.1',
    handleProtocols: offered => [...offered][1] ?? false,
  });
  await once(wss, 'listening');
  wss.on('headers', headers => void headers.push('X-Served-By: it', 'Set-Cookie: s=1'));
  wss.on('connection', socket =>
    socket.on('message', (data, binary) => socket.send(data, { binary })),
  );
  const front = await proxy({ legacy: (wss.address() as net.AddressInfo).port });
  open.push(wss, front);
  const ws = new WebSocket(`ws://127.0.0.1:${front.port}/ws`, ['jwt-auth', 'jwt.abc']);
  const opened = once(ws, 'open');
  const [answer] = (await once(ws, 'upgrade')) as [http.IncomingMessage];
  await opened;
  expect(ws.protocol).toBe('jwt.abc');
  expect(answer.headers['x-served-by']).toBe('it');
  expect(answer.headers['set-cookie']).toEqual(['s=1']);
  ws.send('hello');
  const [data] = (await once(ws, 'message')) as [Buffer];
  expect(data.toString()).toBe('hello');
  ws.close(4321, 'done');
  const [code] = (await once(ws, 'close')) as [number];
  expect(code).toBe(4321);
  await until('the end is reported', () =>
    front.reports.some(
      r => r.kind === 'closed' && r.what === 'closed-by-client' && r.code === 4321,
    ),
  );
});

/** A path that a route names, and one that the bypass takes. */
const LANES = [
  ['the WebSocket lane', '/ws'],
  ['the bypass', '/elsewhere'],
] as const;

describe.each(LANES)('hostile 29: in %s a service that refuses an upgrade', (_lane, path) => {
  test.each([
    [
      'with a length',
      'HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nX-Why: no\r\n\r\nnope',
      'nope',
    ],
    [
      'in chunks',
      'HTTP/1.1 503 Later\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n0\r\n\r\n',
      '4\r\nnope\r\n0\r\n\r\n',
    ],
    ['with 200', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok', 'ok'],
    ['with nothing', 'HTTP/1.1 204 No Content\r\n\r\n', ''],
    ['with a redirect', 'HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n', ''],
  ])('%s is passed on whole, and both ends close', async (_what, answer, body) => {
    const { service, front } = await withService();
    const end = await client(front.port);
    end.write(upgradeRequest(path));
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    upstream.write(answer);
    await until('the client is closed', () => end.ended);
    const [statusLine = ''] = answer.split('\r\n');
    expect(end.text.startsWith(`${statusLine}\r\n`)).toBe(true);
    expect(end.text.endsWith(`\r\n\r\n${body}`)).toBe(true);
    end.socket.end();
    await until('the service is let go', () => upstream.ended || upstream.closed);
    expect(front.reports).toContainEqual(expect.objectContaining({ kind: 'refused' }));
  });

  // The fault: in the bypass nobody told the answer that the client takes more, and it was cut off after a minute.
  test('with more than a socket holds is passed on whole', async () => {
    const { service, front } = await withService();
    const end = await client(front.port);
    end.write(upgradeRequest(path));
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    const body = 'x'.repeat(4_000_000);
    upstream.write(`HTTP/1.1 403 No\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    await until('the client is closed', () => end.ended);
    expect(end.text.endsWith(`\r\n\r\n${body}`)).toBe(true);
    end.socket.end();
    await until('the service is let go', () => upstream.ended || upstream.closed);
  });

  test('in words that can not be written is passed on in the usual ones, without forged trailers', async () => {
    const { service, front } = await withService();
    const end = await client(front.port);
    end.write(upgradeRequest(path));
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    upstream.write(
      'HTTP/1.1 403 N\x01o\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nnope\r\n0\r\nSet-Cookie: s=1\r\nX-Sum: 7\r\n\r\n',
    );
    await until('the client is closed', () => end.ended);
    expect(end.text).toMatch(/^HTTP\/1\.1 403 Forbidden\r\n/);
    // The bypass passes no trailers on.
    expect(end.text).toMatch(/\r\n\r\n4\r\nnope\r\n0\r\n(?:X-Sum: 7\r\n)?\r\n$/);
  });

  test('and resets in the middle of the body: what came is passed on, no end is made up', async () => {
    const { service, front } = await withService();
    const end = await client(front.port);
    end.write(upgradeRequest(path));
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    upstream.write('HTTP/1.1 500 Broken\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nnope\r\n');
    await end.has('nope');
    upstream.socket.resetAndDestroy();
    await until('the client is closed', () => end.ended || end.closed);
    expect(end.text.endsWith('4\r\nnope\r\n')).toBe(true);
  });

  test('and closes without a body that it announced by closing: complete', async () => {
    const { service, front } = await withService();
    const end = await client(front.port);
    end.write(upgradeRequest(path));
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    upstream.write('HTTP/1.1 401 No\r\n\r\nall of it');
    upstream.socket.end();
    await until('the client is closed', () => end.ended);
    // The bypass gives it chunks, and with them an end that can be told.
    expect(end.text).toMatch(/\r\n\r\n(?:all of it|9\r\nall of it\r\n0\r\n\r\n)$/);
  });
});

test('hostile 30: clients that reset while their upgrade is pending leave no socket behind', async () => {
  const { service, front } = await withService();
  const clients = await Promise.all(Array.from({ length: 20 }, () => rawClient(front.port)));
  for (const end of clients) end.write(upgradeRequest());
  await until('the service has all of them', () => service.connections.length === 20);
  for (const end of clients) end.socket.resetAndDestroy();
  await until('the service is let go', () =>
    service.connections.every(upstream => upstream.closed || upstream.ended),
  );
  await until('none is pending', () => front.traffic.connecting === 0);
});

test.each(LANES)(
  'hostile 31: in %s a service that resets a pending upgrade is answered with 502',
  async (_lane, path) => {
    const { service, front } = await withService();
    const end = await client(front.port);
    end.write(upgradeRequest(path));
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    upstream.socket.resetAndDestroy();
    await end.has('"code":"upstream-closed"');
    expect(end.text).toMatch(/^HTTP\/1\.1 502 /);
  },
);

test.each(LANES)(
  'hostile 32: in %s frames that come with the request, and with the 101, are delivered in order',
  async (_lane, path) => {
    const { service, front } = await withService();
    const end = await client(front.port);
    end.write(
      Buffer.concat([
        Buffer.from(upgradeRequest(path)),
        controlFrame(1, Buffer.from('one'), Buffer.from('mask')),
      ]),
    );
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    end.write(controlFrame(1, Buffer.from('two'), Buffer.from('mask')));
    await upstream.accept(Buffer.concat([text('first'), text('second')]));
    await end.has('second');
    expect(end.text.indexOf('first')).toBeLessThan(end.text.indexOf('second'));
    const sent = Buffer.concat(
      ['one', 'two'].map(m => controlFrame(1, Buffer.from(m), Buffer.from('mask'))),
    );
    await until(
      'both early messages are with the service',
      () => upstream.received.length >= sent.length,
    );
    expect(upstream.received).toEqual(sent);
  },
);

// The fault: the bypass wrote them as UTF-8, as if they had been anything else before.
test.each(LANES)('in %s fields of a 101 keep their bytes beyond ASCII', async (_lane, path) => {
  const { service, front } = await withService();
  const end = await client(front.port);
  end.write(upgradeRequest(path));
  const upstream = await service.next();
  await upstream.has('\r\n\r\n');
  upstream.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptFor(KEY)}\r\nSet-Cookie: n=J\xc3\xbcrgen\r\nX-Latin: \xe4\r\n\r\n`,
  );
  upstream.write(text('first'));
  await end.has('first');
  expect(end.text).toMatch(/\r\nSet-Cookie: n=J\xc3\xbcrgen\r\n/);
  expect(end.text).toMatch(/\r\nX-Latin: \xe4\r\n/);
});

test.each(['/ws#fragment', 'ws', 'http://other.test/ws', '/ws%zz#'])(
  'hostile 33: target %j is refused with 400 and reaches no service',
  async target => {
    const { service, front } = await withService();
    const end = await client(front.port);
    end.write(upgradeRequest(target));
    await until('the client is closed', () => end.ended);
    expect(end.text).toMatch(/^HTTP\/1\.1 400 /);
    expect(service.connections).toHaveLength(0);
  },
);

test.each([
  [
    'a wrong accept',
    'HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n',
  ],
  ['no HTTP', 'SSH-2.0-OpenSSH_9\r\n\r\n'],
  ['two lengths', 'HTTP/1.1 403 No\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'],
])('hostile 34: a service that answers with %s is a 502', async (_what, answer) => {
  const { service, front } = await withService();
  const end = await client(front.port);
  end.write(upgradeRequest());
  const upstream = await service.next();
  await upstream.has('\r\n\r\n');
  upstream.write(answer);
  await end.has('"code":"upstream-invalid"');
  expect(end.text).toMatch(/^HTTP\/1\.1 502 /);
  await until('the service is let go', () => upstream.ended || upstream.closed);
});

test('hostile 34: a client without a key, or with another version, is told what is wrong', async () => {
  const { front } = await withService();
  const keyless = await client(front.port);
  keyless.write(upgradeRequest().replace(/Sec-WebSocket-Key.*\r\n/, ''));
  await keyless.has('bad-upgrade');
  expect(keyless.text).toMatch(/^HTTP\/1\.1 400 /);
  const old = await client(front.port);
  old.write(upgradeRequest().replace('Version: 13', 'Version: 8'));
  await old.has('upgrade-version');
  expect(old.text).toMatch(/^HTTP\/1\.1 426 .*\r\n(.*\r\n)*Sec-WebSocket-Version: 13\r\n/);
});

describe('hostile 49: a service that', () => {
  const failsWith = async (
    legacy: string | number,
    code: string,
    status: number,
    timeouts = {},
  ) => {
    const front = await proxy({ legacy, upstream: timeouts });
    open.push(front);
    const end = await client(front.port);
    end.write(upgradeRequest());
    await end.has(`"code":"${code}"`);
    expect(end.text).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(front.reports).toEqual([
      { kind: 'failed', route: 'events', side: 'legacy', what: code },
    ]);
  };

  test('refuses the connection is a 502', async () => {
    await failsWith(await freePort(), 'upstream-unreachable', 502);
  });

  test('has no address is a 502', async () => {
    await failsWith('http://nowhere.invalid', 'upstream-unreachable', 502);
  });

  test('accepts and says nothing is a 504', async () => {
    const service = await rawServer();
    open.push(service);
    await failsWith(service.port, 'upstream-timeout', 504, { handshakeTimeoutMs: 100 });
    await until('the service is let go', () => service.connections.every(c => c.ended || c.closed));
  });

  test('speaks no TLS where TLS is configured is a 502', async () => {
    const service = await rawServer();
    open.push(service);
    void service.next().then(upstream => upstream.write('HTTP/1.1 400 Bad Request\r\n\r\n'));
    await failsWith(`https://127.0.0.1:${service.port}`, 'upstream-unreachable', 502);
  });
});

test('with as many sessions as are allowed, the next one is turned away and the others live on', async () => {
  const { service, front } = await withService({ limits: { maxSessions: 1 } });
  const first = await client(front.port);
  first.write(upgradeRequest());
  const upstream = await service.next();
  await upstream.accept();
  await first.has('101');
  const second = await client(front.port);
  second.write(upgradeRequest());
  await second.has('too-many-sessions');
  expect(second.text).toMatch(/^HTTP\/1\.1 503 /);
  upstream.write(text('still here'));
  await first.has('still here');
});

// Paths that no route names have a lane of their own, and once had a count of their own as well: a
// proxy that may hold 10,000 sessions held 20,000.
test.each([
  ['on a route', 'on none', '/ws', '/elsewhere'],
  ['on none', 'on a route', '/elsewhere', '/ws'],
])('a session %s takes the place of one %s, until it ends', async (_one, _other, held, wanted) => {
  const { service, front } = await withService({ limits: { maxSessions: 1 } });
  const first = await client(front.port);
  first.write(upgradeRequest(held));
  const upstream = await service.next();
  await upstream.accept();
  await first.has('101');
  const second = await client(front.port);
  second.write(upgradeRequest(wanted));
  await second.has('"code":"too-many-sessions"');
  expect(front.reports).toContainEqual(
    expect.objectContaining({ kind: 'failed', what: 'too-many-sessions' }),
  );
  first.socket.destroy();
  upstream.socket.end();
  await until('there is room again', async () => {
    const third = await client(front.port);
    third.write(upgradeRequest(wanted));
    await until('it is answered or asked for', () => third.ended || service.connections.length > 1);
    return service.connections.length > 1;
  });
});
