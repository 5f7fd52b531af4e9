// Bare TCP for tests: a server whose every connection the test holds in its hands, and a client that
// says exactly what it is told to.
import { once } from 'node:events';
import net from 'node:net';
import { acceptFor } from '../../src/wire/handshake.ts';
import { until } from './until.ts';

/** The example key of RFC 6455 1.3. */
export const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';

/** One end of a TCP connection, with everything that came. */
export class RawEnd {
  readonly socket: net.Socket;
  received = Buffer.alloc(0);
  ended = false;

  constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', chunk => {
      this.received = Buffer.concat([this.received, chunk]);
    });
    socket.on('end', () => {
      this.ended = true;
    });
    // Resets are what many tests are about; `socket.closed` tells of them.
    socket.on('error', () => undefined);
  }

  get text(): string {
    return this.received.toString('latin1');
  }

  get closed(): boolean {
    return this.socket.closed;
  }

  write(data: string | Uint8Array): void {
    this.socket.write(typeof data === 'string' ? Buffer.from(data, 'latin1') : data);
  }

  /** Waits until `text` is among what came. */
  async has(text: string): Promise<void> {
    await until(`${JSON.stringify(text)} arrives`, () => this.text.includes(text));
  }

  /** As a service: answers the upgrade request that came with 101, and `behind` in the same write. */
  async accept(behind: Uint8Array = Buffer.alloc(0), fields = ''): Promise<void> {
    await this.has('\r\n\r\n');
    const key = /sec-websocket-key: (\S+)/i.exec(this.text)?.[1] ?? '';
    const head = `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptFor(key)}\r\n${fields}\r\n`;
    this.received = this.received.subarray(this.text.indexOf('\r\n\r\n') + 4);
    this.socket.write(Buffer.concat([Buffer.from(head), behind]));
  }
}

export interface RawServer {
  port: number;
  connections: RawEnd[];
  /** Moves to that port. */
  listenAt(port: number): Promise<void>;
  /** Waits for the next connection that nobody has taken yet. */
  next(): Promise<RawEnd>;
  close(): void;
}

export async function rawServer(host = '127.0.0.1'): Promise<RawServer> {
  const connections: RawEnd[] = [];
  let taken = 0;
  const server = net.createServer({ allowHalfOpen: true }, socket =>
    connections.push(new RawEnd(socket)),
  );
  server.listen(0, host);
  await once(server, 'listening');
  return {
    port: (server.address() as net.AddressInfo).port,
    connections,
    listenAt: async port => {
      await new Promise(resolve => server.close(resolve));
      server.listen(port, host);
      await once(server, 'listening');
    },
    next: async () => {
      const end = await until('a connection comes in', () => connections[taken]);
      taken += 1;
      return end;
    },
    close: () => {
      for (const { socket } of connections) socket.destroy();
      server.close();
    },
  };
}

export async function rawClient(port: number, localAddress?: string): Promise<RawEnd> {
  const socket = net.connect({
    ...{ host: '127.0.0.1', port, allowHalfOpen: true },
    ...(localAddress === undefined ? {} : { localAddress }),
  });
  await once(socket, 'connect');
  return new RawEnd(socket);
}

/** An upgrade request; `fields` are further lines, each ended by CRLF. */
export function upgradeRequest(path = '/ws', fields = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: proxy.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n${fields}\r\n`;
}
