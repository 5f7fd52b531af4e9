// Things that may not overtake each other: each begins when the one before it is over.

/**
 * Beyond, whoever comes has no turn: a connection that many users share, before a service that is slower than they
 * are, would take all the room that there is for everybody's.
 */
const MOST_WAITING = 100;

export class Turns {
  readonly #waiting: (() => void)[] = [];
  #isTaken = false;

  get isFull(): boolean {
    return this.#waiting.length >= MOST_WAITING;
  }

  /** Calls `begin` when it is its turn, at once if nothing is before it. Whoever began says `over` once. */
  take(begin: () => void): void {
    if (this.#isTaken) return void this.#waiting.push(begin);
    this.#isTaken = true;
    begin();
  }

  /** It will not begin; for one that waits. */
  leave(begin: () => void): void {
    this.#waiting.splice(this.#waiting.indexOf(begin), 1);
  }

  over(): void {
    const next = this.#waiting.shift();
    this.#isTaken = next !== undefined;
    next?.();
  }
}
