import net from 'node:net';
import pino from 'pino';
import { afterEach, expect, test, vi } from 'vitest';
import { rehearseCommand } from '../../src/control/command-rehearsal.ts';
import { Rollbacks } from '../../src/control/rollbacks.ts';
import { until } from '../support/until.ts';

const SOCKETS = new Set(['TCPServerWrap', 'TCPSocketWrap']);
const openSockets = () =>
  process.getActiveResourcesInfo().filter(resource => SOCKETS.has(resource)).length;

afterEach(() => void vi.restoreAllMocks());

test('rollbacks of nobody are asked for, and nothing of them stays', async () => {
  const before = openSockets();
  const rollback = vi.spyOn(Rollbacks.prototype, 'rollback');
  const logged: string[] = [];
  await rehearseCommand(pino({}, { write: line => void logged.push(line) }), 60_000);
  expect(logged).toEqual([]);
  const done = await Promise.all(rollback.mock.results.map(({ value }) => value));
  expect(done.length).toBeGreaterThan(10);
  for (const { changed, kept, audited, proof } of done) {
    expect({ changed, kept, audited }).toEqual({ changed: true, kept: false, audited: false });
    expect(proof).toMatchObject({ sessions: { affected: 0 } });
  }
  await until('all is closed', () => openSockets() === before);
});

test('what goes wrong with it is told, and does not keep the proxy from starting', async () => {
  vi.spyOn(net.Server.prototype, 'listen').mockImplementation(() => {
    throw new Error('no loopback');
  });
  const logged: string[] = [];
  await rehearseCommand(pino({}, { write: line => void logged.push(line) }));
  expect(logged.join()).toContain('no loopback');
});
