// Encrypted on both ends: clients of the listener, and services.

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { loadedConfig, proxy } from '../support/proxy.ts';

const FIXTURES = path.join(import.meta.dirname, '../fixtures/tls');
const open: { close(): unknown }[] = [];
let cert: string;
let key: string;

beforeEach(async () => {
  cert = await readFile(path.join(FIXTURES, 'cert.pem'), 'utf8');
  key = await readFile(path.join(FIXTURES, 'key.pem'), 'utf8');
});
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

/** A service that speaks TLS and echoes. */
async function secureService(): Promise<string> {
  const server = https.createServer({ cert, key }, (_request, response) =>
    response.end('over TLS'),
  );
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', socket =>
    socket.on('message', (data, isBinary) => socket.send(data, { binary: isBinary })),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  open.push({
    close: () => {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      server.close();
    },
  });
  return `https://localhost:${(server.address() as net.AddressInfo).port}`;
}

async function opened(url: string, ca?: string): Promise<WebSocket> {
  const socket = new WebSocket(url, ca === undefined ? {} : { ca });
  open.push({ close: () => socket.terminate() });
  await Promise.race([
    once(socket, 'open'),
    once(socket, 'error').then(([error]) => Promise.reject(error)),
  ]);
  return socket;
}

/** Subject of the certificate that the listener shows now. */
async function shown(port: number): Promise<string> {
  const socket = tls.connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

test('a service behind TLS is reached if its certificate fits: WebSockets, whole and in order, and requests', async () => {
  const front = await proxy({
    legacy: await secureService(),
    secrets: { ca: { legacy: cert, candidate: cert } },
  });
  open.push(front);
  const socket = await opened(`ws://127.0.0.1:${front.port}/ws`);
  const sent = Array.from({ length: 200 }, (_, i) => Buffer.alloc(1 + i * 97, i));
  const got: Buffer[] = [];
  socket.on('message', (data: Buffer) => void got.push(data));
  for (const message of sent) socket.send(message);
  await expect.poll(() => got.length, { timeout: 10_000 }).toBe(sent.length);
  expect(got.every((data, i) => data.equals(sent[i] as Buffer))).toBe(true);
  const answer = await fetch(`http://127.0.0.1:${front.port}/api/x`);
  expect(await answer.text()).toBe('over TLS');
});

test('hostile 49: a certificate that nobody vouches for is a 502, never accepted', async () => {
  const front = await proxy({ legacy: await secureService() });
  open.push(front);
  await expect(opened(`ws://127.0.0.1:${front.port}/ws`)).rejects.toThrow('502');
  expect((await fetch(`http://127.0.0.1:${front.port}/api/x`)).status).toBe(502);
});

test('the listener speaks TLS; a reload shows the new certificate and open sessions live on', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'cutover-tls-'));
  open.push({ close: () => rm(folder, { recursive: true, force: true }) });
  const fresh = { cert: path.join(folder, 'cert.pem'), key: path.join(folder, 'key.pem') };
  await promisify(execFile)('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-subj',
    '/CN=localhost',
    '-days',
    '2',
    '-keyout',
    fresh.key,
    '-out',
    fresh.cert,
  ]);
  const echo = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(echo, 'listening');
  echo.on('connection', socket => socket.on('message', data => socket.send(String(data))));
  open.push({
    close: () => {
      for (const socket of echo.clients) socket.terminate();
      echo.close();
    },
  });
  const options = {
    legacy: (echo.address() as net.AddressInfo).port,
    listen: { tls: { certFile: 'cert.pem', keyFile: 'key.pem' } },
  };
  const front = await proxy({ ...options, secrets: { ca: {}, tls: { cert, key } } });
  open.push(front);
  const socket = await opened(`wss://localhost:${front.port}/ws`, cert);
  const before = await shown(front.port);
  const next = { cert: await readFile(fresh.cert, 'utf8'), key: await readFile(fresh.key, 'utf8') };
  front.traffic.reload(loadedConfig({ ...options, secrets: { ca: {}, tls: next } }));
  expect(await shown(front.port)).not.toBe(before);
  const reply = once(socket, 'message');
  socket.send('still here');
  expect(String((await reply)[0])).toBe('still here');
});

test('69: whoever connects and never begins the handshake is let go as one who sends no request', async () => {
  const front = await proxy({
    ...{ legacy: 1, limits: { headersTimeoutMs: 500 } },
    listen: { tls: { certFile: 'cert.pem', keyFile: 'key.pem' } },
    secrets: { ca: {}, tls: { cert, key } },
  });
  open.push(front);
  const client = net.connect(front.port, '127.0.0.1').on('error', () => undefined);
  open.push({ close: () => client.destroy() });
  const since = performance.now();
  await once(client.resume(), 'close');
  expect(performance.now() - since).toBeGreaterThan(400);
});
