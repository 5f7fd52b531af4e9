// What goes from the judge to where evidence is kept: counts of everything that was found, and a few
// examples of each kind. However much there is to be found, a batch stays small, so that comparing
// never waits for a disk and a frequent kind never crowds out a rare one.
import { type EvidenceGroup, groupsOf, OTHER } from './evidence-group.ts';
import { namedBy, noteNames } from './known-values.ts';
import type { UnitCount } from './unit-tracker.ts';
import type { Difference, Finding, Verdict } from './verdict.ts';

/** Groups of one batch. Beyond, whatever is new is counted under `(other)` of its route and verdict. */
const MOST_GROUPS = 1_000;
/** Of every group the first so many examples are handed over, and then one in a while. */
const FIRST_EXAMPLES = 5;
const EXAMPLE_EVERY_MS = 5_000;
/** Nearly all that is seen; whoever wants more examples wants them of what differs. */
const HARMLESS: ReadonlySet<Verdict> = new Set(['match', 'noise', 'failed-alike']);
/** Groups of which it is remembered when their last example was handed over. */
const MOST_REMEMBERED = 5_000;
/** All examples of one batch together; the second half of it is for kinds that have none yet. */
const MOST_BYTES = 4 * 1024 * 1024;
/** Both events of one example; longer ones are kept without the events. */
const MOST_EXAMPLE_BYTES = 128 * 1024;
/** Deeper values overflow the stack of whoever walks or copies them. */
const MOST_DEPTH = 64;
/** A longer list of differences says no more. */
export const MOST_DIFFERENCES = 32;
/** Fixed cost of a value in memory and in text. */
const VALUE_BYTES = 8;
/** Why an example was not kept; the counts of what was found are not touched by it. */
export const EVIDENCE_DROPS = {
  'too-large': 'both events together are longer, or nested deeper, than what is kept',
  'batch-full': 'more was found at once than is handed over at a time',
  'disk-full': 'the disk, or what evidence may take of it, is full',
  'read-only': 'the file or its folder can not be written',
  corrupt: 'the file was damaged; it was set aside and a new one begun',
  failed: 'the database failed in another way, or the redaction did',
} as const;
export type EvidenceDrop = keyof typeof EVIDENCE_DROPS;

export interface GroupCount extends EvidenceGroup {
  /** Names of users that stand in its type or path: to be recognised there, and not kept. */
  readonly names?: readonly string[];
  readonly count: number;
  /** Epoch ms, whole. */
  readonly firstAt: number;
  readonly lastAt: number;
}

/** A finding that is worth keeping, not yet redacted. */
export interface Example {
  readonly finding: Finding;
  /** Its places in `groups` of the batch. */
  readonly groups: readonly number[];
  /** The events and the values of the differences were left out: too large. */
  readonly cut: boolean;
  /** Names of the user whose events they are: to be recognised in them, and not kept. */
  readonly subject: readonly string[];
}

export interface EvidenceBatch {
  readonly groups: readonly GroupCount[];
  readonly examples: readonly Example[];
  /** For the rate of divergence: runs or sessions that ended since the batch before. */
  readonly units: readonly UnitCount[];
  readonly dropped: Partial<Record<EvidenceDrop, number>>;
}

/** What is told to where batches come from. */
export type ToEvidenceLine =
  /** The batch is dealt with. */
  | { readonly kind: 'done' }
  /** Runs and sessions are counted anew: of that route, or (null) of all. */
  | { readonly kind: 'forget'; readonly route: string | null };

export type FromEvidenceLine =
  | { readonly kind: 'batch'; readonly batch: EvidenceBatch }
  /** As was asked; what came before is of what is forgotten. */
  | { readonly kind: 'forgotten' };

interface GatheredGroup {
  readonly key: string;
  readonly group: EvidenceGroup;
  /** Its place in the batch. */
  readonly index: number;
  readonly names: Set<string>;
  count: number;
  firstAt: number;
  lastAt: number;
  /** Null until the first finding of this batch. */
  handed: HandedOver | null;
}

/** What groups a finding belongs to is told by this. */
type Shape = Pick<Finding, 'route' | 'verdict' | 'because' | 'eventType'> & {
  readonly differences: readonly Pick<Difference, 'kind' | 'path'>[];
};

interface GatheredExample extends Example {
  readonly groups: number[];
}

/** What was handed over of a group, in this batch and before. */
interface HandedOver {
  examples: number;
  lastAt: number;
}

/** Gathers findings until they are taken as one batch. */
export class EvidenceBatcher {
  #groups: GatheredGroup[] = [];
  /** The same by type and path: those of several routes, verdicts and kinds. */
  #byPlace = new Map<string, Map<string, GatheredGroup[]>>();
  /** Of the finding before: the next one mostly belongs to the same. */
  #last: { readonly shape: Shape; readonly groups: readonly GatheredGroup[] } | null = null;
  #examples: GatheredExample[] = [];
  #bytes = 0;
  #dropped: Partial<Record<EvidenceDrop, number>> = {};
  /** Of every kind of divergence; later ones only now and then. */
  firstExamples = FIRST_EXAMPLES;
  /** The group that was seen first is forgotten first. */
  readonly #handed = new Map<string, HandedOver>();

  /** `subject`: names of the user whose events they are. */
  add(finding: Finding, subject: readonly string[] = []): void {
    let example: GatheredExample | null = null;
    for (const known of this.#groupsOf(finding)) {
      count(known, finding);
      noteNames(known.names, subject, known.group.eventType, known.group.path);
      // Most findings are only counted.
      const nth = this.#nthExample(known);
      if (nth === null) continue;
      example ??= this.#example(finding, subject, nth === 1 ? MOST_BYTES : MOST_BYTES / 2);
      example.groups.push(known.index);
    }
  }

  /** What was gathered since the last time; null if that is nothing. */
  take(units: readonly UnitCount[]): EvidenceBatch | null {
    if (this.#groups.length === 0 && units.length === 0) return null;
    const batch = {
      groups: this.#groups.map(({ group, names, count, firstAt, lastAt }) => {
        return { ...group, ...namedBy(names), count, firstAt, lastAt };
      }),
      ...{ examples: this.#examples, units, dropped: this.#dropped },
    };
    this.#groups = [];
    this.#byPlace = new Map();
    this.#last = null;
    this.#examples = [];
    this.#bytes = 0;
    this.#dropped = {};
    return batch;
  }

  #groupsOf(finding: Finding): readonly GatheredGroup[] {
    if (this.#last !== null && isAlike(this.#last.shape, finding)) return this.#last.groups;
    const groups = groupsOf(finding).map(group => this.#groupOf(group, finding));
    this.#last = { shape: shapeOf(finding), groups };
    return groups;
  }

  #groupOf(group: EvidenceGroup, finding: Finding): GatheredGroup {
    const known = this.#byPlace.get(group.eventType)?.get(group.path);
    // Looked through, since a text made of them all takes longer to be looked up: it is made anew for every finding.
    if (known !== undefined) for (const each of known) if (isSame(each.group, group)) return each;
    if (this.#groups.length >= MOST_GROUPS && group.eventType !== OTHER) {
      // Bounded as well: routes and verdicts are closed lists.
      return this.#groupOf({ ...group, eventType: OTHER, kind: '', path: '' }, finding);
    }
    return this.#begin(group, Math.floor(finding.at));
  }

  #begin(group: EvidenceGroup, at: number): GatheredGroup {
    const { eventType, path } = group;
    const index = this.#groups.length;
    const begun = { key: keyOf(group), group, index, names: new Set<string>() };
    const gathered = { ...begun, count: 0, firstAt: at, lastAt: at, handed: null };
    this.#groups.push(gathered);
    const ofType = this.#byPlace.get(eventType) ?? new Map<string, GatheredGroup[]>();
    this.#byPlace.set(eventType, ofType);
    ofType.set(path, [...(ofType.get(path) ?? []), gathered]);
    return gathered;
  }

  /** Which example of the group this one is; null if there is no need for one. */
  #nthExample(known: GatheredGroup): number | null {
    const { key, group, lastAt: at } = known;
    const first = HARMLESS.has(group.verdict) ? FIRST_EXAMPLES : this.firstExamples;
    let handed = known.handed ?? this.#handed.get(key);
    if (handed === undefined) {
      handed = { examples: 0, lastAt: at };
      this.#remember(key, handed);
    } else if (handed.examples >= first && at - handed.lastAt < EXAMPLE_EVERY_MS) {
      known.handed = handed;
      return null;
    }
    known.handed = handed;
    handed.examples += 1;
    handed.lastAt = at;
    return handed.examples;
  }

  #remember(key: string, handed: HandedOver): void {
    for (const [oldest] of this.#handed) {
      if (this.#handed.size < MOST_REMEMBERED) break;
      this.#handed.delete(oldest);
    }
    this.#handed.set(key, handed);
  }

  /** Weighed here: what is gathered must not hold on to more than that. */
  #example(finding: Finding, subject: readonly string[], mostBytes: number): GatheredExample {
    const room = Math.max(0, Math.min(MOST_EXAMPLE_BYTES, mostBytes - this.#bytes));
    const bytes = weigh(finding.candidate, weigh(finding.legacy, 0, room), room);
    const cut = bytes > room;
    if (cut) {
      const cause = room < MOST_EXAMPLE_BYTES ? 'batch-full' : 'too-large';
      this.#dropped[cause] = (this.#dropped[cause] ?? 0) + 1;
    } else this.#bytes += bytes;
    const kept = cut ? withoutEvents(finding) : shortened(finding);
    const example = { finding: kept, groups: [], cut, subject };
    this.#examples.push(example);
    return example;
  }
}

function count(known: GatheredGroup, finding: Finding): void {
  const at = Math.floor(finding.at);
  known.count += 1;
  known.firstAt = Math.min(known.firstAt, at);
  known.lastAt = Math.max(known.lastAt, at);
}

function shapeOf({ route, verdict, because, eventType, differences }: Finding): Shape {
  const places = differences.map(({ kind, path }) => ({ kind, path }));
  return { route, verdict, because, eventType, differences: places };
}

function isAlike(shape: Shape, finding: Finding): boolean {
  const { differences } = shape;
  if (shape.verdict !== finding.verdict || shape.because !== finding.because) return false;
  if (shape.eventType !== finding.eventType || shape.route !== finding.route) return false;
  if (differences.length !== finding.differences.length) return false;
  for (let at = 0; at < differences.length; at++) {
    const its = differences[at] as Shape['differences'][number];
    const other = finding.differences[at] as Difference;
    if (its.path !== other.path || its.kind !== other.kind) return false;
  }
  return true;
}

/** Of the same type and path. */
function isSame(a: EvidenceGroup, b: EvidenceGroup): boolean {
  return a.verdict === b.verdict && a.kind === b.kind && a.route === b.route;
}

function keyOf({ route, eventType, verdict, kind, path }: EvidenceGroup): string {
  return `${route}\n${verdict}\n${kind}\n${path}\n${eventType}`;
}

/** A plain one, with its key: it goes to another thread. */
function shortened(finding: Finding): Finding {
  const { key, at, differences } = finding;
  const shown = differences.slice(0, MOST_DIFFERENCES);
  return { ...finding, key, at: Math.floor(at), differences: shown };
}

/** Its groups tell what differs, and where. */
function withoutEvents(finding: Finding): Finding {
  return { ...shortened(finding), legacy: undefined, candidate: undefined, differences: [] };
}

/** `from` plus about the bytes of a value in memory; more than `most` as soon as that is certain. */
function weigh(value: unknown, from: number, most: number, depth = 0): number {
  if (from > most) return from;
  if (typeof value === 'string') return from + VALUE_BYTES + value.length;
  if (typeof value !== 'object' || value === null) return from + VALUE_BYTES;
  if (depth >= MOST_DEPTH) return Number.POSITIVE_INFINITY;
  if (value instanceof Uint8Array) return from + VALUE_BYTES + value.byteLength;
  let bytes = from + VALUE_BYTES;
  if (Array.isArray(value)) {
    for (const item of value) {
      bytes = weigh(item, bytes, most, depth + 1);
      if (bytes > most) return bytes;
    }
    return bytes;
  }
  for (const [name, item] of Object.entries(value)) {
    bytes = weigh(item, bytes + name.length, most, depth + 1);
    if (bytes > most) return bytes;
  }
  return bytes;
}
