// Rows 15 to 20 and 28: targets that could be routed by one reading and served by another, and
// methods and upgrades that no lane takes.
import { describe, expect, test } from 'vitest';
import { asked, LANES, line, ok } from '../support/line.ts';
import { decisionFor } from '../support/proxy.ts';
import { rawServer } from '../support/raw.ts';
import { until } from '../support/until.ts';

const request = (target: string, fields = '', method = 'GET') =>
  `${method} ${target} HTTP/1.1\r\nHost: h\r\n${fields}\r\n`;

/** Legacy and candidate as two services; the route's users are the candidate's. */
async function twoSides() {
  const candidate = await rawServer();
  const all = await line({
    candidate: candidate.port,
    decider: () => ({ decision: decisionFor('candidate'), revision: 'test' }),
  });
  return { ...all, candidate };
}

describe('a route takes', () => {
  test.each([
    ['17', '/api/x'],
    ['17', '/api'],
    ['15', '/api/../x'],
    ['15', '/api/%2e%2e/x'],
    ['15', '/api//evil.test/x'],
    ['15', '/api/x;v=1/..;/y'],
    ['15', '/api/\\..\\x'],
  ])('%s: %s, and its service gets the bytes that were decided on', async (_row, target) => {
    const { candidate, service, client } = await twoSides();
    (await client()).write(request(target));
    const upstream = await asked(candidate);
    expect(upstream.text.startsWith(`GET ${target} HTTP/1.1\r\n`)).toBe(true);
    expect(service.connections).toHaveLength(0);
    candidate.close();
  });
});

describe('a route does not take', () => {
  test.each([
    ['17', '/apix'],
    ['17', '/x/api/y'],
    ['17', '/x?/api/y'],
    ['17', '/API/x'],
    ['15', '//api/x'],
    ['15', '//h/api/x'],
    ['15', '/./api/x'],
    ['15', '/x/../api/x'],
    ['15', '/%61pi/x'],
    ['15', '/http://h/api/x'],
    ['15', '/\\api/x'],
  ])('%s: %s, which goes to legacy as it came', async (_row, target) => {
    const { candidate, service, client } = await twoSides();
    (await client()).write(request(target));
    const upstream = await asked(service);
    expect(upstream.text.startsWith(`GET ${target} HTTP/1.1\r\n`)).toBe(true);
    expect(candidate.connections).toHaveLength(0);
    candidate.close();
  });

  test('17: a path that only its host begins with', async () => {
    const { candidate, service, client } = await twoSides();
    (await client()).write('GET /x HTTP/1.1\r\nHost: api\r\n\r\n');
    await asked(service);
    expect(candidate.connections).toHaveLength(0);
    candidate.close();
  });
});

describe.each(LANES)('%s', (_lane, path) => {
  test.each([
    ['15', 'a fragment', request(`${path}#f`)],
    ['15', 'a byte beyond ASCII', request(`${path}\xe4`)],
    ['15', 'a NUL', request(`${path}\0`)],
    ['15', 'a DEL', request(`${path}\x7f`)],
    ['14', 'another scheme', request(`ftp://h${path}`)],
    ['16', 'a star', request('*')],
    ['16', 'an authority alone', request('h:80')],
    ['16', 'no target', request('')],
    ['16', 'a space in it', request(`${path} x`)],
    ['16', 'no slash', request(path.slice(1))],
    ['16', 'no version', `GET ${path}\r\n\r\n`],
    ['16', 'version 2.0', `GET ${path} HTTP/2.0\r\nHost: h\r\n\r\n`],
    ['16', 'version 1.2', `GET ${path} HTTP/1.2\r\nHost: h\r\n\r\n`],
    ['16', 'version 0.9', `GET ${path} HTTP/0.9\r\nHost: h\r\n\r\n`],
    ['16', 'the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['16', 'a method in lower case', request(path, '', 'get')],
    ['16', 'a method of its own', request(path, '', 'STEAL')],
  ])('%s: a request line with %s is refused with 400, and reaches no service', async (...row) => {
    const { service, client } = await line();
    const end = await client();
    end.write(row[2]);
    await until('the client is closed', () => end.ended);
    expect(end.text).toMatch(/^HTTP\/1\.1 400 /);
    expect(service.connections).toHaveLength(0);
  });

  test.each([
    ['19', 'CONNECT', 'h:443'],
    ['19', 'CONNECT', path],
    ['20', 'TRACE', path],
  ])('%s: %s %s is refused with 405, told what is allowed, and closed', async (_row, method, t) => {
    const { service, client } = await line();
    const end = await client();
    end.write(`${request(t, 'Cookie: secret\r\n', method)}GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`);
    await until('the client is closed', () => end.ended || end.closed);
    expect(end.text).toMatch(/^HTTP\/1\.1 405 .*\r\nAllow: GET, .*\r\n.*"code":"method"/s);
    expect(end.text).not.toMatch(/secret|HTTP\/1\.1 200/);
    expect(service.connections).toHaveLength(0);
  });

  test.each(['h2c', 'foo', 'TLS/1.0'])(
    '28: an upgrade to %s is a request without one',
    async protocol => {
      const { service, client } = await line();
      const end = await client();
      end.write(
        request(
          path,
          `Upgrade: ${protocol}\r\nHTTP2-Settings: AAMAAABk\r\nConnection: Upgrade, HTTP2-Settings\r\n`,
        ),
      );
      const upstream = await asked(service);
      expect(upstream.text).not.toMatch(/upgrade|settings|foo/i);
      // A service that changes its protocol all the same is not believed, and not kept.
      upstream.write(
        `HTTP/1.1 101 Switching\r\nUpgrade: ${protocol}\r\nConnection: Upgrade\r\n\r\n`,
      );
      await end.has('"code":"upstream-invalid"');
      expect(end.text).toMatch(/^HTTP\/1\.1 502 /);
      await until('the service is let go', () => upstream.ended || upstream.closed);
    },
  );
});

test('16: OPTIONS * is about the proxy, which answers it', async () => {
  const { service, client } = await line();
  const end = await client();
  end.write(request('*', '', 'OPTIONS'));
  await end.has('\r\n\r\n');
  expect(end.text).toMatch(/^HTTP\/1\.1 204 .*\r\nAllow: GET, .*OPTIONS\r\n/s);
  expect(service.connections).toHaveLength(0);
});

test.each([
  ['Authorization: ab\r\nCookie: c\r\n', 'Authorization: a\r\nCookie: bc\r\n'],
  ['Authorization: a\r\nCookie: b\r\n', 'Authorization: a","b\r\n'],
  ['Authorization: a\r\n', 'Cookie: a\r\n'],
  ['Cookie: a\r\nCookie: b\r\n', 'Cookie: a, b\r\n'],
])('18: %j and %j on one connection are two users, with a connection each', async (one, other) => {
  const { service, client } = await line();
  const end = await client();
  end.write(request('/api/x', one));
  const first = await asked(service);
  first.write(ok('first'));
  await end.has('first');
  end.write(request('/api/x', other));
  const second = await asked(service);
  second.write(ok('second'));
  await end.has('second');
  expect(second).not.toBe(first);
});
