// How long a client's connection is kept for its next request. It was once five seconds, whatever was configured: a
// balancer that keeps its connections for a minute sent requests into the close, and its users got a 502.
import { afterEach, expect, test } from 'vitest';
import {
  answer,
  asked,
  closeAll,
  connected,
  get,
  isLetGo,
  lines,
  withService,
} from '../support/lane.ts';
import { loadedConfig } from '../support/proxy.ts';
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
  (await asked(service)).write(answer());
  await client.has('\r\n\r\nok');
  const startedAt = performance.now();
  await until('it is closed', () => isLetGo(client));
  expect(performance.now() - startedAt).toBeGreaterThan(900);
  expect(kept(client)).toEqual(['keep-alive: timeout=1']);
  front.traffic.reload(loadedConfig({ legacy: service.port, limits: { keepAliveMs: 600_000 } }));
  const next = await connected(front);
  next.write('OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n');
  await next.has('\r\n\r\n');
  expect(kept(next)).toEqual(['keep-alive: timeout=600']);
});
