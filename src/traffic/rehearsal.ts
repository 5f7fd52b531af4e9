// Rolls a few sessions of its own back, time and again, before anybody is served. A rollback is what a process may
// never have done before, and code that runs for the first time takes five to ten times as long: of thousands of
// clients it would be seen (`bench/README.md`). Services, clients and the lane between them are made for it, on
// loopback; nothing of them is counted, compared or logged, and nothing stays but the compiled code.
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import pino, { type Logger } from 'pino';
import { ConfigSchema, type RouteConfig } from '../config/schema.ts';
import type { Decided, IsolationWatch, StreamTap, Tap, TrafficObserver } from '../ports.ts';
import { decide, type FlagFacts, type Side, type Subject } from '../rules/decide.ts';
import { type FrameTracker, OPCODE, type StopAt, wholeFrame } from '../wire/frames.ts';
import { acceptFor } from '../wire/handshake.ts';
import { contextOf } from './context.ts';
import { Counters } from './counters.ts';
import { RollbackRun } from './rollback-run.ts';
import type { Session } from './session.ts';
import { TailRing } from './tail-ring.ts';
import { WebSocketLane } from './ws-lane.ts';

/** Six descriptors each, for a moment: some processes have 128 in all. */
const SESSIONS = 8;
/** Of them, those whose legs are new, so that what these say may be said to every new one. */
const NEW = 2;
/** Of all of them, there and back: V8 compiles what has run some hundred times. */
const MOVES = 160;
/** V8 takes what it has seen of one lane alone for what every lane is like, and compiles anew for the second one. */
const LAPS = 2;
/** It is given up then: it is worth a moment of starting, and no more. */
const MOST_MS = 3_000;
const RING_BYTES = 1_048_576;
/** Longer than anything waits for. */
const LONG_MS = 3_600_000;

const ROUTE = 'rehearsal';
/** Flags that make the candidate serve, with legacy beside it. */
const LIVE: FlagFacts = {
  ...{ serve: 'candidate', shadow: true, kill: false },
  stage: { name: 'live', serve: 1000, shadow: 1000, kill: false },
};
const HOST = '127.0.0.1';
const KEY = 'cmVoZWFyc2FsIG9mIG9uZQ==';

interface Closable {
  close(): void;
}

/** Resolves once it is over; without loopback there is none, and it never rejects. */
export async function rehearseRollback(logger: Logger, mostMs = MOST_MS): Promise<void> {
  const giveUp = AbortSignal.timeout(mostMs);
  try {
    for (let lap = 0; lap < LAPS; lap += 1) await onItsOwnLane(giveUp);
  } catch (error) {
    // Nothing else is different then.
    const reason = error instanceof Error ? error.message : String(error);
    logger.info({ reason }, 'no rollback was rehearsed, so the first one takes longer');
  }
}

async function onItsOwnLane(giveUp: AbortSignal): Promise<void> {
  const open: Closable[] = [];
  try {
    await play(open, giveUp);
  } finally {
    for (const each of open.reverse()) each.close();
  }
}

async function play(open: Closable[], giveUp: AbortSignal): Promise<void> {
  const services: Record<Side, Duplex[]> = { legacy: [], candidate: [] };
  const serve = (side: Side) =>
    listening(open, (request, socket) => {
      const key = String(request.headers['sec-websocket-key']);
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptFor(key)}\r\n\r\n`,
      );
      services[side][Number(request.headers['x-number'])] = socket.resume();
    });
  const ports = { legacy: await serve('legacy'), candidate: await serve('candidate') };
  let primary: Side = 'candidate';
  const lane = laneBetween(ports, () => primary);
  open.push(lane);
  const front = await listening(open, (incoming, client, head) => {
    void lane.open(incoming, client as net.Socket, head);
  });
  for (let number = 0; number < SESSIONS; number += 1) open.push(connectClient(front, number));
  const all = async (isSo: (session: Session) => boolean): Promise<void> => {
    while (lane.sessions.size < SESSIONS || ![...lane.sessions].every(isSo)) {
      giveUp.throwIfAborted();
      await setImmediate();
    }
  };
  await all(({ state }) => state.second !== null);
  // As nearly all are that a rollback meets.
  for (const { leg, comparison } of [...lane.sessions].slice(NEW)) {
    leg.openedAt -= LONG_MS;
    if (comparison?.leg) comparison.leg.openedAt -= LONG_MS;
  }
  for (let moves = 0; moves < MOVES; moves += 1) {
    say(services, moves);
    primary = moves % 2 === 0 ? 'legacy' : 'candidate';
    if (primary === 'candidate') void lane.reconsider();
    else lane.rollBack(new RollbackRun(new Set([ROUTE]), run => lane.rolledBack(run)));
    await all(({ leg, state }) => leg.side === primary && state.phase === 'steady');
  }
}

/** An event to every other user, who so does not wait for his turn; of those each service is first for some. */
function say(services: Record<Side, Duplex[]>, number: number): void {
  const text = JSON.stringify({
    type: 'step',
    run_id: 'run',
    number,
    text: 'and so on '.repeat(30),
  });
  const event = wholeFrame(OPCODE.text, Buffer.from(text));
  for (let user = number % 2; user < SESSIONS; user += 2) {
    const sides: readonly Side[] = user % 4 < 2 ? ['legacy', 'candidate'] : ['candidate', 'legacy'];
    for (const side of sides) services[side][user]?.write(event);
  }
}

/** Resolves to the port. */
async function listening(
  open: Closable[],
  onUpgrade: (request: http.IncomingMessage, socket: Duplex, head: Buffer) => void,
): Promise<number> {
  const server = http.createServer().on('upgrade', (request, socket, head) => {
    open.push({ close: () => socket.destroy() });
    socket.on('error', ignoreError);
    onUpgrade(request, socket, head);
  });
  open.push(server);
  await once(server.listen(0, HOST), 'listening');
  return (server.address() as net.AddressInfo).port;
}

function connectClient(port: number, user: number): Closable {
  const socket = net.connect(port, HOST).on('error', ignoreError).resume();
  socket.write(
    `GET / HTTP/1.1\r\nHost: rehearsal\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\nX-User: user-${user}\r\nX-Number: ${user}\r\n\r\n`,
  );
  return { close: () => socket.destroy() };
}

function ignoreError(): void {
  // Whoever is missed is not there in time.
}

/** As decided by stages `live` and after a rollback; what it tells goes nowhere. */
function laneBetween(ports: Readonly<Record<Side, number>>, primary: () => Side): WebSocketLane {
  const config = ConfigSchema.parse({
    listen: { trustedProxies: [HOST] },
    upstreams: {
      legacy: { url: `http://${HOST}:${ports.legacy}` },
      candidate: { url: `http://${HOST}:${ports.candidate}` },
    },
    routes: [
      { name: ROUTE, path: '/', protocol: 'websocket', compare: { key: { first: ['/number'] } } },
    ],
    identity: { sources: [{ from: 'header', name: 'X-User' }], verify: 'unverified' },
  });
  const context = contextOf({ config, file: '', secrets: { ca: {} }, noise: {} });
  const decider = (route: RouteConfig, subject: Subject | null): Decided => {
    const latch = primary() === 'legacy' ? 'latched' : null;
    const decision = decide(subject, route, LIVE, { bypass: false, latch, legsOn: [] });
    return { decision, revision: 'none' };
  };
  return new WebSocketLane({
    context: () => context,
    decider,
    observer: NOBODY,
    isolation: NOBODY,
    counters: new Counters(),
    tap: DEAF,
    twins: { take: () => false, isOn: () => false },
    tails: new TailRing(RING_BYTES),
    logger: pino({ level: 'silent' }),
    onExhausted: nothing,
    unrouted: (_, client) => client.destroy(),
    bypassed: (_, client) => client.destroy(),
  });
}

function nothing(): void {
  // Nobody is to be told.
}

const DEAF: Tap = {
  stream: () => new DeafTap(),
  ...{ exchange: nothing, twins: nothing, unpaired: nothing, said: nothing },
  ...{
    answered: () => false,
    markersAt: () => null,
    write: () => nothing,
    writeLeftOut: () => nothing,
  },
};

const NOBODY: TrafficObserver & IsolationWatch = {
  ...{ sessionOpened: nothing, sessionClosed: nothing, handshakeRefused: nothing },
  ...{ failed: nothing, sessionMoved: nothing, handoverCounted: nothing },
  ...{ secondLegEnded: nothing, sessionKept: nothing, requestDone: nothing },
  ...{ fits: () => true, prevented: nothing, narrowed: nothing, uninspected: nothing },
};

/** Follows both sides, and takes them for paired off as far as both have come. */
class DeafTap implements StreamTap {
  synced: Readonly<Record<Side, number>> = { legacy: 0, candidate: 0 };
  readonly #messages = { legacy: 0, candidate: 0 };
  readonly legOpened = nothing;
  readonly legClosed = nothing;
  readonly saidAlone = nothing;
  readonly said = nothing;
  readonly held = nothing;
  readonly close = nothing;
  readonly bytes = nothing;

  follow(side: Side, view: Buffer, tracker: FrameTracker, stop?: StopAt): number {
    const taken = tracker.push(view, stop);
    this.#messages[side] = tracker.messages;
    const both = Math.min(this.#messages.legacy, this.#messages.candidate);
    if (both > this.synced.legacy) this.synced = { legacy: both, candidate: both };
    return taken;
  }

  hears(): boolean {
    return true;
  }

  onceSettled(settled: () => void): void {
    settled();
  }
}
