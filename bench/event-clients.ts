// Clients of the WebSocket benchmark, on bare sockets that share one read buffer: they count events
// and how long each was on its way.
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import { FRAME_BYTES, nowUs, sentUsOf } from './event.ts';
import { bearerOf } from './user.ts';
import { serveQuestions } from './worker.ts';

export type ClientsQuestion =
  /** So many users connect through a port; answers when all are. */
  | { readonly open: number; readonly users: number }
  /** Answers with what came since the last time it was asked. */
  | { readonly collect: true }
  /** Answers when so many events have come since then. */
  | { readonly await: number }
  /** Closes all connections through a port; answers when all are closed. */
  | { readonly close: number };

export interface Collected {
  readonly events: number;
  /** Of the time from upstream to client, in ms. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Handshakes under way at a time; one after another would take most of a run. */
const CONNECTING = 50;

/** Every socket's reads land here, and are done with before the next one. */
const READ_BUFFER = Buffer.allocUnsafeSlow(65_536);

const sockets = new Map<number, Set<net.Socket>>();
let delaysUs: number[] = [];
let onEvents: () => void = () => undefined;

serveQuestions<ClientsQuestion, Collected>(async question => {
  if ('open' in question) await openAll(question.open, question.users);
  else if ('close' in question) await closeAll(question.close);
  else if ('await' in question) return awaitEvents(question.await);
  return collect();
});

function collect(): Collected {
  const sorted = Float64Array.from(delaysUs).sort();
  delaysUs = [];
  const at = (q: number) => (sorted[Math.floor(q * (sorted.length - 1))] ?? Number.NaN) / 1_000;
  return { events: sorted.length, p50Ms: at(0.5), p99Ms: at(0.99) };
}

function awaitEvents(count: number): Promise<Collected> {
  return new Promise(settle => {
    onEvents = () => {
      if (delaysUs.length < count) return;
      onEvents = () => undefined;
      settle(collect());
    };
    onEvents();
  });
}

async function openAll(port: number, users: number): Promise<void> {
  const opened = sockets.get(port) ?? new Set();
  sockets.set(port, opened);
  let next = 0;
  const openInTurn = async () => {
    while (next < users) {
      const user = next;
      next += 1;
      opened.add(await open(port, await bearerOf(`user_${1_000 + user}`)));
    }
  };
  await Promise.all(Array.from({ length: CONNECTING }, openInTurn));
}

async function closeAll(port: number): Promise<void> {
  const closed = [...(sockets.get(port) ?? [])].map(
    socket =>
      new Promise(settle => {
        socket.removeAllListeners('close').once('close', settle).destroy();
      }),
  );
  sockets.delete(port);
  await Promise.all(closed);
}

function open(port: number, bearer: string): Promise<net.Socket> {
  return new Promise((settle, reject) => {
    let head = '';
    let isOpen = false;
    let part: Buffer | null = null;
    const socket = net.connect({
      host: '127.0.0.1',
      port,
      noDelay: true,
      onread: {
        buffer: READ_BUFFER,
        callback: length => {
          if (isOpen) part = read(READ_BUFFER.subarray(0, length), part);
          else accept(length);
          return true;
        },
      },
    });
    socket.write(
      `GET /ws HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nAuthorization: ${bearer}\r\nUser-Agent: bench\r\nOrigin: http://127.0.0.1\r\n\r\n`,
    );
    // What breaks in the middle of a run would make its figures wrong.
    socket.on('close', () => fail('it was closed'));
    socket.on('error', error => fail(error.message));

    function accept(length: number): void {
      head += READ_BUFFER.toString('latin1', 0, length);
      const end = head.indexOf('\r\n\r\n');
      if (end === -1) return;
      if (!head.startsWith('HTTP/1.1 101 ')) return fail(head.slice(0, head.indexOf('\r\n')));
      isOpen = true;
      part = read(Buffer.from(head.slice(end + 4), 'latin1'), null);
      settle(socket);
    }
    function fail(why: string): void {
      const error = new Error(`a client at port ${port}: ${why}`);
      if (!isOpen) return reject(error);
      throw error;
    }
  });
}

/** Takes all whole events out of what came; returns the rest, to be put before the next read. */
function read(bytes: Buffer, part: Buffer | null): Buffer | null {
  const all = part === null ? bytes : Buffer.concat([part, bytes]);
  const now = nowUs();
  let at = 0;
  for (; at + FRAME_BYTES <= all.length; at += FRAME_BYTES) delaysUs.push(now - sentUsOf(all, at));
  onEvents();
  return at === all.length ? null : Buffer.from(all.subarray(at));
}
