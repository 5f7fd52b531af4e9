// Which pairs of a lane are out of order, and when that can be said.
//
//   legacy     a  b  c  d         The pair of c crosses that of b: b was overtaken on the candidate.
//   candidate  a  c  b  d         One of the two is out of order, and no more.
//
// As few pairs as possible are called out of order: those that are left when the longest run of pairs
// that agree on both sides is taken away. Of two such runs the one that legacy sent later stays, so in a
// swap the event that was overtaken has the verdict, as whoever held it back would say.
//
//   legacy     a  a  b            Of what says the same again, which was whose is a guess: one that crosses
//   candidate  a' a  b            another pair of such is the other one's, and neither is out of order.
import type { Comparison } from '../compare/compare.ts';
import type { Side } from '../decide.ts';
import { areTwins, type Pending } from './pending.ts';

/** Pairs remembered while an event before them waits: a window's worth at 200 a second in one lane. */
const MOST_PAIRS = 1_000;
/** Up to here the longest run is looked for, which takes the square of it. */
const MOST_TANGLED = 200;

/** A pair that was found, with what comparing it showed. */
export interface Pair {
  legacy: Pending;
  candidate: Pending;
  readonly comparison: Comparison;
  isLate: boolean;
}

export type Rest = (pair: Pair) => void;

interface Entry {
  readonly pair: Pair;
  /** Crosses another one. */
  crosses: boolean;
  isResting: boolean;
}

/** What decides whether a pair is certain: the first that waits on either side, and the second of legacy's. */
type Heads = readonly [Pending | undefined, Pending | undefined, Pending | undefined];

/** Pairs that came while an event before them waited, so that others may cross them. */
export class Order {
  #entries: Entry[] = [];
  /** The furthest place of an entry, by side: a pair beyond both crosses none. */
  readonly #furthest = { legacy: -1, candidate: -1 };
  /** As of the last whole look; null if something has been entangled since. */
  #heads: Heads | null = null;
  /** Entered since the last look, and crossing nothing. */
  #fresh = 0;

  get isEmpty(): boolean {
    return this.#entries.length === 0;
  }

  add(pair: Pair): void {
    const entry: Entry = { pair, crosses: false, isResting: false };
    const furthest = this.#furthest;
    const [legacy, candidate] = [pair.legacy.place, pair.candidate.place];
    if (legacy < furthest.legacy || candidate < furthest.candidate) {
      for (const other of this.#uncross(pair)) this.#entangle(other);
      this.#entangle(entry);
    }
    furthest.legacy = Math.max(furthest.legacy, legacy);
    furthest.candidate = Math.max(furthest.candidate, candidate);
    this.#entries.push(entry);
    this.#fresh += 1;
  }

  /**
   * Those whose events it changed for such as say the same. The nearest first: what takes the event of one further
   * away crosses all between.
   */
  #uncross(pair: Pair): Entry[] {
    if (!this.#entries.some(entry => isAlike(pair, entry))) return [];
    const { place } = pair.legacy;
    const away = ({ pair: other }: Entry) => Math.abs(other.legacy.place - place);
    return this.#entries
      .toSorted((a, b) => away(a) - away(b))
      .filter(entry => {
        if (!isAlike(pair, entry)) return false;
        const { pair: other } = entry;
        // What a comparison found lies in the one that stays.
        if (areTwins(pair.legacy, other.legacy)) {
          [pair.legacy, other.legacy] = [other.legacy, pair.legacy];
        } else {
          [pair.candidate, other.candidate] = [other.candidate, pair.candidate];
        }
        return true;
      });
  }

  #entangle(entry: Entry): void {
    for (const other of this.#entries) {
      if (other === entry || !doCross(entry.pair, other.pair)) continue;
      entry.crosses = true;
      other.crosses = true;
      this.#heads = null;
    }
  }

  /** Hands over every pair whose place is certain. `waiting`: the lane's events without a pair. */
  settle(waiting: Readonly<Record<Side, readonly Pending[]>>, rest: Rest): void {
    const { legacy, candidate } = this.#furthest;
    const heads: Heads = [
      before(legacy, waiting.legacy[0]),
      before(legacy, waiting.legacy[1]),
      before(candidate, waiting.candidate[0]),
    ];
    // Behind one that waits for its window there may be hundreds, of which nothing new can be said.
    if (this.#heads?.every((head, index) => head === heads[index])) {
      return this.#settleFresh(waiting, rest);
    }
    this.#heads = heads;
    this.#fresh = 0;
    const excess = this.#entries.length - MOST_PAIRS;
    for (const [index, entry] of this.#entries.entries()) {
      if (entry.isResting || entry.crosses) continue;
      if (index < excess || isPassable(entry.pair, waiting)) bringToRest(entry, false, rest);
    }
    const tangled = this.#entries.filter(({ crosses }) => crosses);
    const isOpen = tangled.some(({ isResting, pair }) => !isResting && !isClosed(pair, waiting));
    const isKnown = !isOpen || tangled.length > MOST_TANGLED;
    if (isKnown) {
      const inOrder = longestRun(tangled);
      for (const entry of tangled) {
        if (!entry.isResting) bringToRest(entry, !inOrder.has(entry), rest);
      }
    }
    this.#entries = this.#entries.filter(({ isResting, crosses, pair }) => {
      if (!isResting) return true;
      // What rests in order is to be held against what it crosses, and what may still come.
      return !pair.isLate && ((crosses && !isKnown) || !isClosed(pair, waiting));
    });
  }

  #settleFresh(waiting: Readonly<Record<Side, readonly Pending[]>>, rest: Rest): void {
    const entries = this.#entries;
    for (; this.#fresh > 0; this.#fresh -= 1) {
      const entry = entries[entries.length - this.#fresh] as Entry;
      if (isPassable(entry.pair, waiting)) bringToRest(entry, false, rest);
      const pushed = entries[entries.length - this.#fresh - MOST_PAIRS];
      if (pushed !== undefined && !pushed.isResting && !pushed.crosses) {
        bringToRest(pushed, false, rest);
      }
    }
  }
}

function bringToRest(entry: Entry, isLate: boolean, rest: Rest): void {
  entry.isResting = true;
  entry.pair.isLate = isLate;
  rest(entry.pair);
}

function doCross(a: Pair, b: Pair): boolean {
  return a.legacy.place < b.legacy.place !== a.candidate.place < b.candidate.place;
}

/** They cross, and what says the same on one side may have been either's. */
function isAlike(pair: Pair, { isResting, pair: other }: Entry): boolean {
  if (isResting || !doCross(pair, other)) return false;
  return areTwins(pair.legacy, other.legacy) || areTwins(pair.candidate, other.candidate);
}

/** Nothing waits before it, so that nothing new can cross it. */
function isClosed(
  { legacy, candidate }: Pair,
  waiting: Readonly<Record<Side, readonly Pending[]>>,
): boolean {
  return isNoneBefore(legacy, waiting.legacy[0]) && isNoneBefore(candidate, waiting.candidate[0]);
}

/** At most one event of legacy waits before it: should that one cross it, that one is out of order. */
function isPassable(
  { legacy, candidate }: Pair,
  waiting: Readonly<Record<Side, readonly Pending[]>>,
): boolean {
  return isNoneBefore(legacy, waiting.legacy[1]) && isNoneBefore(candidate, waiting.candidate[0]);
}

/** What waits behind all entries is nothing to them. */
function before(place: number, waiting: Pending | undefined): Pending | undefined {
  return waiting === undefined || waiting.place > place ? undefined : waiting;
}

function isNoneBefore(event: Pending, waiting: Pending | undefined): boolean {
  return waiting === undefined || waiting.place > event.place;
}

/** The longest run of pairs that agree; those that rest already are in it. */
function longestRun(entries: readonly Entry[]): Set<Entry> {
  if (entries.length > MOST_TANGLED)
    return new Set(entries.filter(each => !isOvertaken(each, entries)));
  const sorted = entries.toSorted((a, b) => a.pair.legacy.place - b.pair.legacy.place);
  const length: number[] = [];
  const before: number[] = [];
  let best = -1;
  for (const [index, entry] of sorted.entries()) {
    before[index] = -1;
    let longest = 0;
    for (let earlier = 0; earlier < index; earlier++) {
      const other = sorted[earlier];
      if (other === undefined || doCross(other.pair, entry.pair)) continue;
      // Not less: of equally long ones the later.
      if ((length[earlier] ?? 0) < longest) continue;
      longest = length[earlier] ?? 0;
      before[index] = earlier;
    }
    length[index] = longest + (entry.isResting ? entries.length : 1);
    if (best === -1 || (length[index] ?? 0) >= (length[best] ?? 0)) best = index;
  }
  const run = new Set<Entry>();
  for (let index = best; index !== -1; index = before[index] ?? -1) {
    const entry = sorted[index];
    if (entry !== undefined) run.add(entry);
  }
  return run;
}

function isOvertaken({ pair }: Entry, entries: readonly Entry[]): boolean {
  return entries.some(
    ({ pair: other }) => doCross(pair, other) && other.legacy.place > pair.legacy.place,
  );
}
