// Whose an identifier or a content is, by what legacy has sent to whom: the first to get it owns it, and
// what two users got is shared and owned by nobody. Hashes alone, in flat memory; nothing of an
// identifier or a user can be read back.

/** Slots of a table at first; doubled while it fills. */
const FEWEST_SLOTS = 4_096;
/** Share of the slots that may be taken: beyond, looking for one that is free takes long. */
const MOST_FILLED = 0.7;
/** Words of a slot: what it is about (2), whose it is (2). */
const WORDS = 4;

/** 64 bits in two halves; never both 0. */
export interface Hash64 {
  readonly high: number;
  readonly low: number;
}

/** Owned by nobody, because several have it. */
export const SHARED = 'shared';

/** `new`: nobody had it before, and it is his now; `his`: he had it before. */
export type Taught = 'new' | 'his' | typeof SHARED;

export interface OwnershipLimits {
  /** Entries that are known for sure; twice as many at most. Each takes 16 bytes and the gaps between. */
  readonly entries: number;
  /** What nobody was sent for so long is forgotten, half of that at the earliest. */
  readonly maxAgeMs: number;
}

/**
 * With a million entries of 64 bits each, that any two of them agree by chance has odds of one in 37
 * million, and that one which is unknown agrees with any, one in 18 million million. Where a table is
 * full the older half is forgotten: what is not known accuses nobody.
 */
export class Ownership {
  readonly #limits: OwnershipLimits;
  #young: Table;
  #old: Table;
  #since = Number.NEGATIVE_INFINITY;
  /** How often the older half was forgotten: what was taught since is in the young one. */
  generation = 0;
  #crowdedOut = 0;

  constructor(limits: OwnershipLimits) {
    this.#limits = limits;
    this.#young = new Table(limits.entries);
    this.#old = new Table(limits.entries);
  }

  /** Entries, those that are in both halves counted twice. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Bytes that the tables take. */
  get bytes(): number {
    return this.#young.bytes + this.#old.bytes;
  }

  /** Entries that were forgotten to make room, before their age, since asked last. */
  takeCrowdedOut(): number {
    const crowdedOut = this.#crowdedOut;
    this.#crowdedOut = 0;
    return crowdedOut;
  }

  /** Legacy has sent it to this user. Returns whose it is by that. `atMs` never goes back. */
  teach(what: Hash64, user: Hash64, atMs: number): Taught {
    this.#age(atMs);
    const young = this.#young.ownership(what, user);
    const known = young === 'new' ? this.#old.ownership(what, user) : young;
    // What he has already stands there as it is to stand.
    if (young !== 'his') this.#young.set(what, known === SHARED ? NOBODY : user);
    return known;
  }

  /** Null: unknown. */
  ownerOf(what: Hash64): Hash64 | typeof SHARED | null {
    const known = this.#young.get(what) ?? this.#old.get(what);
    if (known === undefined) return null;
    return isSame(known, NOBODY) ? SHARED : known;
  }

  #age(atMs: number): void {
    if (this.#since === Number.NEGATIVE_INFINITY) this.#since = atMs;
    const isFull = this.#young.isFull;
    if (!isFull && atMs - this.#since < this.#limits.maxAgeMs / 2) return;
    if (isFull) this.#crowdedOut += this.#old.size;
    this.#since = atMs;
    this.generation += 1;
    this.#old = this.#young;
    this.#young = new Table(this.#limits.entries);
  }
}

const NOBODY: Hash64 = Object.freeze({ high: 0, low: 0 });

export function isSame(a: Hash64, b: Hash64): boolean {
  return a.high === b.high && a.low === b.low;
}

/** Open addressing, linear: nothing is ever taken out. */
class Table {
  readonly #most: number;
  #words = new Uint32Array(FEWEST_SLOTS * WORDS);
  #mask = FEWEST_SLOTS - 1;
  size = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get isFull(): boolean {
    return this.size >= this.#most;
  }

  get bytes(): number {
    return this.#words.byteLength;
  }

  get(what: Hash64): Hash64 | undefined {
    const at = this.#slotOf(what);
    const words = this.#words;
    if (words[at] === 0 && words[at + 1] === 0) return undefined;
    return { high: words[at + 2] ?? 0, low: words[at + 3] ?? 0 };
  }

  /** What it would be to teach it here alone. */
  ownership(what: Hash64, user: Hash64): Taught {
    const at = this.#slotOf(what);
    const words = this.#words;
    if (words[at] === 0 && words[at + 1] === 0) return 'new';
    return words[at + 2] === user.high && words[at + 3] === user.low ? 'his' : SHARED;
  }

  set(what: Hash64, owner: Hash64): void {
    let at = this.#slotOf(what);
    if (this.#words[at] === 0 && this.#words[at + 1] === 0) {
      if (this.size >= (this.#mask + 1) * MOST_FILLED) {
        this.#grow();
        at = this.#slotOf(what);
      }
      this.size += 1;
      this.#words[at] = what.high;
      this.#words[at + 1] = what.low;
    }
    this.#words[at + 2] = owner.high;
    this.#words[at + 3] = owner.low;
  }

  /** Index of its first word: where it stands, or where it would. */
  #slotOf({ high, low }: Hash64): number {
    const words = this.#words;
    for (let slot = low & this.#mask; ; slot = (slot + 1) & this.#mask) {
      const at = slot * WORDS;
      if (words[at] === high && words[at + 1] === low) return at;
      if (words[at] === 0 && words[at + 1] === 0) return at;
    }
  }

  #grow(): void {
    const before = this.#words;
    const slots = 2 * (this.#mask + 1);
    this.#words = new Uint32Array(slots * WORDS);
    this.#mask = slots - 1;
    for (let from = 0; from < before.length; from += WORDS) {
      const what = { high: before[from] ?? 0, low: before[from + 1] ?? 0 };
      if (what.high === 0 && what.low === 0) continue;
      this.#words.set(before.subarray(from, from + WORDS), this.#slotOf(what));
    }
  }
}
