// Whatever comes, from a client or as a service's answer: it has an end, nobody hears of an internal
// error, and no connection is left.
import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { clientFrame } from '../support/frame.ts';
import { clientOf, LANES, ok } from '../support/line.ts';
import { proxy, type TestProxy } from '../support/proxy.ts';
import { type RawEnd, rawServer, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

const RUNS = { numRuns: 150 };

/** Bytes by chance, and words that lead far into a parser. */
const mess = (...words: readonly string[]) =>
  fc.array(
    fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(...words).map(word => Buffer.from(word, 'latin1')) },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }).map(bytes => Buffer.from(bytes)) },
    ),
    { maxLength: 12 },
  );

const fromClient = mess(
  'GET /api/x HTTP/1.1\r\n',
  'POST /x HTTP/1.1\r\n',
  'Host: h\r\n',
  'Content-Length: 5\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Expect: 100-continue\r\n',
  'Upgrade: websocket\r\nConnection: upgrade\r\n',
  'Connection: close\r\n',
  '\r\n',
  '5\r\nhello\r\n',
  '0\r\n\r\n',
  'GET /api/x HTTP/1.1\r\nHost: h\r\n\r\n',
  upgradeRequest(),
  upgradeRequest('/elsewhere'),
  clientFrame(1, { payload: 'hello' }).toString('latin1'),
  clientFrame(8).toString('latin1'),
);

const fromService = mess(
  'HTTP/1.1 200 OK\r\n',
  'HTTP/1.0 200\r\n',
  'HTTP/1.1 103 Early\r\n\r\n',
  'HTTP/1.1 100 Continue\r\n\r\n',
  'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n',
  'HTTP/1.1 204 None\r\n',
  'HTTP/1.1 999 Odd\r\n',
  'Content-Length: 5\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Connection: close\r\n',
  'X: y\r\n',
  '\r\n',
  '5\r\nhello\r\n',
  '0\r\n\r\n',
  ok(),
);

test('any bytes of a client have an end', { timeout: 120_000 }, async () => {
  const { port, connections } = await answeringService();
  const front = await proxy({ legacy: port });
  onTestFinished(() => front.close());
  await fc.assert(
    fc.asyncProperty(fromClient, async pieces => {
      const client = await clientOf(front.port);
      await speak(client, pieces);
      client.socket.end();
      await until('it ends', () => client.ended || client.closed);
      client.socket.destroy();
      expect(client.text).toMatch(/^(HTTP\/1\.1 [1-5]\d\d |$)/);
    }),
    RUNS,
  );
  await until('the service is let go', () => connections.every(socket => socket.closed));
  await isWell(front);
});

describe.each([
  ...LANES.map(([lane, path]) => [
    lane,
    `GET ${path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`,
  ]),
  ['the WebSocket lane', upgradeRequest()],
  ['the bypass, for a WebSocket', upgradeRequest('/elsewhere')],
])('%s', (_lane, request) => {
  test('any bytes of a service have an end for its client', { timeout: 120_000 }, async () => {
    const service = await rawServer();
    onTestFinished(() => service.close());
    const front = await proxy({ legacy: service.port });
    onTestFinished(() => front.close());
    await fc.assert(
      fc.asyncProperty(fromService, fc.boolean(), async (pieces, resets) => {
        const client = await clientOf(front.port);
        client.write(request);
        const upstream = await service.next();
        await upstream.has('\r\n\r\n');
        await speak(upstream, pieces);
        if (resets) upstream.socket.resetAndDestroy();
        else upstream.socket.end();
        await until('the client is told, or cut off', () => client.ended || client.closed);
        client.socket.destroy();
        expect(client.text).toMatch(/^(HTTP\/1\.1 [1-9]\d\d |$)/);
      }),
      RUNS,
    );
    await until('the service is let go', () => service.connections.every(c => c.ended || c.closed));
    await isWell(front);
  });
});

/** Answers requests, and echoes in WebSockets. */
async function answeringService(): Promise<{ port: number; connections: net.Socket[] }> {
  const connections: net.Socket[] = [];
  const server = http.createServer((request, response) => {
    request.resume().on('end', () => response.end('ok'));
  });
  server.on('connection', socket => connections.push(socket));
  const webSockets = new WebSocketServer({ server });
  webSockets.on('connection', socket => {
    socket.on('message', data => socket.send(data));
    // It closes what it can not read, which is what is wanted.
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    webSockets.close();
    server.close();
    server.closeAllConnections();
  });
  return { port: (server.address() as net.AddressInfo).port, connections };
}

async function speak({ socket }: RawEnd, pieces: readonly Buffer[]): Promise<void> {
  for (const piece of pieces) {
    if (socket.destroyed) return;
    socket.write(piece);
    await new Promise(resolve => setImmediate(resolve));
  }
}

/** Nothing of the proxy's own failed, and nothing is pending. */
async function isWell({ reports, logged, traffic }: TestProxy): Promise<void> {
  expect(reports.filter(({ what }) => what === 'internal')).toEqual([]);
  expect(logged.filter(line => /"level":(50|60)/.test(line))).toEqual([]);
  await until('no handshake is pending', () => traffic.connecting === 0);
  await until('no session is open', () =>
    [...traffic.counters()].every(({ counters }) => counters.sessionsOpen === 0),
  );
}
