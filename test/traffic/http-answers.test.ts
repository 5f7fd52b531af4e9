// What becomes of a service's answer in the HTTP lane (the bypass where it says so), sound or not; cases by their numbers.
import net from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
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
import { LANES } from '../support/line.ts';
import { proxy } from '../support/proxy.ts';
import type { RawEnd, RawServer } from '../support/raw.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);

/** The error code in the last answer that a client got. */
async function errorOf(client: RawEnd): Promise<{ status: string; type: string; code: string }> {
  await until('an error comes', () => /\r\n\r\n\{"error":\{.*\}\}$/.test(client.text));
  const [head = '', body = ''] = client.text.split('\r\n\r\n').slice(-2);
  const parsed = JSON.parse(body) as { error: { code: string; message: string } };
  expect(Object.keys(parsed.error)).toEqual(['code', 'message']);
  expect(head).toContain(`Content-Length: ${body.length}`);
  return {
    status: head.split('\r\n')[0] ?? '',
    type: /content-type: (.*)/i.exec(head)?.[1] ?? '',
    code: parsed.error.code,
  };
}

/** On the same connection of the client; that to the service may be another (after a HEAD it is). */
async function nextIsAnswered(
  service: RawServer,
  client: RawEnd,
  path = '/api/next',
): Promise<void> {
  client.received = Buffer.alloc(0);
  client.write(get(path));
  const next = await until('the next request arrives', () =>
    service.connections.find(({ text }) => text.includes(path)),
  );
  next.write(answer('next'));
  await client.has('\r\n\r\nnext');
}

const HEAD = 'HEAD /api/x HTTP/1.1\r\nHost: h\r\n\r\n';
const OLD = 'GET /api/x HTTP/1.0\r\nHost: h\r\n\r\n';

describe('22: interim answers', () => {
  const INTERIM =
    'HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <b>\r\n\r\n';

  test.each([
    ['GET', get('/api/x'), answer()],
    ['HEAD', HEAD, 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'],
  ])('are passed on, all of them, before the answer to a %s', async (_method, request, final) => {
    const { service, client } = await withService();
    client.write(request);
    (await asked(service)).write(INTERIM + final);
    await client.has('HTTP/1.1 200 OK');
    expect(client.text.startsWith(INTERIM)).toBe(true);
    // The next answer on this connection belongs to the next request.
    await nextIsAnswered(service, client);
  });

  test('wait for a client that does not read, and so does the service (45)', async () => {
    const { service, client } = await withService();
    const write = vi.spyOn(net.Socket.prototype, 'write');
    closing({ close: () => write.mockRestore() });
    client.write(get('/api/x'));
    const { socket } = await asked(service);
    client.socket.pause();
    const hint = `HTTP/1.1 103 Early Hints\r\nLink: ${'x'.repeat(60_000)}\r\n\r\n`;
    const hints = 190;
    socket.write(hint.repeat(hints) + answer());
    const { localPort } = client.socket;
    const held = () =>
      write.mock.contexts
        .map(each => each as net.Socket)
        .find(({ remotePort }) => remotePort === localPort)?.writableLength ?? 0;
    let most = 0;
    let [left, since] = [-1, 0];
    await until('nothing moves', () => {
      most = Math.max(most, held());
      if (socket.writableLength !== left) {
        left = socket.writableLength;
        since = performance.now();
      }
      return most > 0 && performance.now() - since > 300;
    });
    expect(most).toBeLessThan(1_000_000);
    let arrived = client.received.length;
    client.socket.removeAllListeners('data').on('data', chunk => {
      arrived += chunk.length;
    });
    client.socket.resume();
    await until('all come', () => arrived > hints * hint.length + answer().length);
  });

  test.each([
    ['GET', answer('ok')],
    ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'],
  ])('stay behind in the bypass, and the answer to a %s is its own', async (method, final) => {
    const { service, client } = await withService();
    client.write(`${method} /x HTTP/1.1\r\nHost: h\r\n\r\n`);
    (await asked(service)).write(INTERIM + final);
    await client.has(method === 'GET' ? '\r\n\r\nok' : '\r\n\r\n');
    expect(client.text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(client.text.split('HTTP/1.1 ')).toHaveLength(2);
    await nextIsAnswered(service, client, '/next');
  });

  test('are not for clients of HTTP/1.0', async () => {
    const { service, client } = await withService();
    client.write(OLD);
    (await asked(service)).write(INTERIM + answer());
    await client.has('\r\n\r\nok');
    expect(client.text.startsWith('HTTP/1.1 200 OK')).toBe(true);
  });

  test.each([
    ['a status below 100', 'HTTP/1.1 099 What\r\n\r\n'],
    ['a 101 that nobody asked for', 'HTTP/1.1 101 S\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'],
    // Nobody told the service to say it: `Expect` does not go on.
    ['a 100 that nobody asked for', 'HTTP/1.1 100 Continue\r\n\r\n'],
  ])('%s is no answer: 502, and the connection is given up', async (_what, first) => {
    const { service, client } = await withService();
    client.write(get('/api/x'));
    const upstream = await asked(service);
    upstream.write(first + answer('secret'));
    expect(await errorOf(client)).toMatchObject({
      status: 'HTTP/1.1 502 Bad Gateway',
      code: 'upstream-invalid',
    });
    expect(client.text).toMatch(/^HTTP\/1\.1 502 /);
    await until('the service is let go', () => isLetGo(upstream));
  });
});

describe('23: trailers of an answer', () => {
  const CHUNKED =
    'HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nX-L: \xe4\r\nx-sum: 8\r\n\r\n';

  test('are announced, and come behind the last chunk, as they are', async () => {
    const { service, client } = await withService();
    client.write(get('/api/x'));
    (await asked(service)).write(CHUNKED);
    await client.has('0\r\nX-Sum: 7\r\nX-L: \xe4\r\nx-sum: 8\r\n\r\n');
    expect(lines(client)).toContain('trailer: x-sum');
    expect(client.text.split('\r\n\r\n')[0]).not.toContain('X-Sum: 7');
  });

  test('say nothing of where the message ends or goes, how it is read, or who anybody is', async () => {
    const { service, client } = await withService();
    client.write(get('/api/x'));
    const forged = [
      ...[
        'Content-Length: 5',
        'Content_Length: 5',
        'Transfer-Encoding: x',
        'Content-Encoding: gzip',
      ],
      ...['Host: evil', 'Trailer: X', 'Set-Cookie: s=1', 'Authorization: Bearer t', 'TE: x'],
    ];
    (await asked(service)).write(
      CHUNKED.replace('X-Sum: 7\r\n', `${forged.join('\r\n')}\r\nX-Sum: 7\r\n`),
    );
    await client.has('\r\nok\r\n0\r\nX-Sum: 7\r\nX-L: \xe4\r\nx-sum: 8\r\n\r\n');
  });

  test.each([
    ['a client of HTTP/1.0', OLD, CHUNKED, '\r\n\r\nok'],
    [
      'a HEAD',
      HEAD,
      'HTTP/1.1 200 OK\r\nTrailer: X\r\nTransfer-Encoding: chunked\r\n\r\n',
      '\r\n\r\n',
    ],
    ['an answer with a length', get('/api/x'), answer('ok', 'Trailer: X\r\n'), '\r\n\r\nok'],
  ])('have no place, and are not announced, in %s', async (_what, request, given, end) => {
    const { service, client } = await withService();
    client.write(request);
    (await asked(service)).write(given);
    await until('the answer is there', () => client.text.endsWith(end));
    expect(client.text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(client.text).not.toMatch(/trailer|x-sum/i);
  });
});

test.each([
  ['a HEAD', HEAD, 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'],
  ['a HEAD of a chunked body', HEAD, 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
  ['a 204', get('/api/x'), 'HTTP/1.1 204 No Content\r\n\r\n'],
  ['a 204 with a length', get('/api/x'), 'HTTP/1.1 204 No Content\r\nContent-Length: 9\r\n\r\n'],
  [
    'a 204 with chunks',
    get('/api/x'),
    'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n',
  ],
  ['a 304 with a length', get('/api/x'), 'HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n'],
])('76: %s ends with its head, and the next request is answered', async (_what, request, given) => {
  const { service, client } = await withService();
  client.write(request);
  (await asked(service)).write(given);
  await client.has('\r\n\r\n');
  // A 204 may tell none (RFC 9110 8.6).
  const length = given.includes(' 204 ') ? null : /Content-Length: 9\r\n/.exec(given);
  expect(/Content-Length: .*\r\n/.exec(client.text)?.[0]).toBe(length?.[0]);
  expect(client.text.endsWith('\r\n\r\n')).toBe(true);
  await nextIsAnswered(service, client);
});

describe('47: an answer that breaks off', () => {
  test('is reset where only the end of the connection says where it ends (HTTP/1.0)', async () => {
    for (const framing of ['Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'X: y\r\n\r\nhalf']) {
      const { service, client, front } = await withService();
      client.write(OLD);
      const upstream = await asked(service);
      upstream.write(`HTTP/1.1 200 OK\r\n${framing}`);
      await client.has('half');
      if (framing.startsWith('T')) upstream.socket.end();
      else upstream.socket.resetAndDestroy();
      await until('the client is cut off', () => client.closed);
      expect(client.socket.errored).toMatchObject({ code: 'ECONNRESET' });
      expect(client.ended).toBe(false);
      expect(front.reports).toContainEqual(
        expect.objectContaining({ kind: 'failed', what: 'upstream-closed' }),
      );
    }
  });

  test('in its chunks is cut off as well, and is told as the service’s fault', async () => {
    const { service, client, front } = await withService();
    client.write(get('/api/x'));
    (await asked(service)).write(
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0x4\r\nhalf\r\n0\r\n\r\n',
    );
    await until('the client is cut off', () => isLetGo(client));
    expect(client.text).not.toContain('\r\n0\r\n');
    expect(client.text.split('half')).toHaveLength(2);
    expect(front.reports).toContainEqual(
      expect.objectContaining({ kind: 'failed', side: 'legacy', what: 'upstream-invalid' }),
    );
  });

  test('as soon as it has begun is not complete either, with nothing of it or all but one byte', async () => {
    for (const part of ['', 'x'.repeat(99)]) {
      const { service, client, front } = await withService();
      client.write(get('/api/x'));
      const upstream = await asked(service);
      upstream.write(`HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n${part}`);
      await client.has(`\r\n\r\n${part}`);
      upstream.socket.end();
      // Not when an idle connection would be closed.
      await until('the client is cut off', () => isLetGo(client), 3_000);
      expect(front.reports).toContainEqual(
        expect.objectContaining({ kind: 'failed', what: 'upstream-closed' }),
      );
      expect(client.text.endsWith(`\r\n\r\n${part}`)).toBe(true);
    }
  });
});

/** The fault: each was three writes to its client, and one that did not read had 4.9 MB of objects kept for it. */
test('45: an answer in chunks of a byte goes on in chunks of what came at once', async () => {
  const { service, client } = await withService();
  const CHUNKS = 1_000;
  client.write(get('/api/x'));
  const upstream = await asked(service);
  upstream.write(
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(CHUNKS)}0\r\n\r\n`,
  );
  await client.has('\r\n0\r\n\r\n');
  const [, ...body] = client.text.split('\r\n\r\n');
  const pieces = body
    .join('')
    .split('\r\n')
    .filter(text => /^x+$/.test(text));
  expect(pieces.join('')).toHaveLength(CHUNKS);
  expect(pieces.length).toBeLessThan(10);
});

test('a broken request in the middle of an answer puts nothing into that answer', async () => {
  const { service, client, front } = await withService();
  client.write(
    'POST /api/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n',
  );
  const upstream = await asked(service);
  await upstream.has('half');
  upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf');
  await client.has('\r\n\r\nhalf');
  client.write('no chunk size\r\n');
  await until('both are cut off', () => isLetGo(client) && isLetGo(upstream));
  expect(client.text.endsWith('\r\n\r\nhalf')).toBe(true);
  expect(upstream.text).not.toContain('\r\n0\r\n');
  // Where none has begun it is told what is wrong.
  const other = await connected(front);
  other.write('POST /api/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nno size\r\n');
  expect(await errorOf(other)).toMatchObject({ status: 'HTTP/1.1 400 Bad Request' });
});

test.each([
  ['bytes that are none of HTTP’s', '200 \x01', 'HTTP/1.1 200 OK'],
  ['UTF-8', '200 \xd0\x94\xd0\xb0', 'HTTP/1.1 200 \xd0\x94\xd0\xb0'],
  ['Latin-1', '200 \xdcber', 'HTTP/1.1 200 \xdcber'],
  ['a status of its own', '299 \x02', 'HTTP/1.1 299 '],
  ['nothing', '200 ', 'HTTP/1.1 200 '],
  ['its own words', '404 Nix da', 'HTTP/1.1 404 Nix da'],
])('a reason phrase of %s does not hold up the answer', async (_what, given, expected) => {
  const { service, client } = await withService();
  client.write(get('/api/x'));
  (await asked(service)).write(answer('ok', '', given));
  await client.has('\r\n\r\nok');
  expect(client.text.split('\r\n')[0]).toBe(expected);
});

describe.each(LANES)('%s', (_lane, path) => {
  test.each([
    ['Content-Length: 010', 'Content-Length: 10'],
    ['CONTENT-LENGTH: 0000000000000000000010', 'CONTENT-LENGTH: 10'],
  ])('%s, which some read as octal, goes on as %s', async (given, passedOn) => {
    const { service, client } = await withService();
    client.write(get(path));
    (await asked(service)).write(`HTTP/1.1 200 OK\r\n${given}\r\n\r\n0123456789`);
    await client.has('\r\n\r\n0123456789');
    expect(client.text.split('\r\n')).toContain(passedOn);
  });
});

const OWN_NAMES = { '/api/x': 'api', '/x': 'unrouted' } as const;

describe.each(LANES)(
  '%s: an answer that two readers could understand in two ways, or none, is a 502:',
  (_lane, path) => {
    const chunks = '\r\n\r\n2\r\nok\r\n0\r\n\r\n';
    test.each([
      ['length and chunks', `Content-Length: 4\r\nTransfer-Encoding: chunked${chunks}`],
      ['two lengths', 'Content-Length: 2\r\nContent-Length: 2\r\n\r\nok'],
      ['a signed length', 'Content-Length: +2\r\n\r\nok'],
      ['a coding besides chunked', `Transfer-Encoding: gzip, chunked${chunks}`],
      ['another coding', 'Transfer-Encoding: gzip\r\n\r\nok'],
      ['chunked twice', `Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked${chunks}`],
      ['a control character', 'X: a\x01b\r\nContent-Length: 2\r\n\r\nok'],
      ['a folded field', 'X: a\r\n b\r\nContent-Length: 2\r\n\r\nok'],
      ['a space before the colon', 'X : a\r\nContent-Length: 2\r\n\r\nok'],
      ['a head beyond all measure', `X: ${'a'.repeat(70_000)}\r\n\r\n`],
      ['an empty length', 'Content-Length:\r\n\r\nok'],
      ['an empty coding', `Transfer-Encoding:${chunks}`],
      ['chunks in HTTP/1.0', `Transfer-Encoding: chunked${chunks}`, '0 200 OK'],
    ])('%s', async (_what, rest, version = '1 200 OK') => {
      const { service, client, front } = await withService();
      client.write(get(path));
      const upstream = await asked(service);
      upstream.write(`HTTP/1.${version}\r\n${rest}`);
      expect(await errorOf(client)).toEqual({
        status: 'HTTP/1.1 502 Bad Gateway',
        type: 'application/json',
        code: 'upstream-invalid',
      });
      await until('the service is let go', () => isLetGo(upstream));
      expect(front.reports.filter(({ kind }) => kind === 'failed')).toEqual([
        { kind: 'failed', route: OWN_NAMES[path], side: 'legacy', what: 'upstream-invalid' },
      ]);
    });

    test('what is no HTTP at all', async () => {
      const { service, client } = await withService();
      client.write(get(path));
      (await asked(service)).write('SSH-2.0-OpenSSH_9.9\r\n');
      expect(await errorOf(client)).toMatchObject({ code: 'upstream-invalid' });
    });
  },
);

describe('a service that does not answer is a clear error, and the client’s connection goes on', () => {
  test.each(['end', 'reset'] as const)('502 at its %s', async how => {
    const { service, client } = await withService();
    client.write(get('/api/x'));
    const upstream = await asked(service);
    if (how === 'end') upstream.socket.end();
    else upstream.socket.resetAndDestroy();
    expect(await errorOf(client)).toEqual({
      status: 'HTTP/1.1 502 Bad Gateway',
      type: 'application/json',
      code: 'upstream-closed',
    });
    client.write(get('/api/again'));
    (await asked(service)).write(answer('again'));
    await client.has('\r\n\r\nagain');
  });

  test.each([
    ['nobody listens', 'http://127.0.0.1:9', 'upstream-unreachable'],
    ['it has no address', 'http://nowhere.invalid', 'upstream-unreachable'],
  ])('502 where %s', async (_what, legacy, code) => {
    const front = closing(await proxy({ legacy }));
    const client = await connected(front);
    client.write(get('/api/x'));
    expect(await errorOf(client)).toEqual({
      status: 'HTTP/1.1 502 Bad Gateway',
      type: 'application/json',
      code,
    });
  });

  test('504 when no head comes in time, and the service is let go', async () => {
    const { service, client } = await withService({ upstream: { responseTimeoutMs: 300 } });
    client.write(get('/api/x'));
    const upstream = await asked(service);
    upstream.write('HTTP/1.1 200 OK\r\nX: ');
    expect(await errorOf(client)).toEqual({
      status: 'HTTP/1.1 504 Gateway Timeout',
      type: 'application/json',
      code: 'upstream-timeout',
    });
    await until('the service is let go', () => isLetGo(upstream));
  });

  test('504 when the connection does not stand in time', async () => {
    // It accepts, and says nothing where TLS is expected.
    const { service } = await withService();
    const front = closing(
      await proxy({
        legacy: `https://127.0.0.1:${service.port}`,
        upstream: { connectTimeoutMs: 200 },
      }),
    );
    const client = await connected(front);
    client.write(get('/api/x'));
    expect(await errorOf(client)).toMatchObject({ code: 'upstream-timeout' });
    await until('the service is let go', () => service.connections.every(isLetGo));
  });

  test('502 where it speaks no TLS though it should', async () => {
    const { service } = await withService();
    const front = closing(await proxy({ legacy: `https://127.0.0.1:${service.port}` }));
    const client = await connected(front);
    client.write(get('/api/x'));
    (await service.next()).write('HTTP/1.1 400 Bad Request\r\n\r\n');
    expect(await errorOf(client)).toMatchObject({ code: 'upstream-unreachable' });
  });
});

// The fault: it counted among the service's errors, for which guardrails took everybody back.
test('what the proxy answers for want of its own is told as its own failure, what the service answers is not', async () => {
  const { service, front, client } = await withService();
  const { connect } = net;
  const connecting = vi.spyOn(net, 'connect').mockImplementation(((options: net.NetConnectOpts) => {
    if (!('port' in options) || options.port !== service.port) return connect(options);
    const none = Object.assign(new Error('too many open files'), { code: 'EMFILE' });
    return new net.Socket().destroy(none);
  }) as typeof net.connect);
  client.write(get('/api/x'));
  expect(await errorOf(client)).toMatchObject({ code: 'exhausted' });
  connecting.mockRestore();
  client.received = Buffer.alloc(0);
  client.write(get('/api/x'));
  (await asked(service)).write(answer('no', '', '503 Service Unavailable'));
  await client.has('\r\n\r\nno');
  await until('both are told', () => front.reports.filter(({ kind }) => kind === 'request')[1]);
  expect(front.reports.filter(({ kind }) => kind === 'request')).toMatchObject([
    { route: 'api', side: 'legacy', code: 503, what: 'proxy' },
    { route: 'api', side: 'legacy', code: 503, what: 'service' },
  ]);
});
