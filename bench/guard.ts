// What it costs the WebSocket lane to look for other users' addresses, and that none gets through: events of
// which one in five names its user, beside the same proxy that only forwards; then one in a hundred names
// somebody else, and is withheld.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { stageTarget } from '../src/rules/stage.ts';
import { rounded, type Target } from './comparison.ts';
import type { ClientsQuestion, Collected } from './event-clients.ts';
import type { ServerQuestion } from './event-server.ts';
import { median, middle, paired } from './figures.ts';
import { cpuUs } from './machine.ts';
import { type ListeningCutover, startCutover } from './peers.ts';
import { type Turn, takeTurns, watched } from './rounds.ts';
import { Worker } from './worker.ts';

const USERS = 200;
const BUSY_PER_SECOND = 20_000;
const CALM_PER_SECOND = 5_000;
const BUSY_MS = 3_000;
const CALM_MS = 2_000;
const WARM_UP_MS = 3_000;
const RUN_IN_MS = 200;
/** One in so many events names its user. */
const OWN = 5;

const BLOCKED_USERS = 500;
const BLOCKED_MS = 5_000;
/** One in so many names somebody else. */
const FOREIGN = 100;
const MOST_WAIT_MS = 20_000;

type Mode = 'observe' | 'sanitize' | 'block';

interface Line {
  readonly name: Mode;
  readonly servicePort: number;
  readonly proxy: ListeningCutover;
}

export interface GuardResult {
  readonly ratios: { readonly toForwarding: number; readonly p99ToForwarding: number };
  /** First and third quartile. */
  readonly spread: { readonly toForwarding: readonly [number, number] };
  readonly cpuUsPerEvent: Readonly<Record<'observe' | 'sanitize', number>>;
  readonly block: {
    readonly sent: number;
    readonly leaks: number;
    readonly delivered: number;
    /** By the proxy's own count. */
    readonly blocked: number;
    /** That reached a client. */
    readonly leaked: number;
  };
  readonly targets: readonly Target[];
}

export async function benchGuard({ json }: { json: boolean }): Promise<GuardResult> {
  const say = (text: string) => (json ? undefined : console.log(text));
  const dir = await mkdtemp(path.join(tmpdir(), 'cutover-bench-'));
  const bench = new GuardBench(dir);
  try {
    const lines = [await bench.warmLine('observe'), await bench.warmLine('sanitize')];
    const turns = await takeTurns<Mode, Line>(lines, line => bench.turnOf(line), say);
    const block = await bench.block();
    const of = (name: Mode) => turns.get(name) ?? [];
    const cpu = (name: Mode) => of(name).map(({ cpuUsPerUnit }) => cpuUsPerUnit ?? Number.NaN);
    const p99 = (name: Mode) => median(of(name).map(({ p99Ms }) => p99Ms));
    const cost = paired(cpu('sanitize'), cpu('observe'));
    const [low, high] = middle(cost);
    const toForwarding = rounded(median(cost));
    const { sent, leaks, delivered, blocked, leaked } = block;
    const isBalanced = blocked === leaks && delivered === sent - leaks;
    const result: GuardResult = {
      ratios: { toForwarding, p99ToForwarding: rounded(p99('sanitize') / p99('observe')) },
      spread: { toForwarding: [rounded(low), rounded(high)] },
      cpuUsPerEvent: {
        observe: rounded(median(cpu('observe'))),
        sanitize: rounded(median(cpu('sanitize'))),
      },
      block,
      targets: [
        {
          what: 'CPU per event to forwarding',
          value: toForwarding,
          most: 1.4,
          met: toForwarding <= 1.4,
        },
        { what: 'leaks at clients', value: leaked, most: 0, met: leaked === 0 && leaks > 0 },
        {
          what: 'events neither delivered nor blocked',
          value: sent - delivered - blocked,
          most: 0,
          met: isBalanced,
        },
      ],
    };
    if (!json) {
      console.log(result.ratios, result.spread, result.cpuUsPerEvent, block);
      for (const { what, value, most, met } of result.targets)
        console.log(`${met ? 'met   ' : 'MISSED'}  ${what}: ${value}, bound ${most}`);
    }
    return result;
  } finally {
    await bench.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

class GuardBench {
  readonly #dir: string;
  readonly #server = new Worker<ServerQuestion, number>('./event-server.ts');
  readonly #clients = new Worker<ClientsQuestion, Collected>('./event-clients.ts');
  readonly #lines: Line[] = [];

  constructor(dir: string) {
    this.#dir = dir;
  }

  async warmLine(name: Mode, users = USERS): Promise<Line> {
    const servicePort = await this.#server.ask({ listen: true });
    const proxy = await startCutover(
      {
        ...{ legacyPort: servicePort, candidatePort: servicePort, compare: '{}' },
        ...{ isolation: `{ mode: ${name} }`, stage: stageTarget('off') },
      },
      this.#dir,
    );
    const line = { name, servicePort, proxy };
    this.#lines.push(line);
    await this.#clients.ask({ open: proxy.port, users });
    await this.#streamed(line, BUSY_PER_SECOND, WARM_UP_MS);
    return line;
  }

  async turnOf(line: Line): Promise<Turn> {
    const busy = await this.#streamed(line, BUSY_PER_SECOND, BUSY_MS);
    const pids = [process.pid, this.#server.pid, this.#clients.pid, ...line.proxy.pids];
    const calm = await watched(pids, () => this.#streamed(line, CALM_PER_SECOND, CALM_MS));
    return {
      cpuUsPerUnit: busy.cpuUs / busy.events,
      unitsPerSec: busy.events / (busy.ms / 1_000),
      p50Ms: calm.result.p50Ms,
      p99Ms: calm.result.p99Ms,
      busy: calm.busy,
    };
  }

  /** Everything that was sent is waited for. */
  async block(): Promise<GuardResult['block']> {
    const { servicePort, proxy } = await this.warmLine('block', BLOCKED_USERS);
    await this.#clients.ask({ collect: true });
    await this.#server.ask({
      sendTo: servicePort,
      perSecond: BUSY_PER_SECOND,
      foreign: FOREIGN,
      own: OWN,
    });
    await pause(BLOCKED_MS);
    const sent = await this.#server.ask({ stop: true });
    const leaks = Math.ceil(sent / FOREIGN);
    const end = performance.now() + MOST_WAIT_MS;
    const got = { delivered: 0, leaked: 0 };
    while (got.delivered < sent - leaks && performance.now() < end) {
      await pause(RUN_IN_MS);
      const { events, foreign } = await this.#clients.ask({ collect: true });
      got.delivered += events;
      got.leaked += foreign;
    }
    const blocked = await proxy.metric('cutover_isolation_prevented_total', 'outcome="blocked"');
    return { sent, leaks, blocked, ...got };
  }

  async stop(): Promise<void> {
    await this.#clients.stop();
    for (const { proxy } of this.#lines) await proxy.stop();
    await this.#server.stop();
  }

  async #streamed({ servicePort, proxy }: Line, perSecond: number, ms: number) {
    await this.#server.ask({ sendTo: servicePort, perSecond, own: OWN });
    await pause(RUN_IN_MS);
    await this.#clients.ask({ collect: true });
    const before = { cpuUs: cpuUs(proxy.pids), at: performance.now() };
    await pause(ms);
    const collected = await this.#clients.ask({ collect: true });
    const after = { cpuUs: cpuUs(proxy.pids), at: performance.now() };
    await this.#server.ask({ stop: true });
    await pause(RUN_IN_MS);
    return { ...collected, cpuUs: after.cpuUs - before.cpuUs, ms: after.at - before.at };
  }
}
