// The service's end of the benchmarks' WebSockets: takes upgrades on bare sockets.
import { once } from 'node:events';
import net from 'node:net';
import { acceptFor } from '../src/wire/handshake.ts';

/** Listens; `onOpen` gets each socket behind its 101, with the request's target. Resolves to the port. */
export async function listenForUpgrades(
  onOpen: (socket: net.Socket, target: string) => void,
): Promise<number> {
  const server = net.createServer({ noDelay: true }, socket => {
    let head = '';
    socket.on('data', function onData(chunk) {
      head += chunk.toString('latin1');
      if (!head.includes('\r\n\r\n')) return;
      socket.off('data', onData).resume();
      const key = /^sec-websocket-key: *(\S+)/im.exec(head)?.[1] ?? '';
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptFor(key)}\r\n\r\n`,
      );
      onOpen(socket, head.split(' ', 2)[1] ?? '');
    });
    socket.on('error', () => socket.destroy());
  });
  server.listen({ host: '127.0.0.1', port: 0, backlog: 4_096 });
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}
