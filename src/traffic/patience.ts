// How long an answer is read that nobody waits for.
import { afterReads } from './after-reads.ts';

/** One that goes on takes so many times what a service has for its next word, and its place is another's. */
const MOST_PATIENCES = 10;

/**
 * How long the rest of an answer may take that nobody waits for: it may have no end. `goesOn` gives it more time, up
 * to so many times as long in all.
 */
export class Patience {
  readonly #limitMs: number;
  #timer: NodeJS.Timeout | undefined;
  #endsAt = Number.POSITIVE_INFINITY;
  #pieces = 0;
  #isOver = false;

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  begin(giveUp: () => void): void {
    if (this.#timer !== undefined) return;
    this.#timer = setTimeout(() => {
      const before = this.#pieces;
      // What lies there unread, since the proxy itself stood still, is no silence.
      afterReads(() => {
        if (!this.#isOver && this.#pieces === before) giveUp();
      });
    }, this.#limitMs).unref();
    this.#endsAt = performance.now() + MOST_PATIENCES * this.#limitMs;
  }

  /** More of it has come. False: it has had its time. */
  goesOn(): boolean {
    this.#pieces += 1;
    this.#timer?.refresh();
    return performance.now() <= this.#endsAt;
  }

  end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }
}
