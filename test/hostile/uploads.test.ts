// Beside row 69: clients that owe the rest of a body, whoever waits for it.
import { describe, expect, test } from 'vitest';
import { asked, LANES, line, ok } from '../support/line.ts';
import { until } from '../support/until.ts';

const LIMITS = { limits: { stallMs: 500 } };

// Side by side: nearly all of their time is that of a limit.
describe.concurrent.each(LANES)('%s', (_lane, path) => {
  const head = `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n`;

  test('a body that stops is a 408, and its service is let go', async () => {
    const { service, client, front } = await line(LIMITS);
    const end = await client();
    end.write(`${head}half`);
    const upstream = await asked(service);
    await end.has('"code":"request-timeout"');
    expect(end.text).toMatch(/^HTTP\/1\.1 408 /);
    await until('the client is closed', () => end.ended);
    end.socket.end();
    await until('the service is let go', () => upstream.ended || upstream.closed);
    expect(front.reports.filter(r => r.kind === 'failed')).toEqual([
      { kind: 'failed', route: 'none', side: 'none', what: 'request-timeout' },
    ]);
  });

  // The fault: a client that had read the 408, and sends it all again, had it done twice.
  test('a rest that comes behind the 408 is not handed on', async () => {
    const { service, client } = await line(LIMITS);
    const end = await client();
    end.write(`${head}half`);
    const upstream = await asked(service);
    await end.has('"code":"request-timeout"');
    end.write('and 6 more');
    await until('the service is let go', () => upstream.ended || upstream.closed, 20_000);
    expect(upstream.text).toMatch(/\r\n\r\nhalf$|\r\n4\r\nhalf\r\n$/);
  });

  test('69: a body that comes a byte at a time is a 408, and one that is merely slow is not', async () => {
    const { service, client } = await line(LIMITS);
    const [drips, slow] = [await client(), await client()];
    const post = (length: number) =>
      `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: ${length}\r\n\r\nx`;
    drips.write(post(1_000));
    const dripped = await asked(service);
    slow.write(post(2_000));
    await asked(service);
    const dripping = setInterval(() => drips.write('x'), 50);
    let left = 1_999;
    const flowing = setInterval(() => {
      slow.write('x'.repeat(Math.min(40, left)));
      left -= 40;
      if (left <= 0) clearInterval(flowing);
    }, 50);
    try {
      await drips.has('HTTP/1.1 408 ');
      await until('the service is let go', () => dripped.ended || dripped.closed);
      await until('all of the other has been sent', () => left <= 0);
      expect(slow.text).toBe('');
    } finally {
      clearInterval(dripping);
      clearInterval(flowing);
    }
  });

  test('a body that stops behind the beginning of its answer cuts that off', async () => {
    const { service, client } = await line(LIMITS);
    const end = await client();
    end.write(`${head}half`);
    const upstream = await asked(service);
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
    await until('the client is cut off', () => end.ended || end.closed);
    expect(end.text.endsWith('\r\n\r\nhalf')).toBe(true);
    await until('the service is let go', () => upstream.ended || upstream.closed);
  });

  test('a service that takes nothing of a body any more is a 504 in its time', async () => {
    const { service, client } = await line({ upstream: { responseTimeoutMs: 1_000 } });
    const end = await client();
    const body = Buffer.alloc(32 * 1_048_576, 'x');
    end.write(`POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n`);
    const upstream = await service.next();
    upstream.socket.pause();
    end.write(body);
    await end.has('"code":"upstream-timeout"');
    expect(end.text).toMatch(/^HTTP\/1\.1 504 /);
  });

  test('a body that waits for its service waits as long as it has to', async () => {
    const { service, client } = await line(LIMITS);
    const end = await client();
    const body = Buffer.alloc(32 * 1_048_576, 'x');
    end.write(`POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: ${body.length}\r\n\r\n`);
    const upstream = await service.next();
    upstream.socket.pause();
    end.write(body);
    const resumeAt = performance.now() + 2_000;
    await until('some time has passed', () => performance.now() > resumeAt);
    expect(end.text).toBe('');
    let bytes = 0;
    upstream.socket.removeAllListeners('data').on('data', chunk => {
      bytes += chunk.length;
    });
    upstream.socket.resume();
    await until('all of it has come', () => bytes >= body.length);
    upstream.write(ok());
    await end.has('\r\n\r\nok');
  });
});

/** The fault: on a busy machine clients that sent all the time were told that their rest did not arrive in time. */
test('a client is not given up for bytes that lie there while the proxy itself stands still', async () => {
  const { service, client } = await line({ limits: { stallMs: 4_000 } });
  const end = await client();
  end.write('POST /api/x HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nhalf');
  const upstream = await asked(service);
  await upstream.has('half');
  const lookedAt = performance.now() + 1_050;
  await until('it has been looked at', () => performance.now() > lookedAt);
  // In front of the timers, which come before the next reads.
  await new Promise(resolve => setImmediate(resolve));
  end.write('rest');
  const standsUntil = performance.now() + 4_100;
  while (performance.now() < standsUntil);
  await upstream.has('halfrest');
  upstream.write(ok());
  await end.has('\r\n\r\nok');
});
