// What operators see of HTTP: bytes of bodies, each counted once, on the side that served.
import { afterEach, expect, test } from 'vitest';
import { asked, closeAll, get, withService } from '../support/lane.ts';
import type { TestProxy } from '../support/proxy.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);

const counted = (front: TestProxy) => {
  const lanes = [...front.traffic.counters()].filter(({ route }) => route === 'api');
  return lanes.map(({ side, counters: { bytesToClient, bytesToUpstream } }) => [
    side,
    bytesToUpstream,
    bytesToClient,
  ]);
};

test.each([
  ['as it streams', {}],
  ['held to go twice', { writes: 'both' as const }],
])('bodies are counted both ways, %s', async (_what, rules) => {
  const { service, front, client } = await withService({
    routes: [{ name: 'api', path: '/api/*', protocol: 'http', ...rules }],
  });
  const body = 'x'.repeat(1_000);
  client.write(`POST /api/x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n${body}`);
  const upstream = await asked(service);
  await upstream.has(body);
  upstream.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n');
  await client.has('0\r\n\r\n');
  expect(counted(front)).toEqual([
    ['legacy', 1_000, 5],
    ['candidate', 0, 0],
  ]);
});

test('a stream counts while it is under way', async () => {
  const { service, front, client } = await withService();
  client.write(get('/api/x'));
  const upstream = await asked(service);
  upstream.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
  await until('it is counted', () => counted(front)[0]?.[2] === 5);
});
