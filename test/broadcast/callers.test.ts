// Callers of the legacy broadcaster, word by word the same over its adapters.
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import {
  ConnectionManager,
  createBroadcastService,
  createUserExecutionContext,
  LegacyAdapters,
} from '../../src/broadcast/entry-points.ts';
import type { LegacyEntryPoints } from '../../src/broadcast/legacy/entry.ts';
import { LegacyBroadcaster } from '../../src/broadcast/legacy/legacy-broadcaster.ts';
import { attach, type Listener } from './listener.ts';

const adapters = (quirk?: 'format-gate') => {
  const connections = new ConnectionManager();
  const quirks = new Set(quirk === undefined ? [] : [quirk]);
  return new LegacyAdapters(createBroadcastService(connections, { quirks }), connections);
};
const IMPLEMENTATIONS: readonly [string, () => LegacyEntryPoints, boolean][] = [
  ['legacy', () => new LegacyBroadcaster(), false],
  ['the adapters', () => adapters(), true],
  ["the adapters' fallback", () => adapters('format-gate'), true],
];

const servers: WebSocketServer[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) {
    for (const client of server.clients) client.terminate();
    server.close();
  }
});

async function socketPair(): Promise<[WebSocket, Listener]> {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  servers.push(server);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, 'connection');
  const listener = attach(new WebSocket(`ws://127.0.0.1:${port}`));
  const [socket] = await accepted;
  if (!(socket instanceof WebSocket)) throw new Error('no socket');
  return [socket, listener];
}

describe.each(IMPLEMENTATIONS)('over %s', (_, make, sanitises) => {
  const alice = createUserExecutionContext('alice', { thread_id: 'thread_a', request_id: 'req_a' });
  const bob = createUserExecutionContext('bob', { thread_id: 'thread_b', request_id: 'req_b' });
  const event = {
    type: 'note',
    user_id: 'author',
    sender_id: 'agent_1',
    request_id: 'req_x',
    thread_id: 'thread_x',
    target_user_id: 'mallory',
    data: { recipient_id: 'mallory', text: 'hi' },
    timestamp: 1757953203.4,
  };

  async function setUp() {
    const entry = make();
    const [[first, firstRead], [second, secondRead], [other, otherRead]] = await Promise.all([
      socketPair(),
      socketPair(),
      socketPair(),
    ]);
    entry.connect(alice, 'c1', first);
    entry.connect(alice, 'c2', second);
    entry.connect(bob, 'c3', other);
    return { entry, first, second, reads: [firstRead, secondRead] as const, otherRead };
  }

  const address = sanitises
    ? { target_user_id: 'alice', data: { recipient_id: 'alice', text: 'hi' } }
    : { target_user_id: 'mallory', data: { recipient_id: 'mallory', text: 'hi' } };

  test('the singleton passes an event through and returns how many sockets were written', async () => {
    const { entry, reads, otherRead } = await setUp();
    expect(await entry.router.broadcastToUser('alice', event)).toBe(2);
    for (const read of reads) expect(await read.gets(1)).toEqual([{ ...event, ...address }]);
    expect(await entry.router.broadcastToUser('bob', { ...event, n: 2 })).toBe(1);
    expect(await otherRead.gets(1)).toMatchObject([{ n: 2, user_id: 'author' }]);
    expect(reads[0].events).toHaveLength(1);
  });

  test('the scoped router overwrites user and request, and leaves the thread', async () => {
    const { entry, reads } = await setUp();
    expect(await entry.scopedRouter(alice).broadcastToUser(event)).toBe(2);
    expect(await reads[0].gets(1)).toEqual([
      { ...event, ...address, user_id: 'alice', request_id: 'req_a' },
    ]);
  });

  test('the convenience function overwrites the thread too', async () => {
    const { entry, reads } = await setUp();
    expect(await entry.broadcastUserEvent(event, alice)).toBe(2);
    expect(await reads[1].gets(1)).toEqual([
      { ...event, ...address, user_id: 'alice', request_id: 'req_a', thread_id: 'thread_a' },
    ]);
  });

  test('a dead socket is not counted, and nobody at all counts as 0', async () => {
    const { entry, first, second } = await setUp();
    first.terminate();
    expect(await entry.router.broadcastToUser('alice', event)).toBe(1);
    expect(await entry.scopedRouter(alice).broadcastToUser(event)).toBe(1);
    expect(await entry.broadcastUserEvent(event, alice)).toBe(1);
    entry.disconnect('alice', 'c1', first);
    entry.disconnect('alice', 'c2', second);
    expect(await entry.router.broadcastToUser('alice', event)).toBe(0);
    expect(await entry.scopedRouter(alice).broadcastToUser(event)).toBe(0);
    expect(await entry.broadcastUserEvent(event, alice)).toBe(0);
  });
});

test('the fallback is what delivered, and says so', async () => {
  const entry = adapters('format-gate');
  const [socket, listener] = await socketPair();
  entry.connect(createUserExecutionContext('alice', {}), 'c1', socket);
  expect(await entry.router.broadcastToUser('alice', { type: 'note', userId: 'bob' })).toBe(1);
  expect(await listener.gets(1)).toMatchObject([{ userId: 'alice' }]);
  expect(entry.fallbacks).toBe(1);
});
