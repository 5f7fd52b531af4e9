// What comparing costs, and that clients do not notice it: the WebSocket benchmark's events from two
// services, every pair judged, beside the same proxy that only forwards. The second service sends in
// every case: where nobody is compared, to a reader that throws it away.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Status } from '../src/control/status.ts';
import { stageTarget } from '../src/rules/stage.ts';
import { rounded } from './comparison.ts';
import type { ClientsQuestion, Collected } from './event-clients.ts';
import type { ServerQuestion } from './event-server.ts';
import { median, middle, paired } from './figures.ts';
import { judgePairsPerSec } from './judge-rate.ts';
import { cpuUs } from './machine.ts';
import { type ListeningCutover, startCutover } from './peers.ts';
import {
  areQuiet,
  isQuiet,
  LEAST_ROUNDS,
  type Turn,
  type Turns,
  takeTurns,
  watched,
} from './rounds.ts';
import { Worker } from './worker.ts';

const USERS = 200;
const BUSY_PER_SECOND = 10_000;
/** Of both services: what five processes can carry with the machine 60 % busy. */
const CALM_PER_SECOND = 2_000;
const BUSY_MS = 3_000;
/**
 * 20,000 events: of 6,000 one pause of 30 ms was the p99, and what the busy time had left waiting, for 5 s, was most of
 * it.
 */
const CALM_MS = 10_000;
const WARM_UP_MS = 3_000;
const RUN_IN_MS = 200;
/** Of all events; what is left out for want of time costs nothing. */
const MOST_UNJUDGED = 0.001;
/** Times between two services of what is one event; their numbers make the pairs. */
const COMPARE = '{ key: { first: [/number] }, allow: [{ path: /sent_us, as: anything }] }';

/**
 * `stalled`: takes the handshake and then nothing; `dead`: nobody listens; `slow`: a tenth of the pace. `unsampled`: of a
 * thousand users one is compared, and what legacy sends the others is heard.
 */
const CASES = ['off', 'on', 'stalled', 'dead', 'slow', 'unsampled'] as const;
/** Whose candidate sends to somebody who throws it away. */
const UNREAD: readonly Case[] = ['off', 'dead', 'unsampled'];
type Case = (typeof CASES)[number];

type Server = Worker<ServerQuestion, number>;
type Clients = Worker<ClientsQuestion, Collected>;

interface Line {
  readonly name: Case;
  readonly proxy: ListeningCutover;
  readonly legacyPort: number;
  readonly candidatePort: number;
}

export interface ShadowResult {
  readonly ratios: Readonly<
    Record<
      'toForwarding' | 'p99OnToOff' | 'p99StalledToOff' | 'p99DeadToOff' | 'p99SlowToOff',
      number
    >
  >;
  readonly p99Ms: Readonly<Record<Case, number>>;
  /** The same at 10,000 events a second from each service, for what it is worth on two CPUs. */
  readonly p99BusyMs: Readonly<Record<Case, number>>;
  readonly cpuUsPerEvent: Readonly<Record<Case, number>>;
  /** First and third quartile. */
  readonly spread: { readonly toForwarding: readonly [number, number] };
  /** CPU time of one thread, frames and parsing included. */
  readonly judgePairsPerSec: number;
  /** Share of legacy's events, where all goes well, that was not compared. */
  readonly unjudged: number;
  /** Share of legacy's bytes to users of whom nearly none is compared that the judge did not hear. */
  readonly unheard: number;
  readonly rounds: number;
  readonly noise: {
    readonly foreign: number;
    readonly latency: 'quiet enough' | 'too noisy to tell';
  };
  readonly targets: readonly {
    readonly what: string;
    readonly value: number;
    readonly bound: number;
    readonly met: boolean;
  }[];
}

export async function benchShadow({ json }: { json: boolean }): Promise<ShadowResult> {
  const say = (text: string) => (json ? undefined : console.log(text));
  const judged = judgePairsPerSec();
  const { workers, lines, stop } = await warmLines(CASES);
  try {
    for (const line of lines) hold(line);
    const turns = await takeTurns<Case, Line>(lines, line => turnAlone(line, workers), say);
    for (const line of lines) release(line);
    const proxyOf = (name: Case) => (lines.find(each => each.name === name) as Line).proxy;
    const left = {
      unjudged: await unjudgedBy(proxyOf('on')),
      unheard: await unheardBy(proxyOf('unsampled')),
    };
    const result = resultOf(turns, judged, left);
    if (!json) print(result);
    return result;
  } finally {
    await stop();
  }
}

/** A proxy that compares every event; both services send until it is stopped. */
export async function startShadowed() {
  const { workers, lines, stop } = await warmLines(['on']);
  const [line] = lines as [Line];
  await beginSending(line, workers, BUSY_PER_SECOND);
  return {
    pids: line.proxy.pids,
    /** Share of legacy's events that was not compared. */
    unjudged: () => unjudgedBy(line.proxy),
    /** How many events have reached the clients since it was asked last. */
    delivered: async () => (await workers.clients.ask({ collect: true })).events,
    stop: async () => {
      await endSending(line, workers);
      await stop();
    },
  };
}

async function warmLines(cases: readonly Case[]) {
  const dir = await mkdtemp(path.join(tmpdir(), 'cutover-bench-'));
  // As they end: to clients a service that ends is a fault, and so is a proxy.
  const workers = {
    clients: new Worker('./event-clients.ts') as Clients,
    dummy: new Worker('./event-clients.ts') as Clients,
    legacy: new Worker('./event-server.ts') as Server,
    candidate: new Worker('./event-server.ts') as Server,
  };
  const lines: Line[] = [];
  const stop = async (): Promise<void> => {
    for (const worker of Object.values(workers)) await worker.stop();
    for (const { proxy } of lines) await proxy.stop();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    for (const name of cases) lines.push(await warmLine(name, workers, dir));
  } catch (error) {
    await stop();
    throw error;
  }
  return { workers, lines, stop };
}

interface Workers {
  readonly legacy: Server;
  readonly candidate: Server;
  readonly clients: Clients;
  /** Reads what nobody compares. */
  readonly dummy: Clients;
}

async function warmLine(name: Case, workers: Workers, dir: string): Promise<Line> {
  const legacyPort = await workers.legacy.ask({ listen: true });
  const candidatePort = await workers.candidate.ask({ listen: true });
  // Port 1 of loopback refuses: nobody may listen there but root.
  const setup = {
    legacyPort,
    candidatePort: name === 'dead' ? 1 : candidatePort,
    compare: COMPARE,
  };
  const stage =
    name === 'off' ? stageTarget('off') : stageTarget('shadow', name === 'unsampled' ? 0.1 : 100);
  const proxy = await startCutover({ ...setup, stage }, dir);
  const line = { name, proxy, legacyPort, candidatePort };
  await workers.clients.ask({ open: proxy.port, users: USERS });
  if (UNREAD.includes(name)) {
    await workers.dummy.ask({ open: candidatePort, users: USERS });
  }
  if (name === 'stalled') await workers.candidate.ask({ stall: candidatePort });
  await streamed(line, workers, BUSY_PER_SECOND, WARM_UP_MS);
  return line;
}

/**
 * Whose turn it is not would go on with its windows, evidence and garbage: a process that has just become idle takes
 * both CPUs for 20 to 60 ms at a time, and of the late events in a disturbed turn most lay there.
 */
async function turnAlone(line: Line, workers: Workers): Promise<Turn> {
  release(line);
  try {
    return await turnOf(line, workers);
  } finally {
    hold(line);
  }
}

function hold({ proxy }: Line): void {
  for (const pid of proxy.pids) process.kill(pid, 'SIGSTOP');
}

function release({ proxy }: Line): void {
  for (const pid of proxy.pids) process.kill(pid, 'SIGCONT');
}

async function turnOf(line: Line, workers: Workers): Promise<Turn> {
  const busy = await streamed(line, workers, BUSY_PER_SECOND, BUSY_MS);
  const { legacy, candidate, clients, dummy } = workers;
  const pids = [process.pid, legacy.pid, candidate.pid, clients.pid, dummy.pid, ...line.proxy.pids];
  const calm = await watched(pids, () => streamed(line, workers, CALM_PER_SECOND, CALM_MS));
  return {
    cpuUsPerUnit: busy.cpuUs / busy.events,
    unitsPerSec: busy.events / (busy.ms / 1_000),
    p50Ms: calm.result.p50Ms,
    p99Ms: calm.result.p99Ms,
    busy: calm.busy,
    p99BusyMs: busy.p99Ms,
  };
}

/** Both services send at a pace for so long; what is counted has reached the clients. */
async function streamed(line: Line, workers: Workers, perSecond: number, ms: number) {
  const { proxy } = line;
  const { clients } = workers;
  await beginSending(line, workers, perSecond);
  await clients.ask({ collect: true });
  const before = { cpuUs: cpuUs(proxy.pids), at: performance.now() };
  await pause(ms);
  const collected = await clients.ask({ collect: true });
  const after = { cpuUs: cpuUs(proxy.pids), at: performance.now() };
  await endSending(line, workers);
  return { ...collected, cpuUs: after.cpuUs - before.cpuUs, ms: after.at - before.at };
}

async function beginSending(line: Line, workers: Workers, perSecond: number): Promise<void> {
  const { name, legacyPort, candidatePort } = line;
  if (name !== 'stalled') {
    const pace = name === 'slow' ? perSecond / 10 : perSecond;
    await workers.candidate.ask({ sendTo: candidatePort, perSecond: pace });
  }
  await workers.legacy.ask({ sendTo: legacyPort, perSecond });
  await pause(RUN_IN_MS);
}

async function endSending({ name }: Line, { legacy, candidate }: Workers): Promise<void> {
  await legacy.ask({ stop: true });
  if (name !== 'stalled') await candidate.ask({ stop: true });
  await pause(RUN_IN_MS);
}

async function unjudgedBy(proxy: ListeningCutover): Promise<number> {
  const { books } = await proxy.ask<Status>('/status');
  if (books === null || books.legacy.seen === 0) throw new Error('nothing was compared');
  return books.legacy.unjudged / books.legacy.seen;
}

async function unheardBy(proxy: ListeningCutover): Promise<number> {
  const { judge, routes } = await proxy.ask<Status>('/status');
  const bytes = routes.reduce((sum, { legacy }) => sum + legacy.bytesToClient, 0);
  if (bytes === 0) throw new Error('nothing was sent');
  return judge.streamsUnheard > 0 ? 1 : judge.bytesUnheard / bytes;
}

function resultOf(
  turns: Turns<Case>,
  judged: number,
  { unjudged, unheard }: Pick<ShadowResult, 'unjudged' | 'unheard'>,
): ShadowResult {
  const of = (name: Case) => turns.get(name) ?? [];
  const cpu = (name: Case) => of(name).map(({ cpuUsPerUnit }) => cpuUsPerUnit ?? Number.NaN);
  const p99 = (name: Case) => {
    const quiet = of(name).filter(isQuiet);
    const timed = quiet.length < LEAST_ROUNDS ? of(name) : quiet;
    return median(timed.map(turn => turn.p99Ms));
  };
  const byCase = (value: (name: Case) => number) =>
    Object.fromEntries(CASES.map(name => [name, rounded(value(name))])) as Record<Case, number>;
  const cost = paired(cpu('on'), cpu('off'));
  const p99Ms = byCase(p99);
  const [low, high] = middle(cost);
  const ratios = {
    toForwarding: rounded(median(cost)),
    p99OnToOff: rounded(p99Ms.on / p99Ms.off),
    p99StalledToOff: rounded(p99Ms.stalled / p99Ms.off),
    p99DeadToOff: rounded(p99Ms.dead / p99Ms.off),
    p99SlowToOff: rounded(p99Ms.slow / p99Ms.off),
  };
  const mostP99 = rounded(Math.max(p99Ms.off * 1.15, p99Ms.off + 1));
  const all = [...turns.values()].flat();
  return {
    ratios,
    p99Ms,
    p99BusyMs: byCase(name => median(of(name).map(({ p99BusyMs }) => p99BusyMs ?? Number.NaN))),
    cpuUsPerEvent: byCase(name => median(cpu(name))),
    spread: { toForwarding: [rounded(low), rounded(high)] },
    judgePairsPerSec: Math.round(judged),
    unjudged: rounded(unjudged),
    unheard: rounded(unheard),
    rounds: of('on').length,
    noise: {
      foreign: rounded(median(all.map(turn => turn.busy.foreign))),
      latency: areQuiet(turns) ? 'quiet enough' : 'too noisy to tell',
    },
    targets: [
      atMost('CPU per delivered event to forwarding alone', ratios.toForwarding, 2.6),
      ...CASES.filter(name => name !== 'off').map(name =>
        atMost(`p99 in ms, candidate ${name}`, p99Ms[name], mostP99),
      ),
      atMost('share of events that was not compared', rounded(unjudged), MOST_UNJUDGED),
      atMost('share of bytes that was not heard', rounded(unheard), MOST_UNJUDGED),
      {
        ...{ what: 'pairs a second that the judge takes', value: Math.round(judged) },
        ...{ bound: 60_000, met: judged >= 60_000 },
      },
    ],
  };
}

function atMost(what: string, value: number, bound: number) {
  return { what, value, bound, met: value <= bound };
}

function print(result: ShadowResult): void {
  const { ratios, p99Ms, p99BusyMs, cpuUsPerEvent, targets, rounds, noise } = result;
  const { judgePairsPerSec: pairs } = result;
  console.table(
    CASES.map(name => ({
      ...{ candidate: name, cpuUs: cpuUsPerEvent[name] },
      ...{ p99Ms: p99Ms[name], p99BusyMs: p99BusyMs[name] },
    })),
  );
  console.log(ratios, `the judge takes ${pairs} pairs a second`);
  for (const { what, value, bound, met } of targets)
    console.log(`${met ? 'met   ' : 'MISSED'}  ${what}: ${value}, bound ${bound}`);
  console.log(`${rounds} rounds; latencies: ${noise.latency}`);
}
