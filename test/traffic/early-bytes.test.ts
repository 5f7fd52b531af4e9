// What a client sends before its upgrade is answered is kept, up to `limits.earlyBytes`. Beyond it the
// proxy once read no further, and did not see the client leave: the service was held on to until
// its handshake timed out.
import diagnostics from 'node:diagnostics_channel';
import type net from 'node:net';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { EarlyBytes } from '../../src/traffic/early-bytes.ts';
import { proxy } from '../support/proxy.ts';
import { rawClient, rawServer, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

const LIMIT = 4_096;
const BLOCK = Buffer.from(Array.from({ length: 100 }, (_, i) => i));

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

/** The ends of client connections that servers of this process have. */
const accepted: net.Socket[] = [];
const onAccepted = (message: unknown) =>
  void accepted.push((message as { socket: net.Socket }).socket);
beforeEach(() => diagnostics.subscribe('net.server.socket', onAccepted));
afterEach(() => void diagnostics.unsubscribe('net.server.socket', onAccepted));

async function pending() {
  const service = await rawServer();
  const front = await proxy({ legacy: service.port, limits: { earlyBytes: LIMIT } });
  const client = await rawClient(front.port);
  open.push(service, front, { close: () => client.socket.destroy() });
  client.write(upgradeRequest());
  const upstream = await service.next();
  await upstream.has('\r\n\r\n');
  return { front, client, upstream };
}

test('as much as is kept reaches the service, in order', async () => {
  const { client, upstream } = await pending();
  const early = Buffer.alloc(LIMIT, 'early ');
  for (let i = 0; i < LIMIT; i += 512) client.write(early.subarray(i, i + 512));
  await upstream.accept();
  await client.has(' 101 ');
  client.write('later');
  await until('all of it arrives', () => upstream.received.length === LIMIT + 5);
  expect(upstream.received).toEqual(Buffer.concat([early, Buffer.from('later')]));
});

test('a client that sends more is told so, and the service is let go at once', async () => {
  const { front, client, upstream } = await pending();
  client.write(Buffer.alloc(1_000_000));
  await client.has('"code":"too-much-early"');
  expect(client.text).toMatch(/^HTTP\/1\.1 413 /);
  await until('the service is let go', () => upstream.ended || upstream.closed);
  expect(front.reports).toEqual([
    { kind: 'failed', route: 'events', side: 'legacy', what: 'too-much-early' },
  ]);
});

test('hostile 30: one that sends more and resets lets go of the service at once', async () => {
  const { front, client, upstream } = await pending();
  client.write(Buffer.alloc(1_000_000));
  const side = accepted.find(({ remotePort }) => remotePort === client.socket.localPort);
  await until(
    'the proxy reads no further, or has answered',
    () => (side?.readableLength ?? 0) >= 65_536 || client.text.includes('413'),
  );
  client.socket.resetAndDestroy();
  await until('the service is let go', () => upstream.ended || upstream.closed, 5_000);
  await until('none is pending', () => front.traffic.connecting === 0);
});

/** The fault: an object for each read, of which a client that sends byte by byte makes one a byte. */
test('a million bytes that come one by one cost little more than a million', () => {
  const socket = new PassThrough();
  const early = new EarlyBytes(socket, Buffer.from('head '), 1_000_005);
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 1_000_000; i += 1)
    socket.emit('data', BLOCK.subarray(i % 100, (i % 100) + 1));
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(60 * 1_048_576);
  expect(early.tooMuch).toBe(false);
  expect(early.take()).toEqual(
    Buffer.concat([Buffer.from('head '), Buffer.alloc(1_000_000, BLOCK)]),
  );
});
