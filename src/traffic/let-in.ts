// Whether legacy lets anybody in. One whose keys are broken refuses everybody, and says nothing by that of who is
// refused.
import type { Leg } from './leg.ts';

/** Whose leg is open still after so long was let in: some accept whoever comes, and say then that he may not. */
export const LET_IN_MS = 1_000;
/** Whom it let in before that says nothing of what it does now. */
const LATELY_MS = 60_000;
/** All that is open is looked at so often at most; thousands are refused in that time. */
const LOOK_MS = 100;

export class LetIn {
  readonly #legs: () => Iterable<{ readonly route: string; readonly leg: Leg }>;
  /** By route, when the last leg was opened that was let in (ms of `performance.now()`). */
  readonly #openedAt = new Map<string, number>();
  #lookedAt = Number.NEGATIVE_INFINITY;

  /** `legs` are those that are open on legacy. */
  constructor(legs: () => Iterable<{ readonly route: string; readonly leg: Leg }>) {
    this.#legs = legs;
  }

  lately(route: string): boolean {
    const now = performance.now();
    if (now - this.#lookedAt >= LOOK_MS) this.#look(now);
    return now - (this.#openedAt.get(route) ?? Number.NEGATIVE_INFINITY) < LATELY_MS;
  }

  #look(now: number): void {
    this.#lookedAt = now;
    for (const { route, leg } of this.#legs()) {
      const { openedAt, tracker, socket } = leg;
      const isIn = tracker.closeCode === null && !socket.destroyed && now - openedAt >= LET_IN_MS;
      if (isIn && openedAt > (this.#openedAt.get(route) ?? 0)) this.#openedAt.set(route, openedAt);
    }
  }
}
