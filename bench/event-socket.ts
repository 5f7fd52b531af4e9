// A client's WebSocket on a bare socket; all of a process share one read buffer.
import { randomBytes } from 'node:crypto';
import net from 'node:net';

/** Every socket's reads land here, and are done with before the next one. */
const READ_BUFFER = Buffer.allocUnsafeSlow(65_536);
/** Handshakes under way at a time; one after another would take most of a run. */
const CONNECTING = 50;

export interface EventSocketOptions {
  readonly port: number;
  readonly target: string;
  /** `Authorization` field. */
  readonly bearer: string;
  /** Frames as they come; the view holds during the call only. */
  readonly onBytes: (bytes: Buffer) => void;
  /** An open socket failed or was closed; may be called twice. */
  readonly onEnd: (why: string) => void;
}

/** Resolves once it is open. Rejects if it was refused. */
export function openEventSocket(options: EventSocketOptions): Promise<net.Socket> {
  const { port, target, bearer, onBytes, onEnd } = options;
  return new Promise((settle, reject) => {
    let head = '';
    let isOpen = false;
    const socket = net.connect({
      host: '127.0.0.1',
      port,
      noDelay: true,
      onread: {
        buffer: READ_BUFFER,
        callback: length => {
          if (isOpen) onBytes(READ_BUFFER.subarray(0, length));
          else accept(length);
          return true;
        },
      },
    });
    socket.write(
      `GET ${target} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nAuthorization: ${bearer}\r\nUser-Agent: bench\r\nOrigin: http://127.0.0.1\r\n\r\n`,
    );
    socket.on('close', () => fail('it was closed'));
    socket.on('error', error => fail(error.message));

    function accept(length: number): void {
      head += READ_BUFFER.toString('latin1', 0, length);
      const end = head.indexOf('\r\n\r\n');
      if (end === -1) return;
      if (!head.startsWith('HTTP/1.1 101 ')) return fail(head.slice(0, head.indexOf('\r\n')));
      isOpen = true;
      onBytes(Buffer.from(head.slice(end + 4), 'latin1'));
      settle(socket);
    }
    function fail(why: string): void {
      if (isOpen) onEnd(why);
      else reject(new Error(`a client at port ${port}: ${why}`));
    }
  });
}

/** Opens so many, some at a time. */
export async function openMany(
  count: number,
  open: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const openInTurn = async () => {
    while (next < count) {
      const index = next;
      next += 1;
      await open(index);
    }
  };
  await Promise.all(Array.from({ length: CONNECTING }, openInTurn));
}
