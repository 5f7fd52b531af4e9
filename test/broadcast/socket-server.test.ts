import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { BroadcastHub } from '../../src/broadcast/hub.ts';
import { LIVENESS } from '../../src/broadcast/liveness.ts';
import { ssotSide } from '../../src/broadcast/side.ts';
import { SOCKET_PATHS, SocketServer } from '../../src/broadcast/socket-server.ts';
import { Tickets } from '../../src/broadcast/tickets.ts';

interface Stage {
  readonly hub: BroadcastHub;
  readonly sockets: SocketServer;
  readonly http: Server;
  readonly url: string;
  /** A handshake came and asks who it is. */
  readonly asked: Promise<void>;
  readonly answer: (user: string) => void;
}

async function stage(): Promise<Stage> {
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
  const url = `ws://127.0.0.1:${port}/ws`;
  return { hub, sockets, http, url, asked: asked.promise, answer: known.resolve };
}

// The fault: it was welcomed behind the farewell of all others, and the service never came to its end.
test('a handshake that is under way when the service says goodbye is refused', async () => {
  const { hub, sockets, http, url, asked, answer } = await stage();
  const client = new WebSocket(url, ['jwt.token']);
  const answered = once(client, 'unexpected-response');
  await asked;
  hub.isClosing = true;
  const closed = once(http, 'close');
  http.close();
  await sockets.close();
  answer('alice');
  const [, refusal] = (await answered) as [unknown, IncomingMessage];
  expect(refusal.statusCode).toBe(503);
  expect(hub.side.isReachable('alice')).toBe(false);
  refusal.resume();
  await closed;
});

test('one that is under way when all are torn down is torn down as well', async () => {
  const { hub, sockets, http, url, asked, answer } = await stage();
  const client = new WebSocket(url, ['jwt.token']);
  const failed = once(client, 'error');
  await asked;
  sockets.terminate();
  answer('alice');
  await failed;
  expect(hub.side.isReachable('alice')).toBe(false);
  http.close();
  await once(http, 'close');
});

// The fault: a client that was refused and went without a goodbye kept the service from its end.
test('who was refused and leaves his half open is left', async () => {
  const { http, url } = await stage();
  const { port } = new URL(url);
  const client = connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true });
  client.write(
    'GET /nope HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  );
  client.on('error', () => undefined);
  client.resume();
  await once(client, 'end');
  http.close();
  await once(http, 'close');
  client.destroy();
});
