// Clients of the WebSocket benchmark: they count events and how long each was on its way.
import type net from 'node:net';
import { addresseeOf, FRAME_BYTES, nowUs, sentUsOf } from './event.ts';
import { openEventSocket, openMany } from './event-socket.ts';
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
  /** Those of them that named somebody else. */
  readonly foreign: number;
  /** Of the time from upstream to client, in ms. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const sockets = new Map<number, Set<net.Socket>>();
let delaysUs: number[] = [];
let foreign = 0;
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
  const found = foreign;
  foreign = 0;
  return { events: sorted.length, foreign: found, p50Ms: at(0.5), p99Ms: at(0.99) };
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
  await openMany(users, async user => {
    const name = `user_${1_000 + user}`;
    let part: Buffer | null = null;
    const socket = await openEventSocket({
      port,
      target: `/ws?${name}`,
      bearer: await bearerOf(name),
      onBytes: bytes => {
        part = read(bytes, part, name);
      },
      // What breaks in the middle of a run would make its figures wrong.
      onEnd: why => {
        throw new Error(`a client at port ${port}: ${why}`);
      },
    });
    opened.add(socket);
  });
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

/** Takes all whole events out of what came; returns the rest, to be put before the next read. */
function read(bytes: Buffer, part: Buffer | null, name: string): Buffer | null {
  const all = part === null ? bytes : Buffer.concat([part, bytes]);
  const now = nowUs();
  let at = 0;
  for (; at + FRAME_BYTES <= all.length; at += FRAME_BYTES) {
    delaysUs.push(now - sentUsOf(all, at));
    const addressee = addresseeOf(all, at);
    if (addressee !== null && addressee !== name) foreign += 1;
  }
  onEvents();
  return at === all.length ? null : Buffer.from(all.subarray(at));
}
