// Whom a session counts as, by each way of naming oneself; and that credentials stay where they are.
import { SignJWT } from 'jose';
import { afterEach, expect, test } from 'vitest';
import { type ProxyOptions, proxy, type TestProxy } from '../support/proxy.ts';
import { type RawServer, rawClient, rawServer, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

const SECRET = new TextEncoder().encode('a secret of the tests, long enough for HS256');
const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function withIdentity(
  identity: ProxyOptions['identity'],
  listen: ProxyOptions['listen'] = {},
): Promise<{ front: TestProxy; service: RawServer }> {
  const service = await rawServer();
  const front = await proxy({
    legacy: service.port,
    identity: { verify: { secretFile: 'secret' }, ...identity },
    listen,
    secrets: { ca: {}, identitySecret: SECRET },
  });
  open.push(service, front);
  return { front, service };
}

const tokenOf = (user: string) =>
  new SignJWT({ sub: user })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('1h')
    .sign(SECRET);
const sources: NonNullable<ProxyOptions['identity']>['sources'] = [
  { from: 'subprotocol' },
  { from: 'bearer' },
  { from: 'query', names: ['token'] },
  { from: 'cookie', name: 'session' },
];

test.each([
  [
    'a subprotocol',
    (t: string) =>
      upgradeRequest(
        '/ws',
        `Sec-WebSocket-Protocol: jwt-auth, jwt.${Buffer.from(t).toString('base64url')}\r\n`,
      ),
  ],
  ['a bearer token', (t: string) => upgradeRequest('/ws', `Authorization: Bearer ${t}\r\n`)],
  ['the query', (t: string) => upgradeRequest(`/ws?token=${t}`)],
  ['a cookie', (t: string) => upgradeRequest('/ws', `Cookie: a=b; session=${t}\r\n`)],
])('a user named by %s is that user, and the token reaches no log', async (_what, request) => {
  const { front, service } = await withIdentity({ sources });
  const token = await tokenOf('user_7');
  const client = await rawClient(front.port);
  client.write(request(token));
  const upstream = await service.next();
  await upstream.accept();
  await client.has('101');
  expect([...front.traffic.sessionsOf('events')]).toMatchObject([
    { subject: { id: 'user_7', aliases: [] }, side: 'legacy' },
  ]);
  client.socket.destroy();
  upstream.socket.end();
  await until('the end is logged', () => front.logged.some(line => line.includes('session ended')));
  expect(front.logged.join()).not.toMatch(/user_7|eyJ/);
});

test.each([
  ['absent', upgradeRequest()],
  [
    'invalid',
    upgradeRequest('/ws', 'Authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.\r\n'),
  ],
])(
  'a credential that is %s is 401 before any service is dialled, where that is asked for',
  async (_what, request) => {
    const { front, service } = await withIdentity({ sources, absent: 'reject', invalid: 'reject' });
    const client = await rawClient(front.port);
    client.write(request);
    await client.has('"code":"unauthorized"');
    expect(client.text).toMatch(/^HTTP\/1\.1 401 /);
    expect(client.text).not.toContain('eyJ');
    expect(service.connections).toHaveLength(0);
  },
);

test('a forged token is left to the service, and counts for nobody', async () => {
  const { front, service } = await withIdentity({ sources });
  const client = await rawClient(front.port);
  open.push({ close: () => client.socket.destroy() });
  client.write(
    upgradeRequest(
      '/ws',
      `Authorization: Bearer ${(await tokenOf('user_7')).slice(0, -4)}AAAA\r\n`,
    ),
  );
  await (await service.next()).accept();
  await client.has('101');
  expect([...front.traffic.sessionsOf('events')]).toMatchObject([
    { subject: null, side: 'legacy' },
  ]);
});

test.each([
  ['a stranger', [], null, false],
  ['a trusted proxy', ['127.0.0.1'], 'user_9', true],
] as const)('who %s says he is', async (_who, trustedProxies, id, passedOn) => {
  const { front, service } = await withIdentity(
    { sources: [{ from: 'header', name: 'X-User-Id' }] },
    { trustedProxies: [...trustedProxies] },
  );
  const client = await rawClient(front.port);
  open.push({ close: () => client.socket.destroy() });
  client.write(upgradeRequest('/ws', 'X-User-Id: user_9\r\n'));
  const upstream = await service.next();
  await upstream.has('\r\n\r\n');
  expect(upstream.text.includes('user_9')).toBe(passedOn);
  await upstream.accept();
  await client.has('101');
  expect([...front.traffic.sessionsOf('events')][0]?.subject?.id ?? null).toBe(id);
});
