// The books of a comparison: every event that was seen has one verdict, or waits for one.
import { SIDES, type Side } from '../decide.ts';
import { addLatency, type LatencyCounts, noLatencies } from '../latency.ts';
import { type Finding, UNJUDGED, type UnjudgedReason, VERDICTS, type Verdict } from '../verdict.ts';

/** One side's counts: `seen` is the sum of all others, with `unjudged` by its reasons. */
export type SideBooks = {
  seen: number;
  pending: number;
  unjudged: Record<UnjudgedReason, number>;
  /** How long its answers took, of requests that both answered; null where none was compared. No verdict is due to it. */
  latency: number[] | null;
} & Record<Exclude<Verdict, 'unjudged'>, number>;

/** Plain data: can be cloned to another thread, added up, sent as JSON. */
export type Books = Record<Side, SideBooks>;

const COUNTED = (Object.keys(VERDICTS) as Verdict[]).filter(verdict => verdict !== 'unjudged');
const REASONS = Object.keys(UNJUDGED) as UnjudgedReason[];
/** Verdicts of a pair are booked on both sides, or the books are wrong. */
const OF_PAIRS = ['match', 'noise', 'failed-alike', 'mismatch', 'out-of-order'] as const;

export function emptyBooks(): Books {
  return { legacy: emptySide(), candidate: emptySide() };
}

/** Adds `more` to `into`. */
export function addBooks(into: Books, more: Books): void {
  for (const side of SIDES) {
    const [sum, part] = [into[side], more[side]];
    sum.seen += part.seen;
    sum.pending += part.pending;
    for (const verdict of COUNTED) sum[verdict] += part[verdict];
    for (const reason of REASONS) sum.unjudged[reason] += part.unjudged[reason];
    if (part.latency !== null) sum.latency = addedLatencies(sum.latency, part.latency);
  }
}

/** Notes how long both took to answer; whoever gave none took no time that says anything. */
export function bookLatencies(books: Books, took: Readonly<Record<Side, number | null>>): void {
  if (took.legacy === null || took.candidate === null) return;
  const { legacy, candidate } = books;
  legacy.latency ??= noLatencies();
  candidate.latency ??= noLatencies();
  addLatency(legacy.latency, took.legacy);
  addLatency(candidate.latency, took.candidate);
}

/** Books an event or pair that was not pending: an answer, or a stream's event that is done with at once. */
export function bookFinding(books: Books, { verdict, because, sides }: Finding): void {
  for (const side of sides) {
    books[side].seen++;
    if (verdict !== 'unjudged') books[side][verdict]++;
    else if (because !== null) books[side].unjudged[because]++;
  }
}

/** What does not add up, as a sentence; null when all does. */
export function imbalance(books: Books): string | null {
  for (const side of SIDES) {
    const { seen } = books[side];
    const sum = sumOf(books[side]);
    if (sum !== seen) return `${side} has seen ${seen} events, its books hold ${sum}`;
  }
  for (const verdict of OF_PAIRS) {
    const [legacy, candidate] = [books.legacy[verdict], books.candidate[verdict]];
    if (legacy !== candidate) {
      return `${verdict} is a verdict on pairs, but legacy has ${legacy}, the candidate ${candidate}`;
    }
  }
  if (books.candidate.missing !== 0) return 'only an event of legacy can be missing';
  if (books.legacy.extra !== 0) return 'only an event of the candidate can be extra';
  return null;
}

export function unjudgedOf({ unjudged }: SideBooks): number {
  return REASONS.reduce((sum, reason) => sum + unjudged[reason], 0);
}

function sumOf(books: SideBooks): number {
  return COUNTED.reduce((sum, verdict) => sum + books[verdict], books.pending + unjudgedOf(books));
}

function addedLatencies(sum: LatencyCounts | null, part: LatencyCounts): number[] {
  return part.map((count, i) => count + (sum?.[i] ?? 0));
}

function emptySide(): SideBooks {
  return {
    seen: 0,
    pending: 0,
    latency: null,
    ...zeros(COUNTED),
    unjudged: zeros(REASONS),
  };
}

function zeros<K extends string>(names: readonly K[]): Record<K, number> {
  return Object.fromEntries(names.map(name => [name, 0])) as Record<K, number>;
}
