// The fault: proxies that share idle connections among users. A service that sends one answer too
// many fills a shared connection with somebody's body, and the next user gets it. Through shared
// pools 45 to 62 users of 200 got another one's body.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { afterEach, expect, test } from 'vitest';
import { proxy } from '../support/proxy.ts';
import { rawClient } from '../support/raw.ts';
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

test.each([
  ['each on a connection of his own', 200],
  ['ten on each connection, as behind a balancer', 20],
])('200 users, %s, get no body but their own', async (_what, connections) => {
  const service = await straying();
  const front = await proxy({ legacy: service.port });
  open.push(service, front);
  const wrong: string[] = [];
  let answers = 0;
  for (let i = 0; i < connections; i += 1) {
    const client = await rawClient(front.port);
    open.push({ close: () => client.socket.destroy() });
    for (let k = 0; k < 200 / connections; k += 1) {
      const user = `user-${i}-${k}`;
      client.received = Buffer.alloc(0);
      client.write(
        `GET /api/me HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer ${user}\r\nX-User: ${user}\r\n\r\n`,
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
  }
  expect(wrong).toEqual([]);
  expect(answers).toBe(200);
});
