// What becomes of header fields, paths and versions on their way through the HTTP lane; cases by
// their numbers.
import { afterEach, describe, expect, test } from 'vitest';
import {
  answer,
  asked,
  closeAll,
  closing,
  connected,
  get,
  lines,
  withService,
} from '../support/lane.ts';
import { decisionFor, proxy } from '../support/proxy.ts';
import { rawServer } from '../support/raw.ts';

afterEach(closeAll);

const CLAIMS = [
  'Forwarded: for=6.6.6.6',
  'X-Forwarded-For: 6.6.6.6',
  'X-Forwarded-Proto: https',
  'X-Forwarded-Host: six',
  'X-Forwarded-Port: 666',
  'X-Forwarded-User: six',
  'X-Real-IP: 6.6.6.6',
  'X_Forwarded_For: 66.6.6.6',
  'X_Real_IP: 66.6.6.6',
  'X-Cutover-Role: shadow',
  'X_Cutover_Session: 66',
]
  .map(line => `${line}\r\n`)
  .join('');

describe('25: who a request came from', () => {
  test('is what the connection says, whatever a stranger claims in any spelling', async () => {
    const { service, client } = await withService();
    client.write(get('/api/x', CLAIMS));
    const upstream = await asked(service);
    expect(upstream.text).not.toMatch(/6\.6|six|shadow|x_|session: 66$/im);
    expect(lines(upstream).filter(line => /^(x-forwarded|forwarded|x-real)/.test(line))).toEqual([
      'x-forwarded-for: 127.0.0.1',
      'x-forwarded-proto: http',
      'x-forwarded-host: h',
    ]);
  });

  test('is what a trusted proxy says, added to where it is a list; other spellings and our own names never', async () => {
    const { service, client } = await withService({ listen: { trustedProxies: ['127.0.0.0/8'] } });
    client.write(get('/api/x', CLAIMS));
    const upstream = await asked(service);
    expect(
      lines(upstream).filter(line => /forwarded|real|cutover-[rs]|cutover_/.test(line)),
    ).toEqual([
      'x-forwarded-port: 666',
      'x-forwarded-user: six',
      'x-real-ip: 6.6.6.6',
      'forwarded: for=6.6.6.6, for=127.0.0.1;proto=http',
      'x-forwarded-for: 6.6.6.6, 127.0.0.1',
      'x-forwarded-proto: https',
      'x-forwarded-host: six',
    ]);
  });

  test.each([
    ['a stranger', [], null],
    ['a trusted proxy', ['127.0.0.1'], 'mallory'],
  ] as const)(
    'the field that names the user counts from %s by its configured name at most',
    async (_who, trustedProxies, passes) => {
      const { service, client } = await withService({
        listen: { trustedProxies: [...trustedProxies] },
        identity: { sources: [{ from: 'header', name: 'X-User-Id' }] },
      });
      client.write(get('/api/x', 'X_User_Id: eve\r\nX-User-Id: mallory\r\nx-user_id: eve\r\n'));
      const upstream = await asked(service);
      expect(lines(upstream).filter(line => /user.id/.test(line))).toEqual(
        passes === null ? [] : [`x-user-id: ${passes}`],
      );
    },
  );
});

describe('24: fields of one connection', () => {
  test('of a request stay behind, and what a CGI program takes for the address of a proxy', async () => {
    const { service, client } = await withService();
    const own = 'Proxy: evil\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: p\r\n';
    client.write(get('/api/x', `${own}X-Kept: 1\r\n`));
    const upstream = await asked(service);
    expect(upstream.text).not.toMatch(/^proxy/im);
    expect(lines(upstream)).toContain('x-kept: 1');
  });

  test('an upgrade to anything but WebSocket goes on as a plain request', async () => {
    const { service, client } = await withService();
    client.write(
      get(
        '/api/x',
        'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n',
      ),
    );
    const upstream = await asked(service);
    expect(upstream.text).not.toMatch(/upgrade|h2c|http2-settings/i);
    upstream.write(answer('plain'));
    await client.has('\r\n\r\nplain');
  });

  test('of an answer stay behind, with those that it nominates, and take nothing of the proxy along', async () => {
    const { service, client } = await withService({ listen: { showSide: true } });
    client.write(get('/api/x'));
    (await asked(service)).write(
      answer(
        'ok',
        'Connection: X-Gone, X-Cutover-Side, close\r\nX-Gone: 1\r\nKeep-Alive: timeout=77\r\nProxy-Authenticate: p\r\nProxy-Authentication-Info: p\r\nUpgrade: h2c\r\nX-Kept: 1\r\n',
      ),
    );
    await client.has('\r\n\r\nok');
    expect(client.text).not.toMatch(/x-gone|77|proxy-auth|h2c/i);
    expect(lines(client)).toEqual(
      expect.arrayContaining(['x-kept: 1', 'x-cutover-side: legacy', 'connection: keep-alive']),
    );
  });
});

test('26: the way a request took is added to, with the version in which it came', async () => {
  const { service, client, front } = await withService();
  client.write(get('/api/x', 'Via: 1.1 cdn\r\n'));
  const first = lines(await asked(service)).filter(line => line.startsWith('via'));
  expect(first).toEqual(['via: 1.1 cdn', expect.stringMatching(/^via: 1\.1 cutover-[0-9a-f]{8}$/)]);
  const old = await connected(front);
  old.write('GET /api/x HTTP/1.0\r\n\r\n');
  const upstream = await asked(service);
  // Without a Host of its own it gets that of the service.
  expect(lines(upstream)).toContain(`host: 127.0.0.1:${service.port}`);
  expect(upstream.text).toMatch(/Via: 1\.0 cutover-/);
  expect(upstream.text).not.toMatch(/x-forwarded-host/i);
  upstream.write(answer());
  await old.has('\r\n\r\nok');
});

test('77: every field of a request goes on, in order, spelling and number, byte for byte', async () => {
  const { service, client } = await withService();
  const fields = [
    'X-Zed: 1',
    'accept: a',
    'x-zed: 2',
    'Content-Type: text/x; q="\xe9"',
    'COOKIE: a=\xff',
    'Cookie: b',
    'X-Empty: ',
    'X-Latin: \x80\xe4\xf6',
    '__proto__: 1',
    'constructor: 2',
    'Authorization: Basic \xe4',
  ];
  client.write(get('/api/x', `${fields.join('\r\n')}\r\n`));
  const upstream = await asked(service);
  const got = upstream.text.split('\r\n');
  const from = got.indexOf(fields[0] ?? '');
  expect(got.slice(from, from + fields.length)).toEqual(fields);
});

test('77: and so does every field of an answer', async () => {
  const { service, client } = await withService();
  client.write(get('/api/x'));
  const fields = [
    'Set-Cookie: a=1; Path=/',
    'X-Zed: 1',
    'set-cookie: b=\xfc',
    'x-zed: 2',
    'SET-COOKIE: a=2',
    'X-Empty: ',
    '__proto__: 1',
    'Server: old',
    'Warning: 199 - "\x80\xff"',
    'Date: whenever it likes',
    'Content-Length: 2',
    'WWW-Authenticate: Basic',
    'WWW-Authenticate: Bearer',
  ];
  (await asked(service)).write(`HTTP/1.1 401 Nay, \tfriend\r\n${fields.join('\r\n')}\r\n\r\nok`);
  await client.has('\r\n\r\nok');
  const got = client.text.split('\r\n');
  expect(got.slice(0, fields.length + 1)).toEqual(['HTTP/1.1 401 Nay, \tfriend', ...fields]);
});

test('15: each side gets the bytes that the decision was taken on, rewritten by its own rules', async () => {
  const legacy = closing(await rawServer());
  const candidate = closing(await rawServer());
  const paths: string[] = [];
  const front = closing(
    await proxy({
      legacy: `http://127.0.0.1:${legacy.port}/old/`,
      candidate: candidate.port,
      upstream: { rewrite: [{ prefix: '/api/v1', to: '/v2' }] },
      routes: [
        { name: 'one', path: '/api/v1/*', protocol: 'http' },
        { name: 'all', path: '/api/*', protocol: 'http' },
      ],
      decider: ({ name }) => {
        paths.push(name);
        return {
          decision: decisionFor(name === 'one' ? 'candidate' : 'legacy'),
          revision: 'test',
        };
      },
    }),
  );
  const cases = [
    ['/api/v1/%2e%2e/%2F?q=/api/v1', 'one', candidate, '/v2/%2e%2e/%2F?q=/api/v1'],
    ['/api/v1', 'one', candidate, '/v2'],
    ['/api/v1/../a;b\\c', 'one', candidate, '/v2/../a;b\\c'],
    ['/api/v1/?', 'one', candidate, '/v2/?'],
    // Other bytes, though some would take them for the same path.
    ['/api/%76%31/x', 'all', legacy, '/old/api/%76%31/x'],
    ['/api//v1/x', 'all', legacy, '/old/api//v1/x'],
    ['/api/v1x', 'all', legacy, '/old/api/v1x'],
  ] as const;
  for (const [path, route, service, expected] of cases) {
    const client = await connected(front);
    client.write(get(path));
    const upstream = await asked(service);
    expect([paths.at(-1), upstream.text.split('\r\n')[0]]).toEqual([
      route,
      `GET ${expected} HTTP/1.1`,
    ]);
  }
});
