// The rules that act by themselves: what the candidate's traffic of the last moments, and the evidence
// against it, say about going on. Facts in, readings out; who acts on them is `control/guardrails`.
import type { Confidence } from './confidence.ts';
import { SIDES, type Side } from './decide.ts';
import { type LatencyCounts, latenciesSince, latencyQuantile } from './latency.ts';
import type { UnitKind } from './unit-tracker.ts';

/** What each rule looks at. */
export const GUARDRAILS = {
  handshakes: 'WebSocket handshakes that it refused or failed, beyond what legacy does',
  errors: 'requests that it answered with 5xx or not at all, beyond what legacy does',
  timeouts: 'handshakes and requests that it did not answer in time, beyond what legacy does',
  closes: 'sessions that it broke off, of all that ended or were moved away from it, beyond legacy',
  latency: "its p99 of handshakes or answers against legacy's",
  writeSplits: 'writes that one service took and the other did not',
  divergence: 'runs or sessions that diverge; the whole interval of what is possible counts',
  contamination: "events that carry another user's data",
} as const;
export type GuardrailName = keyof typeof GUARDRAILS;
export const GUARDRAIL_NAMES = Object.keys(GUARDRAILS) as GuardrailName[];

/** `rollback`: everybody of the route to legacy; `hold`: no stage forward; `alert`: log and metric. */
export const GUARDRAIL_ACTIONS = ['rollback', 'hold', 'alert'] as const;
export type GuardrailAction = (typeof GUARDRAIL_ACTIONS)[number];

export interface RateRule {
  readonly action: GuardrailAction;
  /** Share in percent, beyond legacy's own. */
  readonly mostPercent: number;
  /** Fewer are too few to tell. */
  readonly least: number;
}

export interface GuardrailRules {
  readonly handshakes: RateRule;
  readonly errors: RateRule;
  readonly timeouts: RateRule;
  readonly closes: RateRule;
  readonly writeSplits: RateRule;
  readonly latency: {
    readonly action: GuardrailAction;
    /** Times legacy's p99, */
    readonly most: number;
    /** and so much more in any case: twice of nothing is nothing. */
    readonly graceMs: number;
    readonly least: number;
  };
  readonly divergence: { readonly action: GuardrailAction; readonly mostPercent: number };
  readonly contamination: { readonly action: GuardrailAction };
}

/** Running totals of one route and side. */
export interface Signs {
  /** Handshakes that led to a session, that the service refused, and that came to nothing. */
  opened: number;
  refused: number;
  failures: number;
  /** Of the refused, those by which the service said that it fails. */
  failing: number;
  /** Of the failures, those by time. */
  timeouts: number;
  /** Requests that were answered, by the service or in its place, and those answered with 5xx; not where the proxy failed. */
  requests: number;
  errors: number;
  /** Sessions that ended or were moved away because the service was lost, and the latter alone. */
  closes: number;
  abnormal: number;
  /** Of the abnormal, those that no client can bring about alone. */
  broken: number;
  /** Of handshakes on WebSocket routes, of answers on others. */
  readonly latency: number[];
}

export type ReadonlySigns = Readonly<Omit<Signs, 'latency'>> & { readonly latency: LatencyCounts };

export interface WriteTotals {
  /** Writes whose end at both services is known, and those that only one took. */
  readonly ended: number;
  readonly splits: number;
}

/** Running totals of a route. */
export type Totals = Readonly<Record<Side, ReadonlySigns>> & {
  readonly writes: WriteTotals;
  /** The candidate's events that carried another user's data. */
  readonly contaminated: number;
};

export type Divergence = Readonly<Partial<Record<UnitKind, Confidence>>>;

/** What is known of a route now. */
export interface Facts {
  readonly protocol: 'websocket' | 'http' | 'sse';
  /** What happened in the window. */
  readonly window: Totals;
  /** What legacy has done since the start: its own rate, where the window has too little of it. */
  readonly legacyEver: ReadonlySigns;
  /** Empty if it can not be read, or no unit has ended yet. */
  readonly divergence: Divergence;
  /** Clients are served by the candidate. While none is, only evidence is looked at. */
  readonly serves: boolean;
  /** Legacy has not heard of everything. Whether going back to it is the lesser evil is for a person to say. */
  readonly isStale: boolean;
}

/** `exceeded` fires; `too-little` is an answer of its own: nothing is known to be wrong, or right. */
export type GuardrailState = 'clear' | 'too-little' | 'exceeded';

export interface Reading {
  readonly rule: GuardrailName;
  readonly action: GuardrailAction;
  readonly state: GuardrailState;
  /** Percent, or ms for `latency`, or a count for `contamination`; null of nothing. */
  readonly value: number | null;
  /** Legacy's, in the same unit; null where it does not count. */
  readonly legacy: number | null;
  readonly limit: number;
  /** Handshakes, requests, sessions, writes or units that the value was taken from. */
  readonly of: number;
  /** Where it is `too-little`, though not of the candidate: without legacy's own it can not be told. */
  readonly lacks?: 'legacy';
}

const COUNTERS = [
  ...['opened', 'refused', 'failures', 'failing', 'timeouts'],
  ...['requests', 'errors', 'closes', 'abnormal', 'broken'],
] as readonly Exclude<keyof Signs, 'latency'>[];

export function totalsSince(now: Totals, before: Totals): Totals {
  const sides = SIDES.map(side => {
    const [to, from] = [now[side], before[side]];
    const counts = Object.fromEntries(COUNTERS.map(name => [name, to[name] - from[name]]));
    return [side, { ...counts, latency: latenciesSince(to.latency, from.latency) }];
  });
  const writes = {
    ended: now.writes.ended - before.writes.ended,
    splits: now.writes.splits - before.writes.splits,
  };
  const contaminated = now.contaminated - before.contaminated;
  return { ...(Object.fromEntries(sides) as Record<Side, ReadonlySigns>), writes, contaminated };
}

/** What every rule says that applies to the route. Where nothing is to be rolled back, a rule holds instead. */
export function readings(rules: GuardrailRules, facts: Facts): readonly Reading[] {
  const { window, serves, isStale } = facts;
  const rollsBack = serves && !isStale;
  const ofTraffic = serves ? trafficReadings(rules, facts) : [];
  return [
    ...ofTraffic,
    rate('writeSplits', rules.writeSplits, parts(window.writes.splits, window.writes.ended), null),
    divergenceReading(rules.divergence, facts.divergence),
    contaminationReading(rules.contamination, window.contaminated),
  ].map(reading => ({
    ...reading,
    action: !rollsBack && reading.action === 'rollback' ? 'hold' : reading.action,
  }));
}

function trafficReadings(
  rules: GuardrailRules,
  { protocol, window: { candidate, legacy }, legacyEver }: Facts,
): readonly Reading[] {
  const legacyOwn = (name: ComparedName, of: PartsOf): Parts | null =>
    [of(legacy), of(legacyEver)].find(({ all }) => all >= rules[name].least) ?? null;
  const compared = (name: ComparedName, of: PartsOf): Reading =>
    rate(name, rules[name], of(candidate), legacyOwn(name, of));
  const timeouts = compared('timeouts', signs => parts(signs.timeouts, asked(signs)));
  if (protocol !== 'websocket') {
    const errors = compared('errors', signs => parts(signs.errors, signs.requests));
    // How long a stream of events lasts is the client's will.
    return protocol === 'sse'
      ? [errors, timeouts]
      : [errors, timeouts, latencyReading(rules.latency, candidate, legacy)];
  }
  // Whom it does not let in, and how clients break off, may be as it always was: without legacy's own that
  // says nothing against the candidate.
  const handshakes =
    legacyOwn('handshakes', handshakesOf) === null ? handshakesFailed : handshakesOf;
  return [
    compared('handshakes', handshakes),
    timeouts,
    legacyOwn('closes', closesOf) === null
      ? closesAlone(rules.closes, candidate)
      : compared('closes', closesOf),
    latencyReading(rules.latency, candidate, legacy),
  ];
}

interface Parts {
  readonly bad: number;
  readonly all: number;
}
type PartsOf = (signs: ReadonlySigns) => Parts;
type ComparedName = 'handshakes' | 'errors' | 'timeouts' | 'closes';

function parts(bad: number, all: number): Parts {
  return { bad, all };
}

const handshakesOf: PartsOf = signs => parts(signs.refused + signs.failures, asked(signs));
/** Those alone that are the service's failure for certain. */
const handshakesFailed: PartsOf = signs => parts(signs.failing + signs.failures, asked(signs));
const closesOf: PartsOf = signs => parts(signs.abnormal, signs.closes);
const closesBroken: PartsOf = signs => parts(signs.broken, signs.closes);

/** Those that are its failure for certain are enough to fire; the others are not, and too many to say that all is well. */
function closesAlone(by: RateRule, candidate: ReadonlySigns): Reading {
  const certain = rate('closes', by, closesBroken(candidate), null);
  if (certain.state !== 'clear') return certain;
  const all = rate('closes', by, closesOf(candidate), null);
  return all.state === 'exceeded' ? { ...all, state: 'too-little', lacks: 'legacy' } : all;
}

/** Requests that failed were answered for the service, and count among those answered. */
function asked({ opened, refused, failures, requests }: ReadonlySigns): number {
  return requests > 0 ? requests : opened + refused + failures;
}

/** What legacy does as well is not the candidate's doing. `other` is null where nothing is known of that. */
function rate(rule: GuardrailName, by: RateRule, own: Parts, other: Parts | null): Reading {
  const value = percent(own);
  const legacy = other === null ? null : percent(other);
  const limit = by.mostPercent + (legacy ?? 0);
  const state =
    own.all < by.least ? 'too-little' : (value ?? 0) > limit ? 'exceeded' : ('clear' as const);
  return { rule, action: by.action, state, value, legacy, limit, of: own.all };
}

function percent({ bad, all }: Parts): number | null {
  return all === 0 ? null : (100 * bad) / all;
}

function latencyReading(
  { action, most, graceMs, least }: GuardrailRules['latency'],
  candidate: ReadonlySigns,
  legacy: ReadonlySigns,
): Reading {
  const [of, others] = [countOf(candidate), countOf(legacy)];
  const value = latencyQuantile(candidate.latency, 0.99);
  const other = latencyQuantile(legacy.latency, 0.99);
  const limit = Math.max((other ?? 0) * most, (other ?? 0) + graceMs);
  const known = of >= least && others >= least && value !== null;
  const state = !known ? 'too-little' : value > limit ? 'exceeded' : 'clear';
  const lacks = of >= least && others < least ? ({ lacks: 'legacy' } as const) : {};
  return { rule: 'latency', action, state, value, legacy: other, limit, of, ...lacks };
}

function countOf({ latency }: ReadonlySigns): number {
  return latency.reduce((sum, count) => sum + count, 0);
}

/**
 * Exceeded when even the lowest rate that is possible is too high; clear when the highest is not. Runs are what
 * counts where there are any, unless sessions alone are too much already.
 */
function divergenceReading(
  { action, mostPercent }: GuardrailRules['divergence'],
  { run, session }: Divergence,
): Reading {
  const isSessions =
    100 * (session?.lower ?? 0) > mostPercent && !(100 * (run?.lower ?? 0) > mostPercent);
  const known = isSessions ? session : (run ?? session);
  const [lower, upper] = [100 * (known?.lower ?? 0), 100 * (known?.upper ?? 1)];
  const state =
    lower > mostPercent ? 'exceeded' : upper <= mostPercent ? 'clear' : ('too-little' as const);
  const value = known === undefined || known.rate === null ? null : 100 * known.rate;
  const of = known?.units ?? 0;
  return { rule: 'divergence', action, state, value, legacy: null, limit: mostPercent, of };
}

/** One is enough. */
function contaminationReading(
  { action }: GuardrailRules['contamination'],
  contaminated: number,
): Reading {
  const state = contaminated > 0 ? 'exceeded' : 'clear';
  return {
    ...{ rule: 'contamination', action, state, legacy: null, limit: 0 },
    ...{ value: contaminated, of: contaminated },
  };
}

/** A reading as a sentence, with its figures. */
export function readingText({ rule, value, legacy, limit, of }: Reading): string {
  const unit = rule === 'latency' ? ' ms' : rule === 'contamination' ? '' : ' %';
  const figure = (x: number | null) => (x === null ? '–' : `${Number(x.toPrecision(3))}${unit}`);
  const other = legacy === null ? '' : `, legacy's ${figure(legacy)}`;
  return `${rule} ${figure(value)} of ${of}, limit ${figure(limit)}${other}: ${GUARDRAILS[rule]}`;
}
