// Evidence as it is shown to whoever asks for it.

import type { Confidence } from '../../rules/confidence.ts';
import type { EvidenceDrop } from '../../rules/evidence-batch.ts';
import type { EvidenceGroup } from '../../rules/evidence-group.ts';
import type { IsolationRule } from '../../rules/isolation/incident.ts';
import type { UnitKind } from '../../rules/unit-tracker.ts';
import type { Finding, Verdict } from '../../rules/verdict.ts';

/** Told of one kind: more is no place. */
const MOST_PLACES = 3;

/** What evidence may take. */
export interface EvidenceLimits {
  readonly maxRows: number;
  /** Of one kind. */
  readonly examples: number;
  readonly maxMb: number;
  readonly maxAgeDays: number;
}

/** Everything of a kind: how often, from when to when (epoch ms), and how many examples are kept. */
export interface KeptGroup extends EvidenceGroup {
  readonly id: number;
  readonly count: number;
  readonly firstAt: number;
  readonly lastAt: number;
  readonly examples: number;
  /** Of `contaminated`: what told of it, and where, as far as incidents are on record; the most frequent first. */
  readonly foreign?: readonly ForeignPlace[];
}

export interface ForeignPlace {
  readonly rule: IsolationRule;
  /** JSON pointer to what told; empty where it is the event as a whole. */
  readonly path: string;
}

/** `value /type`, `routing /target_user_id, ledger /thread_id`: in what the events of a kind differ, or what is wrong in them. */
export function whereText({
  kind,
  path,
  foreign = [],
}: Pick<KeptGroup, 'kind' | 'path' | 'foreign'>): string {
  const places = foreign.slice(0, MOST_PLACES).map(({ rule, path }) => `${rule} ${path}`.trim());
  const told = places.join(', ') + (foreign.length > MOST_PLACES ? ', …' : '');
  return [kind, path, told].filter(part => part !== '').join(' ') || 'the event as a whole';
}

/** Redacted. An event is left out where it could not be read, or was too large to be kept. */
export type KeptFinding = Omit<Finding, 'legacy' | 'candidate'> & {
  readonly id: number;
  readonly legacy?: unknown;
  readonly candidate?: unknown;
  /** Events and values were too large to be kept. */
  readonly cut: boolean;
  /** Numbers of the incidents that tell of it, where another user's data was in it and it is shown by its group. */
  readonly incidents?: readonly number[];
};

/** Where an event with another user's data is kept; `at` as in its finding. */
export interface KeptContamination {
  readonly group: number;
  readonly example: number;
  readonly route: string;
  readonly eventType: string;
  readonly session: string;
  readonly at: number;
}

export interface EvidenceFilter {
  readonly route?: string | undefined;
  readonly type?: string | undefined;
  readonly verdict?: Verdict | undefined;
  /** A path and all below it. */
  readonly path?: string | undefined;
}

export interface GroupPage {
  readonly groups: readonly KeptGroup[];
  /** Of all that the filter lets through. */
  readonly total: number;
}

export interface GroupExamples {
  readonly group: KeptGroup;
  readonly examples: readonly KeptFinding[];
}

export interface FindingPage {
  readonly findings: readonly KeptFinding[];
  /** Ask for what is after this one; null at the end. */
  readonly after: number | null;
}

/** How often units of one kind of a route diverge; `eventType` null: by any of their events. */
export interface RouteConfidence extends Confidence {
  readonly route: string;
  readonly eventType: string | null;
  readonly of: UnitKind;
  /** How many more clean units until the rate is below the threshold; null: more than anybody waits for. */
  readonly cleanUnitsLeft: number | null;
  /** Kinds of divergence that were seen: groups, by verdict. */
  readonly kinds: Partial<Record<Verdict, number>>;
}

/** Runs and sessions together. */
export interface CountedUnits {
  readonly units: number;
  readonly diverged: number;
}

/** Of a route as a whole: of its runs, or of its sessions where it has had no run. */
export function rateOf(rates: readonly RouteConfidence[], name: string): RouteConfidence | null {
  const whole = rates.filter(({ route, eventType }) => route === name && eventType === null);
  return whole.find(({ of }) => of === 'run') ?? whole[0] ?? null;
}

/** Units were counted anew from `at` on (epoch ms); `route` null: of every route. */
export interface CountingRestart {
  readonly route: string | null;
  readonly at: number;
}

export interface EvidenceSummary {
  readonly threshold: number;
  /** Start of the first hour that is counted (epoch ms); null: everything that is kept. */
  readonly since: number | null;
  /** The last ones, where they are later than `since`; that of every route first. */
  readonly restarts: readonly CountingRestart[];
  /** By route, then type, runs before sessions. */
  readonly rates: readonly RouteConfidence[];
}

/** What keeps evidence from being written. */
export interface EvidenceTrouble {
  readonly cause: EvidenceDrop;
  /** A sentence. */
  readonly message: string;
  /** Epoch ms. */
  readonly since: number;
}

export interface EvidenceUse {
  readonly rows: number;
  readonly bytes: number;
  readonly groups: number;
}

/** How keeping goes; totals since the start. */
export interface EvidenceReport {
  readonly kept: number;
  readonly dropped: Readonly<Record<EvidenceDrop, number>>;
  /** Null while the file can not be read. */
  readonly use: EvidenceUse | null;
  readonly trouble: EvidenceTrouble | null;
  /** A file that could not be used and was replaced by a new one. */
  readonly setAside: { readonly file: string; readonly at: number } | null;
}
