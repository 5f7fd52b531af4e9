// What a proxy costs between a broadcaster and its users: 200 WebSockets, 512-byte events from
// upstream to client, one event a write. CPU at 20,000 events/s, latency at 5,000, memory at 5,000
// idle sockets.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import {
  CONTESTANTS,
  type Comparison,
  type Contestant,
  compare,
  printComparison,
  rounded,
  type TargetsOf,
  type Turn,
  wantsMoreRounds,
} from './comparison.ts';
import type { ClientsQuestion, Collected } from './event-clients.ts';
import type { ServerQuestion } from './event-server.ts';
import { cpuUs, residentBytes } from './machine.ts';
import { missingPeers, type Peer, type PeerName, startPeer } from './peers.ts';
import { LEAST_ROUNDS, MOST_ROUNDS, orderOf, watched } from './rounds.ts';
import { Worker } from './worker.ts';

const USERS = 200;
const BUSY_PER_SECOND = 20_000;
const CALM_PER_SECOND = 5_000;
/** 60,000 and 10,000 events: the 99th percentile is one of a hundred. */
const BUSY_MS = 3_000;
const CALM_MS = 2_000;
/** Before a figure counts: engines compile what is hot, and a pace begins with a jolt. */
const WARM_UP_MS = 3_000;
const RUN_IN_MS = 200;

const IDLE_SOCKETS = 5_000;
/** What is loaded or compiled for the first sockets is no socket's. */
const FIRST_SOCKETS = 200;
/** Memory is looked at when what the handshakes left behind has been collected, where it will be. */
const SETTLE_MS = 5_000;

/** A contestant with its users connected. */
interface Line {
  readonly name: Contestant;
  readonly servicePort: number;
  readonly port: number;
  readonly pids: readonly number[];
}

export class Stage {
  readonly server = new Worker<ServerQuestion, number>('./event-server.ts');
  readonly clients = new Worker<ClientsQuestion, Collected>('./event-clients.ts');
  readonly dir: string;
  readonly #peers: Peer[] = [];

  private constructor(dir: string) {
    this.dir = dir;
  }

  static async set(): Promise<Stage> {
    return new Stage(await mkdtemp(path.join(tmpdir(), 'cutover-bench-')));
  }

  get pids(): number[] {
    return [process.pid, this.server.pid, this.clients.pid];
  }

  /** Puts a contestant in front of a port of its own. */
  async line(name: Contestant): Promise<Line> {
    const servicePort = await this.server.ask({ listen: true });
    if (name === 'direct') return { name, servicePort, port: servicePort, pids: [] };
    const peer = await startPeer(name, servicePort, this.dir);
    this.#peers.push(peer);
    return {
      name,
      servicePort,
      port: peer.port,
      get pids() {
        return peer.pids;
      },
    };
  }

  async stopPeers(): Promise<void> {
    for (const peer of this.#peers.splice(0)) await peer.stop();
  }

  async strike(): Promise<void> {
    await this.clients.stop();
    await this.stopPeers();
    await this.server.stop();
    await rm(this.dir, { recursive: true, force: true });
  }
}

export async function benchWs({ json }: { json: boolean }): Promise<Comparison> {
  const missing = missingPeers();
  if (missing.length > 0)
    console.error(`not installed: ${missing.join(', ')} (scripts/bench-peers)`);
  const names = CONTESTANTS.filter(name => !missing.includes(name as PeerName));
  const say = (text: string) => (json ? undefined : console.log(text));
  const stage = await Stage.set();
  try {
    const turns = await takeTurns(stage, names, say);
    const kbPerSocket = new Map<Contestant, number>();
    for (const name of names) {
      if (name === 'direct') continue;
      kbPerSocket.set(name, await memoryOf(stage, name));
      say(`${name}: ${rounded(kbPerSocket.get(name) ?? 0)} kB per idle socket`);
    }
    const result = compare(turns, kbPerSocket, targetsOf);
    if (!json) printComparison(result);
    return result;
  } finally {
    await stage.strike();
  }
}

const targetsOf: TargetsOf = ({ cutover, nginx }, { toPipe, toNginx }) => {
  if (cutover === undefined || nginx === undefined || toPipe === null || toNginx === null)
    return [];
  return [
    { what: "CPU per event to the bare pipe's", value: toPipe, most: 1.25 },
    { what: "CPU per event to nginx's", value: toNginx, most: 1.7 },
    {
      what: "kB per idle socket, nginx's",
      value: cutover.kbPerSocket ?? Number.NaN,
      most: nginx.kbPerSocket ?? Number.NaN,
    },
    {
      what: "p99 in ms, nginx's and 1 ms or a quarter more",
      value: cutover.p99Ms,
      most: rounded(Math.max(nginx.p99Ms + 1, nginx.p99Ms * 1.25)),
    },
  ];
};

async function takeTurns(
  stage: Stage,
  names: readonly Contestant[],
  say: (text: string) => void,
): Promise<Map<Contestant, Turn[]>> {
  const lines: Line[] = [];
  for (const name of names) {
    const line = await stage.line(name);
    await stage.clients.ask({ open: line.port, users: USERS });
    lines.push(line);
  }
  for (const line of lines) await streamed(stage, line, BUSY_PER_SECOND, WARM_UP_MS);
  const turns = new Map<Contestant, Turn[]>(names.map(name => [name, []]));
  for (
    let round = 0;
    round < LEAST_ROUNDS || (round < MOST_ROUNDS && wantsMoreRounds(turns));
    round += 1
  ) {
    for (const line of orderOf(lines, round)) {
      const turn = await turnOf(stage, line);
      turns.get(line.name)?.push(turn);
      say(
        `${line.name}: ${turn.cpuUsPerUnit?.toFixed(1) ?? '-'} µs/event, p50 ${turn.p50Ms.toFixed(2)} ms, p99 ${turn.p99Ms.toFixed(2)} ms; machine ${Math.round(turn.busy.total * 100)} % busy, ${Math.round(turn.busy.foreign * 100)} % others`,
      );
    }
  }
  for (const line of lines) await stage.clients.ask({ close: line.port });
  await stage.stopPeers();
  return turns;
}

async function turnOf(stage: Stage, line: Line): Promise<Turn> {
  const busy = await streamed(stage, line, BUSY_PER_SECOND, BUSY_MS);
  const { result: calm, busy: whileCalm } = await watched([...stage.pids, ...line.pids], () =>
    streamed(stage, line, CALM_PER_SECOND, CALM_MS),
  );
  return {
    cpuUsPerUnit: line.pids.length === 0 ? null : busy.cpuUs / busy.events,
    unitsPerSec: busy.events / (busy.ms / 1_000),
    p50Ms: calm.p50Ms,
    p99Ms: calm.p99Ms,
    busy: whileCalm,
  };
}

/** Sends at a pace for so long; what is counted has reached the clients. */
export async function streamed(stage: Stage, line: Line, perSecond: number, ms: number) {
  await stage.server.ask({ sendTo: line.servicePort, perSecond });
  await pause(RUN_IN_MS);
  await stage.clients.ask({ collect: true });
  const before = { cpuUs: cpuUs(line.pids), at: performance.now() };
  await pause(ms);
  const collected = await stage.clients.ask({ collect: true });
  const after = { cpuUs: cpuUs(line.pids), at: performance.now() };
  await stage.server.ask({ stop: true });
  await pause(RUN_IN_MS);
  return { ...collected, cpuUs: after.cpuUs - before.cpuUs, ms: after.at - before.at };
}

/** Resident size that comes with 5,000 sockets, each of which has had one event; a fresh process. */
export async function memoryOf(stage: Stage, name: PeerName): Promise<number> {
  const line = await stage.line(name);
  await openAndGreet(FIRST_SOCKETS);
  await stage.clients.ask({ close: line.port });
  await pause(SETTLE_MS);
  const before = residentBytes(line.pids);
  await openAndGreet(IDLE_SOCKETS);
  await pause(SETTLE_MS);
  const after = residentBytes(line.pids);
  await stage.clients.ask({ close: line.port });
  await stage.stopPeers();
  return (after - before) / 1024 / IDLE_SOCKETS;

  async function openAndGreet(users: number): Promise<void> {
    await stage.clients.ask({ open: line.port, users });
    await stage.clients.ask({ collect: true });
    await stage.server.ask({ greet: line.servicePort });
    await stage.clients.ask({ await: users });
  }
}
