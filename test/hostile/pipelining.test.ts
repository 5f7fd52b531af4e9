// Row 27, and what it suggests: what comes behind a request on its connection, while the answer is due.
import { describe, expect, test } from 'vitest';
import { asked, LANES, line, ok } from '../support/line.ts';
import { type RawEnd, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

const get = (path: string, fields = '') => `GET ${path} HTTP/1.1\r\nHost: h\r\n${fields}\r\n`;
const gone = (end: RawEnd) => until('the client is closed', () => end.ended || end.closed);

describe.each(LANES)('%s', (_lane, path) => {
  /** The fault: the refusal was written at once, into the middle of the answer that was under way. */
  test('garbage behind a request is refused behind its answer', async () => {
    const { service, client, front } = await line();
    const end = await client();
    end.write(get(path));
    const upstream = await asked(service);
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
    await end.has('half');
    end.write('garbage\r\n\r\n');
    await until('it is counted', () => front.reports.some(r => r.what === 'bad-request'));
    for (let i = 0; i < 20; i += 1) end.write('and more of it');
    upstream.write('rest');
    await gone(end);
    const [, ...bodies] = end.text.split('\r\n\r\n');
    expect(bodies[0]).toMatch(/^halfrestHTTP\/1\.1 400 /);
    expect(bodies[1]).toContain('"code":"bad-request"');
    expect(front.reports.filter(r => r.kind === 'failed')).toHaveLength(1);
  });

  test('garbage within a body whose answer has begun cuts that answer off', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(`POST ${path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n`);
    const upstream = await asked(service);
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
    await end.has('half');
    end.write('garbage\r\n');
    await gone(end);
    expect(end.text.endsWith('half')).toBe(true);
    await until('the service is let go', () => upstream.ended || upstream.closed);
    expect(upstream.text).not.toMatch(/\r\n0\r\n/);
  });

  test('what comes behind the last request that a client announced changes nothing', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(get(path, 'Connection: close\r\n') + get(`${path}/second`));
    (await asked(service)).write(ok());
    await gone(end);
    expect(end.text).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\nok$/s);
    expect(service.connections).toHaveLength(1);
  });

  /** The fault: whoever was told that his request can not be read had the next one served. */
  test.each([
    ['two Hosts', get(path, 'Host: g\r\n')],
    ['a coding under the chunks', `${get(path, 'Transfer-Encoding: gzip, chunked\r\n')}0\r\n\r\n`],
  ])('nothing is served behind a request that was refused for %s', async (_what, bad) => {
    const { service, client } = await line();
    const end = await client();
    end.write(bad + get(`${path}/second`));
    await gone(end);
    expect(end.text.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(service.connections).toHaveLength(0);
  });

  test('requests of one client are answered in their order', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(get(`${path}/1`) + get(`${path}/2`));
    for (const n of [1, 2]) {
      const upstream = await until(`request ${n} arrives`, () =>
        service.connections.find(c => c.text.includes(`${path}/${n} HTTP`)),
      );
      upstream.write(ok(`body ${n}`));
      await end.has(`body ${n}`);
    }
    expect(end.text.indexOf('body 1')).toBeLessThan(end.text.indexOf('body 2'));
  });

  test('27: an upgrade behind a request that has no answer yet is refused behind that answer', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(get(path) + upgradeRequest());
    const upstream = await asked(service);
    upstream.write(ok('mine'));
    await gone(end);
    expect(end.text).toMatch(/\r\n\r\nmineHTTP\/1\.1 400 .*"code":"bad-upgrade"/s);
    expect(service.connections).toHaveLength(1);
  });
});

describe.each([
  ['of a route', '/ws', false],
  ['that no route names', '/elsewhere', false],
  ['under the bypass', '/ws', true],
] as const)('27: behind an upgrade request %s', (_what, path, engaged) => {
  test.each([
    ['refuses it', 'HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno'],
    ['takes it for a request', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno'],
  ])('a request never reaches a service that %s', async (_how, answer) => {
    const { service, client } = await line({ bypassed: () => engaged });
    const end = await client();
    end.write(upgradeRequest(path) + get('/admin'));
    const upstream = await asked(service);
    end.write(get('/admin'));
    upstream.write(answer);
    await end.has('\r\n\r\nno');
    await gone(end);
    end.socket.end();
    await until('the service is let go', () => upstream.ended || upstream.closed);
    expect(upstream.text).not.toContain('/admin');
    expect(service.connections).toHaveLength(1);
  });
});
