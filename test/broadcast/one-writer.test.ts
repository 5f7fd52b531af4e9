// On the day the real service was called done it could not reach a single socket. So: one place
// that writes, and what is counted is frames that clients have read.
import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import * as canonical from '../../src/broadcast/entry-points.ts';
import type { RunningBroadcaster } from '../../src/broadcast/server.ts';
import { until } from '../support/until.ts';
import { listen, post, service } from './listener.ts';

const FOLDER = new URL('../../src/broadcast/', import.meta.url);

let running: RunningBroadcaster | undefined;
afterEach(() => running?.close());

test('one function on the SSOT side writes to sockets', () => {
  // Beside it only faults and delays, which stand between the service and a socket, may hand frames on.
  const writers = readdirSync(FOLDER)
    .filter(name => name.endsWith('.ts') && !['planted-socket.ts', 'late-socket.ts'].includes(name))
    .flatMap(name =>
      [...readFileSync(new URL(name, FOLDER), 'utf8').matchAll(/\.send\(/g)].map(() => name),
    );
  expect(writers).toEqual(['connection-manager.ts']);
});

test('one map on the SSOT side holds sockets by user, and legacy has three registries', () => {
  const read = (name: string) => readFileSync(new URL(name, FOLDER), 'utf8');
  const registries = readdirSync(FOLDER).filter(
    name => name.endsWith('.ts') && /new Map<string, EventSocket\b/.test(read(name)),
  );
  expect(registries).toEqual(['connection-manager.ts']);
  const legacy = ['event-router', 'user-scoped-router', 'broadcast-user-event'];
  for (const name of legacy) expect(read(`legacy/${name}.ts`)).toMatch(/ = new Map</);
});

test('every frame that the service counts has arrived at a client, greetings and replies included', async () => {
  running = await service({ kind: 'ssot' });
  const { url } = running;
  await post(url, 'carol', { type: 'note', n: 0 });
  const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map(u => listen(url, u)));
  for (const listener of [alice, bob]) listener?.say({ type: 'chat', message: 'hi' });
  for (let n = 1; n <= 20; n++) await post(url, 'carol', { type: 'note', n });
  await Promise.all([alice?.gets(7), bob?.gets(7), carol?.gets(22)]);
  const arrived = [alice, bob, carol].reduce((sum, each) => sum + (each?.events.length ?? 0), 0);
  expect(arrived).toBe(7 + 7 + 22);
  await until('the last frame is counted', () => {
    const { broadcast_stats } = Object(running?.stats());
    return broadcast_stats.frames_written === arrived;
  });
});

test('entry points are the same objects in their old modules and in the canonical one', async () => {
  const born: Record<string, readonly string[]> = {
    'agent-bridge.ts': ['AgentWebSocketBridge'],
    'broadcast-service.ts': [
      'createBroadcastService',
      'preventCrossUserContamination',
      'WebSocketBroadcastService',
    ],
    'connection-manager.ts': ['ConnectionManager'],
    'user-context.ts': ['createUserExecutionContext'],
    'legacy/adapters.ts': ['LegacyAdapters'],
    'legacy/broadcast-user-event.ts': ['broadcastUserEvent'],
    'legacy/event-router.ts': ['getWebSocketEventRouter', 'WebSocketEventRouter'],
    'legacy/user-scoped-router.ts': ['UserScopedWebSocketEventRouter'],
  };
  const offered = new Map<string, unknown>(Object.entries(canonical));
  for (const [file, names] of Object.entries(born)) {
    const old = new Map<string, unknown>(Object.entries(await import(new URL(file, FOLDER).href)));
    for (const name of names) {
      expect(old.get(name)).toBeTypeOf('function');
      expect(offered.get(name)).toBe(old.get(name));
      offered.delete(name);
    }
  }
  expect([...offered.keys()]).toEqual([]);
});
