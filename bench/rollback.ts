// A rollback under traffic, seen from the clients: when the candidate's last byte came, what was lost,
// doubled or closed, and what else clients noticed. Then the same without legs that stand by, and over and
// over again. Both services send each user the same events, with who they are in a field of its own.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Proof } from '../src/control/proofs.ts';
import type { Status } from '../src/control/status.ts';
import { stageTarget } from '../src/rules/stage.ts';
import { rounded } from './comparison.ts';
import { nowUs } from './event.ts';
import { type ListeningCutover, startCutover } from './peers.ts';
import type { ClientsQuestion, Telling, Told, Window } from './rollback-clients.ts';
import type { ServicesQuestion } from './rollback-services.ts';
import { type Busy, isQuiet, watched } from './rounds.ts';
import { Worker } from './worker.ts';

export const ROLLBACK_SIZES = {
  /** With second legs; as many events a second. */
  sessions: 5_000,
  /** Without them; as many events a second. */
  unshadowed: 1_000,
  /** From one side to the other, of so many sessions. */
  flips: 1_000,
  flipping: 50,
};

/** Legs are known to be in step once they were both there for the judge's window. */
const WARM_UP_MS = 8_000;
const BEFORE_MS = 3_000;
const AROUND_MS = 500;
const AFTER_MS = 2_000;
/** What is on its way arrives. */
const SETTLE_MS = 500;
const FLIPPING_PER_SECOND = 1_000;
/** Twenty-five times what is hoped for. */
const MOST_FLIP_MS = 5_000;
const MOST_MOVE_MS = 60_000;
const POLL_MS = 10;
/** A rollback's dials each take a handshake and this much of both legs together, behind the pace. */
const DIALLED_OVERLAP_MS = 250;
const PLANNED_OVERLAP_MS = 5_000;
const HANDSHAKES_MS = 1_000;
/** The default of `limits.movesPerS`. */
const MOVES_PER_S = 500;
/** Who sent it and when is not what an event says. */
const COMPARE =
  '{ key: { first: [/number] }, allow: [{ path: /sent_us, as: anything }, { path: /side, as: anything }] }';

type Services = Worker<ServicesQuestion, number[]>;
type Clients = Worker<ClientsQuestion, Told>;

/** What clients may not notice. */
interface Noticed {
  readonly disconnects: number;
  readonly lost: number;
  readonly duplicated: number;
  readonly outOfOrder: number;
  /** Delivered though nobody could say whether the client had them, as the proxy counts. */
  readonly unknown: number;
}

interface Moves {
  /** From the command until the last session was there. */
  readonly tookMs: number;
  /** The most that were dialled for within any second. */
  readonly dialsPerS: number;
}

export interface RollbackResult extends Noticed {
  readonly sessions: number;
  /** Of them, those whose second leg stood by. */
  readonly shadowed: number;
  /** From the request to the last byte of the candidate's that a client read. */
  readonly commandToLastCandidateByteMs: number;
  /** The same to when it was handed to a client's socket; to the command itself where none was. */
  readonly proofSaysMs: number;
  readonly p99Ms: Readonly<Record<Window, number>>;
  readonly unshadowed: Noticed & {
    readonly sessions: number;
    readonly toCandidate: Moves;
    readonly toLegacy: Moves;
  };
  readonly flips: Noticed & { readonly count: number; readonly sessions: number };
  readonly noise: Busy & { readonly latency: 'quiet enough' | 'too noisy to tell' };
  readonly targets: readonly RollbackTarget[];
}

interface RollbackTarget {
  readonly what: string;
  readonly value: number;
  readonly most: number;
  readonly met: boolean;
  /** False: the machine was too noisy to tell. */
  readonly told: boolean;
}

export async function benchRollback({
  json,
  ...sizes
}: typeof ROLLBACK_SIZES & { json: boolean }): Promise<RollbackResult> {
  const say = (text: string) => (json ? undefined : console.log(text));
  say(`${sizes.sessions} sessions with second legs …`);
  const warm = await onLine(sizes.sessions, 'live', warmRollback);
  say(`${sizes.unshadowed} sessions without …`);
  const unshadowed = await onLine(sizes.unshadowed, 'off', movesWithoutSecondLegs);
  say(`${sizes.flips} flips of ${sizes.flipping} sessions …`);
  const flips = await onLine(sizes.flipping, 'live', line => flip(line, sizes.flips));
  const latency = isQuiet(warm) ? 'quiet enough' : 'too noisy to tell';
  const { busy, ...rest } = warm;
  const { total, foreign } = busy;
  const result = { ...rest, unshadowed, flips };
  const noise = { total: rounded(total), foreign: rounded(foreign), latency } as const;
  const targets = targetsOf(result, latency === 'quiet enough');
  if (!json) {
    console.log(result);
    for (const { what, value, most, met, told } of targets) {
      const untold = told ? '' : ' (too noisy to tell)';
      console.log(`${met ? 'met   ' : 'MISSED'}  ${what}: ${value} of at most ${most}${untold}`);
    }
    const percent = (share: number) => `${Math.round(share * 100)} %`;
    console.log(`machine ${percent(total)} busy, ${percent(foreign)} by others: ${latency}`);
  }
  return { ...result, noise, targets };
}

/** Users, both services and the proxy between them. */
class Line {
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

  async allOn(side: 'legacy' | 'candidate', withinMs: number): Promise<void> {
    await eventually(`all are on ${side}`, withinMs, async () => {
      const route = await this.events();
      return route[side].openSessions === this.users;
    });
  }

  /** Rolls everything back and waits for the proof. */
  async rollBack(acceptStale: boolean): Promise<Proof> {
    const asked = { reason: 'benchmark', acceptStale };
    const { proof } = await this.proxy.ask<{ proof: Proof | null }>('/rollback', asked);
    let known = proof;
    await eventually('the rollback is over', MOST_MOVE_MS, async () => {
      if (known?.state === 'running') known = await this.proxy.ask<Proof>(`/proofs/${known.id}`);
      return known?.state !== 'running';
    });
    if (known?.state !== 'complete') throw new Error(`a rollback came to ${known?.state}`);
    return known;
  }
}

async function onLine<T>(
  users: number,
  stage: 'off' | 'live',
  work: (line: Line) => Promise<T>,
): Promise<T> {
  const dir = await mkdtemp(path.join(tmpdir(), 'cutover-bench-'));
  const services: Services = new Worker('./rollback-services.ts');
  const clients: Clients = new Worker('./rollback-clients.ts');
  let proxy: ListeningCutover | null = null;
  try {
    const [legacyPort = 0, candidatePort = 0] = await services.ask({ listen: true });
    const setup = { legacyPort, candidatePort, compare: COMPARE, stage: stageTarget(stage) };
    proxy = await startCutover(setup, dir);
    const line = new Line(users, proxy, services, clients);
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

async function warmRollback(line: Line) {
  await line.begin(line.users);
  await eventually('all have a second leg', MOST_MOVE_MS, async () => {
    const { rollback } = await line.events();
    return rollback?.warm === line.users;
  });
  await pause(WARM_UP_MS);
  const { rollback } = await line.events();
  await line.beginTiming();
  const { result, busy } = await watched(line.pids, async () => {
    await pause(BEFORE_MS + AROUND_MS);
    const commandUs = nowUs();
    const proof = await line.rollBack(false);
    await pause(Math.max(0, AROUND_MS + AFTER_MS - (nowUs() - commandUs) / 1_000));
    return { commandUs, proof };
  });
  const { commandUs, proof } = result;
  const at = (ms: number) => commandUs + ms * 1_000;
  const { p99Ms, lastCandidateUs, ...noticed } = await line.end({
    sinceUs: commandUs,
    windows: {
      before: [at(-BEFORE_MS - AROUND_MS), at(-AROUND_MS)],
      during: [at(-AROUND_MS), at(AROUND_MS)],
      after: [at(AROUND_MS), at(AROUND_MS + AFTER_MS)],
    },
  });
  const said = proof.lastCandidateByte ?? proof.command;
  return {
    ...{ sessions: line.users, shadowed: rollback?.warm ?? 0, ...noticed },
    commandToLastCandidateByteMs: rounded(((lastCandidateUs ?? commandUs) - commandUs) / 1_000),
    proofSaysMs: rounded(said.monotonicMs - commandUs / 1_000),
    p99Ms: {
      before: rounded(p99Ms.before),
      during: rounded(p99Ms.during),
      after: rounded(p99Ms.after),
    },
    busy,
  };
}

/** A planned move to the candidate alone, and the way back that must be asked for twice. */
async function movesWithoutSecondLegs(line: Line) {
  await line.begin(line.users);
  await pause(AROUND_MS);
  let from = performance.now();
  await line.proxy.ask('/stage', { route: 'events', stage: 'complete' });
  await line.allOn('candidate', MOST_MOVE_MS);
  const toCandidate = {
    tookMs: Math.round(performance.now() - from),
    dialsPerS: (await line.dialsPerS()).candidate,
  };
  // Legs of before are let go within that.
  await pause(AFTER_MS);
  await line.dialsPerS();
  from = performance.now();
  const { sessions } = await line.rollBack(true);
  if (sessions.redialled !== line.users)
    throw new Error(`${sessions.redialled} of ${line.users} were dialled for`);
  const toLegacy = {
    tookMs: Math.round(performance.now() - from),
    dialsPerS: (await line.dialsPerS()).legacy,
  };
  await pause(AFTER_MS);
  const { p99Ms: _, lastCandidateUs: __, ...noticed } = await line.end(NOT_TIMED);
  return { sessions: line.users, ...noticed, toCandidate, toLegacy };
}

async function flip(line: Line, count: number) {
  await line.begin(FLIPPING_PER_SECOND);
  await eventually('all have a second leg', MOST_MOVE_MS, async () => {
    const { rollback } = await line.events();
    return rollback?.warm === line.users;
  });
  for (let flips = 0; flips < count; flips += 1) {
    if (flips % 2 === 0) await line.rollBack(false);
    else await line.proxy.ask('/release', { reason: 'benchmark' });
    await line.allOn(flips % 2 === 0 ? 'legacy' : 'candidate', MOST_FLIP_MS);
  }
  const { p99Ms: _, lastCandidateUs: __, ...noticed } = await line.end(NOT_TIMED);
  return { count, sessions: line.users, ...noticed };
}

const NOT_TIMED = { sinceUs: 0, windows: {} };

function targetsOf(
  result: Omit<RollbackResult, 'noise' | 'targets'>,
  isQuietEnough: boolean,
): RollbackTarget[] {
  const { unshadowed, flips, p99Ms, sessions, shadowed } = result;
  const { toCandidate, toLegacy } = unshadowed;
  const paceMs = (unshadowed.sessions / MOVES_PER_S) * 1_000 + HANDSHAKES_MS;
  const counted = (what: string, noticed: Noticed) => {
    const { disconnects, lost, duplicated, outOfOrder } = noticed;
    return Object.entries({ disconnects, lost, duplicated, 'out of order': outOfOrder }).map(
      ([name, value]) => target(`${what}: ${name}`, value, 0),
    );
  };
  const timed = (what: string, value: number, most: number) => ({
    ...target(what, rounded(value), rounded(most)),
    told: isQuietEnough,
  });
  const { commandToLastCandidateByteMs: lastMs, proofSaysMs: saidMs } = result;
  return [
    timed("ms from command to the candidate's last byte", lastMs, 100),
    timed('ms between that and the proof', Math.abs(lastMs - saidMs), 20),
    timed('p99 around the switch in ms', p99Ms.during, 3 * p99Ms.before),
    target('sessions without a second leg', sessions - shadowed, 0),
    ...counted('with second legs', result),
    ...counted('without second legs', unshadowed),
    timed('ms until all are on the candidate', toCandidate.tookMs, paceMs + PLANNED_OVERLAP_MS),
    timed('ms until all are on legacy', toLegacy.tookMs, paceMs + DIALLED_OVERLAP_MS),
    // A service may be given what waited for it a moment later: a tenth more within a second.
    target('dials a second of the candidate', toCandidate.dialsPerS, 1.1 * MOVES_PER_S),
    target('dials a second of legacy', toLegacy.dialsPerS, 1.1 * MOVES_PER_S),
    ...counted('flips', flips),
  ];
}

function target(what: string, value: number, most: number): RollbackTarget {
  return { what, value, most, met: value <= most, told: true };
}

async function eventually(
  what: string,
  withinMs: number,
  isSo: () => Promise<boolean>,
): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await isSo())) {
    if (performance.now() > end) throw new Error(`not in time: ${what}`);
    await pause(POLL_MS);
  }
}
