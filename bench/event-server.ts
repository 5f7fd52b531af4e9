// Upstream of the WebSocket benchmark: accepts upgrades on bare sockets and sends events at a pace.
// It listens at one port for each peer, by which it knows through whom a connection came.
import type net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { addressed, eventFrame, nowUs } from './event.ts';
import { listenForUpgrades } from './upgrades.ts';
import { serveQuestions } from './worker.ts';

export type ServerQuestion =
  /** Answers with the port. */
  | { readonly listen: true }
  /** Sends to the connections of this port in turn; answers at once with how many there are. */
  | ({ readonly sendTo: number; readonly perSecond: number } & Addressing)
  /** Ends the sending; answers with the number of events that were sent. */
  | { readonly stop: true }
  /** One event to each connection of this port; answers with how many. */
  | { readonly greet: number }
  /** From now on connections of this port are neither read nor written to. */
  | { readonly stall: number };

/** One in so many events names its user, one in so many somebody else; none without it. */
interface Addressing {
  readonly own?: number;
  readonly foreign?: number;
}

/** Events are due every millisecond, as many as the pace asks for. */
const TICK_MS = 1;

/** As long as the names of all others. */
const NOBODY = 'user_none';

const connections = new Map<number, Set<net.Socket>>();
/** As the query of the handshake says. */
const users = new WeakMap<net.Socket, string>();
let sending: { running: boolean; readonly done: Promise<number> } | null = null;

serveQuestions<ServerQuestion, number>(async question => {
  if ('listen' in question) return listen();
  if ('greet' in question) return greet(socketsOf(question.greet));
  if ('stall' in question) {
    const sockets = socketsOf(question.stall);
    for (const socket of sockets) socket.pause();
    return sockets.length;
  }
  if ('sendTo' in question) {
    const sockets = socketsOf(question.sendTo);
    const state = { running: true };
    sending = Object.assign(state, { done: send(sockets, question, state) });
    return sockets.length;
  }
  if (sending === null) throw new Error('nothing is being sent');
  sending.running = false;
  return sending.done;
});

async function listen(): Promise<number> {
  const accepted = new Set<net.Socket>();
  const port = await listenForUpgrades((socket, target) => {
    users.set(socket, target.split('?')[1] ?? '');
    accepted.add(socket);
    socket.on('close', () => accepted.delete(socket));
  });
  connections.set(port, accepted);
  return port;
}

function socketsOf(port: number): net.Socket[] {
  return [...(connections.get(port) ?? [])];
}

function greet(sockets: readonly net.Socket[]): number {
  for (const socket of sockets) socket.write(eventFrame(nowUs()));
  return sockets.length;
}

async function send(
  sockets: readonly net.Socket[],
  { perSecond, own, foreign }: { readonly perSecond: number } & Addressing,
  state: { running: boolean },
): Promise<number> {
  const startedAt = performance.now();
  let sent = 0;
  while (state.running) {
    const due = Math.floor(((performance.now() - startedAt) / 1_000) * perSecond);
    for (; sent < due; sent += 1) {
      const number = Math.floor(sent / sockets.length);
      const socket = sockets[sent % sockets.length] as net.Socket;
      const frame = eventFrame(nowUs(), number);
      // Each round begins one further: everybody gets some of all.
      const turn = sent + number;
      if (foreign !== undefined && turn % foreign === 0) addressed(frame, NOBODY);
      else if (own !== undefined && turn % own === 0) addressed(frame, users.get(socket) ?? NOBODY);
      socket.write(frame);
    }
    await pause(TICK_MS);
  }
  return sent;
}
