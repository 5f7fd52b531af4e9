// Rows 9 to 14: heads that are malformed, too large, or name their host in two ways.
import { describe, expect, test } from 'vitest';
import { isAmbiguous } from '../../src/traffic/request.ts';
import { asked, LANES, line, ok } from '../support/line.ts';
import { until } from '../support/until.ts';

const HOST = 'Host: h\r\n';

/** [row, what, head with PATH in it] */
const MALFORMED: [number, string, string][] = [
  [9, 'an end of CR LF CR', 'GET PATH HTTP/1.1\r\nHost: h\r\n\rX: a\r\n\r\n'],
  [9, 'a bare CR before its end', 'GET PATH HTTP/1.1\r\nHost: h\r\n\r\rX'],
  [9, 'a bare LF behind a field', 'GET PATH HTTP/1.1\r\nHost: h\nA: b\r\n\r\n'],
  [9, 'a bare LF behind the request line', 'GET PATH HTTP/1.1\nHost: h\r\n\r\n'],
  [9, 'a bare LF at its end', 'GET PATH HTTP/1.1\r\nHost: h\r\n\n'],
  [9, 'bare LFs alone', 'GET PATH HTTP/1.1\nHost: h\n\n'],
  [10, 'a NUL in a value', `GET PATH HTTP/1.1\r\n${HOST}A: b\0c\r\n\r\n`],
  [10, 'a CR in a value', `GET PATH HTTP/1.1\r\n${HOST}A: b\rc\r\n\r\n`],
  [10, 'a control character in a value', `GET PATH HTTP/1.1\r\n${HOST}A: b\x01c\r\n\r\n`],
  [10, 'a DEL in a value', `GET PATH HTTP/1.1\r\n${HOST}A: b\x7fc\r\n\r\n`],
  [10, 'a space before a colon', `GET PATH HTTP/1.1\r\n${HOST}A : b\r\n\r\n`],
  [10, 'a tab before a colon', `GET PATH HTTP/1.1\r\n${HOST}A\t: b\r\n\r\n`],
  [10, 'an empty name', `GET PATH HTTP/1.1\r\n${HOST}: b\r\n\r\n`],
  [10, 'a NUL in a name', `GET PATH HTTP/1.1\r\n${HOST}A\0: b\r\n\r\n`],
  [10, 'a name beyond ASCII', `GET PATH HTTP/1.1\r\n${HOST}\xe4: b\r\n\r\n`],
  [10, 'no colon', `GET PATH HTTP/1.1\r\n${HOST}Ab\r\n\r\n`],
  [10, 'a line folded by a space', `GET PATH HTTP/1.1\r\n${HOST}A: b\r\n c\r\n\r\n`],
  [10, 'a line folded by a tab', `GET PATH HTTP/1.1\r\n${HOST}A: b\r\n\tc\r\n\r\n`],
  [10, 'a first field behind a space', `GET PATH HTTP/1.1\r\n A: b\r\n${HOST}\r\n`],
  [13, 'two equal Hosts', 'GET PATH HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n'],
  [13, 'two Hosts', 'GET PATH HTTP/1.1\r\nHost: h\r\nhost: g\r\n\r\n'],
  [13, 'an empty Host', 'GET PATH HTTP/1.1\r\nHost:\r\n\r\n'],
  [13, 'an empty Host in HTTP/1.0', 'GET PATH HTTP/1.0\r\nHost: \r\n\r\n'],
  [13, 'no Host', 'GET PATH HTTP/1.1\r\n\r\n'],
  [13, 'two hosts in one Host', 'GET PATH HTTP/1.1\r\nHost: a,b\r\n\r\n'],
  [13, 'a space in its Host', 'GET PATH HTTP/1.1\r\nHost: a b\r\n\r\n'],
  [13, 'a path in its Host', 'GET PATH HTTP/1.1\r\nHost: a/b\r\n\r\n'],
  [13, 'a user in its Host', 'GET PATH HTTP/1.1\r\nHost: u@a\r\n\r\n'],
  [13, 'a port that is none', 'GET PATH HTTP/1.1\r\nHost: a:b\r\n\r\n'],
  [13, 'a Host beyond ASCII', 'GET PATH HTTP/1.1\r\nHost: \xe4\r\n\r\n'],
  [14, 'one host in its target and another in Host', `GET http://gPATH HTTP/1.1\r\n${HOST}\r\n`],
  [14, 'a port in its target alone', `GET http://h:81PATH HTTP/1.1\r\n${HOST}\r\n`],
  [14, 'a user in its target', `GET http://u@hPATH HTTP/1.1\r\n${HOST}\r\n`],
];

test.each(MALFORMED.filter(([row]) => row === 13))(
  '%i: OPTIONS * with %s is refused as well',
  async (...row) => {
    const [, , head] = row;
    const { service, client } = await line();
    const end = await client();
    end.write(head.replace('GET PATH', 'OPTIONS *'));
    await until('the client is closed', () => end.ended);
    expect(end.text).toMatch(/^HTTP\/1\.1 400 /);
    expect(service.connections).toHaveLength(0);
  },
);

describe.each(LANES)('%s', (_lane, path) => {
  test.each(MALFORMED)('%i: a head with %s is refused, and reaches no service', async (...row) => {
    const [, , head] = row;
    const { service, client, front } = await line();
    const end = await client();
    end.write(head.replace('PATH', path));
    await until('the client is closed', () => end.ended);
    expect(end.text).toMatch(/^HTTP\/1\.1 400 .*"code":"bad-request"/s);
    expect(service.connections).toHaveLength(0);
    const failed = front.reports.filter(r => r.kind === 'failed');
    expect(failed).toEqual([expect.objectContaining({ what: 'bad-request' })]);
  });

  test.each([
    ['a field', `GET ${path} HTTP/1.1\r\n${HOST}A: ${'a'.repeat(17_000)}\r\n\r\n`],
    ['a target', `GET ${path}${'a'.repeat(17_000)} HTTP/1.1\r\n${HOST}\r\n`],
    ['2,100 fields', `GET ${path} HTTP/1.1\r\n${HOST}${'A: b\r\n'.repeat(2_100)}\r\n`],
  ])('11: %s beyond the limit is a 431', async (_what, head) => {
    const { service, client } = await line();
    const end = await client();
    end.write(head);
    await until('the client is closed', () => end.ended);
    expect(end.text).toMatch(/^HTTP\/1\.1 431 /);
    expect(service.connections).toHaveLength(0);
  });

  test('11: a head that drips is a 408, however steadily', async () => {
    const { service, client } = await line({ limits: { headersTimeoutMs: 300 } });
    const end = await client();
    end.write(`GET ${path} HTTP/1.1\r\n${HOST}A: `);
    const drip = setInterval(() => end.write('a'), 50);
    await until('the client is closed', () => end.ended || end.closed).finally(() =>
      clearInterval(drip),
    );
    expect(end.text).toMatch(/^HTTP\/1\.1 408 /);
    expect(service.connections).toHaveLength(0);
  });

  test('12: names of what objects have are fields like any other', async () => {
    const { service, client } = await line();
    const end = await client();
    const names = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty'];
    end.write(
      `GET ${path} HTTP/1.1\r\n${HOST}${names.map(name => `${name}: ${name}\r\n`).join('')}\r\n`,
    );
    const upstream = await asked(service);
    for (const name of names)
      expect(upstream.text).toMatch(new RegExp(`\r\n${name}: ${name}\r\n`, 'i'));
    upstream.write(
      `HTTP/1.1 200 OK\r\n__proto__: p\r\nconstructor: c\r\nContent-Length: 0\r\n\r\n`,
    );
    await end.has('__proto__: p\r\nconstructor: c\r\n');
  });

  test('13: a client of HTTP/1.0 may name no host; the service gets its own', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(`GET ${path} HTTP/1.0\r\n\r\n`);
    const upstream = await asked(service);
    expect(upstream.text.match(/^host:.*$/gim)).toEqual([
      expect.stringMatching(new RegExp(`: 127.0.0.1:${service.port}$`)),
    ]);
    expect(upstream.text).not.toMatch(/x-forwarded-host/i);
    upstream.write(ok());
    await end.has('\r\n\r\nok');
  });

  test('14: a target with its host is sent on by its path, to the host that both name', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(`GET http://H:8080${path}?a HTTP/1.1\r\nHost: h:8080\r\n\r\n`);
    const upstream = await asked(service);
    expect(upstream.text).toMatch(/^GET \/\S+\?a HTTP\/1\.1\r\nhost: h:8080\r\n/i);
  });
});

// Node before 24 hands over the first 1,000 and keeps silent about the rest; this one refuses more by itself.
test.each([
  [998, false],
  [999, true],
])('11: Host and %i fields may be all that came: %s', (more, isRefused) => {
  const rawHeaders = ['Host', 'h', ...Array.from({ length: more }, () => ['A', 'b']).flat()];
  expect(isAmbiguous({ httpVersion: '1.1', rawHeaders })).toBe(isRefused);
});
