import net from 'node:net';
import pino from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { Rollbacks } from '../src/control/rollbacks.ts';
import { rehearse } from '../src/rehearsal.ts';
import { WebSocketLane } from '../src/traffic/ws-lane.ts';
import { until } from './support/until.ts';

const SOCKETS = new Set(['TCPServerWrap', 'TCPSocketWrap']);
const openSockets = () =>
  process.getActiveResourcesInfo().filter(resource => SOCKETS.has(resource)).length;

afterEach(() => void vi.restoreAllMocks());

test('sessions go to legacy and back, at last by a command, and nothing stays', async () => {
  const before = openSockets();
  const moved = vi.spyOn(WebSocketLane.prototype, 'moved');
  const rollback = vi.spyOn(Rollbacks.prototype, 'rollback');
  const logged: string[] = [];
  const rings = vi.spyOn(Buffer, 'allocUnsafeSlow');
  await rehearse(pino({}, { write: line => void logged.push(line) }), 60_000);
  // A proxy's own ring has 64 MiB, which nobody would collect for hours.
  const bytes = rings.mock.calls.map(([size]) => size);
  expect(bytes.length).toBeGreaterThan(0);
  expect(Math.max(...bytes)).toBeLessThan(16 * 1_048_576);
  expect(logged).toEqual([]);
  const to = moved.mock.calls.map(([session]) => session.facts.subject?.id);
  const users = new Set(to).size;
  expect(users).toBeGreaterThan(1);
  // Each of them more than once in both directions.
  expect(to.length / users).toBeGreaterThan(4);
  const done = await Promise.all(rollback.mock.results.map(({ value }) => value));
  expect(done.length).toBeGreaterThan(10);
  const affected = done.map(({ changed, kept, audited, proof }) => {
    expect({ changed, kept, audited }).toEqual({ changed: true, kept: false, audited: false });
    return proof?.sessions.affected;
  });
  // Of each lap the last one finds everybody.
  expect(affected.filter(sessions => sessions === users)).toHaveLength(2);
  await until('all is closed', () => openSockets() === before);
});

test('what goes wrong with it is told, and does not keep the proxy from starting', async () => {
  vi.spyOn(net.Server.prototype, 'listen').mockImplementation(() => {
    throw new Error('no loopback');
  });
  const logged: string[] = [];
  await rehearse(pino({}, { write: line => void logged.push(line) }));
  expect(logged.join()).toContain('no loopback');
});
