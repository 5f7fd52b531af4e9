// Row 30, in a process of its own: clients that reset the connection at any moment leave neither an
// error that nobody hears nor a socket.
import { setTimeout as pause } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { ask, proxyProcess } from '../support/process.ts';
import { rawClient, rawServer, upgradeRequest } from '../support/raw.ts';
import { place } from '../support/stack.ts';
import { until } from '../support/until.ts';

/** Requests of every kind, each with an end of its own in the proxy. */
const REQUESTS: Readonly<Record<string, string>> = {
  'an upgrade': upgradeRequest(),
  'an upgrade without a key': upgradeRequest().replace(/Sec-WebSocket-Key.*\r\n/, ''),
  'an upgrade with a fragment': upgradeRequest('/ws#f'),
  'an unrouted upgrade': upgradeRequest('/x'),
  'an unrouted upgrade with a fragment': upgradeRequest('/x#f'),
  'an upgrade behind a request': `GET / HTTP/1.1\r\nHost: h\r\n\r\n${upgradeRequest()}`,
  garbage: 'garbage\r\n\r\n',
  'a tunnel': 'CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n',
  'a request': 'GET /events HTTP/1.1\r\nHost: h\r\n\r\n',
  'an unrouted request': 'GET /x HTTP/1.1\r\nHost: h\r\n\r\n',
  'half a body': 'POST /broadcast HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf',
};

/** The fault: a reset that came while a bad upgrade was being refused was an uncaught exception. */
test('30: a reset at any moment is nobody’s error, and leaves no socket', async () => {
  const service = await rawServer();
  onTestFinished(() => service.close());
  const url = `http://127.0.0.1:${service.port}`;
  const where = await place({ legacy: url, candidate: url });
  onTestFinished(() => where.close());
  const proxy = await proxyProcess(where.folder);
  onTestFinished(() => proxy.close());
  const admin = await proxy.admin();
  const port = Number(new URL(proxy.listen).port);

  for (const text of Object.values(REQUESTS)) {
    // A moment more each time, so that the reset meets the request in each of its states.
    for (let moment = 0; moment < 12; moment += 1) {
      const client = await rawClient(port);
      client.write(text);
      if (moment % 3 === 1) client.write('x'.repeat(moment));
      await pause(moment / 3);
      client.socket.resetAndDestroy();
    }
  }
  await until('the service is let go', () => service.connections.every(c => c.ended || c.closed));
  expect(service.connections.length).toBeGreaterThan(0);
  const status = (await ask(where.folder, admin, '/api/v1/status')).body;
  expect(status).toHaveProperty('routes');
  expect(proxy.log()).not.toMatch(/uncaught|unhandled|"level":"fatal"/);
  expect(proxy.child.exitCode).toBeNull();
});
