// What the kernel still holds for a peer, where its table can not be read.
import fs from 'node:fs';
import net from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { UnsentBytes } from '../../src/traffic/unsent-bytes.ts';
import { until } from '../support/until.ts';

afterEach(() => vi.restoreAllMocks());

test('without a descriptor to read it, nobody can say after three looks: a peer that takes nothing is still given up', async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await until('it listens', () => server.listening);
  const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  await until('it is connected', () => !socket.connecting);
  const exhausted = Object.assign(new Error('too many open files'), { code: 'EMFILE' });
  const reading = vi.spyOn(fs.promises, 'readFile').mockRejectedValue(exhausted);
  const unsent = new UnsentBytes();
  for (const looks of [1, 2, 3]) {
    expect([unsent.isKnown, unsent.isStill]).toEqual([false, false]);
    await until('it has been looked', () => {
      // Not once more where it has been looked meanwhile: that look would be under way in the next turn.
      if (reading.mock.calls.length < looks) unsent.look([socket]);
      return reading.mock.calls.length >= looks;
    });
    await new Promise(resolve => setImmediate(resolve));
  }
  await until('nobody can say', () => unsent.isStill);
  expect(unsent.bytes).toBe(0);
  socket.destroy();
  server.close();
});

// The fault: on a busy machine a look takes seconds, and the next one came ten times that later. Nobody was let go.
test('it is looked again within seconds, however long the machine took for a look', async () => {
  const server = net.createServer().listen(0, '127.0.0.1');
  await until('it listens', () => server.listening);
  const socket = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  await until('it is connected', () => !socket.connecting);
  const real = performance.now.bind(performance);
  let aheadMs = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => real() + aheadMs);
  const reading = vi.spyOn(fs.promises, 'readFile');
  const unsent = new UnsentBytes();
  reading.mockImplementation(async () => {
    aheadMs += 20_000;
    return '';
  });
  unsent.look([socket]);
  await until('it has been looked', () => unsent.isKnown, 1_000_000);
  unsent.look([socket]);
  await until('it has been looked again', () => unsent.isStill, 1_000_000);
  socket.destroy();
  server.close();
});
