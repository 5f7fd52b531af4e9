// Beside read-buffer.test.ts, whose reads are larger: pieces that are copied into memory which is used again.
import { once } from 'node:events';
import net from 'node:net';
import { afterAll, expect, test } from 'vitest';
import { writeView } from '../../src/traffic/write-view.ts';
import { until } from '../support/until.ts';

const READERS = 6;
/** Neither a page nor a divisor of one: what the kernel has room for ends in the middle of a piece. */
const PIECE_BYTES = 3_001;
/** More than the kernel holds for a reader that does not read. */
const PIECES = 2_500;

const server = net.createServer({ pauseOnConnect: true });
const sockets: net.Socket[] = [];
afterAll(() => {
  for (const socket of sockets) socket.destroy();
  server.close();
});

test('what waits for a reader is not written over by what is written for others', async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const pairs = [];
  for (let user = 0; user < READERS; user += 1) pairs.push(await pair());
  const shared = Buffer.alloc(PIECE_BYTES);
  const stuck = new Set<net.Socket>();
  for (let piece = 0; piece < PIECES; piece += 1) {
    for (const [user, { from }] of pairs.entries()) {
      shared.fill(user + 1);
      if (!writeView(from, shared)) stuck.add(from);
      shared.fill(0);
    }
  }
  expect(stuck.size).toBe(READERS);
  const got = pairs.map(() => ({ bytes: 0, wrong: 0 }));
  for (const [user, { to }] of pairs.entries()) {
    const tally = got[user] as (typeof got)[number];
    to.on('data', chunk => {
      tally.bytes += chunk.length;
      if (!chunk.equals(Buffer.alloc(chunk.length, user + 1))) tally.wrong += 1;
    });
    to.resume();
  }
  await until(
    'all has come',
    () => got.every(({ bytes }) => bytes >= PIECES * PIECE_BYTES),
    30_000,
  );
  expect(got).toEqual(got.map(() => ({ bytes: PIECES * PIECE_BYTES, wrong: 0 })));
});

async function pair(): Promise<{ from: net.Socket; to: net.Socket }> {
  const from = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  const [to] = (await once(server, 'connection')) as [net.Socket];
  sockets.push(from, to);
  return { from, to };
}
