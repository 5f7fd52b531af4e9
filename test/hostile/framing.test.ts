// Rows 1 to 8: requests whose end two readers could see in two places. The proxy reads them in front
// of a service that may be the other reader, so it must refuse, or send on what has one meaning.
import { describe, expect, test } from 'vitest';
import { asked, LANES, line, ok } from '../support/line.ts';
import { until } from '../support/until.ts';

const CHUNKED = 'Transfer-Encoding: chunked\r\n';
const LAST = '0\r\n\r\n';

/** [row, what, fields, body, version] */
const AMBIGUOUS_HEADS: [number, string, string, string, string?][] = [
  [1, 'a coding and a length', `${CHUNKED}Content-Length: 4\r\n`, LAST],
  [1, 'a length and a coding', `Content-Length: 4\r\n${CHUNKED}`, LAST],
  [2, 'two lengths', 'Content-Length: 1\r\nContent-Length: 2\r\n', 'ab'],
  [2, 'the same length twice', 'Content-Length: 2\r\nContent-Length: 2\r\n', 'ab'],
  [2, 'a list of lengths', 'Content-Length: 1000,1000\r\n', 'ab'],
  [2, 'a length of 65 bits', 'Content-Length: 18446744073709551618\r\n', 'ab'],
  [2, 'a length of 64 bits', 'Content-Length: 18446744073709551615\r\n', 'ab'],
  [2, 'a length that a number would round', 'Content-Length: 9007199254740993\r\n', 'ab'],
  [3, 'a length with a plus', 'Content-Length: +5\r\n', 'abcde'],
  [3, 'a negative length', 'Content-Length: -5\r\n', 'abcde'],
  [3, 'a hexadecimal length', 'Content-Length: 0x5\r\n', 'abcde'],
  [3, 'a length with an underscore', 'Content-Length: 5_0\r\n', 'abcde'],
  [3, 'an empty length', 'Content-Length:\r\n', ''],
  [3, 'a length of a blank', 'Content-Length:  \r\n', ''],
  [3, 'a length that may be octal', 'Content-Length: 010\r\n', 'abcdefghij'],
  [3, 'several zeros', 'Content-Length: 00\r\n', ''],
  [3, 'two lengths with a blank between', 'Content-Length: 2 3\r\n', 'ab'],
  [3, 'a length behind a vertical tab', 'Content-Length: \x0b2\r\n', 'ab'],
  [4, 'an empty member before the coding', 'Transfer-Encoding: ,chunked\r\n', LAST],
  [4, 'an empty member behind the coding', 'Transfer-Encoding: chunked,\r\n', LAST],
  [4, 'no coding', 'Transfer-Encoding:\r\n', LAST],
  [4, 'the coding identity', 'Transfer-Encoding: identity\r\n', ''],
  [4, 'a coding under the chunks', 'Transfer-Encoding: gzip, chunked\r\n', LAST],
  [4, 'a coding over the chunks', 'Transfer-Encoding: chunked, gzip\r\n', LAST],
  [4, 'chunks in chunks', 'Transfer-Encoding: chunked, chunked\r\n', LAST],
  [4, 'a coding with a parameter', 'Transfer-Encoding: chunked;q=1\r\n', LAST],
  [5, 'the coding twice', `${CHUNKED}${CHUNKED}`, LAST],
  [5, 'two codings', `${CHUNKED}Transfer-Encoding: identity\r\n`, LAST],
  [5, 'two codings, chunks last', `Transfer-Encoding: identity\r\n${CHUNKED}`, LAST],
  [5, 'a coding behind a vertical tab', 'Transfer-Encoding: \x0bchunked\r\n', LAST],
  [5, 'a coding before a vertical tab', 'Transfer-Encoding: chunked\x0b\r\n', LAST],
  [5, 'a coding behind a no-break space', 'Transfer-Encoding: \xa0chunked\r\n', LAST],
  [5, 'xchunked', 'Transfer-Encoding: xchunked\r\n', LAST],
  [5, 'chunkedx', 'Transfer-Encoding: chunkedx\r\n', LAST],
  [5, 'a coding in quotes', 'Transfer-Encoding: "chunked"\r\n', LAST],
  [5, 'a coding with a space before its colon', 'Transfer-Encoding : chunked\r\n', LAST],
  [5, 'a coding behind a space', ' Transfer-Encoding: chunked\r\n', LAST],
  [5, 'a coding on a folded line', 'Transfer-Encoding:\r\n chunked\r\n', LAST],
  [5, 'a coding with a tab before its colon', 'Transfer-Encoding\t: chunked\r\n', LAST],
  [5, 'a coding with a tab in it', 'Transfer-Encoding: chun\tked\r\n', LAST],
  [5, 'a coding behind a tab', '\tTransfer-Encoding: chunked\r\n', LAST],
  [5, 'a coding on a line folded by a tab', 'Transfer-Encoding:\r\n\tchunked\r\n', LAST],
  [5, 'a coding with a NUL in its name', 'Transfer-\0Encoding: chunked\r\n', LAST],
  [6, 'a coding in HTTP/1.0', CHUNKED, LAST, '1.0'],
];

/** [row, what, body]: nothing of it may go on, or only what came before the fault and without an end. */
const MALFORMED_BODIES: [number, string, string][] = [
  [7, 'a size with 0x', `0x2\r\nab\r\n${LAST}`],
  [7, 'a size with a plus', `+2\r\nab\r\n${LAST}`],
  [7, 'a size with an underscore', `0_2\r\nab\r\n${LAST}`],
  [7, 'a negative size', `-2\r\nab\r\n${LAST}`],
  [7, 'a blank before a size', ` 2\r\nab\r\n${LAST}`],
  [7, 'a blank behind a size', `2 \r\nab\r\n${LAST}`],
  [7, 'a size of 65 bits', `10000000000000002\r\nab\r\n${LAST}`],
  [7, 'no size', `\r\nab\r\n${LAST}`],
  [7, 'more than the size says', `2\r\nabc\r\n${LAST}`],
  [7, 'no line end behind a chunk', `2\r\nab${LAST}`],
  [8, 'a bare CR in an extension', `2;a\rb\r\nab\r\n${LAST}`],
  [8, 'a bare LF in an extension', `2;a\nab\r\n${LAST}`],
  [8, 'a NUL in an extension', `2;a\0b\r\nab\r\n${LAST}`],
  [8, 'a bare LF behind a size', `2\nab\r\n${LAST}`],
  [8, 'a bare LF behind a chunk', `2\r\nab\n${LAST}`],
  [8, 'a bare LF at the end', '2\r\nab\r\n0\n\n'],
  [8, 'an extension of 20 kB', `2;${'a'.repeat(20_000)}\r\nab\r\n${LAST}`],
  [8, 'a trailer with a space before its colon', '0\r\nA : b\r\n\r\n'],
  [8, 'a trailer that ends with a bare LF', '0\r\nA: b\n\r\n'],
];

test.each(AMBIGUOUS_HEADS)(
  '%i: OPTIONS * with %s is refused as well, and nothing behind it is served',
  async (_row, _what, fields, body, version = '1.1') => {
    const { service, client } = await line();
    const end = await client();
    end.write(
      `OPTIONS * HTTP/${version}\r\nHost: h\r\n${fields}\r\n${body}GET / HTTP/1.1\r\nHost: h\r\n\r\n`,
    );
    await until('the client is closed', () => end.ended);
    expect(end.text).toMatch(/^HTTP\/1\.1 400 /);
    expect(service.connections).toEqual([]);
  },
);

describe.each(LANES)('%s', (_lane, path) => {
  test.each(AMBIGUOUS_HEADS)(
    '%i: %s is refused, and reaches no service',
    async (_row, _what, fields, body, version = '1.1') => {
      const { service, client, front } = await line();
      const end = await client();
      end.write(`POST ${path} HTTP/${version}\r\nHost: h\r\n${fields}\r\n${body}`);
      await until('the client is closed', () => end.ended);
      expect(end.text).toMatch(/^HTTP\/1\.1 400 .*"code":"bad-request"[^}]*}}$/s);
      expect(front.reports).toContainEqual({
        kind: 'failed',
        route: expect.anything(),
        side: 'none',
        what: 'bad-request',
      });
      expect(service.connections.filter(c => c.received.length > 0)).toEqual([]);
    },
  );

  test.each(MALFORMED_BODIES)(
    '%i: a body with %s is refused, and gets no end at the service',
    async (_row, _what, body) => {
      const { service, client } = await line();
      const end = await client();
      end.write(`POST ${path} HTTP/1.1\r\nHost: h\r\n${CHUNKED}\r\n${body}`);
      await until('the client is closed', () => end.ended || end.closed);
      expect(end.text).toMatch(/^HTTP\/1\.1 400 /);
      end.socket.destroy();
      await until('the service is let go', () =>
        service.connections.every(c => c.ended || c.closed),
      );
      for (const { text } of service.connections) expect(text).not.toMatch(/\r\n0\r\n|length: 2/i);
    },
  );

  // A tab there is as good as a space (RFC 9110 5.6.3); services that do not know that are not asked.
  test('5: the coding behind a tab goes on without it, with chunks of our own writing', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(
      `POST ${path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\tchunked\r\n\r\n2\r\nab\r\n${LAST}`,
    );
    const upstream = await asked(service);
    await upstream.has(LAST);
    expect(upstream.text).toMatch(/\r\ntransfer-encoding: chunked\r\n/i);
    expect(upstream.text).not.toContain('\t');
    upstream.write(ok());
    await end.has('\r\n\r\nok');
  });

  test.each(['chunked\t', ' \t chunked \t '])(
    '5: the coding as %j is refused, and gets no end at the service',
    async coding => {
      const { service, client } = await line();
      const end = await client();
      end.write(
        `POST ${path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:${coding}\r\n\r\n2\r\nab\r\n${LAST}`,
      );
      await until('the client is closed', () => end.ended || end.closed);
      expect(end.text).toMatch(/^HTTP\/1\.1 400 /);
      end.socket.destroy();
      await until('the service is let go', () =>
        service.connections.every(c => c.ended || c.closed),
      );
      for (const { text } of service.connections) expect(text).not.toMatch(/\r\n\r\n./s);
    },
  );

  test('7: chunks go on with sizes of our own writing', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(
      `POST ${path} HTTP/1.1\r\nHost: h\r\n${CHUNKED}\r\n000000002\r\nab\r\n2;x=y\r\ncd\r\n`,
    );
    const upstream = await asked(service);
    await upstream.has('cd');
    end.write(LAST);
    await until('the body has its end', () => upstream.text.endsWith('cd\r\n0\r\n\r\n'));
    expect(upstream.text.split('\r\n\r\n')[1]).toMatch(/^(2\r\nab\r\n2\r\ncd|4\r\nabcd)\r\n0$/);
    upstream.write(ok());
    await end.has('\r\n\r\nok');
  });

  test('8: a trailer section of more than the header limit is refused', async () => {
    const { service, client } = await line();
    const end = await client();
    end.write(
      `POST ${path} HTTP/1.1\r\nHost: h\r\n${CHUNKED}\r\n0\r\nA: ${'b'.repeat(20_000)}\r\n\r\n`,
    );
    await until('the client is closed', () => end.ended || end.closed);
    expect(end.text).toMatch(/^HTTP\/1\.1 431 /);
    end.socket.destroy();
    await until('the service is let go', () => service.connections.every(c => c.ended || c.closed));
  });

  test.each(['Transfer_Encoding: chunked', 'Content_Length: 40'])(
    '5: %s, which some services take for the real field, stays behind',
    async field => {
      const { service, client } = await line();
      const end = await client();
      end.write(`POST ${path} HTTP/1.1\r\nHost: h\r\n${field}\r\n\r\n`);
      const upstream = await asked(service);
      expect(upstream.text).not.toMatch(/transfer|chunked|content_|length: 40/i);
    },
  );
});
