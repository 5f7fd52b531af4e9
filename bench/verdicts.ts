// Whether the comparison tells the truth: faults are planted in the candidate, and what is found through
// a running proxy is held against the list of what was planted; then the same without faults.
import { setTimeout as pause } from 'node:timers/promises';
import type { FaultKind } from '../src/broadcast/fault.ts';
import type { SideView } from '../src/control/books-view.ts';
import type { Status } from '../src/control/status.ts';
import { rounded, type Target } from './comparison.ts';
import { ALARMS, type Score, scoreOf } from './verdicts-score.ts';
import { startVerdictStack, type VerdictStack } from './verdicts-stack.ts';
import { driveUsers } from './verdicts-users.ts';

export const VERDICT_SIZES = { events: 100_000, clean: 1_000_000, users: 200, jitter: 500 };

/** Kinds that a comparison must find and name. */
export const PLANTED_KINDS = [
  ...(['drop', 'duplicate', 'reorder', 'wrong-type', 'rewrite-provenance'] as const),
  ...(['routing-field', 'nested-routing-field', 'misroute'] as const),
] satisfies readonly FaultKind[];
/** Of all events; at most one in a run. */
const FAULT_SHARE = 0.01;
const EVENTS_OF_RUN = 5;
/** Of events may be left unjudged. */
const MOST_UNJUDGED = 0.001;
/** The window is 5 s; evidence follows within some more. */
const CLOSING_MS = 60_000;
const LOOK_MS = 500;
/**
 * Services of which one is seconds behind are rightly told apart. On a machine that can not keep up,
 * users begin no runs while more events than that wait for their pair, a second's worth of jitter, or
 * more posted events for the candidate.
 */
const MOST_PENDING = 2_000;
const MOST_IN_FLIGHT = 50;
const PACE_MS = 250;

export interface VerdictOptions {
  readonly json: boolean;
  readonly events: number;
  /** None: without that part. */
  readonly clean: number;
  readonly users: number;
  readonly jitter: number;
  /** Share of events with a fault. */
  readonly faults?: number;
  readonly seed?: number;
}

export interface VerdictsResult {
  readonly planted: number;
  readonly found: number;
  readonly byKind: Score['byKind'];
  /** Of both parts. */
  readonly falseAlarms: number;
  /** Of the part without faults, as the users read them. */
  readonly cleanEvents: number;
  /** Share of all that was seen, of both parts. */
  readonly unjudged: number;
  readonly because: Readonly<Record<string, number>>;
  readonly eventsPerSecond: { readonly faulty: number; readonly clean: number };
  readonly missed: readonly string[];
  readonly alarms: readonly string[];
  readonly targets: readonly Target[];
}

interface Part {
  readonly score: Score;
  readonly delivered: number;
  readonly seen: number;
  readonly unjudged: number;
  readonly because: Readonly<Record<string, number>>;
  readonly perSecond: number;
}

export async function benchVerdicts(options: VerdictOptions): Promise<VerdictsResult> {
  const { json, events, clean, faults = FAULT_SHARE } = options;
  const say = (text: string) => (json ? undefined : console.log(text));
  const rate = faults / PLANTED_KINDS.length;
  const faulty = await part(
    options,
    events,
    PLANTED_KINDS.map(kind => `${kind}:${rate}`),
  );
  const { planted, found, byKind } = faulty.score;
  for (const [kind, count] of Object.entries(byKind)) {
    say(`${kind}: ${count.found} of ${count.planted} found and named rightly`);
  }
  for (const text of faulty.score.missed) say(`missed: ${text}`);
  const harmless = clean > 0 ? [await part(options, clean, [])] : [];
  const parts = [faulty, ...harmless];
  const alarms = parts.flatMap(({ score }) => score.alarms);
  for (const text of alarms) say(`false alarm: ${text}`);
  const falseAlarms = sum(parts.map(({ score }) => score.falseAlarms));
  const unjudged = sum(parts.map(each => each.unjudged)) / sum(parts.map(each => each.seen));
  const targets = [
    { what: 'planted faults not found and named rightly', value: planted - found, most: 0 },
    { what: 'false alarms', value: falseAlarms, most: 0 },
    { what: 'share of events unjudged', value: unjudged, most: MOST_UNJUDGED },
  ].map(each => ({ ...each, met: each.value <= each.most }));
  for (const { what, value, most, met } of targets) {
    say(`${met ? 'met   ' : 'MISSED'}  ${what}: ${value} of at most ${most}`);
  }
  return {
    ...{
      planted,
      found,
      byKind,
      falseAlarms,
      cleanEvents: sum(harmless.map(each => each.delivered)),
      unjudged,
    },
    because: added(parts.map(each => each.because)),
    eventsPerSecond: { faulty: faulty.perSecond, clean: harmless[0]?.perSecond ?? 0 },
    ...{ missed: faulty.score.missed, alarms, targets },
  };
}

async function part(
  { users, jitter: jitterMs, seed = 1 }: VerdictOptions,
  events: number,
  faults: readonly string[],
): Promise<Part> {
  const stack = await startVerdictStack({ faults, seed, jitterMs });
  try {
    const userOfRun = new Map<string, string>();
    const startedAt = performance.now();
    const pace = startPace(stack);
    const driven = await driveUsers({
      ...{ listen: stack.listen, users, runs: Math.ceil(events / EVENTS_OF_RUN) },
      pace: pace.turn,
      onRun: (run, user) => void (faults.length > 0 && userOfRun.set(run, user)),
    });
    pace.end();
    const perSecond = driven.delivered / ((performance.now() - startedAt) / 1_000);
    const { books, findings } = await closed(stack);
    const { delivered } = driven;
    await driven.close();
    return {
      score: scoreOf(await stack.truth(), findings, userOfRun),
      ...{ delivered, perSecond: rounded(perSecond) },
      seen: sum(books.map(each => each.seen)),
      unjudged: sum(books.map(each => each.unjudged)),
      because: added(books.map(each => each.because)),
    };
  } finally {
    await stack.close();
  }
}

/** Holds users back while the machine is behind; see `MOST_PENDING`. */
function startPace(stack: VerdictStack): { turn: () => Promise<void>; end: () => void } {
  let ended = false;
  let behind: Promise<void> | null = null;
  const isBehind = async (): Promise<boolean> => {
    const { routes, writes } = await stack.status();
    const pending = sum(
      routes.map(({ books }) => (books?.legacy.pending ?? 0) + (books?.candidate.pending ?? 0)),
    );
    const inFlight = sum(writes.routes.map(route => route.inFlight));
    return pending > MOST_PENDING || inFlight > MOST_IN_FLIGHT;
  };
  const watch = async (): Promise<void> => {
    let release: () => void = () => undefined;
    while (!ended) {
      if (!(await isBehind())) {
        release();
        behind = null;
      } else if (behind === null) {
        const gate = Promise.withResolvers<void>();
        behind = gate.promise;
        release = gate.resolve;
      }
      await pause(PACE_MS);
    }
    release();
  };
  // A proxy that does not answer any more is nobody's to catch: it ends the benchmark.
  void watch();
  return {
    turn: async () => {
      while (behind !== null) await behind;
    },
    end: () => {
      ended = true;
    },
  };
}

/** Once nothing waits for its verdict, and every finding of the books is in the evidence. */
async function closed(stack: VerdictStack) {
  const end = performance.now() + CLOSING_MS;
  for (;;) {
    await pause(LOOK_MS);
    const books = booksOf(await stack.status());
    if (books.every(({ pending }) => pending === 0)) {
      const findings = (await Promise.all(ALARMS.map(each => stack.findings(each)))).flat();
      // A pair is booked on both sides, and told once.
      const booked = sum(books.map(each => sum(ALARMS.map(verdict => each[verdict]))));
      const told = sum(findings.map(({ sides }) => sides.length));
      if (booked === told) return { books, findings };
      if (performance.now() > end) {
        throw new Error(`the books have ${booked} findings, the evidence ${told}`);
      }
    } else if (performance.now() > end) throw new Error('the books do not close');
  }
}

/** Of every route and side. */
function booksOf({ routes }: Status): SideView[] {
  return routes.flatMap(({ books }) => {
    if (books === null) return [];
    if (books.imbalance !== null) throw new Error(`the books do not balance: ${books.imbalance}`);
    return [books.legacy, books.candidate];
  });
}

function added(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const total: Record<string, number> = {};
  for (const each of all) {
    for (const [name, count] of Object.entries(each)) total[name] = (total[name] ?? 0) + count;
  }
  return total;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
