// Whether the comparison tells the truth: faults are planted in the candidate, and what is found through
// a running proxy is held against the list of what was planted; then the same without faults, while some users
// leave and connect anew, and while the candidate restarts as well.
import { setTimeout as pause } from 'node:timers/promises';
import type { FaultKind } from '../src/broadcast/fault.ts';
import type { SideView } from '../src/control/books-view.ts';
import type { KeptFinding } from '../src/control/evidence/kept.ts';
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
/** Of events may be left unjudged, but where everybody comes and goes. */
const MOST_UNJUDGED = 0.001;
/**
 * In one of so many runs its user leaves and connects anew, as all of them do once in the whole. What came meanwhile
 * the candidate alone keeps for him, some eight events.
 */
const RUNS_A_RETURN = 1_009;
/** A part of its own with more of that, in which the candidate restarts: of its runs, and of those without faults. */
const RUNS_A_RETURN_THERE = 53;
const COMING_SHARE = 0.25;
/** Shadows that were lost are dialled again after 5 s, those that fail once more after twice that, and so on. */
const BACK_MS = 120_000;
/** Of users, before the rest of the runs: whoever found it not up yet comes late. */
const LEAST_BACK = 0.75;
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
  /** How often one of their users connected anew. */
  readonly returned: number;
  /** Share of all that was seen, of both parts. */
  readonly unjudged: number;
  readonly because: Readonly<Record<string, number>>;
  /** The part in which the candidate restarts; its false alarms count above as well. */
  readonly comings: {
    readonly returned: number;
    readonly events: number;
    /** Writes that the candidate was not there to take: rightly told, and no false alarm. */
    readonly untaken: number;
    readonly falseAlarms: number;
    readonly unjudged: number;
    readonly because: Readonly<Record<string, number>>;
  };
  readonly eventsPerSecond: { readonly faulty: number; readonly clean: number };
  readonly missed: readonly string[];
  readonly alarms: readonly string[];
  readonly targets: readonly Target[];
}

interface Part {
  readonly score: Score;
  readonly delivered: number;
  readonly returned: number;
  readonly untaken: number;
  readonly seen: number;
  readonly unjudged: number;
  readonly because: Readonly<Record<string, number>>;
  readonly perSecond: number;
}

export async function benchVerdicts(options: VerdictOptions): Promise<VerdictsResult> {
  const { json, events, clean, faults = FAULT_SHARE } = options;
  const { users, jitter, seed = 1 } = options;
  const say = (text: string) => (json ? undefined : console.log(text));
  const rate = faults / PLANTED_KINDS.length;
  const all = { users, jitterMs: jitter, seed };
  const planting = PLANTED_KINDS.map(kind => `${kind}:${rate}`);
  const faulty = await part({ ...all, events, faults: planting });
  const { planted, found, byKind } = faulty.score;
  for (const [kind, count] of Object.entries(byKind)) {
    say(`${kind}: ${count.found} of ${count.planted} found and named rightly`);
  }
  for (const text of faulty.score.missed) say(`missed: ${text}`);
  const without = { ...all, faults: [] };
  const harmless =
    clean > 0 ? [await part({ ...without, events: clean, runsAReturn: RUNS_A_RETURN })] : [];
  const coming =
    clean > 0
      ? [
          await part({
            ...{ ...without, events: clean * COMING_SHARE },
            ...{ runsAReturn: RUNS_A_RETURN_THERE, restarts: true },
          }),
        ]
      : [];
  const parts = [faulty, ...harmless];
  const alarms = [...parts, ...coming].flatMap(({ score }) => score.alarms);
  for (const text of alarms) say(`false alarm: ${text}`);
  const falseAlarmsOf = (some: readonly Part[]) => sum(some.map(({ score }) => score.falseAlarms));
  const falseAlarms = falseAlarmsOf([...parts, ...coming]);
  const unjudged = unjudgedOf(parts);
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
      returned: sum(harmless.map(each => each.returned)),
      unjudged,
    },
    because: added(parts.map(each => each.because)),
    comings: {
      returned: sum(coming.map(each => each.returned)),
      events: sum(coming.map(each => each.delivered)),
      untaken: sum(coming.map(each => each.untaken)),
      falseAlarms: falseAlarmsOf(coming),
      unjudged: unjudgedOf(coming),
      because: added(coming.map(each => each.because)),
    },
    eventsPerSecond: { faulty: faulty.perSecond, clean: harmless[0]?.perSecond ?? 0 },
    ...{ missed: faulty.score.missed, alarms, targets },
  };
}

interface Play {
  readonly users: number;
  readonly jitterMs: number;
  readonly seed: number;
  readonly events: number;
  readonly faults: readonly string[];
  readonly runsAReturn?: number;
  /** The candidate restarts. */
  readonly restarts?: boolean;
}

async function part({ users, jitterMs, seed, events, faults, ...play }: Play): Promise<Part> {
  const { runsAReturn = null, restarts = false } = play;
  const stack = await startVerdictStack({ faults, seed, jitterMs });
  const pace = startPace(stack);
  try {
    const userOfRun = new Map<string, string>();
    const startedAt = performance.now();
    const runs = Math.ceil(events / EVENTS_OF_RUN);
    const isOver = restarts ? restarting(stack, runs, users) : (begun: number) => begun >= runs;
    const driven = await driveUsers({
      ...{ listen: stack.listen, users, isOver, runsAReturn, pace: pace.turn },
      onRun: (run, user) => void (faults.length > 0 && userOfRun.set(run, user)),
    });
    const perSecond = driven.delivered / ((performance.now() - startedAt) / 1_000);
    await pace.end();
    const { books, findings } = await closed(stack);
    const { delivered, returned } = driven;
    await driven.close();
    return {
      score: scoreOf(
        await stack.truth(),
        restarts ? findings.filter(each => !isUntaken(each)) : findings,
        userOfRun,
      ),
      untaken: findings.filter(isUntaken).length,
      ...{ delivered, returned, perSecond: rounded(perSecond) },
      seen: sum(books.map(each => each.seen)),
      unjudged: sum(books.map(each => each.unjudged)),
      because: added(books.map(each => each.because)),
    };
  } finally {
    await pace.end();
    await stack.close();
  }
}

/**
 * Of two answers to a write the candidate's is none at all. Of those that fail in one moment evidence has no room for all:
 * one that is cut is taken for such a one, by the write alone.
 */
function isUntaken({ verdict, eventType, differences, cut }: KeptFinding): boolean {
  const [first, ...more] = differences;
  if (verdict !== 'mismatch' || !eventType.startsWith('POST ') || more.length > 0) return false;
  if (cut && first === undefined) return true;
  return first?.kind === 'value' && first.path === '/status' && first.candidate === 0;
}

/** Restarts the candidate with half of the runs before, and half once everybody is compared again; true behind that. */
function restarting(stack: VerdictStack, runs: number, users: number): (begun: number) => boolean {
  let state: 'before' | 'away' | 'back' = 'before';
  let begun = 0;
  let backSince = 0;
  let failure: unknown = null;
  const restart = async (): Promise<void> => {
    await stack.restartCandidate();
    const end = performance.now() + BACK_MS;
    while ((await stack.legsAtCandidate()) < users * LEAST_BACK) {
      if (performance.now() > end) throw new Error('who was compared is not compared again');
      await pause(LOOK_MS);
    }
    backSince = begun;
    state = 'back';
  };
  return count => {
    begun = count;
    if (failure !== null) throw failure;
    if (state === 'back') return begun - backSince >= runs / 2;
    if (state === 'before' && begun >= runs / 2) {
      state = 'away';
      restart().catch((error: unknown) => {
        failure = error;
      });
    }
    return false;
  };
}

/** Holds users back while the machine is behind; see `MOST_PENDING`. */
function startPace(stack: VerdictStack): { turn: () => Promise<void>; end: () => Promise<void> } {
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
  // A proxy that does not answer any more ends the benchmark: nobody catches this before `end`.
  const watching = watch();
  return {
    turn: async () => {
      while (behind !== null) await behind;
    },
    end: () => {
      ended = true;
      return watching;
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

function unjudgedOf(parts: readonly Part[]): number {
  const seen = sum(parts.map(each => each.seen));
  return seen === 0 ? 0 : sum(parts.map(each => each.unjudged)) / seen;
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
