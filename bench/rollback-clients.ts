// Clients of the rollback benchmark: each keeps account of its events by number, and of who sent them.
import type net from 'node:net';
import { FRAME_BYTES, nowUs, numberOf, sentUsOf, sideOf } from './event.ts';
import { openEventSocket, openMany } from './event-socket.ts';
import { quantile } from './figures.ts';
import { bearerOf } from './user.ts';
import { serveQuestions } from './worker.ts';

export type Window = 'before' | 'during' | 'after';

export type ClientsQuestion =
  /** So many users connect through a port; answers when all are. */
  | { readonly open: number; readonly users: number }
  /** Latencies from here on. */
  | { readonly begin: true }
  | { readonly tell: Telling }
  | { readonly close: true };

export interface Telling {
  /** How many events each user was sent. */
  readonly sent: readonly number[];
  /** The last byte of the candidate's is looked for behind that, µs. */
  readonly sinceUs: number;
  /** Latencies of events that were sent then, µs. */
  readonly windows: Readonly<Partial<Record<Window, readonly [number, number]>>>;
}

export interface Told {
  readonly disconnects: number;
  readonly lost: number;
  readonly duplicated: number;
  /** Came late, behind one that was sent later. */
  readonly outOfOrder: number;
  /** When the candidate's last event was read; null: none was, since then. */
  readonly lastCandidateUs: number | null;
  readonly p99Ms: Readonly<Record<Window, number>>;
}

interface Client {
  readonly socket: net.Socket;
  last: number;
  /** Numbers up to the last one that have not come. */
  readonly open: Set<number>;
}

const clients: Client[] = [];
let disconnects = 0;
let duplicated = 0;
let outOfOrder = 0;
let isClosing = false;
let lastCandidateUs = 0;
/** When an event was sent, and how long it was on its way, one after the other, µs. */
let delays: number[] = [];

serveQuestions<ClientsQuestion, Told>(async question => {
  if ('open' in question) await openAll(question.open, question.users);
  else if ('begin' in question) delays = [];
  else if ('tell' in question) return tell(question.tell);
  else {
    isClosing = true;
    for (const { socket } of clients) socket.destroy();
  }
  return tell({ sent: [], sinceUs: 0, windows: {} });
});

function openAll(port: number, users: number): Promise<void> {
  return openMany(users, async user => {
    let part: Buffer | null = null;
    const open = new Set<number>();
    const client: Omit<Client, 'socket'> = { last: 0, open };
    const socket = await openEventSocket({
      ...{ port, target: `/ws?u=${user}`, bearer: await bearerOf(`user_${1_000 + user}`) },
      onBytes: bytes => {
        part = read(bytes, part, client);
      },
      onEnd: () => undefined,
    });
    socket.once('close', () => {
      if (!isClosing) disconnects += 1;
    });
    clients[user] = Object.assign(client, { socket });
  });
}

/** Takes all whole events out of what came; returns the rest, to be put before the next read. */
function read(bytes: Buffer, part: Buffer | null, client: Omit<Client, 'socket'>): Buffer | null {
  const all = part === null ? bytes : Buffer.concat([part, bytes]);
  const now = nowUs();
  let at = 0;
  for (; at + FRAME_BYTES <= all.length; at += FRAME_BYTES) {
    const sentUs = sentUsOf(all, at);
    delays.push(sentUs, now - sentUs);
    if (sideOf(all, at) === 'candidate') lastCandidateUs = now;
    take(client, numberOf(all, at));
  }
  return at === all.length ? null : Buffer.from(all.subarray(at));
}

function take(client: Omit<Client, 'socket'>, number: number): void {
  if (number > client.last) {
    for (let open = client.last + 1; open < number; open += 1) client.open.add(open);
    client.last = number;
  } else if (client.open.delete(number)) outOfOrder += 1;
  else duplicated += 1;
}

function tell({ sent, sinceUs, windows }: Telling): Told {
  const lost = sent.reduce((sum, count, user) => {
    const client = clients[user];
    return (
      sum + (client === undefined ? count : client.open.size + Math.max(0, count - client.last))
    );
  }, 0);
  const p99 = (window: Window): number => {
    const [from, to] = windows[window] ?? [0, 0];
    const within: number[] = [];
    for (let at = 0; at < delays.length; at += 2) {
      const sentUs = delays[at] as number;
      if (sentUs >= from && sentUs < to) within.push((delays[at + 1] as number) / 1_000);
    }
    return quantile(within, 0.99);
  };
  return {
    ...{ disconnects, lost, duplicated, outOfOrder },
    lastCandidateUs: lastCandidateUs > sinceUs ? lastCandidateUs : null,
    p99Ms: { before: p99('before'), during: p99('during'), after: p99('after') },
  };
}
