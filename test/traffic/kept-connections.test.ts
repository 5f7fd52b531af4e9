// How long a client's connection is kept for its next request. It was once five seconds, whatever was configured: a
// balancer that keeps its connections for a minute sent requests into the close, and its users got a 502.
import http from 'node:http';
import type net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { KeptConnections } from '../../src/traffic/kept-connections.ts';
import { Pipeline } from '../../src/traffic/pipeline.ts';
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
import { onTheWay } from '../support/on-the-way.ts';
import { loadedConfig } from '../support/proxy.ts';
import { rawClient } from '../support/raw.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);

const kept = (end: Parameters<typeof lines>[0]) =>
  lines(end).filter(line => line.startsWith('keep-alive: '));

test.each([
  ['of a route', '/api/x', false],
  ['of a path without a route', '/elsewhere', false],
  ['in the bypass', '/api/x', true],
])('an answer %s says how long its connection is kept', async (_what, path, bypassed) => {
  const { service, client } = await withService({ bypassed: () => bypassed });
  client.write(get(path));
  (await asked(service)).write(answer());
  await client.has('\r\n\r\nok');
  expect(kept(client)).toEqual(['keep-alive: timeout=75']);
});

test('it is closed after limits.keepAliveMs, and another value holds from the next answer on', async () => {
  const { service, front, client } = await withService({ limits: { keepAliveMs: 1_000 } });
  client.write(get('/api/x'));
  const upstream = await asked(service);
  const startedAt = performance.now();
  upstream.write(answer());
  await client.has('\r\n\r\nok');
  await until('it is closed', () => isLetGo(client));
  expect(performance.now() - startedAt).toBeGreaterThan(900);
  expect(kept(client)).toEqual(['keep-alive: timeout=1']);
  front.traffic.reload(loadedConfig({ legacy: service.port, limits: { keepAliveMs: 600_000 } }));
  const next = await connected(front);
  next.write('OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n');
  await next.has('\r\n\r\n');
  expect(kept(next)).toEqual(['keep-alive: timeout=600']);
});

// With a whole process that has few: test/journeys/processes.test.ts.
test('where descriptors are short the longest idle are closed before, but none with an answer or some of a request under way', async () => {
  // As if this process might have no more than it has.
  const connections = closing(new KeptConnections(8));
  const server = http.createServer((request, response) => {
    const pipeline = new Pipeline(request.socket);
    connections.add(request.socket, pipeline);
    pipeline.take(response, () => {
      if (request.url === '/slow') response.write('some');
      else response.end('all');
    });
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  closing({ close: () => void server.close().closeAllConnections() });
  const asks = async (path: string, behind = '') => {
    const client = await rawClient((server.address() as net.AddressInfo).port);
    closing({ close: () => client.socket.destroy() });
    client.write(get(path));
    await client.has(path === '/slow' ? 'some' : 'all');
    client.write(behind);
    await until('it is read', () => onTheWay(client, 'out') === 0);
    return client;
  };
  const busy = [
    await asks('/slow'),
    await asks('/', 'GET / HT'),
    await asks('/', 'POST / HTTP/1.1'),
  ];
  const idle = [await asks('/'), await asks('/'), await asks('/')];
  const order: number[] = [];
  for (const [i, { socket }] of idle.entries()) socket.once('end', () => order.push(i));
  await until('all are closed', () => idle.every(isLetGo));
  expect(order).toEqual([0, 1, 2]);
  expect(busy.some(isLetGo)).toBe(false);
  expect(connections.letGo).toEqual({ low: 3, exhausted: 0 });
});
