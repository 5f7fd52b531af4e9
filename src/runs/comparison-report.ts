// What a comparison run came to: one verdict with its reasons, as data of a stable shape and as text.
import {
  type KeptFinding,
  type KeptGroup,
  type RouteConfidence,
  whereText,
} from '../control/evidence/kept.ts';
import type { KeptDespite, SecondLegsEnded } from '../ports.ts';
import { SIDES, type Side } from '../rules/decide.ts';
import type { Books } from '../rules/pairing/books.ts';
import { VERDICTS, type Verdict } from '../rules/verdict.ts';
import type { Visit } from './synthetic-user.ts';

/** Changes when a program that reads the report would misread it; fields may be added meanwhile. */
export const REPORT_FORMAT = 'cutover-comparison/1';

/** Verdicts about the candidate, with what a shell is told. */
export const EXIT_CODES = { equal: 0, divergent: 1, contaminated: 2, unknown: 3 } as const;
export type RunVerdict = keyof typeof EXIT_CODES;

/** Of pairs; fewer prove nothing. Ten users have had a run each by then. */
const LEAST_PAIRS = 50;
/** Of events, and of visits that failed: more, and what was not seen may be what matters. */
const MOST_UNKNOWN = 0.01;
/** Of events that one service may lack for want of a write: any that it dropped beside would be among them. */
const MOST_LEFT_OUT = 0.001;
/** What is against the candidate. */
const DIVERGENCES = [
  ...(['mismatch', 'missing', 'extra', 'duplicate', 'out-of-order'] as const),
] as const satisfies readonly Verdict[];
/** What the candidate does to a session that legacy keeps, by the end of its leg; any other is nobody's word. */
const PARTINGS: Readonly<Partial<Record<KeptDespite, (sessions: string) => string>>> = {
  refused: sessions => `refused ${sessions} that legacy let in`,
  closed: sessions => `closed ${sessions} that legacy kept`,
  'broken-off': sessions => `broke off ${sessions} that legacy kept (1011, or a connection lost)`,
  'let-in': sessions => `let in ${sessions} that legacy refused`,
};

/** Kinds of finding in a report: more than anybody reads. */
const MOST_KINDS = 100;
const HARMLESS: ReadonlySet<Verdict> = new Set(['match', 'noise', 'failed-alike', 'unjudged']);

/** What a run brought to light. */
export interface RunFacts {
  /** ISO 8601, as all times here. */
  readonly startedAt: string;
  readonly endedAt: string;
  /** Without credentials. */
  readonly legacy: string;
  readonly candidate: string;
  readonly scenario: string;
  readonly users: number;
  /** Of them, whose tokens name nobody to the proxy: whether they were sent another's data was not looked at. */
  readonly unnamed: number;
  readonly forMs: number;
  /** How visits ended; a visit is a login, a run and a logout. */
  readonly visits: Readonly<Record<Visit, number>>;
  /** How visits that failed were ended most often, by the service's own words; null: none was. */
  readonly mostlyBroken: string | null;
  /** Runs at legacy that no user of this comparison began. */
  readonly strangeRuns: number;
  /** Why nothing more could be had: sentences. */
  readonly obstacles: readonly string[];
  /** Second legs that did not last as long as their session: how many ended why. */
  readonly secondLegs: readonly Omit<SecondLegsEnded, 'side'>[];
  /** Sessions that legacy let in and kept, or kept longer, each once for each cause for which its second leg did not last. */
  readonly keptSessions: readonly Omit<SecondLegsEnded, 'side'>[];
  /** By route, both sides: every event that was seen has one verdict. */
  readonly books: Readonly<Record<string, Books>>;
  /** Events in which each service sent data of another user, but for what both sent him alike. */
  readonly contaminations: Readonly<Record<Side, number>>;
  /** How many runs diverged, and between which limits the true share lies. */
  readonly rates: readonly RouteConfidence[];
  /** Of divergence, of which `findings` has the first. */
  readonly kinds: number;
  /** As `kindsToTell` orders them, with redacted examples. */
  readonly findings: readonly {
    readonly group: KeptGroup;
    readonly examples: readonly KeptFinding[];
  }[];
}

export interface ComparisonReport extends RunFacts {
  readonly format: typeof REPORT_FORMAT;
  readonly verdict: RunVerdict;
  readonly exitCode: number;
  /** Sentences; empty where the services are equal. */
  readonly reasons: readonly string[];
}

/** Of all that was found, how many kinds are divergence; and the first of them: another user's data, then the most frequent. */
export function kindsToTell(groups: readonly KeptGroup[]): {
  readonly kinds: number;
  readonly told: readonly KeptGroup[];
} {
  const isForeign = ({ verdict }: KeptGroup) => Number(verdict === 'contaminated');
  const all = groups
    .filter(({ verdict }) => !HARMLESS.has(verdict))
    .sort((a, b) => isForeign(b) - isForeign(a) || b.count - a.count);
  return { kinds: all.length, told: all.slice(0, MOST_KINDS) };
}

export function comparisonReport(facts: RunFacts): ComparisonReport {
  const { verdict, reasons } = judge(facts);
  return { format: REPORT_FORMAT, verdict, exitCode: EXIT_CODES[verdict], reasons, ...facts };
}

/** What was found counts whatever else could not be seen; what was not found only if all was seen. */
function judge(facts: RunFacts): { verdict: RunVerdict; reasons: readonly string[] } {
  const counts = countsOf(facts);
  const { legacy, candidate } = facts.contaminations;
  const sent = (who: string, count: number) =>
    `${who} sent data of another user in ${counted(count, 'event')}`;
  const ofLegacy = legacy > 0 ? [sent('legacy', legacy)] : [];
  if (candidate > 0) {
    const reasons = [sent('the candidate', candidate), ...ofLegacy];
    return { verdict: 'contaminated', reasons };
  }
  const divergent = DIVERGENCES.filter(each => counts[each] > 0);
  const reasons: string[] = [];
  if (divergent.length > 0) {
    const found = divergent.map(each => `${each} ${counts[each]}`).join(', ');
    reasons.push(`the candidate differs: ${found}`);
  }
  // The verdict is about the candidate; but where its events and legacy's are not alike, they are not equal.
  if (legacy > 0) reasons.push(`${ofLegacy}, and the candidate did not`);
  else if (counts.contaminated > 0) {
    const pairs = counted(counts.contaminated, 'event');
    const why = 'both send it, or users have other names in events than in tokens';
    reasons.push(`${pairs} held data of another user, and neither service is to blame: ${why}`);
  }
  for (const [end, told] of Object.entries(PARTINGS)) {
    const sessions = keptDespite(facts, end);
    if (sessions > 0) reasons.push(`the candidate ${told(counted(sessions, 'session'))}`);
  }
  const strange =
    facts.strangeRuns === 0
      ? []
      : [
          `legacy sent events of ${counted(facts.strangeRuns, 'run')} that nobody here began, and what differs may be of those: is somebody else logged in as these users, another comparison perhaps?`,
        ];
  if (reasons.length > 0) return { verdict: 'divergent', reasons: [...reasons, ...strange] };
  const doubts = [...facts.obstacles];
  const { done, ...failures } = facts.visits;
  const failed = Object.values(failures).reduce((sum, count) => sum + count, 0);
  if (failed > MOST_UNKNOWN * (done + failed)) {
    const how = Object.entries(failures).filter(([, count]) => count > 0);
    const list = how.map(([what, count]) => `${what} ${count}`).join(', ');
    doubts.push(
      `${failed} of ${done + failed} visits failed at legacy: ${list}${facts.mostlyBroken === null ? '' : ` (${cell(facts.mostlyBroken)})`}`,
    );
  }
  if (facts.obstacles.length === 0) {
    const { seen, unjudged, because, leftOut } = unjudgedOf(facts);
    if (unjudged > MOST_UNKNOWN * seen) {
      doubts.push(`${unjudged} of ${counted(seen, 'event')} could not be judged: ${because}`);
    } else if (leftOut > MOST_LEFT_OUT * seen) {
      doubts.push(
        `${leftOut} of ${counted(seen, 'event')} could not be judged, since one service was not given writes that may have caused them`,
      );
    }
    const sooner = keptDespite(facts, 'sooner');
    if (sooner > 0) {
      const sessions = counted(sooner, 'session');
      doubts.push(
        `the candidate ended ${sessions} up to 5 s before legacy, which had said more by then`,
      );
    }
    // What there would have been to see, nobody knows: however few events, it may be all of somebody's.
    const unshown = facts.keptSessions.filter(
      ({ cause }) => cause !== 'sooner' && !Object.hasOwn(PARTINGS, cause),
    );
    if (unshown.length > 0) {
      doubts.push(`the candidate was not shown all of every session: ${endsText(unshown)}`);
    }
    const pairs = counts.match + counts.noise;
    if (pairs < LEAST_PAIRS) {
      doubts.push(`too few events: ${counted(pairs, 'pair')}, of ${LEAST_PAIRS} at least`);
    }
  }
  return doubts.length > 0
    ? { verdict: 'unknown', reasons: [...doubts, ...strange] }
    : { verdict: 'equal', reasons: [] };
}

type Counts = Record<Exclude<Verdict, 'unjudged'>, number>;

/** Pairs and lone events, each once. */
function countsOf({ books }: RunFacts): Counts {
  const counts = {} as Counts;
  for (const verdict of [
    'match',
    'noise',
    'failed-alike',
    'contaminated',
    ...DIVERGENCES,
  ] as const) {
    counts[verdict] = 0;
    for (const { legacy, candidate } of Object.values(books)) {
      const isOfOneSide = verdict === 'missing' || verdict === 'extra' || verdict === 'duplicate';
      counts[verdict] += isOfOneSide
        ? legacy[verdict] + candidate[verdict]
        : Math.max(legacy[verdict], candidate[verdict]);
    }
  }
  return counts;
}

function unjudgedOf({ books }: RunFacts) {
  const reasons = new Map<string, number>();
  let seen = 0;
  let unjudged = 0;
  for (const route of Object.values(books)) {
    for (const side of SIDES) {
      seen += route[side].seen;
      // Nothing should wait any more.
      const without = { ...route[side].unjudged, pending: route[side].pending };
      for (const [reason, count] of Object.entries(without)) {
        unjudged += count;
        if (count > 0) reasons.set(reason, (reasons.get(reason) ?? 0) + count);
      }
    }
  }
  const because = [...reasons].map(([reason, count]) => `${reason} ${count}`).join(', ');
  return { seen, unjudged, because, leftOut: reasons.get('write-left-out') ?? 0 };
}

function keptDespite({ keptSessions }: RunFacts, why: string): number {
  return keptSessions.reduce((sum, { cause, count }) => sum + (cause === why ? count : 0), 0);
}

/** `refused 12, broken-off 3`. */
function endsText(ends: RunFacts['secondLegs']): string {
  return ends.map(({ cause, count }) => `${cause} ${count}`).join(', ');
}

const HEADLINES: Readonly<Record<RunVerdict, string>> = {
  equal: 'EQUAL: the candidate sent what legacy sent',
  divergent: 'DIVERGENT: the candidate differs from legacy',
  contaminated: 'CONTAMINATED: data of one user reached another',
  unknown: 'COULD NOT TELL',
};

/** As a person reads it, in Markdown that is fit for a terminal too. */
export function reportText(report: ComparisonReport): string {
  const { verdict, reasons, legacy, candidate, users, visits, books, findings, rates } = report;
  const counts = countsOf(report);
  const lines = [
    `# ${HEADLINES[verdict]}`,
    '',
    ...reasons.map(reason => `- ${reason}`),
    ...(reasons.length > 0 ? [''] : []),
    `legacy ${legacy}, candidate ${candidate}; ${report.scenario}, ${counted(users, 'user')}, ${counted(visits.done, 'visit')}, ${report.startedAt} to ${report.endedAt}`,
  ];
  const { seen, unjudged, because } = unjudgedOf(report);
  const found = Object.entries(counts).filter(([, count]) => count > 0);
  if (Object.keys(books).length > 0) {
    const rest = `unjudged ${unjudged}${unjudged > 0 ? ` (${because})` : ''}`;
    const all = [...found.map(([each, count]) => `${each} ${count}`), rest];
    lines.push(
      '',
      `Of ${counted(seen, 'event')} on both sides, pairs counted once: ${all.join(', ')}.`,
    );
  }
  if (report.unnamed > 0) {
    const who = `${report.unnamed} of ${counted(users, 'user')}`;
    lines.push(
      `The tokens of ${who} name nobody: whether they were sent data of another user was not looked at.`,
    );
  }
  if (report.secondLegs.length > 0) {
    lines.push(`Connections to the candidate that did not last: ${endsText(report.secondLegs)}.`);
  }
  for (const { route, eventType, of, diverged, units, lower, upper } of rates) {
    if (eventType !== null) continue;
    const limits = `${percent(lower)} to ${percent(upper)}`;
    lines.push(
      `${route}: ${diverged} of ${counted(units, of)} diverged; the true share lies in ${limits} (95 %).`,
    );
  }
  if (findings.length > 0) {
    lines.push('', '| found | route | event type | verdict | where |', '|---|---|---|---|---|');
    for (const { group } of findings) {
      const { count, route, eventType, verdict } = group;
      const cells = [String(count), route, eventType, verdict, whereText(group)];
      lines.push(`| ${cells.map(cell).join(' | ')} |`);
    }
    const { kinds } = report;
    if (kinds > findings.length) lines.push('', `${findings.length} of ${kinds} kinds are told.`);
    const verdicts = new Set(findings.map(({ group }) => group.verdict));
    lines.push('', ...[...verdicts].map(verdict => `- ${verdict}: ${VERDICTS[verdict]}`));
    lines.push('', 'Examples of each kind, redacted, are in report.json, under `findings`.');
  }
  return `${lines.join('\n')}\n`;
}

/** Names come from services: they must not steer a terminal or break a table. */
function cell(text: string): string {
  return text.replace(/[^\x20-\x7e\u00a0-\ud7ff\ue000-\uffff]/g, '?').replaceAll('|', '\\|');
}

function percent(share: number): string {
  return `${Number((share * 100).toPrecision(3))} %`;
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
