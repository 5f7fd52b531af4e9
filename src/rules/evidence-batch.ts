// What goes from the judge to where evidence is kept: counts of everything that was found, and a few
// examples of each kind. However much there is to be found, a batch stays small, so that comparing
// never waits for a disk and a frequent kind never crowds out a rare one.
import { type EvidenceGroup, groupsOf, OTHER } from './evidence-group.ts';
import type { UnitCount } from './unit-tracker.ts';
import type { Finding } from './verdict.ts';

/** Groups of one batch. Beyond, whatever is new is counted under `(other)` of its route and verdict. */
const MOST_GROUPS = 1_000;
/** All examples of one batch together: a quarter of a second at the rate that a disk easily takes. */
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
}

export interface EvidenceBatch {
  readonly groups: readonly GroupCount[];
  readonly examples: readonly Example[];
  /** For the rate of divergence: runs or sessions that ended since the batch before. */
  readonly units: readonly UnitCount[];
  readonly dropped: Partial<Record<EvidenceDrop, number>>;
}

interface Gathered {
  readonly group: EvidenceGroup;
  count: number;
  firstAt: number;
  lastAt: number;
  readonly first: Finding;
  /** One of the later ones: the 2nd, 4th, 8th …, so that most are not even looked at. */
  later: Finding | null;
}

/** Gathers findings until they are taken as one batch. */
export class EvidenceBatcher {
  #gathered = new Map<string, Gathered>();

  add(finding: Finding): void {
    for (const group of groupsOf(finding)) this.#count(group, finding);
  }

  /** What was gathered since the last time; null if that is nothing. */
  take(units: readonly UnitCount[]): EvidenceBatch | null {
    if (this.#gathered.size === 0 && units.length === 0) return null;
    const gathered = [...this.#gathered.values()];
    this.#gathered = new Map();
    const groups = gathered.map(({ group, count, firstAt, lastAt }) => {
      return { ...group, count, firstAt, lastAt };
    });
    return { groups, units, ...examplesOf(gathered) };
  }

  #count(group: EvidenceGroup, finding: Finding): void {
    const known = this.#gathered.get(keyOf(group));
    if (known !== undefined) countOnce(known, finding);
    else if (this.#gathered.size < MOST_GROUPS) this.#begin(group, finding);
    else {
      // Bounded as well: routes and verdicts are closed lists.
      const other: EvidenceGroup = { ...group, eventType: OTHER, kind: '', path: '' };
      const overflow = this.#gathered.get(keyOf(other));
      if (overflow !== undefined) countOnce(overflow, finding);
      else this.#begin(other, finding);
    }
  }

  #begin(group: EvidenceGroup, first: Finding): void {
    const at = Math.floor(first.at);
    const begun = { group, count: 1, firstAt: at, lastAt: at, first, later: null };
    this.#gathered.set(keyOf(group), begun);
  }
}

function keyOf({ route, eventType, verdict, kind, path }: EvidenceGroup): string {
  return `${route}\n${verdict}\n${kind}\n${path}\n${eventType}`;
}

function countOnce(known: Gathered, finding: Finding): void {
  known.count += 1;
  const at = Math.floor(finding.at);
  known.firstAt = Math.min(known.firstAt, at);
  known.lastAt = Math.max(known.lastAt, at);
  if ((known.count & (known.count - 1)) === 0) known.later = finding;
}

/** The first example of every group before a second one of any. */
function examplesOf(gathered: readonly Gathered[]): Pick<EvidenceBatch, 'examples' | 'dropped'> {
  const places = new Map<Finding, number[]>();
  for (const pick of ['first', 'later'] as const) {
    for (const [index, entry] of gathered.entries()) {
      const finding = entry[pick];
      if (finding === null) continue;
      const found = places.get(finding);
      if (found === undefined) places.set(finding, [index]);
      else if (!found.includes(index)) found.push(index);
    }
  }
  const dropped: EvidenceBatch['dropped'] = {};
  const examples: Example[] = [];
  let left = MOST_BYTES;
  for (const [finding, groups] of places) {
    const room = Math.min(MOST_EXAMPLE_BYTES, left);
    const bytes = weigh(finding.candidate, weigh(finding.legacy, 0, room), room);
    const fits = bytes <= room;
    if (fits) left -= bytes;
    else {
      const cause = room < MOST_EXAMPLE_BYTES ? 'batch-full' : 'too-large';
      dropped[cause] = (dropped[cause] ?? 0) + 1;
    }
    examples.push({ finding: fits ? shortened(finding) : cut(finding), groups, cut: !fits });
  }
  return { examples, dropped };
}

function shortened(finding: Finding): Finding {
  const { at, differences } = finding;
  return { ...finding, at: Math.floor(at), differences: differences.slice(0, MOST_DIFFERENCES) };
}

/** Its groups tell what differs, and where. */
function cut(finding: Finding): Finding {
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
