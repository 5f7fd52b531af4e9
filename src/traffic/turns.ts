// Things that may not overtake each other: each begins when the one before it is over.

export class Turns {
  readonly #waiting: (() => void)[] = [];
  #isTaken = false;

  /** Calls `begin` when it is its turn, at once if nothing is before it. Whoever began says `over` once. */
  take(begin: () => void): void {
    if (this.#isTaken) return void this.#waiting.push(begin);
    this.#isTaken = true;
    begin();
  }

  over(): void {
    const next = this.#waiting.shift();
    this.#isTaken = next !== undefined;
    next?.();
  }
}
