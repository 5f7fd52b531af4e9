// Row 69: clients that are slow on purpose, in the head, in the body and in reading, 500 at a time, to a
// proxy in a process of its own. Each has its end, and a client that is none of them does not notice.
import { expect, onTestFinished, test } from 'vitest';
import { clientOf, ok } from '../support/line.ts';
import { openDescriptors } from '../support/proc.ts';
import { proxyProcess } from '../support/process.ts';
import { type RawEnd, rawServer } from '../support/raw.ts';
import { place } from '../support/stack.ts';
import { until } from '../support/until.ts';

const EACH = { heads: 230, bodies: 230, readers: 40 } as const;
/** Short, for the test; node:http looks once a second. */
const CONFIG = 'limits: { headersTimeoutMs: 3000, stallMs: 4000 }';
/** More than the kernel keeps for a reader that does not read. */
const LONG = Buffer.alloc(16 * 1_048_576, 'x');
/**
 * Whoever is held up by slow clients waits for seconds. What a busy machine costs shows in those who ask
 * the service itself meanwhile; with five processes to a processor 600 ms were seen.
 */
const mostP99Ms = (directMs: number) => Math.max(1_000, 4 * directMs);

const gone = (end: RawEnd) => end.ended || end.closed;

test('69: 500 slow clients get their end, and nobody else notices', {
  timeout: 120_000,
}, async () => {
  const service = await rawServer();
  onTestFinished(() => service.close());
  const url = `http://127.0.0.1:${service.port}`;
  const where = await place({ legacy: url, candidate: url }, { config: CONFIG });
  onTestFinished(() => where.close());
  const proxy = await proxyProcess(where.folder);
  onTestFinished(() => proxy.close());
  const port = Number(new URL(proxy.listen).port);
  const pid = proxy.child.pid ?? 0;
  const serving = setInterval(() => answerAll(service.connections), 5);
  onTestFinished(() => clearInterval(serving));
  const healthy = (count: number) => p99ByTurns([port, service.port], count);
  const [alone] = await healthy(100);
  const before = openDescriptors(pid);

  const many = (count: number, text: string) =>
    Promise.all(
      Array.from({ length: count }, async () => {
        const client = await clientOf(port);
        client.write(text);
        return client;
      }),
    );
  const heads = await many(EACH.heads, 'GET /events HTTP/1.1\r\nHost: h\r\nA: ');
  const bodies = [
    ...(await many(EACH.bodies / 2, post('/events'))),
    ...(await many(EACH.bodies / 2, post('/unrouted'))),
  ];
  const readers = await many(EACH.readers, get('/events?long'));
  for (const reader of readers) reader.socket.pause();
  const drip = setInterval(() => {
    for (const client of [...heads, ...bodies]) if (!gone(client)) client.write('x');
  }, 500);
  onTestFinished(() => clearInterval(drip));

  const [crowded, direct] = await healthy(300);
  console.log(
    `69: p99 alone ${alone.toFixed(1)} ms, among 500 slow clients ${crowded.toFixed(1)} ms, past the proxy meanwhile ${direct.toFixed(1)} ms`,
  );
  expect(crowded).toBeLessThan(mostP99Ms(direct));
  await until('slow heads are cut off', () => heads.every(gone), 30_000);
  expect(heads.filter(({ text }) => !text.startsWith('HTTP/1.1 408 '))).toHaveLength(0);
  await until(
    'slow readers are cut off',
    () => service.connections.filter(isLong).every(gone),
    30_000,
  );
  await until('bodies that drip are cut off', () => bodies.every(gone), 30_000);
  clearInterval(drip);
  expect(bodies.filter(({ text }) => !text.startsWith('HTTP/1.1 408 '))).toHaveLength(0);
  for (const client of [...heads, ...bodies, ...readers]) client.socket.destroy();
  await until('no descriptor is left', () => openDescriptors(pid) <= before, 30_000);
  const [after, directAfter] = await healthy(10);
  expect(after).toBeLessThan(mostP99Ms(directAfter));
  expect(proxy.log()).not.toMatch(/uncaught|unhandled/);
});

const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`;
const post = (path: string) => `POST ${path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n`;
const isLong = ({ text }: RawEnd) => text.includes('?long');

const answered = new WeakSet<RawEnd>();

/** Answers whoever has sent a whole request. */
function answerAll(connections: readonly RawEnd[]): void {
  for (const connection of connections) {
    if (answered.has(connection) || !/^GET .*\r\n\r\n$/s.test(connection.text)) continue;
    if (isLong(connection)) {
      answered.add(connection);
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${LONG.length}\r\n\r\n`);
      connection.write(LONG);
    } else {
      connection.received = Buffer.alloc(0);
      connection.write(ok());
    }
  }
}

/** 99th percentiles, ms, of `count` answers to clients that ask these ports again and again, by turns. */
async function p99ByTurns(
  ports: readonly [number, number],
  count: number,
): Promise<readonly [number, number]> {
  const one = { client: await clientOf(ports[0]), times: [] as number[] };
  const other = { client: await clientOf(ports[1]), times: [] as number[] };
  for (let i = 0; i < count; i += 1) {
    for (const { client, times } of [one, other]) {
      const startedAt = performance.now();
      client.received = Buffer.alloc(0);
      client.write(get('/events'));
      await client.has('\r\n\r\nok');
      times.push(performance.now() - startedAt);
    }
  }
  const p99 = (times: number[]) =>
    times.sort((a, b) => a - b)[Math.floor(count * 0.99)] ?? Number.NaN;
  for (const { client } of [one, other]) client.socket.destroy();
  return [p99(one.times), p99(other.times)];
}
