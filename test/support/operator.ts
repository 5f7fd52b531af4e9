// Builder of the operator's side for tests: real flag files, real metrics, real decisions, a stand-in
// for the lanes that holds the sessions a test wants to be open.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import type { z } from 'zod';
import type { Loaded } from '../../src/config/load.ts';
import { ConfigSchema } from '../../src/config/schema.ts';
import { Audit } from '../../src/control/audit.ts';
import { Bypass } from '../../src/control/bypass.ts';
import { createDecider } from '../../src/control/decider.ts';
import { Evidence } from '../../src/control/evidence/evidence.ts';
import { type FlagProvider, openFileFlags } from '../../src/control/flags/provider.ts';
import { GuardrailHolds } from '../../src/control/guardrail-holds.ts';
import { Guardrails } from '../../src/control/guardrails.ts';
import { Incidents } from '../../src/control/incidents.ts';
import { LaneIsolation } from '../../src/control/lane-isolation.ts';
import { Latch } from '../../src/control/latch.ts';
import { createMetrics, type Metrics } from '../../src/control/metrics.ts';
import { NoiseMeasuring } from '../../src/control/noise-measuring.ts';
import { Proofs } from '../../src/control/proofs.ts';
import type { ProxyView, ReloadReport } from '../../src/control/proxy-view.ts';
import { Rollbacks } from '../../src/control/rollbacks.ts';
import { Staleness } from '../../src/control/staleness.ts';
import { VitalSigns } from '../../src/control/vital-signs.ts';
import { WriteSplits } from '../../src/control/write-splits.ts';
import type {
  JudgeView,
  LaneCounters,
  RollbackOutlook,
  RollbackProgress,
  RouteScope,
  TrafficView,
} from '../../src/ports.ts';
import type { Side, Subject } from '../../src/rules/decide.ts';
import type { FeatureLike } from '../../src/rules/flag-shape.ts';
import { stageEdits } from '../../src/rules/flag-stage.ts';
import type { Books } from '../../src/rules/pairing/books.ts';
import { stageTarget } from '../../src/rules/stage.ts';

export const TOKEN = 'tok-0123456789abcdef0123456789abcdef';

export const user = (id: string): Subject => ({ id, aliases: [] });
export const users = (count: number): string[] => Array.from({ length: count }, (_, i) => `u${i}`);

/** Flags of a route in a stage, as `cutover stage` would write them. */
export function flagsFor(route: string, stage: string, percent?: number): readonly FeatureLike[] {
  const names = {
    route,
    serve: `${route}.serve`,
    shadow: `${route}.shadow`,
    kill: `${route}.kill`,
    isolation: `${route}.isolation`,
  };
  return stageEdits(() => undefined, names, stageTarget(stage, percent));
}

/** Lanes as the operator's side sees them. */
export class FakeTraffic implements TrafficView {
  connecting = 0;
  letGo = { low: 0, exhausted: 0 };
  draining = false;
  /** Windows (ms) over which what is open was to be ended. */
  readonly endings: number[] = [];
  readonly sessions: { route: string; subject: Subject | null; side: Side }[] = [];
  readonly totals = new Map<string, LaneCounters>();
  /** So many sessions go to legacy a second; without it all at once. */
  movesPerS = Number.POSITIVE_INFINITY;
  readonly #routes: readonly string[];
  /** They are counted as being there, and take their time. */
  readonly #rolledBack = new Set<FakeTraffic['sessions'][number]>();

  /** Of the configuration. */
  constructor(routes: readonly string[] = []) {
    this.#routes = routes;
  }

  open(route: string, side: Side, ...ids: readonly string[]): void {
    for (const id of ids) this.sessions.push({ route, side, subject: user(id) });
    this.of(route, side).sessionsOpen += ids.length;
  }

  of(route: string, side: Side): LaneCounters {
    const key = `${route} ${side}`;
    const found = this.totals.get(key) ?? {
      sessionsOpen: 0,
      answersOpen: 0,
      streamsOpen: 0,
      requests: 0,
      bytesToClient: 0,
      bytesToUpstream: 0,
      messagesToClient: 0,
      messagesToUpstream: 0,
      secondLegsOpen: 0,
    };
    this.totals.set(key, found);
    return found;
  }

  hasLeg(route: string, side: Side): boolean {
    const { sessionsOpen, streamsOpen, secondLegsOpen } = this.of(route, side);
    return sessionsOpen + streamsOpen + secondLegsOpen > 0;
  }

  serves(route: string, side: Side): boolean {
    const { sessionsOpen, answersOpen } = this.of(route, side);
    return sessionsOpen + answersOpen > 0;
  }

  endOpen(windowMs: number): number {
    this.endings.push(windowMs);
    return this.sessions.length;
  }

  endingsStopped = 0;
  stopEnding(): void {
    this.endingsStopped += 1;
  }

  /** Routes of each rollback, and which of them severed. */
  readonly rollbacks: {
    routes: string[];
    sever: boolean;
    progress: FakeProgress;
    held: RouteScope;
  }[] = [];
  /** Whom the next rollback concerns is known then. */
  found: Promise<void> = Promise.resolve();
  /** How often decisions were to be asked for anew. */
  reconsidered = 0;

  rollBack(held: RouteScope, { sever = false } = {}): RollbackProgress {
    const progress = new FakeProgress(this.found);
    const names = [...this.#routes, ...this.sessions.map(({ route }) => route)];
    const routes = [...new Set(names)].filter(name => held.has(name));
    this.rollbacks.push({ routes, sever, progress, held });
    for (const session of this.sessions) {
      if (!held.has(session.route) || session.side === 'legacy') continue;
      session.side = 'legacy';
      this.#rolledBack.add(session);
      this.of(session.route, 'candidate').sessionsOpen -= 1;
      this.of(session.route, 'legacy').sessionsOpen += 1;
      progress.sessions.affected += 1;
      progress.sessions.inPlace += 1;
    }
    return progress;
  }

  rollbackOutlook(routes: RouteScope): RollbackOutlook {
    const asked = this.sessions.filter(({ route }) => routes.has(route));
    const warm = asked.filter(({ side }) => side === 'candidate').length;
    const goes = warm + asked.filter(session => this.#rolledBack.has(session)).length;
    const paceMs = (goes * 1_000) / this.movesPerS;
    return { warm, toDial: 0, notMovable: 0, refused: 0, answers: 0, paceMs };
  }

  async reconsider(): Promise<void> {
    this.reconsidered += 1;
    for (const { routes, held, progress } of this.rollbacks) {
      if (!routes.some(name => held.has(name))) progress.end();
    }
  }

  *counters() {
    for (const [key, counters] of this.totals) {
      const [route = '', side] = key.split(' ');
      yield { route, side: side === 'candidate' ? 'candidate' : 'legacy', counters } as const;
    }
  }

  *sessionsOf(route: string) {
    for (const [i, session] of this.sessions.entries()) {
      if (session.route === route) yield { id: `s${i}`, turns: [], ...session };
    }
  }
}

/** A rollback that is through when a test says so. */
export class FakeProgress implements RollbackProgress {
  readonly found: Promise<void>;
  sessions = { affected: 0, inPlace: 0, redialled: 0, closed: 0, left: 0, failed: 0, pending: 0 };
  refused = 0;
  answers = { affected: 0, finished: 0, ended: 0, pending: 0 };
  lastCandidateByteAt: number | null = null;
  queuedBytes = 0;
  end: () => void = () => undefined;
  readonly done = new Promise<void>(resolve => {
    this.end = resolve;
  });

  constructor(found = Promise.resolve()) {
    this.found = found;
  }
}

/** A judge that nobody has handed anything. */
export const NOTHING_JUDGED: JudgeView = {
  ...{
    running: true,
    restarts: 0,
    failures: 0,
    lagMs: 0,
    bytesLeftOut: 0,
    bytesUnheard: 0,
    streamsUnheard: 0,
  },
  books: () => new Map(),
  isolationBooks: () => new Map(),
  identityMismatch: () => false,
  booksOf: async () => null,
  measureNoise: () => undefined,
  noise: async () => null,
};

export interface Operated {
  dir: string;
  proxy: ProxyView;
  flags: FlagProvider;
  metrics: Metrics;
  traffic: FakeTraffic;
  bypass: Bypass;
  audit: Audit;
  rollbacks: Rollbacks;
  guardrails: Guardrails;
  /** Guardrails anew, as after a restart. */
  guard(): Promise<Guardrails>;
  incidents: Incidents;
  /** What the guardrails count traffic by, and their clock. */
  signs: VitalSigns;
  clock: { ms: number };
  writes: WriteSplits;
  /** The state folder. */
  stateDir: string;
  /** The real one; its thread begins with `keepIn`. */
  evidence: Evidence;
  logged: string[];
  logger: pino.Logger;
  /** What a test may change about the proxy. */
  state: {
    traffic: TrafficView | null;
    lock: 'held' | 'awaited';
    lastReload: ReloadReport | null;
    warnings: string[];
    /** Why services can not be connected to. */
    unreachable: Partial<Record<Side, string>>;
    /** The one in force. */
    config: Loaded['config'];
    /** What the judge has, by route. */
    books: Map<string, Books>;
    /** The same of open sessions, by id. */
    sessionBooks: Map<string, Books>;
  };
  /** Writes a flag file of the folder. */
  write(file: string, features: readonly FeatureLike[] | string): Promise<void>;
  close(): Promise<void>;
}

type Routes = z.input<typeof ConfigSchema>['routes'];
const ROUTES: Routes = [
  { name: 'events', path: '/ws', protocol: 'websocket' },
  { name: 'api', path: '/api/*', protocol: 'http' },
];

/** Flags in `files`, by file name. */
export async function operated(
  files: Record<string, readonly FeatureLike[] | string> = {},
  routes: Routes = ROUTES,
): Promise<Operated> {
  const dir = await mkdtemp(path.join(tmpdir(), 'cutover-operator-'));
  const write: Operated['write'] = (file, features) =>
    writeFile(
      path.join(dir, file),
      typeof features === 'string' ? features : JSON.stringify({ version: 2, features }),
    );
  for (const [file, features] of Object.entries(files)) await write(file, features);
  const config = ConfigSchema.parse({
    listen: { host: '127.0.0.1', port: 0 },
    admin: { port: 0 },
    upstreams: {
      legacy: { url: 'http://127.0.0.1:9001' },
      candidate: { url: 'http://127.0.0.1:9002' },
    },
    routes,
    flags: { dir },
  });
  const logged: string[] = [];
  const logger = pino({ level: 'debug' }, { write: line => void logged.push(line) });
  const flags = await openFileFlags({ dir, routes: () => config.routes, logger });
  const traffic = new FakeTraffic(config.routes.map(({ name }) => name));
  const state: Operated['state'] = {
    traffic,
    lock: 'held',
    lastReload: null,
    warnings: [],
    unreachable: {},
    config,
    books: new Map(),
    sessionBooks: new Map(),
  };
  const loaded = (): Loaded => ({
    ...{ config: state.config, file: '/etc/cutover.yaml', secrets: { ca: {} }, noise: {} },
  });
  const stateDir = await mkdtemp(path.join(tmpdir(), 'cutover-operator-state-'));
  const bypass = await Bypass.open(stateDir);
  const audit = new Audit(logger);
  await audit.keepIn(stateDir);
  const latch = await Latch.open(stateDir);
  const proofs = new Proofs(logger);
  await proofs.keepIn(stateDir);
  const staleness = new Staleness(logger);
  await staleness.keepIn(stateDir);
  const rollbacks = new Rollbacks({
    ...{ latch, audit, proofs, staleness, flags, logger },
    loaded,
    traffic: () => state.traffic,
  });
  const writes = new WriteSplits(logger);
  writes.keepIn(stateDir);
  const evidence = new Evidence(config, logger);
  const signs = new VitalSigns();
  const clock = { ms: 0 };
  const guard = async () => {
    const holds = new GuardrailHolds(logger);
    await holds.keepIn(stateDir);
    const made = new Guardrails({
      ...{ signs, writes, evidence, flags, rollbacks, audit, holds, logger },
      loaded,
      traffic: () => state.traffic,
      now: () => clock.ms,
    });
    made.takeUp();
    return made;
  };
  const guardrails = await guard();
  const judge: JudgeView = {
    ...NOTHING_JUDGED,
    books: () => state.books,
    booksOf: async session => state.sessionBooks.get(session) ?? null,
  };
  const incidents = new Incidents({
    ...{ guardrails: () => guardrails, traffic: () => state.traffic, logger },
    isMismatch: () => false,
    behindMs: () => 0,
  });
  const sources = {
    traffic: () => state.traffic,
    flags,
    bypass,
    rollbacks,
    guardrails,
    isolation: new LaneIsolation({ onPrevented: () => undefined, judge: NOTHING_JUDGED, logger }),
    incidents,
    audit,
    writes,
    evidence,
    judge,
  };
  const metrics = createMetrics(sources);
  const startedAt = Date.now() - 5_000;
  const proxy: ProxyView = {
    startedAt,
    flags,
    decide: createDecider(flags, ({ name }) => ({
      bypass: bypass.engaged !== null,
      latch: latch.on(name),
      legsOn: [],
    })),
    loaded,
    loadedAt: () => startedAt,
    lastReload: () => state.lastReload,
    traffic: () => state.traffic,
    unreachable: async side => state.unreachable[side] ?? null,
    judge,
    noise: new NoiseMeasuring(NOTHING_JUDGED),
    bypass,
    rollbacks,
    guardrails,
    incidents,
    audit,
    writes,
    evidence,
    addresses: () => ({ listen: 'http://127.0.0.1:8080', admin: null }),
    state: () => state.lock,
    warnings: () => state.warnings,
  };
  return {
    ...{
      dir,
      stateDir,
      proxy,
      flags,
      metrics,
      traffic,
      bypass,
      audit,
      rollbacks,
      guardrails,
      guard,
      incidents,
      signs,
      clock,
      writes,
      evidence,
    },
    ...{ logged, logger, state, write },
    close: async () => {
      guardrails.close();
      await evidence.close();
      await flags.close();
      await writes.flush();
      await rm(dir, { recursive: true });
      // A guardrail's record may be on its way there.
      await rm(stateDir, { recursive: true, maxRetries: 5 });
    },
  };
}
