// The fault: proxies that share idle connections among users. A service that sends one answer too
// many fills a shared connection with somebody's body, and the next user gets it. Through shared
// pools 45 to 62 users of 200 got another one's body.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { SignJWT } from 'jose';
import { afterEach, expect, test } from 'vitest';
import { proxy } from '../support/proxy.ts';
import { type RawEnd, rawClient } from '../support/raw.ts';
import { until } from '../support/until.ts';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

/**
 * In a thread of its own, so that strays arrive while the proxy is busy: answers every request with
 * the user's name, and then once more without being asked.
 */
const SERVICE = `
const net = require('node:net');
const { parentPort } = require('node:worker_threads');
const server = net.createServer(socket => {
  let received = '';
  socket.on('error', () => undefined);
  socket.on('data', chunk => {
    received += chunk.toString('latin1');
    for (let end; (end = received.indexOf('\\r\\n\\r\\n')) !== -1; ) {
      const user = /x-user: (\\S+)/i.exec(received.slice(0, end))[1];
      received = received.slice(end + 4);
      const answer = 'HTTP/1.1 200 OK\\r\\nContent-Length: ' + user.length + '\\r\\n\\r\\n' + user;
      socket.write(answer);
      setTimeout(() => socket.write(answer), 1 + Math.random() * 4);
    }
  });
});
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
`;

async function straying(): Promise<{ port: number; close(): unknown }> {
  const worker = new Worker(SERVICE, { eval: true });
  const [port] = (await once(worker, 'message')) as [number];
  return { port, close: () => worker.terminate() };
}

const SECRET = new TextEncoder().encode('a secret of the tests, long enough for HS256');
const tokenOf = (user: string) =>
  new SignJWT({ sub: user }).setProtectedHeader({ alg: 'HS256' }).sign(SECRET);

/** 200 requests, one after another; the n-th is by user n % users, on client connection `at(n)`. */
test.each([
  ['200 users, each on a connection of his own', 200, n => n, 'connection'],
  ['200 users, ten on each connection', 200, n => Math.floor(n / 10), 'connection'],
  ['20 users, each over all of 7 connections', 20, n => Math.floor(n / 4) % 7, 'connection'],
  ['20 users over 7 connections, who share', 20, n => Math.floor(n / 4) % 7, 'credential'],
  [
    '200 users on a route of event streams, ten on each connection',
    200,
    n => Math.floor(n / 10),
    'sse',
  ],
  ['200 users in the bypass, each on a connection of his own', 200, n => n, 'bypass'],
  ['200 users in the bypass, ten on each connection', 200, n => Math.floor(n / 10), 'bypass'],
] as [string, number, (n: number) => number, 'connection' | 'credential' | 'bypass' | 'sse'][])(
  '48: %s, get no body but their own',
  async (_what, users, at, way) => {
    const affinity = way === 'credential' ? way : 'connection';
    const protocol = way === 'sse' ? way : 'http';
    const service = await straying();
    const front = await proxy({
      legacy: service.port,
      bypassed: () => way === 'bypass',
      routes: [{ name: 'api', path: '/api/*', protocol, affinity }],
      identity: { sources: [{ from: 'bearer' }], verify: { secretFile: 'secret' } },
      secrets: { ca: {}, identitySecret: SECRET },
    });
    open.push(service, front);
    const tokens = await Promise.all(Array.from({ length: users }, (_, i) => tokenOf(`user-${i}`)));
    const clients: RawEnd[] = [];
    const wrong: string[] = [];
    let answers = 0;
    for (let n = 0; n < 200; n += 1) {
      const user = `user-${n % users}`;
      const client = clients[at(n)] ?? (await rawClient(front.port));
      if (clients[at(n)] === undefined) open.push({ close: () => client.socket.destroy() });
      clients[at(n)] = client;
      client.received = Buffer.alloc(0);
      client.write(
        `GET /api/me HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${tokens[n % users]}\r\nX-User: ${user}\r\n\r\n`,
      );
      await until(
        'an answer comes',
        () => /\r\n\r\n[\s\S]/.test(client.text) || client.ended || client.closed,
      );
      const body = client.text.split('\r\n\r\n')[1] ?? '';
      if (body.startsWith('user-')) {
        answers += 1;
        if (body !== user) wrong.push(`${user} got ${body}`);
      }
      // The loop is busy, as a proxy's under load is: strays have the time to arrive first.
      const busyUntil = performance.now() + 3;
      while (performance.now() < busyUntil);
    }
    expect(wrong).toEqual([]);
    expect(answers).toBe(200);
  },
);
