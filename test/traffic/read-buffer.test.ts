// Story of the fault: all legs are read into one buffer, and a write that could not go out at once
// still points into what it was given. Without a copy per read, 40 slow readers under a flood got
// 476,000 wrong bytes in 6 s: garbage, or what the next read had brought for another user.
import { once } from 'node:events';
import type net from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { proxy } from '../support/proxy.ts';
import { rawClient, rawServer, upgradeRequest } from '../support/raw.ts';
import { until } from '../support/until.ts';

const USERS = 40;
/** More than the kernel holds for a client that does not read, so that the proxy's writes have to wait. */
const BYTES_EACH = 6 * 1024 * 1024;
/** Written by the service in one go. */
const CHUNK_BYTES = 65_536;
/** One binary frame that does not end: a 64-bit length (RFC 6455 5.2), then the user's bytes. */
const ENDLESS_FRAME = Buffer.from([0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0]);

const open: { close(): unknown }[] = [];
afterEach(() => {
  for (const thing of open.splice(0).reverse()) thing.close();
});

test('slow readers under a flood get their own bytes and no others', {
  timeout: 120_000,
}, async () => {
  const service = await rawServer();
  const front = await proxy({ legacy: service.port });
  open.push(service, front);
  const readers: SlowReader[] = [];
  for (let user = 0; user < USERS; user += 1) {
    const client = await rawClient(front.port);
    open.push({ close: () => client.socket.destroy() });
    client.write(upgradeRequest());
    const upstream = await service.next();
    await upstream.accept(ENDLESS_FRAME);
    await client.has(`\r\n\r\n${ENDLESS_FRAME.toString('latin1')}`);
    readers.push(new SlowReader(client.socket, user));
    void flood(upstream.socket, user);
  }
  await until('everybody has everything', () => readers.every(r => r.bytes >= BYTES_EACH), 110_000);
  expect(readers.map(reader => reader.wrong)).toEqual(readers.map(() => 0));
  expect(readers.map(reader => reader.bytes)).toEqual(readers.map(() => BYTES_EACH));
});

/** Every user's bytes are one and the same, and nobody else's. */
const byteOf = (user: number) => user + 1;

async function flood(socket: net.Socket, user: number): Promise<void> {
  const chunk = Buffer.alloc(CHUNK_BYTES, byteOf(user));
  for (let sent = 0; sent < BYTES_EACH; sent += CHUNK_BYTES) {
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
}

/** Takes one read, and lets the rest wait for as long as everybody else needs for one of theirs. */
class SlowReader {
  bytes = 0;
  wrong = 0;

  constructor(socket: net.Socket, user: number) {
    const own = Buffer.alloc(CHUNK_BYTES, byteOf(user));
    socket.removeAllListeners('data').on('data', chunk => {
      this.bytes += chunk.length;
      if (!chunk.equals(own.subarray(0, chunk.length)))
        this.wrong += chunk.reduce((sum, byte) => sum + (byte === byteOf(user) ? 0 : 1), 0);
      socket.pause();
      setTimeout(() => socket.resume(), 2);
    });
  }
}
