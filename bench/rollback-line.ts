// Users, both services and a proxy between them, each side a process of its own, for what a rollback does to
// sessions that are open.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Proof } from '../src/control/proofs.ts';
import type { Status } from '../src/control/status.ts';
import { stageTarget } from '../src/rules/stage.ts';
import { type ListeningCutover, startCutover } from './peers.ts';
import type { ClientsQuestion, Telling, Told } from './rollback-clients.ts';
import type { ServicesQuestion } from './rollback-services.ts';
import { Worker } from './worker.ts';

/** What is on its way arrives. */
const SETTLE_MS = 500;
/** Nothing takes as long where nothing is wrong. */
const MOST_MOVE_MS = 60_000;
const POLL_MS = 10;
/** Who sent it and when is not what an event says. */
const COMPARE =
  '{ key: { first: [/number] }, allow: [{ path: /sent_us, as: anything }, { path: /side, as: anything }] }';

type Services = Worker<ServicesQuestion, number[]>;
type Clients = Worker<ClientsQuestion, Told>;

/** What clients may not notice. */
export interface Noticed {
  readonly disconnects: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly outOfOrder: number;
  /** Delivered though nobody could say whether the client had them, as the proxy counts. */
  readonly unknown: number;
}

/** Does `work` on a line of so many users, and takes it down. */
export async function onRollbackLine<T>(
  users: number,
  stage: 'off' | 'live',
  work: (line: RollbackLine) => Promise<T>,
): Promise<T> {
  const dir = await mkdtemp(path.join(tmpdir(), 'cutover-bench-'));
  const services: Services = new Worker('./rollback-services.ts');
  const clients: Clients = new Worker('./rollback-clients.ts');
  let proxy: ListeningCutover | null = null;
  try {
    const [legacyPort = 0, candidatePort = 0] = await services.ask({ listen: true });
    const setup = { legacyPort, candidatePort, compare: COMPARE, stage: stageTarget(stage) };
    proxy = await startCutover(setup, dir);
    const line = new RollbackLine(users, proxy, services, clients);
    const result = await work(line);
    await line.close();
    return result;
  } finally {
    await clients.stop();
    await proxy?.stop();
    await services.stop();
    await rm(dir, { recursive: true, force: true });
  }
}

export class RollbackLine {
  readonly users: number;
  readonly proxy: ListeningCutover;
  readonly #services: Services;
  readonly #clients: Clients;

  constructor(users: number, proxy: ListeningCutover, services: Services, clients: Clients) {
    this.users = users;
    this.proxy = proxy;
    this.#services = services;
    this.#clients = clients;
  }

  get pids(): number[] {
    return [process.pid, this.#services.pid, this.#clients.pid, ...this.proxy.pids];
  }

  async begin(perSecond: number): Promise<void> {
    await this.#clients.ask({ open: this.proxy.port, users: this.users });
    await this.#services.ask({ dials: true });
    await this.#services.ask({ send: perSecond, users: this.users });
  }

  /** Latencies from here on. */
  async beginTiming(): Promise<void> {
    await this.#clients.ask({ begin: true });
  }

  /** The most handshakes that a service had within a second, since last asked. */
  async dialsPerS(): Promise<{ legacy: number; candidate: number }> {
    const [legacy = 0, candidate = 0] = await this.#services.ask({ dials: true });
    return { legacy, candidate };
  }

  /** Ends the traffic and closes the books. */
  async end(told: Omit<Telling, 'sent'>): Promise<Told & Noticed> {
    const sent = await this.#services.ask({ stop: true });
    await pause(SETTLE_MS);
    const unknown = await this.proxy.metric('cutover_handover_doubts_total', 'kind="unknown"');
    return { ...(await this.#clients.ask({ tell: { sent, ...told } })), unknown };
  }

  async close(): Promise<void> {
    // Clients first: to them a proxy that ends is a fault.
    await this.#clients.ask({ close: true });
  }

  async events(): Promise<Status['routes'][number]> {
    const { routes } = await this.proxy.ask<Status>('/status');
    const route = routes.find(({ name }) => name === 'events');
    if (route === undefined) throw new Error('the proxy has no route events');
    return route;
  }

  async allWarm(): Promise<void> {
    await eventually('all have a second leg', async () => {
      const { rollback } = await this.events();
      return rollback?.warm === this.users;
    });
  }

  async allOn(side: 'legacy' | 'candidate'): Promise<void> {
    await eventually(`all are on ${side}`, async () => {
      const route = await this.events();
      return route[side].openSessions === this.users;
    });
  }

  /** The candidate's next event for that user names somebody else. When it was sent, µs. */
  async leak(to: number): Promise<number> {
    const [sentUs = Number.NaN] = await this.#services.ask({ leakTo: to });
    return sentUs;
  }

  /** Waits for a rollback that nobody asked for, and its proof. */
  async rolledBack(before: string | null): Promise<Proof> {
    let last: Proof | undefined;
    await eventually('it is rolled back', async () => {
      const { proofs } = await this.proxy.ask<{ proofs: Proof[] }>('/proofs?limit=1');
      last = proofs[0];
      return last !== undefined && last.id !== before && last.state !== 'running';
    });
    if (last?.state !== 'complete') throw new Error(`a rollback came to ${last?.state}`);
    return last;
  }

  /** Rolls everything back and waits for the proof. */
  async rollBack(acceptStale: boolean): Promise<Proof> {
    const asked = { reason: 'benchmark', acceptStale };
    const { proof } = await this.proxy.ask<{ proof: Proof | null }>('/rollback', asked);
    let known = proof;
    await eventually('the rollback is over', async () => {
      if (known?.state === 'running') known = await this.proxy.ask<Proof>(`/proofs/${known.id}`);
      return known?.state !== 'running';
    });
    if (known?.state !== 'complete') throw new Error(`a rollback came to ${known?.state}`);
    return known;
  }
}

async function eventually(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + MOST_MOVE_MS;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`not in time: ${what}`);
    await pause(POLL_MS);
  }
}
