// What a proxy costs between a broadcaster and its users: 200 WebSockets, 512-byte events from
// upstream to client, one event a write. CPU at 20,000 events/s, latency at 5,000, memory at 5,000
// idle sockets.
import { setTimeout as pause } from 'node:timers/promises';
import {
  type Comparison,
  compare,
  printComparison,
  rounded,
  type TargetsOf,
} from './comparison.ts';
import type { ClientsQuestion, Collected } from './event-clients.ts';
import type { ServerQuestion } from './event-server.ts';
import { cpuUs, residentBytes } from './machine.ts';
import type { PeerName } from './peers.ts';
import { type Turn, type Turns, takeTurns, watched } from './rounds.ts';
import { type Contestant, contestants, type Line, Stage } from './stage.ts';
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

type Server = Worker<ServerQuestion, number>;
type Clients = Worker<ClientsQuestion, Collected>;

export async function benchWs({ json }: { json: boolean }): Promise<Comparison> {
  const say = (text: string) => (json ? undefined : console.log(text));
  // An agent is for requests: one of the two is enough.
  const names = contestants().filter(name => name !== 'http-proxy-agent');
  const server: Server = new Worker('./event-server.ts');
  const clients: Clients = new Worker('./event-clients.ts');
  const stage = await Stage.set(() => server.ask({ listen: true }));
  const bench = new WsBench(stage, server, clients);
  try {
    const turns = await bench.turns(names, say);
    const kbPerSocket = new Map<Contestant, number>();
    for (const name of names) {
      if (name === 'direct') continue;
      const kb = await bench.memoryOf(name);
      kbPerSocket.set(name, kb);
      say(`${name}: ${kb.toFixed(1)} kB per idle socket`);
    }
    const result = compare(turns, kbPerSocket, targetsOf);
    if (!json) printComparison(result);
    return result;
  } finally {
    await clients.stop();
    await stage.strike();
    await server.stop();
  }
}

/** Each as far as the peers are here that it is taken from. */
const targetsOf: TargetsOf = ({ cutover, nginx }, { toPipe, toNginx }) => [
  ...(toPipe === null
    ? []
    : [
        { what: "CPU per event to the bare pipe's", of: 'cpu' as const, value: toPipe, most: 1.25 },
      ]),
  ...(cutover === undefined || nginx === undefined || toNginx === null
    ? []
    : [
        { what: "CPU per event to nginx's", of: 'cpu' as const, value: toNginx, most: 1.7 },
        {
          what: "kB per idle socket, nginx's",
          of: 'memory' as const,
          value: cutover.kbPerSocket ?? Number.NaN,
          most: nginx.kbPerSocket ?? Number.NaN,
        },
        {
          what: "p99 in ms, nginx's and 1 ms or a quarter more",
          of: 'latency' as const,
          value: cutover.p99Ms,
          most: rounded(Math.max(nginx.p99Ms + 1, nginx.p99Ms * 1.25)),
        },
      ]),
];

class WsBench {
  readonly #stage: Stage;
  readonly #server: Server;
  readonly #clients: Clients;

  constructor(stage: Stage, server: Server, clients: Clients) {
    this.#stage = stage;
    this.#server = server;
    this.#clients = clients;
  }

  async turns(names: readonly Contestant[], say: (text: string) => void): Promise<Turns> {
    const lines: Line[] = [];
    for (const name of names) lines.push(await this.warmLine(name));
    const turns = await takeTurns(lines, line => this.turnOf(line), say);
    for (const { port } of lines) await this.#clients.ask({ close: port });
    await this.#stage.stopPeers();
    return turns;
  }

  /** A contestant with its users connected, that has served for a while. */
  async warmLine(name: Contestant): Promise<Line> {
    const line = await this.#stage.line(name);
    await this.#clients.ask({ open: line.port, users: USERS });
    await this.streamed(line, BUSY_PER_SECOND, WARM_UP_MS);
    return line;
  }

  async turnOf(line: Line): Promise<Turn> {
    const busy = await this.streamed(line, BUSY_PER_SECOND, BUSY_MS);
    const pids = [process.pid, this.#server.pid, this.#clients.pid, ...line.pids];
    const calm = await watched(pids, () => this.streamed(line, CALM_PER_SECOND, CALM_MS));
    return {
      cpuUsPerUnit: line.pids.length === 0 ? null : busy.cpuUs / busy.events,
      unitsPerSec: busy.events / (busy.ms / 1_000),
      p50Ms: calm.result.p50Ms,
      p99Ms: calm.result.p99Ms,
      busy: calm.busy,
    };
  }

  /** Sends at a pace for so long; what is counted has reached the clients. */
  async streamed(line: Line, perSecond: number, ms: number) {
    await this.#server.ask({ sendTo: line.servicePort, perSecond });
    await pause(RUN_IN_MS);
    await this.#clients.ask({ collect: true });
    const before = { cpuUs: cpuUs(line.pids), at: performance.now() };
    await pause(ms);
    const collected = await this.#clients.ask({ collect: true });
    const after = { cpuUs: cpuUs(line.pids), at: performance.now() };
    await this.#server.ask({ stop: true });
    await pause(RUN_IN_MS);
    return { ...collected, cpuUs: after.cpuUs - before.cpuUs, ms: after.at - before.at };
  }

  /** Resident size that comes with 5,000 sockets, in kB for each; of a fresh process. */
  async memoryOf(name: PeerName): Promise<number> {
    const line = await this.#stage.line(name);
    await this.#openAndGreet(line, FIRST_SOCKETS);
    await this.#clients.ask({ close: line.port });
    await pause(SETTLE_MS);
    const before = residentBytes(line.pids);
    await this.#openAndGreet(line, IDLE_SOCKETS);
    await pause(SETTLE_MS);
    const after = residentBytes(line.pids);
    await this.#clients.ask({ close: line.port });
    await this.#stage.stopPeers();
    return (after - before) / 1024 / IDLE_SOCKETS;
  }

  /** Connects users and sends each an event: what a session allocates with its first one is its own. */
  async #openAndGreet({ port, servicePort }: Line, users: number): Promise<void> {
    await this.#clients.ask({ open: port, users });
    await this.#clients.ask({ collect: true });
    await this.#server.ask({ greet: servicePort });
    await this.#clients.ask({ await: users });
  }
}
