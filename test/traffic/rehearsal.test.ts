import net from 'node:net';
import pino from 'pino';
import { expect, test, vi } from 'vitest';
import { rehearseRollback } from '../../src/traffic/rehearsal.ts';
import { WebSocketLane } from '../../src/traffic/ws-lane.ts';
import { until } from '../support/until.ts';

const SOCKETS = new Set(['TCPServerWrap', 'TCPSocketWrap']);
const openSockets = () =>
  process.getActiveResourcesInfo().filter(resource => SOCKETS.has(resource)).length;

test('sessions go to legacy and back, time and again, and nothing stays open', async () => {
  const before = openSockets();
  const moved = vi.spyOn(WebSocketLane.prototype, 'moved');
  const logged: string[] = [];
  await rehearseRollback(pino({}, { write: line => void logged.push(line) }), 60_000);
  expect(logged).toEqual([]);
  const to = moved.mock.calls.map(([session]) => session.facts.subject?.id);
  expect(new Set(to).size).toBeGreaterThan(1);
  // Each of them more than once in both directions.
  expect(to.length / new Set(to).size).toBeGreaterThan(4);
  await until('all is closed', () => openSockets() === before);
  moved.mockRestore();
});

test('what goes wrong with it is told, and does not keep the proxy from starting', async () => {
  const broken = vi.spyOn(net.Server.prototype, 'listen').mockImplementation(() => {
    throw new Error('no loopback');
  });
  const logged: string[] = [];
  await rehearseRollback(pino({}, { write: line => void logged.push(line) }));
  broken.mockRestore();
  expect(logged.join()).toContain('no loopback');
});
