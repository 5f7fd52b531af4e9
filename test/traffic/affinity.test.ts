// Which requests share connections to a service, and that nobody else's ever do.
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { SignJWT } from 'jose';
import { afterEach, describe, expect, test } from 'vitest';
import { exchange } from '../../src/traffic/exchange.ts';
import { Roll } from '../../src/traffic/roll.ts';
import type { ServiceConnection } from '../../src/traffic/service-connection.ts';
import { SharedConnections } from '../../src/traffic/shared-connections.ts';
import { upstreamOf } from '../../src/traffic/upstream.ts';
import {
  decisionFor,
  loadedConfig,
  type ProxyOptions,
  proxy,
  type TestProxy,
} from '../support/proxy.ts';
import { until } from '../support/until.ts';

const SECRET = new TextEncoder().encode('a secret of the tests, long enough for HS256');
const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

const tokenOf = (user: string) =>
  new SignJWT({ sub: user }).setProtectedHeader({ alg: 'HS256' }).sign(SECRET);
const [ANN, BOB] = [await tokenOf('ann'), await tokenOf('bob')];
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

interface Service {
  readonly port: number;
  /** Connections that are open now. */
  readonly sockets: Set<Socket>;
  /** Bodies that came. */
  readonly bodies: string[];
  /** Requests for /api/wait, which get no answer until they are let. */
  readonly waiting: http.ServerResponse[];
  answer(): void;
}

/** Answers with the number of the connection that a request came by, from 1. */
async function service(keepAliveMs = 60_000): Promise<Service> {
  const numbers = new Map<Socket, number>();
  const sockets = new Set<Socket>();
  const waiting: http.ServerResponse[] = [];
  const bodies: string[] = [];
  const server = http.createServer(async (request, response) => {
    const chunks: string[] = [];
    for await (const chunk of request.setEncoding('utf8')) chunks.push(chunk);
    bodies.push(chunks.join(''));
    if (request.url === '/api/wait') waiting.push(response);
    else response.end(String(numbers.get(request.socket)));
  });
  server.keepAliveTimeout = keepAliveMs;
  server.on('connection', socket => {
    numbers.set(socket, numbers.size + 1);
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push({
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  });
  return {
    port: (server.address() as AddressInfo).port,
    sockets,
    bodies,
    waiting,
    answer: () => {
      for (const response of waiting.splice(0)) response.end('done');
    },
  };
}

type Identity = NonNullable<ProxyOptions['identity']>;
const SOURCES: Identity['sources'] = [
  { from: 'subprotocol' },
  { from: 'bearer' },
  { from: 'query', names: ['token'] },
  { from: 'cookie', name: 'session' },
];

async function sharing(legacy: Service, options: Partial<ProxyOptions> = {}): Promise<TestProxy> {
  const front = await proxy({
    legacy: legacy.port,
    routes: [{ name: 'api', path: '/api/*', protocol: 'http', affinity: 'credential' }],
    identity: { sources: SOURCES, verify: { secretFile: 'secret' } },
    secrets: { ca: {}, identitySecret: SECRET },
    ...options,
  });
  open.push(front);
  return front;
}

/** A client connection of its own that stays open; asking by it gives the answer's body. */
function client(front: TestProxy) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  open.push({ close: () => agent.destroy() });
  return (path: string, headers: http.OutgoingHttpHeaders = {}, body?: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const method = body === undefined ? 'GET' : 'POST';
      const options = { port: front.port, path, method, headers, agent };
      const request = http.request(options, async response => {
        const chunks: string[] = [];
        for await (const chunk of response.setEncoding('utf8')) chunks.push(chunk);
        resolve(chunks.join(''));
      });
      request.on('error', reject).end(body);
    });
}

/** Asks over a connection; gives the answer's body. */
function bodyOf(connection: ServiceConnection): Promise<string> {
  const request = {
    target: { path: '/api/x', query: '' },
    headers: [],
    hop: { peer: '127.0.0.1', trusted: false, proto: 'http', host: 'h', version: '1.1' },
    ...{ requestId: 'r', traceparent: 't' },
  } as const;
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    exchange(
      connection,
      { method: 'GET', request, body: null },
      {
        interim: () => true,
        head: () => undefined,
        data: chunk => chunks.push(chunk) > 0,
        end: () => resolve(Buffer.concat(chunks).toString()),
        fail: reject,
      },
    );
  });
}

test('a verified user’s client connections share one to the service, and nobody else gets on it', async () => {
  const front = await sharing(await service());
  const [one, two] = [client(front), client(front)];
  const by = async (ask: typeof one, token: string) => ask('/api/x', bearer(token));
  // As a balancer mixes them: both users on both connections.
  expect([await by(one, ANN), await by(one, BOB)]).toEqual(['1', '2']);
  expect([await by(two, ANN), await by(two, BOB)]).toEqual(['1', '2']);
  expect([await by(one, BOB), await by(two, ANN)]).toEqual(['2', '1']);
});

test('without `affinity: credential` a client connection has its own', async () => {
  const routes: ProxyOptions['routes'] = [{ name: 'api', path: '/api/*', protocol: 'http' }];
  const front = await sharing(await service(), { routes });
  const [one, two] = [client(front), client(front)];
  expect(await one('/api/x', bearer(ANN))).toBe('1');
  expect(await two('/api/x', bearer(ANN))).toBe('2');
  expect(await one('/api/x', bearer(ANN))).toBe('1');
});

test.each<[string, http.OutgoingHttpHeaders, Partial<ProxyOptions>]>([
  ['nobody named', {}, {}],
  ['nobody named, with a cookie as many have it', { cookie: 'lang=en' }, {}],
  ['a token that is not verified here', bearer(ANN), { identity: { sources: SOURCES } }],
  ['a token that is not valid', bearer(`${ANN}x`), {}],
  [
    'a name from a trusted proxy',
    { 'x-user': 'ann' },
    {
      identity: {
        sources: [{ from: 'header', name: 'x-user' }],
        verify: { secretFile: 'secret' },
      },
      listen: { trustedProxies: ['127.0.0.1'] },
    },
  ],
])('%s: each client connection has its own', async (_what, headers, options) => {
  const front = await sharing(await service(), options);
  expect(await client(front)('/api/x', headers)).toBe('1');
  expect(await client(front)('/api/x', headers)).toBe('2');
});

test.each<[string, (token: string) => { path?: string; headers?: http.OutgoingHttpHeaders }]>([
  ['a subprotocol', t => ({ headers: { 'sec-websocket-protocol': `jwt-auth, jwt.${t}` } })],
  ['a bearer token', t => ({ headers: bearer(t) })],
  ['the query', t => ({ path: `/api/x?token=${t}` })],
  ['a cookie', t => ({ headers: { cookie: `a=b; session=${t}` } })],
])('users named by %s are told apart', async (_what, named) => {
  const front = await sharing(await service());
  const ask = (token: string) => {
    const { path = '/api/x', headers } = named(token);
    return client(front)(path, headers);
  };
  expect([await ask(ANN), await ask(BOB), await ask(ANN), await ask(BOB)]).toEqual([
    '1',
    '2',
    '1',
    '2',
  ]);
});

test.each(['X-Api-Key', 'Api-Key', 'X-Auth-Token', 'X-Access-Token', 'Cookie', 'Authorization'])(
  'users of one client connection whom only %s tells apart never share one to the service',
  async field => {
    const routes: ProxyOptions['routes'] = [{ name: 'api', path: '/api/*', protocol: 'http' }];
    const front = await sharing(await service(), { routes, identity: {} });
    const ask = client(front);
    const by = (key: string) => ask('/api/x', { [field]: key });
    const connections = [await by('a'), await by('a'), await by('b'), await by('a')];
    expect(connections).toEqual(['1', '1', '2', '3']);
  },
);

test.each<[string, http.OutgoingHttpHeaders]>([
  ['another cookie', { ...bearer(ANN), cookie: 'session=other' }],
  ['the token spelt otherwise', { authorization: `bearer ${ANN}` }],
])('%s beside the same proof is another credential', async (_what, headers) => {
  const front = await sharing(await service());
  expect(await client(front)('/api/x', bearer(ANN))).toBe('1');
  expect(await client(front)('/api/x', headers)).toBe('2');
});

test('a user’s requests do not wait for each other; six connections are kept for the next ones', async () => {
  const legacy = await service();
  const front = await sharing(legacy);
  const waiting = Array.from({ length: 8 }, () => client(front)('/api/wait', bearer(ANN)));
  await until('all are under way', () => legacy.waiting.length === 8);
  legacy.answer();
  expect(await Promise.all(waiting)).toEqual(Array(8).fill('done'));
  await until('two are closed', () => legacy.sockets.size === 6);
  expect(Number(await client(front)('/api/x', bearer(ANN)))).toBeLessThanOrEqual(8);
  expect(legacy.sockets.size).toBe(6);
});

test('an idle one is closed before the service would', async () => {
  // It announces three seconds; the library leaves two of them as a margin.
  const legacy = await service(3_000);
  const front = await sharing(legacy);
  expect(await client(front)('/api/x', bearer(ANN))).toBe('1');
  expect(await client(front)('/api/x', bearer(ANN))).toBe('1');
  await until('it is closed', () => legacy.sockets.size === 0);
  expect(await client(front)('/api/x', bearer(ANN))).toBe('2');
});

test('one that the service closes is not used again, and the request that meets it is repeated', async () => {
  const legacy = await service();
  const front = await sharing(legacy);
  const ask = client(front);
  expect(await ask('/api/x', bearer(ANN))).toBe('1');
  for (const socket of legacy.sockets) socket.destroy();
  expect(await ask('/api/x', bearer(ANN))).toBe('2');
  expect(await client(front)('/api/x', bearer(ANN))).toBe('2');
});

test('a client that leaves in the middle takes its connection along', async () => {
  const legacy = await service();
  const front = await sharing(legacy);
  const agent = new http.Agent({ keepAlive: true });
  const request = http.get({ port: front.port, path: '/api/wait', headers: bearer(ANN), agent });
  request.on('error', () => undefined);
  await until('it is under way', () => legacy.waiting.length === 1);
  request.destroy();
  await until('it is closed', () => legacy.sockets.size === 0);
  expect(await client(front)('/api/x', bearer(ANN))).toBe('2');
});

test('after a reload that names another service, nobody reaches the one before', async () => {
  const [before, after] = [await service(), await service()];
  const front = await sharing(before);
  expect(await client(front)('/api/x', bearer(ANN))).toBe('1');
  front.traffic.reload(
    loadedConfig({
      legacy: after.port,
      routes: [{ name: 'api', path: '/api/*', protocol: 'http', affinity: 'credential' }],
      identity: { sources: SOURCES, verify: { secretFile: 'secret' } },
      secrets: { ca: {}, identitySecret: SECRET },
    }),
  );
  expect(await client(front)('/api/x', bearer(ANN))).toBe('1');
  expect(after.bodies).toHaveLength(1);
});

test('writes to both share one to each service', async () => {
  const [legacy, candidate] = [await service(), await service()];
  const front = await sharing(legacy, {
    candidate: candidate.port,
    routes: [
      { name: 'api', path: '/api/*', protocol: 'http', writes: 'both', affinity: 'credential' },
    ],
    decider: () => ({
      decision: { ...decisionFor('legacy'), writeTo: 'both' },
      revision: 'test',
    }),
  });
  expect(await client(front)('/api/x', bearer(ANN), 'a')).toBe('1');
  await until('both took it', () => front.agreed.length === 1);
  expect(await client(front)('/api/x', bearer(ANN), 'b')).toBe('1');
  await until('both took it', () => front.agreed.length === 2);
  expect([legacy.bodies, candidate.bodies]).toEqual([
    ['a', 'b'],
    ['a', 'b'],
  ]);
  expect([legacy.sockets.size, candidate.sockets.size]).toEqual([1, 1]);
});

test('writes to both that one client connection sends one after another never meet at the second service', async () => {
  const [legacy, candidate] = [await service(), await service()];
  const front = await sharing(legacy, {
    candidate: candidate.port,
    routes: [
      { name: 'api', path: '/api/*', protocol: 'http', writes: 'both', affinity: 'credential' },
    ],
    decider: () => ({
      decision: { ...decisionFor('legacy'), writeTo: 'both' },
      revision: 'test',
    }),
  });
  const ann = client(front);
  const first = ann('/api/wait', bearer(ANN), '1');
  await until('both have it', () => legacy.waiting.length + candidate.waiting.length === 2);
  legacy.answer();
  await first;
  await ann('/api/x', bearer(ANN), '2');
  // Sent behind it by somebody else, and there before it.
  await client(front)('/api/x', bearer(BOB), '3');
  await until('another one came', () => candidate.bodies.length > 1);
  expect(candidate.bodies).toEqual(['1', '3']);
  candidate.answer();
  await until('the second came', () => candidate.bodies.length === 3);
  expect(candidate.bodies).toEqual(['1', '3', '2']);
});

describe('bounds', () => {
  test('of all idle ones the oldest is closed when there are too many', async () => {
    const legacy = await service();
    const config = loadedConfig({ legacy: legacy.port }).config.upstreams.legacy;
    const upstream = upstreamOf('legacy', config);
    const shared = new SharedConnections(new Roll(), 2);
    open.push(shared);
    const use = (proof: string) => bodyOf(shared.take(upstream, proof, ''));
    expect([await use('a'), await use('b'), await use('c')]).toEqual(['1', '2', '3']);
    expect(shared.idle).toBe(2);
    await until('the oldest is closed', () => legacy.sockets.size === 2);
    expect([await use('b'), await use('a')]).toEqual(['2', '4']);
  });
});
