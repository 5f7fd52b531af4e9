// Whoever looks for a request in the log has its ids: those that the service got, or that the client
// sent. Refusals of the proxy's own and those passed on once left no line at all.
import { afterEach, describe, expect, test } from 'vitest';
import { type ProxyOptions, proxy } from '../support/proxy.ts';
import { rawClient, rawServer, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

const ID = 'request-7';
const TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
const IDS = `X-Request-Id: ${ID}\r\nTraceparent: ${TRACE}\r\n`;
const FORBIDDEN = 'HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno';
const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: proxy.test\r\n${IDS}\r\n`;

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function asked(request: string, options: Partial<ProxyOptions> = {}) {
  const service = await rawServer();
  const front = await proxy({ legacy: service.port, ...options });
  const client = await rawClient(front.port);
  open.push(service, front, { close: () => client.socket.destroy() });
  client.write(request);
  const line = (message: string) =>
    until(`the log says that ${message}`, () => {
      const found = front.logged.find(text => text.includes(`"msg":"${message}"`));
      return found === undefined ? undefined : JSON.parse(found);
    });
  return { service, client, line };
}

const ids = { requestId: ID, traceparent: TRACE };
const bypassed = { bypassed: () => true };

describe('an upgrade', () => {
  test('that is served is known by the ids that its client sent', async () => {
    const { service, client, line } = await asked(upgradeRequest('/ws', IDS));
    const upstream = await service.next();
    await upstream.accept();
    await client.has('101');
    client.socket.destroy();
    upstream.socket.end();
    expect(await line('session ended')).toMatchObject({ ...ids, route: 'events' });
  });

  test('whose client sent no ids is known by those that the service got', async () => {
    const { service, client, line } = await asked(upgradeRequest());
    const upstream = await service.next();
    await upstream.has('\r\n\r\n');
    const [, requestId] = /X-Request-Id: (\S+)/.exec(upstream.text) ?? [];
    const [, traceparent] = /Traceparent: (\S+)/.exec(upstream.text) ?? [];
    upstream.write(FORBIDDEN);
    await client.has('403');
    const refused = await line('a service refused an upgrade');
    expect(refused).toMatchObject({ requestId, traceparent });
  });

  test('that a service refuses is logged with its status', async () => {
    const { service, line } = await asked(upgradeRequest('/ws?token=s3cr3t', IDS));
    (await service.next()).write(FORBIDDEN);
    const refused = await line('a service refused an upgrade');
    expect(refused).toMatchObject({ ...ids, route: 'events', side: 'legacy', status: 403 });
    expect(refused).toMatchObject({ level: 30, reason: 'serve-flag', flags: 'test' });
    expect(JSON.stringify(refused)).not.toMatch(/s3cr3t|\/ws/);
  });

  test.each([
    ['with a bad target', upgradeRequest('/ws#x', IDS), {}, { code: 'bad-request', status: 400 }],
    [
      'without a key',
      upgradeRequest('/ws', IDS).replace(/Sec-WebSocket-Key.*\r\n/, ''),
      {},
      { code: 'bad-upgrade', status: 400 },
    ],
    [
      'without a credential',
      upgradeRequest('/ws', IDS),
      { identity: { absent: 'reject' as const } },
      { code: 'unauthorized', status: 401, route: 'events' },
    ],
    [
      'with a bad target in the bypass',
      upgradeRequest('/ws#x', IDS),
      bypassed,
      { code: 'bad-request', route: 'bypass' },
    ],
  ])("%s is logged as its client's fault", async (_what, request, options, refusal) => {
    const { line } = await asked(request, options);
    expect(await line('an upgrade was refused')).toMatchObject({ ...ids, ...refusal, level: 30 });
  });

  test.each([
    ['', {}, { route: 'events', code: 'upstream-unreachable' }],
    [' in the bypass', bypassed, { route: 'bypass', code: 'upstream-unreachable' }],
  ])('to a service that is not there%s is a warning', async (_where, options, refusal) => {
    const request = upgradeRequest('/ws', IDS);
    const { line } = await asked(request, { legacy: 'http://127.0.0.1:1', ...options });
    const refused = await line('an upgrade was refused');
    expect(refused).toMatchObject({ ...ids, ...refusal, side: 'legacy', level: 40, status: 502 });
    expect(refused.detail).toBe('ECONNREFUSED');
  });

  test('that legacy refuses in the bypass is logged with its status', async () => {
    const { service, line } = await asked(upgradeRequest('/ws', IDS), bypassed);
    (await service.next()).write(FORBIDDEN);
    const refused = await line('a service refused an upgrade');
    expect(refused).toMatchObject({ ...ids, route: 'bypass', side: 'legacy', status: 403 });
  });
});

describe('a request', () => {
  test.each([
    ['without a credential', '/api/x', { code: 'unauthorized', route: 'api' }],
    ['with a bad target', '/api/x#y', { code: 'bad-request' }],
  ])("%s is logged as its client's fault", async (_what, path, refusal) => {
    const { line } = await asked(get(path), { identity: { absent: 'reject' } });
    expect(await line('a request was refused')).toMatchObject({ ...ids, ...refusal, level: 30 });
  });

  test.each([
    ['', '/api/x', {}, 'api'],
    [' in the bypass', '/api/x', bypassed, 'bypass'],
    [' on no route', '/other', {}, 'unrouted'],
  ])('to a service that is not there%s is a warning', async (_where, path, options, route) => {
    const { line } = await asked(get(path), { legacy: 'http://127.0.0.1:1', ...options });
    const refused = await line('a request was refused');
    expect(refused).toMatchObject({ ...ids, route, side: 'legacy', level: 40, status: 502 });
  });

  test.each([
    ['', {}, 'api'],
    [' in the bypass', bypassed, 'bypass'],
  ])('whose answer breaks off%s is known by its ids', async (_where, options, route) => {
    const { service, client, line } = await asked(get('/api/x'), options);
    const upstream = await service.next();
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf');
    await client.has('half');
    upstream.socket.resetAndDestroy();
    expect(await line('an answer broke off')).toMatchObject({ ...ids, route, side: 'legacy' });
  });
});
