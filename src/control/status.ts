// Everything that an operator wants to know at a glance, as one value.
import type { RouteConfig } from '../config/schema.ts';
import { CutoverError } from '../errors.ts';
import type { KeptDespite, RollbackOutlook, SecondLegsEnded, TrafficView } from '../ports.ts';
import type { Confidence } from '../rules/confidence.ts';
import type { Side } from '../rules/decide.ts';
import type { EvidenceBatch, EvidenceDrop } from '../rules/evidence-batch.ts';
import type { FlagNames, FlagProblem } from '../rules/flag-problem.ts';
import type { Held } from '../rules/latch.ts';
import { addBooks, type Books, emptyBooks } from '../rules/pairing/books.ts';
import { ALL_ROUTES, BYPASS_NAME, UNROUTED_NAME } from '../rules/routes.ts';
import { AS_MEANT } from '../rules/second-leg-end.ts';
import type { UnitKind } from '../rules/unit-tracker.ts';
import { type BooksView, booksView, type JudgeStatus, judgeStatus } from './books-view.ts';
import { type BypassView, bypassView } from './bypass-change.ts';
import { DEFAULT_THRESHOLD } from './evidence/api.ts';
import type { EvidenceState } from './evidence/evidence.ts';
import { rateOf } from './evidence/kept.ts';
import { flagNames } from './flags/evaluation.ts';
import type { ProviderKind, RemoteFlags } from './flags/source.ts';
import type { RouteGuardrails } from './guardrails.ts';
import { type Readiness, readiness } from './health.ts';
import { type IsolationView, isolationView } from './isolation-view.ts';
import type { Metrics } from './metrics.ts';
import type { ProxyView } from './proxy-view.ts';
import { type LatchView, latchView } from './rollback-routes.ts';
import { type StageView, stageView } from './stage-view.ts';
import { VERSION } from './version.ts';
import { type WritesView, writesView } from './write-view.ts';

/** A flags folder of garbage must not make an answer of megabytes; the count tells the rest. */
const PROBLEMS_SHOWN = 50;
/** A glance does not wait for a slow disk. */
const DIVERGENCE_MS = 500;

export interface LaneStatus {
  readonly openSessions: number;
  /** Streams of events that are open. */
  readonly openStreams: number;
  /** Named users with an open session. */
  readonly users: number;
  /** Plain HTTP requests that were answered, since the start. */
  readonly requests: number;
  /** WebSocket data messages since the start. */
  readonly messagesToClient: number;
  readonly messagesToUpstream: number;
  /** Of routes since the start: all of WebSockets, and bodies of HTTP. */
  readonly bytesToClient: number;
  readonly bytesToUpstream: number;
}

const NO_TRAFFIC: LaneStatus = {
  ...{ openSessions: 0, openStreams: 0, users: 0, requests: 0 },
  ...{ messagesToClient: 0, messagesToUpstream: 0, bytesToClient: 0, bytesToUpstream: 0 },
};

export interface TrafficStatus {
  readonly legacy: LaneStatus;
  readonly candidate: LaneStatus;
  /** By code of the error table, since the start. */
  readonly failures: Readonly<Record<string, number>>;
}

export interface RouteStatus extends TrafficStatus {
  readonly name: string;
  readonly path: string;
  readonly protocol: RouteConfig['protocol'];
  readonly writes: RouteConfig['writes'];
  readonly stage: StageView;
  readonly flags: Omit<FlagNames, 'route'>;
  /** How a rollback holds it on legacy; null: none does. */
  readonly latch: Held | null;
  /** What a rollback would meet now. */
  readonly rollback: RollbackOutlook | null;
  /** Since when legacy has not heard of everything, so that a rollback has to be asked for twice; null: it has. */
  readonly staleSince: string | null;
  readonly guardrails: RouteGuardrails;
  /**
   * Second legs on that side, and requests that it was to be shown, that could not be had or did not last, by cause:
   * since the start, causes that occurred.
   */
  readonly secondLegsLost: Readonly<Record<Side, LostLegs>>;
  /** What was compared since the start, and what came of it; null where nothing was. */
  readonly books: BooksView | null;
  readonly isolation: IsolationView;
  /** How often runs or sessions diverge; null before one of them ended, or if that can not be read. */
  readonly divergence: RouteDivergence | null;
}

type LostLegs = Readonly<Partial<Record<KeptDespite, number>>>;

export interface RouteDivergence extends Confidence {
  readonly of: UnitKind;
  readonly threshold: number;
  /** How many more clean ones until the rate is known to be below the threshold. */
  readonly cleanUnitsLeft: number | null;
}

export interface EvidenceStatus {
  readonly thread: EvidenceState['thread'];
  readonly restarts: number;
  /** What the file holds; null while it can not be read. */
  readonly use: EvidenceState['use'];
  /** Since the start; causes that occurred. */
  readonly kept: number;
  readonly dropped: EvidenceBatch['dropped'];
  readonly trouble: { readonly cause: EvidenceDrop; message: string; since: string } | null;
  readonly setAside: { readonly file: string; readonly at: string } | null;
}

export interface Status extends Readiness {
  readonly version: string;
  /** ISO 8601, as all times here. */
  readonly startedAt: string;
  readonly uptimeS: number;
  readonly addresses: ReturnType<ProxyView['addresses']>;
  readonly routes: readonly RouteStatus[];
  /** Traffic on paths that no route names: neither flagged nor compared. */
  readonly unrouted: TrafficStatus & { readonly note: string };
  /** Traffic while an operator sends everything straight to legacy. */
  readonly bypass: TrafficStatus & BypassView;
  readonly writes: WritesView;
  readonly latch: LatchView;
  /**
   * What a rollback of everything would meet now, with what is open of routes that the configuration no longer has.
   * All of them share one queue.
   */
  readonly rollback: RollbackOutlook | null;
  /**
   * What was compared since the start of all routes together, those included that the configuration no longer has;
   * null where nothing was.
   */
  readonly books: BooksView | null;
  readonly flags: {
    readonly provider: ProviderKind;
    readonly revision: string;
    readonly loadedAt: string | null;
    readonly ageMs: number | null;
    /** Of a flag server; null for files. `confirmedAt`: when it last had these very flags. */
    readonly lastFetch: {
      readonly at: string;
      readonly ok: boolean;
      readonly error: string | null;
      readonly confirmedAt: string | null;
    } | null;
    readonly errors: number;
    readonly lintWarnings: number;
    /** The first 50. */
    readonly problems: readonly FlagProblem[];
  };
  readonly judge: JudgeStatus;
  readonly evidence: EvidenceStatus;
  readonly connecting: number;
  readonly draining: boolean;
  readonly state: 'held' | 'awaited';
  readonly config: {
    readonly file: string;
    readonly loadedAt: string;
    readonly lastReload: { at: string; ok: boolean; problems: readonly string[] } | null;
  };
  /** What the machine or the configuration will not carry, a sentence each. */
  readonly capacity: readonly string[];
}

/** `nowMs` is epoch ms. */
export async function statusOf(
  proxy: ProxyView,
  metrics: Pick<Metrics, 'failures' | 'secondLegsEnded'>,
  nowMs: number,
): Promise<Status> {
  const [failures, secondLegsEnded, divergences] = await Promise.all([
    metrics.failures(),
    metrics.secondLegsEnded(),
    divergencesOf(proxy.evidence),
  ]);
  const traffic = proxy.traffic();
  const { config, file } = proxy.loaded();
  const reload = proxy.lastReload();
  const books = proxy.judge.books();
  const trafficOf = (name: string): TrafficStatus => ({
    ...lanesOf(traffic, name),
    failures: failures.get(name) ?? {},
  });
  return {
    version: VERSION,
    startedAt: iso(proxy.startedAt),
    uptimeS: Math.round((nowMs - proxy.startedAt) / 1_000),
    ...readiness(proxy),
    addresses: proxy.addresses(),
    routes: config.routes.map(route => {
      const { route: _, ...flags } = flagNames(route);
      const { name, path, protocol, writes } = route;
      const stage = stageView(proxy.flags.stage(route));
      const divergence = divergences.get(name) ?? null;
      const found = books.get(name);
      const compared = found === undefined ? null : booksView(found);
      return {
        ...{ name, path, protocol, writes, stage, flags, divergence },
        latch: proxy.rollbacks.latch.on(name),
        guardrails: proxy.guardrails.of(name),
        rollback: traffic?.rollbackOutlook(new Set([name])) ?? null,
        staleSince: proxy.rollbacks.staleSince(name),
        secondLegsLost: lostOf(secondLegsEnded, name),
        isolation: isolationView(proxy, route),
        ...{ books: compared, ...trafficOf(name) },
      };
    }),
    unrouted: {
      note: 'neither flagged nor compared: legacy serves whatever no route names',
      ...trafficOf(UNROUTED_NAME),
    },
    bypass: { ...bypassView(proxy), ...trafficOf(BYPASS_NAME) },
    writes: writesView(proxy),
    latch: latchView(proxy.rollbacks.latch),
    rollback: traffic?.rollbackOutlook(ALL_ROUTES) ?? null,
    books: booksOfAll(books.values()),
    flags: flagStatus(proxy, nowMs),
    judge: judgeStatus(proxy.judge),
    evidence: evidenceStatus(proxy.evidence.state),
    connecting: traffic?.connecting ?? 0,
    draining: traffic?.draining ?? false,
    state: proxy.state(),
    config: {
      file,
      loadedAt: iso(proxy.loadedAt()),
      lastReload: reload && { ...reload, at: iso(reload.at) },
    },
    capacity: proxy.warnings(),
  };
}

function booksOfAll(routes: Iterable<Books>): BooksView | null {
  const sum = emptyBooks();
  let isEmpty = true;
  for (const books of routes) {
    addBooks(sum, books);
    isEmpty = false;
  }
  return isEmpty ? null : booksView(sum);
}

/** Of each route as a whole. */
async function divergencesOf(
  evidence: ProxyView['evidence'],
): Promise<ReadonlyMap<string, RouteDivergence>> {
  const question = { since: null, threshold: DEFAULT_THRESHOLD };
  try {
    const { threshold, rates } = await evidence.ask('summary', question, DIVERGENCE_MS);
    const known = new Map<string, RouteDivergence>();
    for (const name of new Set(rates.map(({ route }) => route))) {
      const whole = rateOf(rates, name);
      if (whole === null) continue;
      const { units, diverged, rate, lower, upper, cleanUnitsLeft, of } = whole;
      known.set(name, { units, diverged, rate, lower, upper, of, threshold, cleanUnitsLeft });
    }
    return known;
  } catch (error) {
    // Told by `evidence` of the same answer.
    if (error instanceof CutoverError && error.code === 'conflict') return new Map();
    throw error;
  }
}

function evidenceStatus(state: EvidenceState): EvidenceStatus {
  const { thread, restarts, use, kept, trouble, setAside } = state;
  const dropped = Object.entries(state.dropped).filter(([, count]) => count > 0);
  return {
    ...{ thread, restarts, use, kept, dropped: Object.fromEntries(dropped) },
    trouble: trouble && { ...trouble, since: iso(trouble.since) },
    setAside: setAside && { ...setAside, at: iso(setAside.at) },
  };
}

function flagStatus({ flags }: ProxyView, nowMs: number): Status['flags'] {
  const { loadedAt } = flags;
  const problems = flags.problems();
  const errors = problems.filter(({ level }) => level === 'error').length;
  return {
    provider: flags.provider,
    revision: flags.revision,
    loadedAt: loadedAt === null ? null : iso(loadedAt),
    ageMs: loadedAt === null ? null : nowMs - loadedAt,
    lastFetch: lastFetchOf(flags.remote),
    errors,
    lintWarnings: problems.length - errors,
    problems: problems.slice(0, PROBLEMS_SHOWN),
  };
}

function lastFetchOf(remote: RemoteFlags | null): Status['flags']['lastFetch'] {
  if (remote === null || remote.lastFetch === null) return null;
  const { at, ok, error } = remote.lastFetch;
  const { confirmedAt } = remote;
  return { at: iso(at), ok, error, confirmedAt: confirmedAt === null ? null : iso(confirmedAt) };
}

function lanesOf(traffic: TrafficView | null, route: string): Record<Side, LaneStatus> {
  const lanes = { legacy: NO_TRAFFIC, candidate: NO_TRAFFIC };
  if (traffic === null) return lanes;
  const users = usersOf(traffic, route);
  for (const { route: name, side, counters } of traffic.counters()) {
    if (name !== route) continue;
    const { sessionsOpen, streamsOpen, requests, messagesToClient, messagesToUpstream } = counters;
    const { bytesToClient, bytesToUpstream } = counters;
    lanes[side] = {
      ...{
        openSessions: sessionsOpen,
        openStreams: streamsOpen,
        users: users[side].size,
        requests,
      },
      ...{ messagesToClient, messagesToUpstream, bytesToClient, bytesToUpstream },
    };
  }
  return lanes;
}

/** But for those that ended as they were meant to. Roles are counted together. */
function lostOf(ended: readonly SecondLegsEnded[], route: string): Record<Side, LostLegs> {
  const lost: Record<Side, Partial<Record<KeptDespite, number>>> = { legacy: {}, candidate: {} };
  for (const { route: name, side, cause, count } of ended) {
    if (name !== route || AS_MEANT.has(cause)) continue;
    lost[side][cause] = (lost[side][cause] ?? 0) + count;
  }
  return lost;
}

function usersOf(traffic: TrafficView, route: string): Record<Side, ReadonlySet<string>> {
  const users = { legacy: new Set<string>(), candidate: new Set<string>() };
  for (const { subject, side } of traffic.sessionsOf(route)) {
    if (subject !== null) users[side].add(subject.id);
  }
  return users;
}

function iso(atMs: number): string {
  return new Date(atMs).toISOString();
}
