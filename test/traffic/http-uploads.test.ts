// Requests with bodies through the HTTP lane: expected, slow, too early answered, broken off; and
// requests that are sent again. Cases by their numbers.
import { afterEach, describe, expect, test } from 'vitest';
import {
  answer,
  asked,
  closeAll,
  closing,
  connected,
  get,
  isLetGo,
  withService,
} from '../support/lane.ts';
import { LANES } from '../support/line.ts';
import { onTheWay } from '../support/on-the-way.ts';
import { proxy } from '../support/proxy.ts';
import type { RawEnd } from '../support/raw.ts';
import { until } from '../support/until.ts';

afterEach(closeAll);

const post = (rest: string, path = '/api/x') => `POST ${path} HTTP/1.1\r\nHost: h\r\n${rest}`;

/** Sends `bytes` of nothing as fast as they are taken; `sent` is what the system has taken. */
function pour({ socket }: RawEnd, bytes: number): { readonly sent: number } {
  const block = Buffer.alloc(100_000);
  const before = socket.bytesWritten;
  let left = bytes;
  const pump = () => {
    let isRoom = true;
    while (left > 0 && isRoom) {
      isRoom = socket.write(block.subarray(0, Math.min(left, block.length)));
      left -= Math.min(left, block.length);
    }
  };
  socket.on('drain', pump);
  pump();
  return {
    get sent() {
      return socket.bytesWritten - before - socket.writableLength;
    },
  };
}

/** Counts what comes instead of keeping it. */
function count({ socket }: RawEnd): { bytes: number } {
  const counted = { bytes: 0 };
  socket.removeAllListeners('data');
  socket.on('data', chunk => {
    counted.bytes += chunk.length;
  });
  return counted;
}

/** Waits until a figure has not changed for so long. */
async function stands(what: string, figure: () => number, forMs = 400): Promise<number> {
  let last = Number.NaN;
  let since = 0;
  await until(what, () => {
    if (figure() !== last) {
      last = figure();
      since = performance.now();
    }
    return performance.now() - since > forMs;
  });
  return last;
}

describe.each(LANES)('21: in %s a client that waits to be told to send its body', (_lane, path) => {
  test('is told once, when a service has taken the connection', async () => {
    const { service, client } = await withService();
    client.write(post('Expect: 100-continue\r\nContent-Length: 4\r\n\r\n', path));
    const upstream = await service.next();
    await client.has('HTTP/1.1 100 Continue\r\n\r\n');
    client.write('body');
    await upstream.has('\r\n\r\nbody');
    expect(upstream.text).not.toMatch(/expect/i);
    upstream.write(answer());
    await client.has('\r\n\r\nok');
    expect(client.text.split('100 Continue')).toHaveLength(2);
  });

  /** The fault of the bypass: it was told before anybody knew whether there is a service. */
  test('gets its answer without being told, where no service can be reached', async () => {
    const front = closing(await proxy({ legacy: 'http://127.0.0.1:9' }));
    const client = await connected(front);
    client.write(post('Expect: 100-continue\r\nContent-Length: 4\r\n\r\n', path));
    await client.has('"code":"upstream-unreachable"');
    expect(client.text).toMatch(/^HTTP\/1\.1 502 /);
    // It may leave its body out now, so what it sends next could be anything.
    expect(client.text).toContain('Connection: close\r\n');
    await until('the connection is closed', () => client.ended);
  });
});

describe('21: a client that waits to be told to send its body', () => {
  test('is told at once where the body is needed to know who serves', async () => {
    const { service, client } = await withService({
      routes: [
        { name: 'b', path: '/api/*', protocol: 'http', subject: { bodyPointer: '/user_id' } },
      ],
    });
    client.write(post('Expect: 100-continue\r\nContent-Length: 2\r\n\r\n'));
    await client.has('HTTP/1.1 100 Continue\r\n\r\n');
    expect(service.connections).toHaveLength(0);
    client.write('{}');
    (await asked(service)).write(answer());
    await client.has('\r\n\r\nok');
    expect(client.text.split('100 Continue')).toHaveLength(2);
  });

  test('is not there in HTTP/1.0, which knows no such answer', async () => {
    const { service, client } = await withService();
    client.write(
      'POST /api/x HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nbody',
    );
    const upstream = await asked(service);
    await upstream.has('body');
    upstream.write(answer());
    await client.has('\r\n\r\nok');
    expect(client.text).not.toContain('100 Continue');
  });
});

/** The fault of the bypass: it closed behind the answer, with the upload unread, which is a reset. */
describe.each(LANES)(
  '21: in %s a service that answers before it has read the body',
  (_lane, path) => {
    test.each([
      ['and reads no further', (up: RawEnd) => up.socket.pause()],
      ['and closes', (up: RawEnd) => up.socket.end()],
      ['and resets', (up: RawEnd) => setTimeout(() => up.socket.resetAndDestroy(), 20)],
    ])('%s: a client that sends all before it reads is not stuck', async (_what, then) => {
      const { service, client } = await withService();
      client.socket.pause();
      client.write(post('Content-Length: 20000000\r\n\r\n', path));
      const upload = pour(client, 20_000_000);
      const upstream = await asked(service);
      upstream.socket.removeAllListeners('data').pause();
      upstream.write(answer('no', '', '413 Too Large'));
      then(upstream);
      await until('everything is sent', () => upload.sent === 20_000_000);
      client.socket.resume();
      await client.has('\r\n\r\nno');
      expect(client.text).toMatch(/^HTTP\/1\.1 413 Too Large\r\n/);
      count(upstream);
      upstream.socket.resume();
      await until('the service is let go', () => isLetGo(upstream));
      client.write(get(`${path}/next`));
      (await asked(service)).write(answer('next'));
      await client.has('\r\n\r\nnext');
    });

    test('answers with more than a slow client takes at once: all of it arrives', async () => {
      const { service, client } = await withService();
      client.socket.pause();
      const got = count(client);
      client.write(post('Content-Length: 20000000\r\n\r\n', path));
      pour(client, 20_000_000);
      const upstream = await asked(service);
      upstream.socket.removeAllListeners('data').pause();
      upstream.write('HTTP/1.1 413 Too Large\r\nContent-Length: 15000000\r\n\r\n');
      const given = pour(upstream, 15_000_000);
      await stands('it is held back', () => given.sent);
      client.socket.resume();
      await until('all of it is there', () => got.bytes >= 15_000_000);
    });

    test('a service that can not be reached: the client that goes on sending reads its 502', async () => {
      const front = closing(await proxy({ legacy: 'http://127.0.0.1:9' }));
      const client = await connected(front);
      client.socket.pause();
      client.write(post('Content-Length: 20000000\r\n\r\n', path));
      const upload = pour(client, 20_000_000);
      await until('everything is sent', () => upload.sent === 20_000_000);
      client.socket.resume();
      await client.has('"code":"upstream-unreachable"');
    });
  },
);

/** The fault: the next bytes were written before the answer was read, and the failure of that took it along. */
test.each(LANES)(
  '21: in %s an answer that lies there when the next bytes of the body come is read first, though its service is gone',
  async (_lane, path) => {
    const { service, client } = await withService();
    client.write(post('Content-Length: 1000\r\n\r\nsome', path));
    const upstream = await asked(service);
    await upstream.has('some');
    // All of it arrives before the proxy's next turn, the client's bytes first.
    client.write('more');
    upstream.write(answer('no', '', '413 Too Large'));
    upstream.socket.resetAndDestroy();
    await client.has('\r\n\r\n');
    expect(client.text).toMatch(/^HTTP\/1\.1 413 Too Large\r\n.*\r\n\r\nno$/s);
  },
);

/** Each of them was three writes, and some 300 bytes of the heap while its service took none. */
test('a body in chunks of a byte goes on in chunks of what came at once', async () => {
  const { service, client } = await withService();
  const CHUNKS = 1_000;
  client.write(post(`Transfer-Encoding: chunked\r\n\r\n${'1\r\nx\r\n'.repeat(CHUNKS)}0\r\n\r\n`));
  const upstream = await asked(service);
  await upstream.has('\r\n0\r\n\r\n');
  const [, ...body] = upstream.text.split('\r\n\r\n');
  const pieces = body
    .join('')
    .split('\r\n')
    .filter(text => /^x+$/.test(text));
  expect(pieces.join('')).toHaveLength(CHUNKS);
  expect(pieces.length).toBeLessThan(10);
});

test.each(LANES)(
  '23: trailers of a request are dropped in %s, and its body is whole',
  async (_lane, path) => {
    const { service, client } = await withService();
    client.write(
      post(
        'Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX-Sum: 7\r\nHost: evil\r\n\r\n',
        path,
      ),
    );
    const upstream = await asked(service);
    await upstream.has('body');
    upstream.write(answer());
    await client.has('\r\n\r\nok');
    expect(upstream.text).not.toMatch(/x-sum|trailer|evil/i);
  },
);

describe.each(LANES)(
  '45: in %s a slow end holds the other one back, and gets everything in the end:',
  (_lane, path) => {
    const BYTES = 40_000_000;
    /** Bytes of a body in the proxy itself; at most 197,536 were seen. */
    const MOST_HELD = 1_000_000;

    test('a client that does not read', async () => {
      const { service, client } = await withService();
      client.write(get(path));
      const upstream = await asked(service);
      client.socket.pause();
      const got = count(client);
      upstream.write(`HTTP/1.1 200 OK\r\nContent-Length: ${BYTES}\r\n\r\n`);
      const given = pour(upstream, BYTES);
      await stands('the service is held back', () => given.sent);
      const read = given.sent - onTheWay(upstream, 'out');
      expect(read - onTheWay(client, 'in') - got.bytes).toBeLessThan(MOST_HELD);
      client.socket.resume();
      await until('everything is there', () => got.bytes > BYTES);
    });

    test('a service that does not read', async () => {
      const { service, client } = await withService();
      client.write(post(`Content-Length: ${BYTES}\r\n\r\nbegin`, path));
      const upstream = await asked(service);
      const got = count(upstream);
      upstream.socket.pause();
      const given = pour(client, BYTES - 5);
      await stands('the client is held back', () => given.sent);
      const read = given.sent - onTheWay(client, 'out');
      expect(read - onTheWay(upstream, 'in') - got.bytes).toBeLessThan(MOST_HELD);
      upstream.socket.resume();
      await until('everything is there', () => got.bytes >= BYTES - 5);
      upstream.write(answer());
      await client.has('\r\n\r\nok');
    });

    test('an answer that waits behind another one on the same connection', async () => {
      const { service, client } = await withService();
      const who = (name: string) => get(`${path}/${name}`, `Authorization: Bearer ${name}\r\n`);
      client.write(who('one') + who('two'));
      const one = await asked(service);
      const two = await asked(service);
      two.write(`HTTP/1.1 200 OK\r\nContent-Length: ${BYTES}\r\n\r\n`);
      const given = pour(two, BYTES);
      await stands('the service is held back', () => given.sent);
      expect(given.sent - onTheWay(two, 'out')).toBeLessThan(MOST_HELD);
      const got = count(client);
      one.write(answer('one'));
      await until('everything is there', () => got.bytes > BYTES);
    });
  },
);

describe.each(LANES)('in %s', (_lane, path) => {
  /** The fault: node:http kept the head until the first byte of the body, and both waited until the 408. */
  test('a client may wait for the answer’s head before it sends any of its body', async () => {
    const { service, client } = await withService();
    client.write(post('Transfer-Encoding: chunked\r\n\r\n', path));
    const upstream = await asked(service);
    upstream.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    await client.has('\r\n\r\n');
    client.write('4\r\nbody\r\n0\r\n\r\n');
    await upstream.has('\r\n\r\n4\r\nbody\r\n0\r\n\r\n');
    upstream.write('2\r\nok\r\n0\r\n\r\n');
    await client.has('ok\r\n0\r\n\r\n');
  });
});

/** The fault: it was cut off once the service had read nothing for the time that it has for its first word. */
test('an answer that its service began goes on, whatever of the upload is not read', async () => {
  const { service, front } = await withService({ upstream: { responseTimeoutMs: 500 } });
  const answering = [];
  for (const [, path] of LANES) {
    const client = await connected(front);
    client.write(post('Content-Length: 20000000\r\n\r\n', path));
    const upstream = await asked(service);
    upstream.socket.pause();
    pour(client, 19_000_000);
    upstream.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n');
    await client.has('hi');
    answering.push({ client, upstream });
  }
  // Services are looked at once a second.
  const lookedAt = performance.now() + 4_500;
  await until('its time is over', () => performance.now() > lookedAt);
  expect(answering.map(({ client }) => isLetGo(client))).toEqual([false, false]);
  for (const { client, upstream } of answering) {
    upstream.write('3\r\nend\r\n0\r\n\r\n');
    await client.has('end\r\n0\r\n\r\n');
  }
  expect(front.reports.filter(r => r.kind === 'failed')).toEqual([]);
});

describe('46: uploads that break off', () => {
  test.each([
    ['with a length, by a reset', 'Content-Length: 1000\r\n\r\nhalf', 'reset'],
    ['with a length, by an end', 'Content-Length: 1000\r\n\r\nhalf', 'end'],
    ['in chunks, by a reset', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'reset'],
    ['in chunks, by an end', 'Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n', 'end'],
  ] as const)('50 of them %s: none passes for whole, none is left', async (_what, rest, how) => {
    const { service, front } = await withService();
    const clients = await Promise.all(Array.from({ length: 50 }, () => connected(front)));
    for (const client of clients) client.write(post(rest));
    const halves = () => service.connections.filter(({ text }) => text.includes('half'));
    await until('the service has the halves', () => halves().length === 50);
    for (const { socket } of clients) {
      if (how === 'end') socket.end();
      else socket.resetAndDestroy();
    }
    await until('the service is let go', () => service.connections.every(isLetGo));
    expect(service.connections.filter(({ text }) => text.includes('\r\n0\r\n'))).toEqual([]);
    // They got no answer, and are not counted as if they had.
    expect(front.reports.filter(({ kind }) => kind === 'request')).toEqual([]);
  });

  test('50 of them, of bodies that are held: no service hears of them', async () => {
    const { service, front } = await withService({
      routes: [{ name: 'b', path: '/api/*', protocol: 'http', writes: 'both' }],
    });
    const clients = await Promise.all(Array.from({ length: 50 }, () => connected(front)));
    for (const client of clients) client.write(post('Content-Length: 1000\r\n\r\nhalf'));
    for (const { socket } of clients) socket.end(() => socket.resetAndDestroy());
    await until('all are gone', () => clients.every(({ closed }) => closed));
    const last = await connected(front);
    last.write(post('Content-Length: 2\r\n\r\n{}'));
    (await asked(service)).write(answer());
    await last.has('\r\n\r\nok');
    expect(service.connections).toHaveLength(1);
  });

  test('a service that resets in the middle: 502, and the client’s connection goes on', async () => {
    const { service, client } = await withService();
    client.write(post('Content-Length: 8\r\n\r\nhalf'));
    const upstream = await asked(service);
    await upstream.has('half');
    upstream.socket.resetAndDestroy();
    await client.has('"code":"upstream-closed"');
    client.write(`half${get('/api/next')}`);
    (await asked(service)).write(answer('next'));
    await client.has('\r\n\r\nnext');
  });
});

describe('a body that must be held', () => {
  test('and does not come is a 408 after stallMs, however the client drips before', async () => {
    const { service, client } = await withService({
      limits: { stallMs: 400 },
      routes: [{ name: 'b', path: '/api/*', protocol: 'http', writes: 'both' }],
    });
    client.write(post('Content-Length: 20\r\n\r\n'));
    for (let i = 0; i < 6; i += 1) {
      const due = performance.now() + 100;
      await until('it is time for the next byte', () => performance.now() > due);
      client.write('x');
    }
    expect(client.text).toBe('');
    await client.has('"code":"request-timeout"');
    expect(client.text).toMatch(/^HTTP\/1\.1 408 Request Timeout\r\n/);
    await until('the connection is closed', () => client.ended);
    expect(service.connections).toHaveLength(0);
  });
});

describe('50: a connection that is lost in the moment of its next use', () => {
  /** A connection to the service that has been used, and is idle. */
  async function used() {
    const { service, client } = await withService();
    client.write(get('/api/first'));
    const upstream = await asked(service);
    upstream.write(answer());
    await client.has('\r\n\r\nok');
    client.received = Buffer.alloc(0);
    return { service, client, upstream };
  }

  test.each(['GET', 'HEAD', 'OPTIONS'])('is replaced once for a %s, not twice', async method => {
    const { service, client, upstream } = await used();
    client.write(`${method} /api/y HTTP/1.1\r\nHost: h\r\n\r\n`);
    await upstream.has('/api/y');
    upstream.socket.resetAndDestroy();
    const second = await asked(service);
    second.socket.resetAndDestroy();
    await client.has('HTTP/1.1 502 ');
    expect(service.connections).toHaveLength(2);
  });

  test.each(['POST', 'PUT', 'DELETE', 'PATCH'])('is not replaced for a %s', async method => {
    const { service, client, upstream } = await used();
    client.write(`${method} /api/y HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n`);
    await upstream.has('/api/y');
    upstream.socket.resetAndDestroy();
    await client.has('"code":"upstream-closed"');
    expect(service.connections).toHaveLength(1);
  });

  test('is not replaced for a GET with a body', async () => {
    const { service, client, upstream } = await used();
    client.write(get('/api/y', 'Content-Length: 4\r\n').concat('body'));
    await upstream.has('body');
    upstream.socket.resetAndDestroy();
    await client.has('"code":"upstream-closed"');
    expect(service.connections).toHaveLength(1);
  });

  test('is no such connection when it is new', async () => {
    const { service, client } = await withService();
    client.write(get('/api/x'));
    (await asked(service)).socket.resetAndDestroy();
    await client.has('"code":"upstream-closed"');
    expect(service.connections).toHaveLength(1);
  });

  test('is not replaced once an answer has begun', async () => {
    const { service, client, upstream } = await used();
    client.write(get('/api/y'));
    await upstream.has('/api/y');
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf');
    await client.has('half');
    upstream.socket.resetAndDestroy();
    await until('the client is cut off', () => isLetGo(client));
    expect(service.connections).toHaveLength(1);
  });

  test('is replaced for any method while it is idle: nothing was sent on it', async () => {
    const { service, client, upstream } = await used();
    upstream.socket.end();
    await until('the proxy has seen it', () => isLetGo(upstream));
    client.write(post('Content-Length: 4\r\n\r\nbody'));
    const second = await asked(service);
    await second.has('body');
    second.write(answer());
    await client.has('\r\n\r\nok');
  });
});
