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
 * Whoever is held up by slow clients waits for seconds, and whoever is served between them for a little each
 * time. What a busy machine costs shows in those who ask the service itself meanwhile. Seen, median / p99: 5 / 96
 * to 201 ms with 5 / 16 to 40 past the proxy at load 7 on two processors; 7 / 344 with 5 / 70 at load 10.
 */
const mostFor = ({ median, p99 }: Waits): Waits => ({
  median: 2 * median + 10,
  p99: Math.max(500, 6 * p99),
});

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
  const healthy = (count: number) => waitsByTurns([port, service.port], count);
  // What is compiled at the first requests is.
  await healthy(20);
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
    `69: median / p99 alone ${told(alone)} ms, among 500 slow clients ${told(crowded)} ms, past the proxy meanwhile ${told(direct)} ms`,
  );
  expectWithin(crowded, mostFor(direct));
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
  // Of 50 the slowest would be the p99, and one time that the proxy is not scheduled is as long.
  const [after, directAfter] = await healthy(300);
  expectWithin(after, mostFor(directAfter));
  expect(proxy.log()).not.toMatch(/uncaught|unhandled/);
});

function expectWithin(waits: Waits, most: Waits): void {
  expect(waits.median).toBeLessThan(most.median);
  expect(waits.p99).toBeLessThan(most.p99);
}

const told = ({ median, p99 }: Waits) => `${median.toFixed(1)} / ${p99.toFixed(1)}`;
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

/** How long answers took, ms. */
interface Waits {
  readonly median: number;
  readonly p99: number;
}

/** Of `count` answers to clients that ask these ports again and again, by turns. */
async function waitsByTurns(
  ports: readonly [number, number],
  count: number,
): Promise<readonly [Waits, Waits]> {
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
  for (const { client } of [one, other]) client.socket.destroy();
  return [waitsOf(one.times), waitsOf(other.times)];
}

function waitsOf(times: readonly number[]): Waits {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number) => sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
  return { median: at(0.5), p99: at(0.99) };
}
