import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { BroadcastHub } from '../../src/broadcast/hub.ts';
import { LIVENESS } from '../../src/broadcast/liveness.ts';
import { ssotSide } from '../../src/broadcast/side.ts';
import { SOCKET_PATHS, SocketServer } from '../../src/broadcast/socket-server.ts';
import { Tickets } from '../../src/broadcast/tickets.ts';

// The fault: it was welcomed behind the farewell of all others, and the service never came to its end.
test('a handshake that is under way when the service says goodbye is refused', async () => {
  const side = ssotSide({});
  const common = { jitterMs: 0, onWritten: () => undefined, socketPaths: SOCKET_PATHS };
  const hub = new BroadcastHub({ side, planter: undefined, ...common });
  const asked = Promise.withResolvers<void>();
  const known = Promise.withResolvers<string>();
  const verify = () => {
    asked.resolve();
    return known.promise;
  };
  const options = { agentDelayMs: 0, authFailure: 'close', liveness: LIVENESS } as const;
  const sockets = new SocketServer({ hub, verify, tickets: new Tickets() }, options);
  const http = createServer();
  http.on('upgrade', (request, socket, head) => sockets.upgrade(request, socket, head));
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  const { port } = http.address() as AddressInfo;
  const client = new WebSocket(`ws://127.0.0.1:${port}/ws`, ['jwt.token']);
  const answered = once(client, 'unexpected-response');
  await asked.promise;
  hub.isClosing = true;
  const closed = once(http, 'close');
  http.close();
  await sockets.close();
  known.resolve('alice');
  const [, answer] = (await answered) as [unknown, IncomingMessage];
  expect(answer.statusCode).toBe(503);
  expect(side.isReachable('alice')).toBe(false);
  answer.resume();
  await closed;
});
