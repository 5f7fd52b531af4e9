// What was paired of late: a further event with the same content is a duplicate.

/** Of one session and generation; two are kept, some 50 kB. */
const MOST_REMEMBERED = 1_024;
/** Slots at first; doubled while more than half of them are taken. */
const FEWEST_SLOTS = 16;

const NO_PRINTS = new Int32Array(0);
const NO_TIMES = new Float64Array(0);

export class PairedContent {
  #young = new Generation();
  #old = new Generation();

  get isEmpty(): boolean {
    return this.#young.size + this.#old.size === 0;
  }

  /** A fingerprint or exact print, and when a pair of it was found, epoch ms. Null is remembered of nothing. */
  note(print: number | null, atMs: number): void {
    if (print === null) return;
    if (this.#young.size >= MOST_REMEMBERED) this.age();
    this.#young.set(print, atMs);
  }

  /** Was a pair of it found at `sinceMs` or later? */
  has(print: number | null, sinceMs: number): boolean {
    if (print === null) return false;
    const pairedAt = this.#young.get(print) ?? this.#old.get(print);
    return pairedAt !== undefined && pairedAt >= sinceMs;
  }

  /** Forgets what was there before the last time. */
  age(): void {
    const before = this.#old;
    this.#old = this.#young;
    this.#young = before;
    before.clear();
  }
}

/** Print to time, in flat memory: a map of each session's that is made anew all the time is work for the collector. */
class Generation {
  size = 0;
  /** Each plus one: 0 is a free slot. */
  #prints = NO_PRINTS;
  #times = NO_TIMES;

  get(print: number): number | undefined {
    if (this.size === 0) return undefined;
    const slot = slotOf(this.#prints, print + 1);
    return this.#prints[slot] === 0 ? undefined : this.#times[slot];
  }

  set(print: number, atMs: number): void {
    if (2 * this.size >= this.#prints.length) this.#grow();
    const prints = this.#prints;
    const slot = slotOf(prints, print + 1);
    if (prints[slot] === 0) this.size += 1;
    prints[slot] = print + 1;
    this.#times[slot] = atMs;
  }

  /** What was hardly used is given back. */
  clear(): void {
    if (8 * this.size >= this.#prints.length) this.#prints.fill(0);
    else {
      this.#prints = NO_PRINTS;
      this.#times = NO_TIMES;
    }
    this.size = 0;
  }

  #grow(): void {
    const [prints, times] = [this.#prints, this.#times];
    const slots = Math.max(FEWEST_SLOTS, 2 * prints.length);
    this.#prints = new Int32Array(slots);
    this.#times = new Float64Array(slots);
    this.size = 0;
    for (const [slot, print] of prints.entries()) {
      if (print !== 0) this.set(print - 1, times[slot] as number);
    }
  }
}

/** Where it stands, or would: open addressing, linear. The slots are a power of two, and never all taken. */
function slotOf(prints: Int32Array, stored: number): number {
  const mask = prints.length - 1;
  for (let slot = stored & mask; ; slot = (slot + 1) & mask) {
    const here = prints[slot];
    if (here === stored || here === 0) return slot;
  }
}
