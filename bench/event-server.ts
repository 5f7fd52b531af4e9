// Upstream of the WebSocket benchmark: accepts upgrades on bare sockets and sends events at a pace.
// It listens at one port for each peer, by which it knows through whom a connection came.
import type net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { eventFrame, nowUs } from './event.ts';
import { listenForUpgrades } from './upgrades.ts';
import { serveQuestions } from './worker.ts';

export type ServerQuestion =
  /** Answers with the port. */
  | { readonly listen: true }
  /** Sends to the connections of this port in turn; answers at once with how many there are. */
  | { readonly sendTo: number; readonly perSecond: number }
  /** Ends the sending; answers with the number of events that were sent. */
  | { readonly stop: true }
  /** One event to each connection of this port; answers with how many. */
  | { readonly greet: number }
  /** From now on connections of this port are neither read nor written to. */
  | { readonly stall: number };

/** Events are due every millisecond, as many as the pace asks for. */
const TICK_MS = 1;

const connections = new Map<number, Set<net.Socket>>();
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
    sending = Object.assign(state, { done: send(sockets, question.perSecond, state) });
    return sockets.length;
  }
  if (sending === null) throw new Error('nothing is being sent');
  sending.running = false;
  return sending.done;
});

async function listen(): Promise<number> {
  const accepted = new Set<net.Socket>();
  const port = await listenForUpgrades(socket => {
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
  perSecond: number,
  state: { running: boolean },
): Promise<number> {
  const startedAt = performance.now();
  let sent = 0;
  while (state.running) {
    const due = Math.floor(((performance.now() - startedAt) / 1_000) * perSecond);
    for (; sent < due; sent += 1) {
      const number = Math.floor(sent / sockets.length);
      sockets[sent % sockets.length]?.write(eventFrame(nowUs(), number));
    }
    await pause(TICK_MS);
  }
  return sent;
}
