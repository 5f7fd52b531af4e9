// What was paired of late: a further event with the same content is a duplicate.

/** Of one session and generation; two are kept, some 60 kB. */
const MOST_REMEMBERED = 1_024;

export class PairedContent {
  /** Fingerprint to when a pair of it was last found. */
  #young = new Map<number, number>();
  #old = new Map<number, number>();

  get isEmpty(): boolean {
    return this.#young.size + this.#old.size === 0;
  }

  /** Null is remembered of nothing. */
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
    this.#old = this.#young;
    this.#young = new Map();
  }
}
