// Both services of the rollback benchmark, in one process: what one user is sent, each of his legs gets at
// the same time, as from services that both hear of every write; each says who it is.
import type net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { SIDES, type Side } from '../src/rules/decide.ts';
import { addressed, eventFrame, nowUs } from './event.ts';
import { listenForUpgrades } from './upgrades.ts';
import { serveQuestions } from './worker.ts';

export type ServicesQuestion =
  /** Answers with the ports of legacy and candidate. */
  | { readonly listen: true }
  /** Sends to so many users in turn; answers at once. */
  | { readonly send: number; readonly users: number }
  /** Ends that; answers with how many events each user was sent, since the beginning. */
  | { readonly stop: true }
  /** The next event that the candidate sends that user names somebody else; answers with when it was sent, µs. */
  | { readonly leakTo: number }
  /** Answers with the most handshakes that legacy and candidate had within any second, since last asked. */
  | { readonly dials: true };

/** Events are due every millisecond, as many as the pace asks for. */
const TICK_MS = 1;
/** As long as the users' names, and none of them. */
const SOMEBODY_ELSE = 'user_0000';
const SECOND_MS = 1_000;

type Legs = Record<Side, net.Socket | null>;

const users: Legs[] = [];
const sent: number[] = [];
const dialledAt: Record<Side, number[]> = { legacy: [], candidate: [] };
let leak: { readonly to: number; readonly sent: (sentUs: number) => void } | null = null;
let sending: { running: boolean; readonly done: Promise<void> } | null = null;

serveQuestions<ServicesQuestion, number[]>(async question => {
  if ('listen' in question) return Promise.all(SIDES.map(listen));
  if ('leakTo' in question) {
    const { promise, resolve } = Promise.withResolvers<number>();
    leak = { to: question.leakTo, sent: resolve };
    return [await promise];
  }
  if ('dials' in question) return SIDES.map(side => busiestSecond(dialledAt[side].splice(0)));
  if ('send' in question) {
    const state = { running: true };
    sending = Object.assign(state, { done: send(question.send, question.users, state) });
    return [];
  }
  if (sending === null) throw new Error('nothing is being sent');
  sending.running = false;
  await sending.done;
  return sent;
});

function listen(side: Side): Promise<number> {
  return listenForUpgrades((socket, target) => {
    const user = Number(target.slice(target.indexOf('=') + 1));
    users[user] ??= { legacy: null, candidate: null };
    const legs = users[user];
    legs[side] = socket;
    dialledAt[side].push(performance.now());
    socket.on('close', () => {
      // Another one may have taken its place.
      if (legs[side] === socket) legs[side] = null;
    });
  });
}

async function send(perSecond: number, count: number, state: { running: boolean }): Promise<void> {
  const startedAt = performance.now();
  for (let all = 0; state.running; ) {
    const due = Math.floor(((performance.now() - startedAt) / SECOND_MS) * perSecond);
    for (; all < due; all += 1) sendTo(all % count);
    await pause(TICK_MS);
  }
}

function sendTo(user: number): void {
  const number = (sent[user] ?? 0) + 1;
  sent[user] = number;
  const sentUs = nowUs();
  for (const side of SIDES) {
    const socket = users[user]?.[side];
    if (socket?.writable !== true) continue;
    const frame = eventFrame(sentUs, number, side);
    const isLeak = side === 'candidate' && leak?.to === user;
    socket.write(isLeak ? addressed(frame, SOMEBODY_ELSE) : frame);
    if (!isLeak) continue;
    leak?.sent(nowUs());
    leak = null;
  }
}

function busiestSecond(times: readonly number[]): number {
  let most = 0;
  for (let first = 0, last = 0; last < times.length; last += 1) {
    while ((times[last] as number) - (times[first] as number) >= SECOND_MS) first += 1;
    most = Math.max(most, last - first + 1);
  }
  return most;
}
