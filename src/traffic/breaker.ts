// Keeps a service that fails from being asked again and again: after some failures in a row nobody
// asks for a while, then one may try.

/** A single failure is chance, five in a row are a service that is down. */
const FAILURES = 5;
/** Between two tries while it is down: each costs a time-out, and recovery is seen soon enough. */
const PAUSE_MS = 5_000;

export class Breaker {
  readonly #now: () => number;
  #failures = 0;
  #nextTryAt = 0;

  /** `now` in ms, of a clock that never steps. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get open(): boolean {
    return this.#failures >= FAILURES;
  }

  /** True if one may ask; while it is open, once in `PAUSE_MS`. */
  mayTry(): boolean {
    if (!this.open) return true;
    if (this.#now() < this.#nextTryAt) return false;
    this.#nextTryAt = this.#now() + PAUSE_MS;
    return true;
  }

  succeeded(): void {
    this.#failures = 0;
  }

  failed(): void {
    this.#failures += 1;
    if (this.#failures === FAILURES) this.#nextTryAt = this.#now() + PAUSE_MS;
  }
}
