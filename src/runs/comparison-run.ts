// A comparison run: a proxy of its own between synthetic users and two running services, until every
// event has its verdict.
//
//   reachable? ─► proxy in stage shadow ─► users log in, have a run, stay ─► books close ─► users leave
//                                                                  evidence ─► report ◄───────┘
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Loaded } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { evidenceQueries } from '../control/evidence/queries.ts';
import { EvidenceStore } from '../control/evidence/store.ts';
import { withPlaces } from '../control/incident-evidence.ts';
import { FILE as INCIDENTS, type Incident } from '../control/incidents.ts';
import { MOST_INCIDENTS } from '../control/isolation-routes.ts';
import { Journal } from '../control/journal.ts';
import { unreachable } from '../control/reach.ts';
import { type RunningProxy, startProxy } from '../main.ts';
import type { SecondLegsEnded } from '../ports.ts';
import { SIDES, type Side } from '../rules/decide.ts';
import type { IsolationBooks } from '../rules/isolation/isolation-books.ts';
import type { Books } from '../rules/pairing/books.ts';
import { AS_MEANT } from '../rules/second-leg-end.ts';
import {
  type ComparisonReport,
  comparisonReport,
  kindsToTell,
  type RunFacts,
} from './comparison-report.ts';
import { markersFor } from './markers.ts';
import { shippedCopy } from './shipped-copy.ts';
import { type Visit, visit } from './synthetic-user.ts';

/** What synthetic users do, as help tells it: equal is said of that and of nothing else. */
export const SCENARIOS = {
  'golden-path': `a WebSocket at /ws below each URL (subprotocols jwt-auth and jwt.TOKEN, which is in
               base64url), one start_agent message, the five events of an agent run, goodbye`,
};
export type Scenario = keyof typeof SCENARIOS;

/** A user comes back so often, and stays nearly as long. */
const CYCLE_MS = 10_000;
const STAY_MS = 9_000;
/** Logins that nobody answers by then fail by themselves. */
const LAST_RUNS_MS = 35_000;
/** An event waits 5 s for its pair; a thread that is behind gets as much again. */
const BOOKS_MS = 15_000;
const LATE_MS = 5_000;
/** The books are read every 100 ms; what they say is to hold for so long. */
const SETTLED_MS = 500;
const LOOK_MS = 100;
/** Sessions end, and the second legs' last words are judged. */
const GOODBYE_MS = 10_000;
const REACHABLE_MS = 5_000;
/** Of each kind of finding that is told. */
const EXAMPLES = 2;
/** Of the words with which services end visits. */
const MOST_OF_A_REASON = 150;
const MOST_REASONS = 100;
/** So many are told of: one would do. */
const MOST_STRANGE = 1_000;
/** Share of runs that a migration is usually decided by. */
const THRESHOLD = 0.001;

export interface ComparisonOptions {
  readonly legacy: URL;
  readonly candidate: URL;
  /** One token a user. */
  readonly tokens: readonly string[];
  readonly scenario: Scenario;
  readonly forMs: number;
  /** Ends it early. */
  readonly stop: AbortSignal;
  readonly env: NodeJS.ProcessEnv;
  readonly logger: Logger;
}

/** Never rejects on account of the services: what is wrong with them is in the report. */
export async function runComparison(options: ComparisonOptions): Promise<ComparisonReport> {
  const startedAt = new Date().toISOString();
  const visits: Record<Visit, number> = {
    ...{ done: 0, 'login-failed': 0, 'broken-off': 0, 'out-of-order': 0 },
  };
  const broken = new Map<string, number>();
  const runs = new BegunRuns();
  const reportWith = (
    found: Pick<
      RunFacts,
      | 'obstacles'
      | 'unnamed'
      | 'secondLegs'
      | 'keptSessions'
      | 'books'
      | 'contaminations'
      | 'rates'
      | 'kinds'
      | 'findings'
    >,
  ) =>
    comparisonReport({
      ...{ startedAt, endedAt: new Date().toISOString() },
      ...{ legacy: shown(options.legacy), candidate: shown(options.candidate) },
      ...{ scenario: options.scenario, users: options.tokens.length, forMs: options.forMs, visits },
      ...{ mostlyBroken: mostOf(broken), strangeRuns: runs.strange },
      ...found,
    });
  const none = { legacy: 0, candidate: 0 };
  const nothing = {
    unnamed: 0,
    ...{ secondLegs: [], keptSessions: [], books: {}, contaminations: none },
    ...{ rates: [], kinds: 0, findings: [] },
  };
  const urls = { CUTOVER_LEGACY: options.legacy.href, CUTOVER_CANDIDATE: options.candidate.href };
  const copy = await shippedCopy({ ...options.env, ...urls }, 'shadow');
  try {
    const { loaded } = copy;
    const obstacles = await obstaclesTo(options, loaded);
    if (obstacles.length > 0) return reportWith({ obstacles, ...nothing });
    const planted = markersFor(options.tokens, loaded.config.identity.claim);
    const markers = planted.filter(marker => marker !== null);
    const unnamed = planted.length - markers.length;
    const proxy = await startProxy({ loaded, markers, env: options.env, logger: options.logger });
    const words = planted.map(marker => marker?.text);
    try {
      obstacles.push(...(await drive(options, proxy, { visits, broken, begun: runs }, words)));
    } finally {
      await proxy.close();
    }
    const books = Object.fromEntries(proxy.judge.books());
    const secondLegs = ofCandidate(await proxy.secondLegsEnded());
    const keptSessions = ofCandidate(await proxy.sessionsKept());
    const contaminations = contaminationsIn(proxy.judge.isolationBooks());
    const kept = evidenceIn(loaded.config, await incidentsIn(loaded.config));
    const found = { obstacles, unnamed, secondLegs, keptSessions, books, contaminations };
    return reportWith({ ...found, ...kept });
  } finally {
    await copy.remove();
  }
}

/** A sentence for each service that nobody can connect to. */
async function obstaclesTo(options: ComparisonOptions, loaded: Loaded): Promise<string[]> {
  const asked = SIDES.map(async (side: Side): Promise<string[]> => {
    const why = await unreachable(loaded, side, REACHABLE_MS);
    return why === null ? [] : [`${side} can not be reached at ${shown(options[side])}: ${why}`];
  });
  return (await Promise.all(asked)).flat();
}

/** What users meet with as they come and go. */
interface Seen {
  readonly visits: Record<Visit, number>;
  readonly broken: Map<string, number>;
  readonly begun: BegunRuns;
}

/** Runs at legacy, and those among them that no user of this comparison has begun. */
class BegunRuns {
  /** Of visits under way: an event of one that reaches another user is no run of its own. */
  readonly #theirs = new Set<unknown>();
  readonly #strange = new Set<unknown>();

  get strange(): number {
    return this.#strange.size;
  }

  add(id: unknown, isHis: boolean): void {
    if (isHis) {
      this.#theirs.add(id);
      this.#strange.delete(id);
    } else if (!this.#theirs.has(id) && this.#strange.size < MOST_STRANGE) this.#strange.add(id);
  }

  over(id: unknown): void {
    this.#theirs.delete(id);
  }
}

/** Returns what kept the run from being complete, as sentences. */
async function drive(
  { tokens, forMs, stop }: ComparisonOptions,
  proxy: RunningProxy,
  { visits, broken, begun }: Seen,
  markers: readonly (string | undefined)[],
): Promise<string[]> {
  const over = AbortSignal.any([stop, AbortSignal.timeout(forMs)]);
  const goHome = new AbortController();
  const runs = new Set<Promise<unknown>>();
  const users = tokens.map((token, i) => comeAndGo(token, i));
  const lastOnes = async () => {
    await until(over);
    while (runs.size > 0) await Promise.race(runs);
  };
  await before(LAST_RUNS_MS + forMs, lastOnes());
  const closed = await settled(proxy, BOOKS_MS);
  goHome.abort();
  await before(GOODBYE_MS, Promise.all(users));
  await settled(proxy, GOODBYE_MS);
  return [
    ...(stop.aborted ? ['it was stopped before its time was over'] : []),
    ...(closed ? [] : [`some events had no verdict ${BOOKS_MS / 1_000} s after the last one`]),
  ];

  async function comeAndGo(token: string, index: number): Promise<void> {
    // Spread over the cycle, but nobody comes after the end.
    const first = (index / tokens.length) * Math.min(CYCLE_MS, forMs / 2);
    for (let next = performance.now() + first; ; next = Math.max(next + CYCLE_MS, now())) {
      await waitUntil(next, over);
      if (over.aborted) return;
      let his: unknown;
      const leave = new AbortController();
      const done = Promise.withResolvers<void>();
      runs.add(done.promise);
      const stay = new AbortController();
      void waitUntil(next + STAY_MS, AbortSignal.any([stay.signal, goHome.signal]))
        // The last ones stay until all is compared.
        .then(() => (over.aborted ? until(goHome.signal) : undefined))
        .then(() => leave.abort());
      const how = await visit({
        ...{ id: `user ${index + 1}`, token, listen: proxy.listen, leave: leave.signal },
        marker: markers[index],
        onEvent: () => undefined,
        onRun: (id, isHis) => {
          if (isHis) his = id;
          begun.add(id, isHis);
        },
        onBroken: why => {
          const short = why.slice(0, MOST_OF_A_REASON);
          if (broken.has(short) || broken.size < MOST_REASONS)
            broken.set(short, (broken.get(short) ?? 0) + 1);
        },
        onComplete: () => {
          runs.delete(done.promise);
          done.resolve();
        },
      });
      stay.abort();
      runs.delete(done.promise);
      done.resolve();
      visits[how] += 1;
      begun.over(his);
    }
  }
}

/**
 * True once nothing waits for a verdict. A candidate that lets nobody stay is dialled again and again, and
 * has always just said something: then what came before the last moments has to have one.
 */
async function settled(proxy: RunningProxy, mostMs: number): Promise<boolean> {
  const began = now();
  const end = began + mostMs;
  let since = began;
  let before = Number.NaN;
  let due = Number.POSITIVE_INFINITY;
  while (now() < end) {
    await pause(LOOK_MS);
    const { pending, seen } = totals(proxy.judge.books());
    if (pending > 0 || seen !== before) since = now();
    before = seen;
    if (now() - since >= SETTLED_MS) return true;
    if (due === Number.POSITIVE_INFINITY && now() - began >= LATE_MS) due = seen;
  }
  const { pending, seen } = totals(proxy.judge.books());
  return seen - pending >= due;
}

function totals(books: ReadonlyMap<string, Books>): { pending: number; seen: number } {
  const sum = { pending: 0, seen: 0 };
  for (const route of books.values()) {
    for (const side of SIDES) {
      sum.pending += route[side].pending;
      sum.seen += route[side].seen;
    }
  }
  return sum;
}

/** But for those that ended with their sessions. */
function ofCandidate(all: readonly SecondLegsEnded[]): RunFacts['secondLegs'] {
  return all
    .filter(({ side, cause, count }) => side === 'candidate' && !AS_MEANT.has(cause) && count > 0)
    .map(({ route, cause, count }) => ({ route, cause, count }));
}

function contaminationsIn(books: ReadonlyMap<string, IsolationBooks>): RunFacts['contaminations'] {
  const sum = { legacy: 0, candidate: 0 };
  for (const { sides } of books.values()) {
    for (const side of SIDES) {
      for (const count of Object.values(sides[side].contaminated)) sum[side] += count;
    }
  }
  return sum;
}

/** What the proxy left behind: it has ended, and nothing of it is missing. */
function evidenceIn(
  { stateDir, evidence }: Config,
  incidents: readonly Incident[],
): Pick<RunFacts, 'rates' | 'kinds' | 'findings'> {
  const store = new EvidenceStore(path.join(stateDir, 'evidence.sqlite'), evidence);
  try {
    const ask = evidenceQueries(store.database);
    const { groups } = ask.groups({ limit: Number.MAX_SAFE_INTEGER, offset: 0 });
    const { kinds, told } = kindsToTell(groups);
    const findings = withPlaces(told, incidents).map(group => ({
      group,
      examples: ask.group(group.id)?.examples.slice(0, EXAMPLES) ?? [],
    }));
    const { rates } = ask.summary({ since: null, threshold: THRESHOLD });
    return { rates, kinds, findings };
  } finally {
    store.close();
  }
}

/** The last ones. */
async function incidentsIn({ stateDir }: Config): Promise<readonly Incident[]> {
  const { journal } = await Journal.open<Incident>(path.join(stateDir, INCIDENTS));
  const found: Incident[] = [];
  for await (const incident of journal.newest()) {
    if (found.push(incident) >= MOST_INCIDENTS) break;
  }
  return found;
}

function mostOf(counts: ReadonlyMap<string, number>): string | null {
  const [first] = [...counts].sort(([, a], [, b]) => b - a);
  return first?.[0] ?? null;
}

const now = (): number => performance.now();

/** Whatever comes first. */
async function before(ms: number, work: Promise<unknown>): Promise<void> {
  const late = new AbortController();
  await Promise.race([work, waitUntil(now() + ms, late.signal)]);
  late.abort();
}

function until(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise(resolve => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

async function waitUntil(atMs: number, signal: AbortSignal): Promise<void> {
  // Aborted is as good as over.
  await pause(Math.max(0, atMs - now()), undefined, { signal }).catch(() => undefined);
}

/** Without what it may hold of a credential. */
function shown(url: URL): string {
  return url.origin + (url.pathname === '/' ? '' : url.pathname);
}
