// The emergency lane, for what no route names and for everything while an operator engages it: bad input
// and faults by their numbers, and how it ends.
import { subscribe } from 'node:diagnostics_channel';
import type net from 'node:net';
import { describe, expect, test } from 'vitest';
import { closeFrame, wholeFrame } from '../../src/wire/frames.ts';
import { openedByTest } from '../support/opened.ts';
import { type ProxyOptions, proxy, type TestProxy } from '../support/proxy.ts';
import {
  type RawEnd,
  type RawServer,
  rawClient,
  rawServer,
  upgradeRequest,
} from '../support/raw.ts';
import { until } from '../support/until.ts';

const open = openedByTest();

/** All that were dialled in this file, the proxy's connections to legacy among them. */
const dialled: net.Socket[] = [];
subscribe('net.client.socket', message => {
  dialled.push((message as { socket: net.Socket }).socket);
});
/** The proxy's end of a connection to legacy: connections to other places may begin at the same port. */
const towards = ({ socket }: RawEnd) =>
  dialled.find(
    ({ localPort, remotePort }) =>
      localPort === socket.remotePort && remotePort === socket.localPort,
  );

/** What is in front of the lane: paths that no route names, or an operator's word. */
const WAYS = [
  { way: 'unrouted', engaged: false, http: '/x', webSocket: '/elsewhere' },
  { way: 'engaged', engaged: true, http: '/api/x', webSocket: '/ws' },
] as const;
type Way = (typeof WAYS)[number];

interface Place {
  service: RawServer;
  front: TestProxy;
  client: RawEnd;
}

async function place({ engaged }: Way, options: Partial<ProxyOptions> = {}): Promise<Place> {
  const service = await rawServer();
  const front = await proxy({ legacy: service.port, bypassed: () => engaged, ...options });
  open.push(front, service);
  return { service, front, client: await connected(front) };
}

async function connected(front: TestProxy): Promise<RawEnd> {
  const client = await rawClient(front.port);
  open.push({ close: () => client.socket.destroy() });
  return client;
}

/** The upstream connection of the next request, with its head. */
async function asked(service: RawServer): Promise<RawEnd> {
  const upstream = await service.next();
  await upstream.has('\r\n\r\n');
  return upstream;
}

async function webSocket({ service, client }: Place, path: string): Promise<RawEnd> {
  client.write(upgradeRequest(path));
  const upstream = await service.next();
  await upstream.accept();
  await client.has('\r\n\r\n');
  client.received = Buffer.alloc(0);
  return upstream;
}

const gone = (end: RawEnd) => end.ended || end.closed;
const fields = ({ text }: RawEnd) => text.toLowerCase().split('\r\n\r\n')[0]?.split('\r\n') ?? [];
const failures = ({ reports }: TestProxy) =>
  reports.filter(({ kind }) => kind === 'failed').map(({ what }) => what);
/** A text frame of a server: not masked. */
const frame = (text: string) =>
  Buffer.concat([Buffer.from([0x81, text.length]), Buffer.from(text)]);

// Side by side: nearly all of their time is that of a limit.
describe.concurrent.each(WAYS)('$way', way => {
  const chunked = 'Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n';
  test.each([
    ['with a length', 'GET', '1.1', '200 OK\r\nContent-Length: 2\r\nTrailer: X-Sum\r\n\r\nok'],
    ['in chunks', 'GET', '1.1', `200 OK\r\nTrailer: X-Sum\r\n${chunked}`],
    ['in chunks to HTTP/1.0', 'GET', '1.0', `200 OK\r\nTrailer: X-Sum\r\n${chunked}`],
    ['to a HEAD', 'HEAD', '1.1', '200 OK\r\nContent-Length: 2\r\nTrailer: X-Sum\r\n\r\n'],
    ['of a 304', 'GET', '1.1', '304 Not Modified\r\nTrailer: X-Sum\r\n\r\n'],
    [
      'with a control character in its phrase',
      'GET',
      '1.1',
      '200 O\x01K\r\nContent-Length: 2\r\n\r\nok',
    ],
  ])(
    'an answer with trailers, or a phrase that can not be written, %s arrives without them',
    async (_what, method, version, said) => {
      const { service, client } = await place(way);
      client.write(`${method} ${way.http} HTTP/${version}\r\nHost: h\r\n\r\n`);
      (await asked(service)).write(`HTTP/1.1 ${said}`);
      await client.has('\r\n\r\n');
      if (!/HEAD/.test(method) && said.startsWith('200')) await client.has('ok');
      expect(client.text).toMatch(/^HTTP\/1\.1 (200 OK|304 Not Modified)\r\n/);
      expect(client.text).not.toMatch(/x-sum/i);
    },
  );

  const NOT_FOR_LEGACY =
    'Connection: X-Auth-User, Upgrade\r\nX-Auth-User: me\r\nKeep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: p\r\n';
  const CLAIMS =
    'X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\nX-Cutover-Role: shadow\r\n';

  test('24, 25: what an upgrade says of its connection or claims of its origin does not go on', async () => {
    const { service, client } = await place(way);
    client.write(upgradeRequest(way.webSocket, `${NOT_FOR_LEGACY}${CLAIMS}X-Kept: yes\r\n`));
    const upstream = await asked(service);
    expect(fields(upstream).filter(f => /^(x-auth-user|keep-alive|te|proxy-)/.test(f))).toEqual([]);
    expect(upstream.text).not.toMatch(/6\.6\.6\.6|shadow/);
    expect(fields(upstream)).toEqual(
      expect.arrayContaining(['connection: upgrade', 'x-forwarded-for: 127.0.0.1', 'x-kept: yes']),
    );
  });

  /** The fault: legacy was asked for a WebSocket without a key, and to say that it goes on. */
  test('24: an upgrade goes on with what opens a WebSocket, whatever it nominates, and awaits nothing', async () => {
    const { service, client } = await place(way);
    const said = upgradeRequest(
      way.webSocket,
      'Origin: https://a.test\r\nExpect: 100-continue\r\n',
    );
    client.write(said.replace(': Upgrade\r', ': Upgrade, Origin, Sec-WebSocket-Key\r'));
    const upstream = await asked(service);
    expect(fields(upstream)).toContain('origin: https://a.test');
    expect(upstream.text).toMatch(/\r\nsec-websocket-key: \S+\r/i);
    expect(upstream.text).not.toMatch(/expect/i);
  });

  test('24: fields of the connection to legacy, and those it nominates, do not reach the client', async () => {
    const own = 'Connection: X-Secret\r\nX-Secret: s\r\nKeep-Alive: timeout=9\r\nX-Kept: Yes\r\n';
    for (const how of ['answers', 'refuses', 'accepts'] as const) {
      const { service, client } = await place(way);
      if (how === 'answers') client.write(`GET ${way.http} HTTP/1.1\r\nHost: h\r\n\r\n`);
      else client.write(upgradeRequest(way.webSocket));
      const upstream = await asked(service);
      if (how === 'accepts') {
        await upstream.accept(Buffer.alloc(0), own.replace('X-Secret', 'Upgrade, X-Secret'));
      } else {
        upstream.write(`HTTP/1.1 403 No\r\n${own}Content-Length: 4\r\n\r\nbody`);
        await client.has('\r\n\r\nbody');
      }
      await client.has('\r\n\r\n');
      expect(client.text).toContain('\r\nX-Kept: Yes\r\n');
      expect(client.text).not.toMatch(/x-secret|timeout=9/i);
    }
  });

  test('30: clients that reset a pending upgrade leave no socket at legacy, and are nobody’s failure', async () => {
    const { service, front } = await place(way);
    const clients = await Promise.all(Array.from({ length: 20 }, () => connected(front)));
    for (const client of clients) client.write(upgradeRequest(way.webSocket));
    await until('legacy has all', () => service.connections.length === 20);
    for (const client of clients) client.socket.resetAndDestroy();
    await until('legacy is let go', () => service.connections.every(gone));
    expect(failures(front)).toEqual([]);
  });

  test('46: WebSocket clients that are lost leave no socket, even where legacy does not follow', async () => {
    const at = await place(way, { limits: { closeMs: 200 } });
    const sessions = () =>
      [...at.front.traffic.counters()].reduce(
        (sum, { counters }) => sum + counters.sessionsOpen,
        0,
      );
    for (const how of ['resetAndDestroy', 'destroy'] as const) {
      const client = await connected(at.front);
      // It keeps its own half open after ours has ended.
      const upstream = await webSocket({ ...at, client }, way.webSocket);
      expect(sessions()).toBe(1);
      client.socket[how]();
      await until('legacy is let go', () => gone(upstream));
      await until('it is counted out', () => sessions() === 0);
    }
    expect(failures(at.front)).toEqual([]);
  });

  test('46: an upload that breaks off is broken off at legacy, and counts as nothing', async () => {
    const { service, front, client } = await place(way);
    client.write(
      `POST ${way.http} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`,
    );
    const upstream = await asked(service);
    await upstream.has('half');
    client.socket.destroy();
    await until('legacy sees the end', () => gone(upstream));
    expect(upstream.text).not.toContain('\r\n0\r\n');
    expect(front.reports.filter(({ side }) => side === 'legacy')).toEqual([]);
  });

  test.each([
    ['with a length', 'Content-Length: 100\r\n\r\nhalf', 'end'],
    ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'end'],
    ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'resetAndDestroy'],
    ['in chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'garbage'],
    ['that ends with its connection', 'Connection: close\r\n\r\nhalf', 'resetAndDestroy'],
  ] as const)(
    '47: an answer %s that breaks off is cut off and followed by nothing, for a request and for an upgrade (%#)',
    async (_what, rest, how) => {
      for (const path of [way.http, way.webSocket]) {
        const { service, front, client } = await place(way);
        if (path === way.http) client.write(`GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`);
        else client.write(upgradeRequest(path));
        const upstream = await asked(service);
        upstream.write(`HTTP/1.1 403 Forbidden\r\n${rest}`);
        await client.has('half');
        if (how === 'garbage') upstream.write('no chunk\r\n');
        else upstream.socket[how]();
        await until('the client is cut off', () => gone(client));
        expect(client.text).toMatch(/\r\n\r\n(4\r\n)?half(\r\n)?$/);
        await until('it is counted', () => failures(front).length > 0);
        expect(failures(front)).toEqual(['upstream-closed']);
      }
    },
  );

  /** The fault: node:http reads such a status and would not write it, which nobody caught; the client waited for ever. */
  test.each(['099 What', '000 None'])(
    'an answer with the status %s, to a request or an upgrade, is a 502',
    async status => {
      for (const path of [way.http, way.webSocket]) {
        const { service, front, client } = await place(way);
        if (path === way.http) client.write(`GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`);
        else client.write(upgradeRequest(path));
        (await asked(service)).write(`HTTP/1.1 ${status}\r\nContent-Length: 2\r\n\r\nno`);
        await client.has('"code":"upstream-invalid"');
        expect(client.text).toMatch(/^HTTP\/1\.1 502 /);
        expect(failures(front)).toEqual(['upstream-invalid']);
      }
    },
  );

  /** The fault: the library took the target for a URL, and threw where it is none. */
  test('15: targets that are no URL arrive as they came, of requests and of upgrades', async () => {
    for (const target of ['/\\\\', '/a\\b', '//[::1', '/%zz/../x', '/x?', '/x?a?b&&c']) {
      const request = `GET ${target} HTTP/1.1\r\nHost: h\r\n\r\n`;
      for (const said of [request, upgradeRequest(target)]) {
        const { service, client } = await place(way);
        client.write(said);
        const upstream = await asked(service);
        expect(upstream.text.split('\r\n')[0]).toBe(`GET ${target} HTTP/1.1`);
        upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        await client.has('\r\n\r\nok');
      }
    }
  });

  /** The fault: an answer that was there as a whole was thrown away for what came in one read with it. */
  test.each([
    ['with a length', 'GET', '200 OK\r\nContent-Length: 4\r\n\r\nmine', 'mine'],
    [
      'in chunks',
      'GET',
      '200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nmine\r\n0\r\n\r\n',
      '0\r\n\r\n',
    ],
    ['of a 204', 'GET', '204 None\r\n\r\n', '\r\n\r\n'],
    ['of a 304', 'GET', '304 Not Modified\r\nContent-Length: 7\r\n\r\n', '\r\n\r\n'],
    ['to a HEAD', 'HEAD', '200 OK\r\nContent-Length: 7\r\n\r\n', '\r\n\r\n'],
    [
      'with the last',
      'GET',
      '200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nmine',
      'mine',
    ],
  ])('48: an answer %s is whole, whatever follows it', async (_what, method, said, end) => {
    for (const stray of ['GARBAGE', 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother', '\r\n']) {
      for (const isUpgrade of method === 'GET' ? [false, true] : [false]) {
        const { service, front, client } = await place(way);
        if (isUpgrade) client.write(upgradeRequest(way.webSocket));
        else client.write(`${method} ${way.http} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`);
        const upstream = await asked(service);
        upstream.write(`HTTP/1.1 ${said}${stray}`);
        await until('it ends', () => gone(client));
        expect(client.text.startsWith(`HTTP/1.1 ${said.slice(0, 3)} `)).toBe(true);
        expect(client.text.endsWith(end)).toBe(true);
        expect(client.text).not.toMatch(/GARBAGE|other/);
        await until('its connection is no more', () => gone(upstream));
        expect(failures(front)).toEqual([]);
      }
    }
  });

  /** The fault: it ended as if it were whole. */
  test.each([
    ['chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'end'],
    ['chunks', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'resetAndDestroy'],
    ['no length', '\r\nhalf', 'resetAndDestroy'],
  ] as const)(
    '47: an answer of %s that breaks off is a reset to HTTP/1.0 (%#)',
    async (_what, said, how) => {
      const { service, front, client } = await place(way);
      const errors: unknown[] = [];
      client.socket.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code));
      client.write(`GET ${way.http} HTTP/1.0\r\n\r\n`);
      const upstream = await asked(service);
      upstream.write(`HTTP/1.1 200 OK\r\n${said}`);
      await client.has('\r\n\r\nhalf');
      upstream.socket[how]();
      await until('the client is cut off', () => gone(client));
      expect(errors).toEqual(['ECONNRESET']);
      expect(failures(front)).toEqual(['upstream-closed']);
    },
  );

  /** The fault: names went out in lower case, and two Cookie fields as one. */
  test('77: fields reach legacy in the client’s spelling and order, those that repeat apart', async () => {
    const kept =
      'X-Odd-CASE: 1\r\nCookie: a=1\r\nx-lower: 2\r\nCookie: b=2\r\nX-Twice: z\r\nAccept: */*\r\nX-TWICE: y\r\nX-Bytes: \xe9\xff\r\n';
    const methods = ['GET', 'POST', 'DELETE', 'OPTIONS'];
    for (const said of [
      ...methods.map(method => `${method} ${way.http} HTTP/1.1\r\nHost: h\r\n${kept}\r\n`),
      upgradeRequest(way.webSocket, kept),
    ]) {
      const { service, client } = await place(way);
      client.write(said);
      const upstream = await asked(service);
      expect(upstream.text).toContain(kept);
      expect(upstream.text.match(/^host: /gim)).toHaveLength(1);
      expect(upstream.text.match(/^connection: /gim)).toHaveLength(1);
      const isPost = said.startsWith('POST');
      expect(/^content-length: 0\r$/im.test(upstream.text)).toBe(isPost);
      expect(upstream.text).not.toMatch(/^transfer-encoding:/im);
    }
  });

  test('47: a WebSocket whose service is lost is lost, and nothing is put into its stream', async () => {
    const at = await place(way);
    const upstream = await webSocket(at, way.webSocket);
    upstream.write(frame('last'));
    await at.client.has('last');
    upstream.socket.resetAndDestroy();
    await until('the client is cut off', () => gone(at.client));
    expect(at.client.received).toEqual(frame('last'));
  });

  test('48: what legacy sends beyond its answer reaches nobody, and no connection is used twice', async () => {
    const { service, client } = await place(way);
    const answer = (body: string) => `HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n${body}`;
    for (const [body, stray] of [
      ['mine', 'evil'],
      ['next', 'evil'],
    ] as const) {
      client.write(`GET ${way.http} HTTP/1.1\r\nHost: h\r\n\r\n`);
      const upstream = await asked(service);
      upstream.write(answer(body) + answer(stray));
      await client.has(body);
      await until('the connection is given up', () => gone(upstream));
    }
    expect(service.connections).toHaveLength(2);
    expect(client.text).not.toContain('evil');
  });

  test('a chunked DELETE stays one request: its body can not pass for a second one', async () => {
    const { service, client } = await place(way);
    const hidden = 'GET /admin HTTP/1.1\r\nHost: h\r\n\r\n';
    client.write(
      `DELETE ${way.http} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`,
    );
    const upstream = await asked(service);
    await upstream.has('\r\n0\r\n\r\n');
    expect(fields(upstream)).toContain('transfer-encoding: chunked');
    expect(fields(upstream).some(field => field.startsWith('content-length'))).toBe(false);
  });

  test('a DELETE without a body goes on without one', async () => {
    const { service, client } = await place(way);
    client.write(`DELETE ${way.http} HTTP/1.1\r\nHost: h\r\n\r\n`);
    const upstream = await asked(service);
    expect(upstream.text).not.toMatch(/content-length|transfer-encoding/i);
  });

  test('20: TRACE would show what proxies add, and is refused', async () => {
    const { service, client } = await place(way);
    client.write(`TRACE ${way.http} HTTP/1.1\r\nHost: h\r\nCookie: a\r\n\r\n`);
    await client.has('"code":"method"');
    expect(service.connections).toHaveLength(0);
  });

  test('an upload may take longer than an answer; when it is whole, legacy has its time', async () => {
    const { service, client } = await place(way, { upstream: { responseTimeoutMs: 300 } });
    client.write(`POST ${way.http} HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nslow`);
    const upstream = await asked(service);
    const slowUntil = performance.now() + 1_000;
    await until('the limit is past, three times', () => performance.now() > slowUntil);
    expect(gone(client)).toBe(false);
    client.write('ness');
    await upstream.has('slowness');
    await client.has('"code":"upstream-timeout"');
    expect(client.text).toMatch(/^HTTP\/1\.1 504 /);
    await until('legacy is let go', () => gone(upstream));
  });

  test('a client of HTTP/1.0 is sent no 100, one of HTTP/1.1 is', async () => {
    for (const version of ['1.0', '1.1']) {
      const { service, client } = await place(way);
      client.write(
        `POST ${way.http} HTTP/${version}\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi`,
      );
      const upstream = await asked(service);
      upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      await client.has('\r\n\r\nok');
      expect(client.text.includes('100 Continue')).toBe(version === '1.1');
    }
  });

  test('21: legacy is let go behind its answer, whatever of the upload it does not take', async () => {
    const { service, client } = await place(way);
    client.write(`POST ${way.http} HTTP/1.1\r\nHost: h\r\nContent-Length: 20000000\r\n\r\n`);
    client.write(Buffer.alloc(10_000_000));
    const upstream = await service.next();
    upstream.socket.pause();
    const held = towards(upstream);
    await until('some of it waits for legacy', () => (held?.writableLength ?? 0) > 0);
    upstream.write('HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig');
    await client.has('\r\n\r\nbig');
    await until('legacy is let go', () => held?.destroyed);
  });

  test('an upgrade that legacy does not answer in time is a 504', async () => {
    const { service, client } = await place(way, { upstream: { handshakeTimeoutMs: 200 } });
    client.write(upgradeRequest(way.webSocket));
    const upstream = await asked(service);
    await client.has('"code":"upstream-timeout"');
    await until('legacy is let go', () => gone(upstream));
  });

  test.each(['an answer', 'a WebSocket'] as const)(
    'a client that takes nothing of %s for stallMs is gone, and legacy is let go',
    async what => {
      const at = await place(way, { limits: { stallMs: 300 } });
      const { service, client } = at;
      let upstream: RawEnd;
      if (what === 'an answer') {
        client.write(`GET ${way.http} HTTP/1.1\r\nHost: h\r\n\r\n`);
        upstream = await asked(service);
        upstream.write('HTTP/1.1 200 OK\r\n\r\n');
      } else {
        upstream = await webSocket(at, way.webSocket);
      }
      client.socket.pause();
      while (upstream.socket.write(Buffer.alloc(65_536)));
      upstream.socket.on('drain', () => {
        while (upstream.socket.write(Buffer.alloc(65_536)));
      });
      await until('legacy is let go', () => upstream.closed);
      client.socket.resume();
      await until('the client is gone', () => gone(client));
    },
  );

  test('a WebSocket whose legacy takes nothing for stallMs is gone, one that is silent is not', async () => {
    const at = await place(way, { limits: { stallMs: 300 } });
    const silent = await webSocket(at, way.webSocket);
    const client = await connected(at.front);
    const upstream = await webSocket({ ...at, client }, way.webSocket);
    const held = towards(upstream);
    upstream.socket.pause();
    const pour = () => {
      while (client.socket.write(Buffer.alloc(65_536)));
    };
    client.socket.on('drain', pour);
    pour();
    await until('the client is gone', () => client.closed);
    expect(gone(at.client) || gone(silent)).toBe(false);
    // Nor does what waits for it keep the connection to legacy, which says nothing as long as it does not read.
    await until('legacy is let go', () => held?.destroyed);
  });

  test('no more WebSockets than sessions are allowed', async () => {
    const at = await place(way, { limits: { maxSessions: 1 } });
    await webSocket(at, way.webSocket);
    const second = await connected(at.front);
    second.write(upgradeRequest(way.webSocket));
    await second.has('"code":"too-many-sessions"');
  });
});

/** The fault: what failed in this lane was nobody's to catch, and its client waited for ever. */
test('74: a failure of the lane itself is a 500 to one client, and the next one is served', async () => {
  const [, engaged] = WAYS;
  const { service, front, client } = await place(engaged, {
    decider: () => {
      throw new Error('planted');
    },
  });
  client.write(`POST ${engaged.http} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok`);
  await client.has('"code":"internal"');
  expect(client.text).toMatch(/^HTTP\/1\.1 500 /);
  expect(failures(front)).toEqual(['internal']);
  expect(front.logged.join('')).toContain('planted');
  const next = await connected(front);
  next.write(`GET ${engaged.http} HTTP/1.1\r\nHost: h\r\n\r\n`);
  await asked(service);
});

describe.concurrent('a shutdown', () => {
  const [unrouted] = WAYS;
  const notice = closeFrame(1012, 'service restart');

  test('ends its WebSockets with 1012, at a pace, and waits for the answers', async () => {
    const at = await place(unrouted);
    const pairs: { client: RawEnd; upstream: RawEnd }[] = [];
    for (let i = 0; i < 10; i += 1) {
      const client = await connected(at.front);
      pairs.push({ client, upstream: await webSocket({ ...at, client }, '/elsewhere') });
    }
    const startedAt = performance.now();
    let drained = false;
    const draining = at.front.traffic.drain(1_000).then(() => {
      drained = true;
    });
    const told: number[] = [];
    for (const { client, upstream } of pairs) {
      await until('it is told', () => client.received.equals(notice));
      told.push(performance.now() - startedAt);
      // Legacy gets the client's answer, and closes as services do.
      client.write('the answer to the close');
      await upstream.has('the answer to the close');
      expect(drained).toBe(false);
      upstream.socket.end();
      await until('it ends', () => gone(client));
      client.socket.end();
    }
    expect(told[9]).toBeGreaterThan(500);
    at.client.socket.destroy();
    await draining;
  });

  test('lets the message under way come to its end first, and nothing after it', async () => {
    const at = await place(unrouted, { limits: { boundaryMs: 20_000 } });
    const upstream = await webSocket(at, '/elsewhere');
    const [whole, after] = [frame('the message under way'), frame('too late')];
    upstream.write(whole.subarray(0, 7));
    await until('the beginning comes', () => at.client.received.length === 7);
    void at.front.traffic.drain(1);
    upstream.write(Buffer.concat([whole.subarray(7), after]));
    await until('it is told', () => at.client.received.length >= whole.length + notice.length);
    expect(at.client.received).toEqual(Buffer.concat([whole, notice]));
  });

  test('ends it between two fragments where the message does not end in time, and cuts it off in a frame', async () => {
    for (const [begun, follows] of [
      [Buffer.from([0x01, 1, 97]), notice],
      [Buffer.from([0x81, 2, 97]), Buffer.alloc(0)],
    ] as const) {
      const at = await place(unrouted, { limits: { closeMs: 300 } });
      const upstream = await webSocket(at, '/elsewhere');
      upstream.write(begun);
      await until('the beginning comes', () => at.client.received.length === begun.length);
      void at.front.traffic.drain(1);
      // A client that does not answer the close is not waited for.
      await until('it ends', () => gone(at.client));
      expect(at.client.received).toEqual(Buffer.concat([begun, follows]));
    }
  });

  // The fault: only legacy ended the connection, and nobody comes again before his old one is over.
  describe('where legacy neither speaks nor ends', () => {
    const mask = Buffer.from('mask');
    const patient = { limits: { closeMs: 60_000, boundaryMs: 1_000 } };

    test.each([
      ['answers', closeFrame(1012, '', mask)],
      ['ends its side', Buffer.alloc(0)],
    ])('ends the connection once its client %s', async (_what, answer) => {
      const at = await place(unrouted, patient);
      const upstream = await webSocket(at, '/elsewhere');
      void at.front.traffic.drain(1);
      await until('it is told', () => at.client.received.equals(notice));
      if (answer.length > 0) at.client.write(answer);
      else at.client.socket.end();
      await until('the client sees the end', () => at.client.ended);
      expect(at.client.received).toEqual(notice);
      at.client.socket.end();
      await until('legacy hears of it', () => upstream.ended);
      expect(upstream.received).toEqual(answer);
    });

    test.each([
      ['said goodbye', closeFrame(1000, '', mask)],
      ['ended its side', Buffer.alloc(0)],
    ])('ends the connection with the close if its client has %s before', async (_what, bye) => {
      const at = await place(unrouted, patient);
      const upstream = await webSocket(at, '/elsewhere');
      const fragment = Buffer.from([0x01, 3, 0x61, 0x62, 0x63]);
      upstream.write(fragment);
      await until('the fragment is there', () => at.client.received.equals(fragment));
      void at.front.traffic.drain(1);
      await until('the close waits', () => at.front.traffic.draining);
      at.client.socket.end(bye);
      await until('the client sees the end', () => at.client.ended);
      expect(at.client.received).toEqual(Buffer.concat([fragment, notice]));
    });

    test('finds the answer behind what legacy does not take', async () => {
      const at = await place(unrouted, { limits: { closeMs: 100 } });
      const upstream = await webSocket(at, '/elsewhere');
      upstream.socket.pause();
      // More than the system holds on the way.
      const megabyte = wholeFrame(2, Buffer.alloc(1_048_576), mask);
      for (let i = 0; i < 24; i += 1) at.client.write(megabyte);
      void at.front.traffic.drain(1);
      await until('it is told', () => at.client.received.equals(notice));
      at.client.write(closeFrame(1012, '', mask));
      await until('the client sees the end', () => at.client.ended);
    });
  });

  test('ends one that opens while it goes on', async () => {
    const at = await place(unrouted);
    at.client.write(upgradeRequest('/elsewhere'));
    const upstream = await asked(at.service);
    void at.front.traffic.drain(1);
    await upstream.accept();
    await until('it is told', () => at.client.text.endsWith(notice.toString('latin1')));
  });
});
