// Rolls a few sessions of its own back, time and again, before anybody is served. A rollback is what a process may
// never have done before, and code that runs for the first time takes five to ten times as long: of thousands of
// clients it would be seen (`bench/README.md`). It is made of the parts that serve afterwards, since V8 throws away what
// it compiled for objects of another make. Services and clients are its own, on loopback; its latch, trail and proofs
// have no folder; nothing of it is counted, compared or logged, and nothing stays but the compiled code.
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fastify from 'fastify';
import pino, { type Logger } from 'pino';
import { Registry } from 'prom-client';
import { type Loaded, parseConfig } from './config/load.ts';
import { Audit } from './control/audit.ts';
import { createDecider } from './control/decider.ts';
import { flagNames } from './control/flags/evaluation.ts';
import { type FlagProvider, openMemoryFlags } from './control/flags/provider.ts';
import { LaneIsolation } from './control/lane-isolation.ts';
import { Latch } from './control/latch.ts';
import { Proofs } from './control/proofs.ts';
import { rollbackRoutes } from './control/rollback-routes.ts';
import { Rollbacks } from './control/rollbacks.ts';
import { Staleness } from './control/staleness.ts';
import { trafficMeter } from './control/traffic-meter.ts';
import { bothObservers, VitalSigns } from './control/vital-signs.ts';
import { WriteSplits } from './control/write-splits.ts';
import type { Batch } from './judge/batch.ts';
import { BatchTap } from './judge/tap.ts';
import { UnansweredWrites } from './judge/unanswered-writes.ts';
import type { Decider, Tap } from './ports.ts';
import type { Side } from './rules/decide.ts';
import { stageEdits } from './rules/flag-stage.ts';
import { stageTarget } from './rules/stage.ts';
import type { Session } from './traffic/session.ts';
import { TailRing } from './traffic/tail-ring.ts';
import { Traffic } from './traffic/traffic.ts';
import { OPCODE, wholeFrame } from './wire/frames.ts';
import { acceptFor } from './wire/handshake.ts';

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
/** Its pages are touched one after the other, which 64 MiB would do for a quarter of a second. */
const RING_BYTES = 1_048_576;
/** Longer than anything waits for. */
const LONG_MS = 3_600_000;

/** By the operator's API: each for a route that is not held yet, and the last one for all. */
const COMMANDS = 12;
/** Of them, those that have sessions: a configuration's routes are of so many shapes. */
const SERVED = 2;
const HOST = '127.0.0.1';
/** Not there, and on no disk, which might hang. */
const NO_FOLDER = '/proc/cutover-rehearsal';
const NO_FILE = `${NO_FOLDER}/cutover.yaml`;
const KEY = 'cmVoZWFyc2FsIG9mIG9uZQ==';

interface Closable {
  /** What it returns is waited for. */
  close(): unknown;
}

/** Resolves once it is over; without loopback there is none, and it never rejects. */
export async function rehearse(logger: Logger, mostMs = MOST_MS): Promise<void> {
  const giveUp = AbortSignal.timeout(mostMs);
  try {
    for (let lap = 0; lap < LAPS; lap += 1) await onItsOwnProxy(giveUp);
  } catch (error) {
    // Nothing else is different then.
    const reason = error instanceof Error ? error.message : String(error);
    logger.info({ reason }, 'a rehearsal was not finished, so the first rollback may take longer');
  }
}

async function onItsOwnProxy(giveUp: AbortSignal): Promise<void> {
  const open: Closable[] = [];
  try {
    await play(open, giveUp);
  } finally {
    for (const each of open.reverse()) await each.close();
  }
}

async function play(open: Closable[], giveUp: AbortSignal): Promise<void> {
  const services: Record<Side, Duplex[]> = { legacy: [], candidate: [] };
  /** By user, how many events each side has sent him. */
  const said = Array.from({ length: SESSIONS }, () => 0);
  const serve = (side: Side) =>
    listening(open, (request, socket) => {
      const key = String(request.headers['sec-websocket-key']);
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${acceptFor(key)}\r\n\r\n`,
      );
      services[side][Number(request.headers['x-number'])] = socket.resume();
    });
  const ports = { legacy: await serve('legacy'), candidate: await serve('candidate') };
  const { traffic, command, moves } = await proxyBetween(open, ports, said);
  const front = await traffic.listen();
  for (let number = 0; number < SESSIONS; number += 1) open.push(connectClient(front, number));
  const all = async (isSo: (session: Session) => boolean): Promise<void> => {
    const { sessions } = traffic;
    while (sessions.size < SESSIONS || ![...sessions].every(isSo)) {
      giveUp.throwIfAborted();
      await nextTurn();
    }
  };
  const areOn = (side: Side) =>
    all(({ leg, state }) => leg.side === side && state.phase === 'steady' && state.second !== null);
  await areOn('candidate');
  for (let nth = SERVED; nth < COMMANDS; nth += 1) await command(routeName(nth), giveUp);
  // As nearly all are that a rollback meets.
  for (const { leg, comparison } of [...traffic.sessions].slice(NEW)) {
    leg.openedAt -= LONG_MS;
    if (comparison?.leg) comparison.leg.openedAt -= LONG_MS;
  }
  for (let move = 0; move < MOVES; move += 1) {
    say(services, move, said);
    const to = move % 2 === 0 ? 'legacy' : 'candidate';
    moves[to]();
    await areOn(to);
  }
  await command(undefined, giveUp);
  await areOn('legacy');
}

/** An event to every other user, who so does not wait for his turn; of those each service is first for some. */
function say(services: Record<Side, Duplex[]>, number: number, said: number[]): void {
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
    said[user] = (said[user] ?? 0) + 1;
  }
}

/** Resolves to the port. */
async function listening(
  open: Closable[],
  onUpgrade: (request: http.IncomingMessage, socket: Duplex, head: Buffer) => void,
): Promise<number> {
  const server = http.createServer().on('upgrade', (request, socket, head) => {
    open.push({ close: () => socket.destroy() });
    // One that comes when all is closed already, since it was given up, stays for nobody either.
    socket.on('error', ignoreError).on('end', () => socket.destroy());
    onUpgrade(request, socket, head);
  });
  open.push(server);
  await once(server.listen(0, HOST), 'listening');
  return (server.address() as net.AddressInfo).port;
}

function connectClient(port: number, user: number): Closable {
  const socket = net.connect(port, HOST).on('error', ignoreError).resume();
  socket.write(
    `GET /${user % SERVED} HTTP/1.1\r\nHost: rehearsal\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\nX-User: ${user}\r\nX-Number: ${user}\r\n\r\n`,
  );
  return { close: () => socket.destroy() };
}

function ignoreError(): void {
  // Whoever is missed is not there in time.
}

/** In stage `live`; what it tells goes nowhere. */
async function proxyBetween(
  open: Closable[],
  ports: Readonly<Record<Side, number>>,
  said: readonly number[],
) {
  const logger = pino({}, { write: nothing });
  const loaded = loadedFor(ports);
  const flags = await flagsOf(loaded, logger);
  open.push(flags);
  const latch = await Latch.open(NO_FOLDER);
  let isBack = false;
  const decider = createDecider(flags, ({ name }) => ({
    ...{ bypass: false, legsOn: [] },
    latch: isBack ? 'latched' : latch.on(name),
  }));
  const traffic = trafficOf(loaded, decider, tapFor(said), logger);
  open.push(traffic);
  const rollbacks = new Rollbacks({
    ...{ latch, flags, logger },
    audit: new Audit(logger),
    proofs: new Proofs(logger),
    staleness: new Staleness(logger),
    loaded: () => loaded,
    traffic: () => traffic,
  });
  const api = fastify({ logger: false, forceCloseConnections: true });
  open.push(api);
  rollbackRoutes(api, rollbacks);
  await api.listen({ host: HOST, port: 0 });
  const { port } = api.server.address() as net.AddressInfo;
  const move = (isToGoBack: boolean) => {
    isBack = isToGoBack;
    if (isBack) traffic.rollBack({ has: () => true });
    else void traffic.reconsider();
  };
  return {
    traffic,
    moves: { legacy: () => move(true), candidate: () => move(false) },
    command: (route: string | undefined, giveUp: AbortSignal) => ask(port, route, giveUp),
  };
}

function loadedFor(ports: Readonly<Record<Side, number>>): Loaded {
  const routes = Array.from({ length: COMMANDS }, (_, nth) => ({
    ...{ name: routeName(nth), path: `/${nth}`, protocol: 'websocket' },
    compare: { key: { first: ['/number'] } },
    ...(nth % SERVED === 0 ? {} : { noise: 'noise.json' }),
  }));
  const settings = {
    listen: { host: HOST, port: 0, trustedProxies: [HOST] },
    upstreams: {
      legacy: { url: `http://${HOST}:${ports.legacy}` },
      candidate: { url: `http://${HOST}:${ports.candidate}` },
    },
    routes,
    identity: { sources: [{ from: 'header', name: 'X-User' }], verify: 'unverified' },
  };
  const config = parseConfig(JSON.stringify(settings), NO_FILE, {});
  return { config, file: NO_FILE, secrets: { ca: {} }, noise: {} };
}

function routeName(nth: number): string {
  return `rehearsal-${nth}`;
}

function flagsOf({ config: { routes } }: Loaded, logger: Logger): Promise<FlagProvider> {
  const features = routes.flatMap(route =>
    stageEdits(() => undefined, flagNames(route), stageTarget('live')),
  );
  return openMemoryFlags({ features, routes: () => routes, logger });
}

function trafficOf(loaded: Loaded, decider: Decider, tap: Tap, logger: Logger): Traffic {
  return new Traffic({
    ...{ loaded, decider, tap, logger },
    observer: bothObservers(trafficMeter(new Registry()).observer, new VitalSigns()),
    isolation: new LaneIsolation({
      onPrevented: nothing,
      judge: { running: false, identityMismatch: () => false },
      logger,
    }),
    ledger: new WriteSplits(logger),
    twins: { take: () => false, isOn: () => false },
    bypassed: () => false,
    tails: new TailRing(RING_BYTES),
  });
}

/** For a rollback of that route, or of all. */
async function ask(port: number, route: string | undefined, signal: AbortSignal): Promise<void> {
  const body = JSON.stringify({ route, reason: 'a rehearsal' });
  const request = http.request({
    ...{ host: HOST, port, path: '/rollback', method: 'POST', agent: false, signal },
    headers: { 'content-type': 'application/json', 'content-length': body.length },
  });
  const [response] = (await once(request.end(body), 'response')) as [http.IncomingMessage];
  await once(response.resume(), 'end');
  if (response.statusCode !== 200) throw new Error(`it was answered with ${response.statusCode}`);
}

function nothing(): void {
  // Nobody is to be told.
}

/** Hears what a judge would, who has paired off by the next turn all that a user was sent but the last event. */
function tapFor(said: readonly number[]): Tap {
  const writes = new UnansweredWrites(LONG_MS);
  const now = () => performance.now();
  const users = new Map<number, number>();
  const generations = new Map<number, number>();
  const send = ({ bytes, exchangeBytes, notes }: Batch) => {
    for (const note of notes) {
      if (note.kind === 'open') users.set(note.stream, Number(note.facts.subject?.id));
      if (note.kind === 'leg-opened') generations.set(note.stream, note.generation);
    }
    const marks = [...generations].flatMap(([stream, generation]) => {
      const paired = Math.max(0, (said[users.get(stream) ?? 0] ?? 0) - 1);
      return [stream, generation, paired, paired];
    });
    setImmediate(() => tap.returned(bytes, exchangeBytes, { marks, settled: [] }));
  };
  const tap = new BatchTap({ send, now, writes });
  return tap;
}
