// What was paired of late: a further event with the same content is a duplicate.

/** Of one session; some 60 kB. */
const MOST_REMEMBERED = 1_024;

export class PairedContent {
  readonly #windowMs: number;
  /** Fingerprint to when a pair of it was last found, oldest first. */
  readonly #pairedAt = new Map<number, number>();

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  note(print: number, atMs: number): void {
    this.#pairedAt.delete(print);
    this.#pairedAt.set(print, atMs);
    if (this.#pairedAt.size > MOST_REMEMBERED) this.#forgetOldest();
  }

  /** Was such a pair found within a window before `atMs`, or after it? */
  has(print: number, atMs: number): boolean {
    const pairedAt = this.#pairedAt.get(print);
    return pairedAt !== undefined && pairedAt >= atMs - this.#windowMs;
  }

  /** Forgets what no event can be a duplicate of any more: that may wait a window itself. */
  sweep(atMs: number): void {
    for (const [print, pairedAt] of this.#pairedAt) {
      if (pairedAt >= atMs - 2 * this.#windowMs) return;
      this.#pairedAt.delete(print);
    }
  }

  #forgetOldest(): void {
    for (const print of this.#pairedAt.keys()) {
      this.#pairedAt.delete(print);
      return;
    }
  }
}
