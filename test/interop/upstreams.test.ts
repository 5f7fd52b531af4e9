// Services of every make behind the proxy.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { expect, onTestFinished, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { freePort } from '../support/free-port.ts';
import { proxy } from '../support/proxy.ts';
import { hasProgram, hasPythonModule, PYTHON } from '../support/tools.ts';
import { until } from '../support/until.ts';
import { EXPECTED } from './scenario.ts';
import { visitByWs } from './ws-visit.ts';

const LWS = '/usr/bin/libwebsockets-test-server';

/** A proxy in front of a service; the address of its WebSocket route. */
async function inFrontOf(port: number): Promise<string> {
  const front = await proxy({ legacy: port });
  onTestFinished(() => front.close());
  return `ws://127.0.0.1:${front.port}/ws`;
}

function started(command: string, ...words: string[]) {
  const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

test('ws', async () => {
  const service = new WebSocketServer({
    port: 0,
    host: '127.0.0.1',
    handleProtocols: () => 'two',
  });
  onTestFinished(() => service.close());
  service.on('connection', socket =>
    socket.on('message', (data, binary) => socket.send(data, { binary })),
  );
  await once(service, 'listening');
  const url = await inFrontOf((service.address() as net.AddressInfo).port);
  expect(await visitByWs(url)).toEqual({ ...EXPECTED, reason: 'enough' });
});

test.skipIf(!hasPythonModule('websockets'))('python3-websockets', async () => {
  const child = started(PYTHON, path.join(import.meta.dirname, '../support/websockets_server.py'));
  const [line] = await once(createInterface(child.stdout), 'line');
  const url = await inFrontOf(Number(line));
  expect(await visitByWs(url)).toEqual({ ...EXPECTED, reason: 'enough' });
});

test.skipIf(!hasProgram(LWS, 'libwebsockets-test-server'))(
  'libwebsockets-test-server: counts for one client, and mirrors for all',
  async () => {
    const port = await freePort();
    started(LWS, `--port=${port}`);
    await until('it listens', () => accepts(port));
    const url = await inFrontOf(port);

    const counting = new WebSocket(url, 'dumb-increment-protocol');
    const counted: string[] = [];
    counting.on('message', data => counted.push(String(data)));
    await until('it counts', () => counted.length >= 5);
    expect(counting.protocol).toBe('dumb-increment-protocol');
    expect(counted.slice(0, 5)).toEqual(['0', '1', '2', '3', '4']);

    const [one, other] = [0, 1].map(() => new WebSocket(url, 'lws-mirror-protocol'));
    if (one === undefined || other === undefined) throw new Error('two were made');
    const mirrored: string[] = [];
    other.on('message', data => mirrored.push(String(data)));
    await Promise.all([once(one, 'open'), once(other, 'open')]);
    one.send('d #ff0000 1 2 3 4;');
    await until('it is mirrored', () => mirrored.includes('d #ff0000 1 2 3 4;'));

    for (const socket of [counting, one, other]) {
      const closed = once(socket, 'close');
      socket.close(1000);
      expect((await closed)[0]).toBe(1000);
    }
  },
);

function accepts(port: number): Promise<boolean> {
  return new Promise(resolve => {
    const socket = net.connect({ host: '127.0.0.1', port });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
