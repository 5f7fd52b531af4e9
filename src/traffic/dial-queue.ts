// Sessions that need a leg before they can move: dialled at a pace, so that a move of thousands is no storm
// on the service that they go to.
import type { Session } from './session.ts';

/** The queue is looked at so often. */
const TICK_MS = 5;

export interface DialPace {
  readonly movesPerS: number;
  readonly dialsAtOnce: number;
}

export class DialQueue {
  readonly #pace: () => DialPace;
  readonly #dial: (session: Session) => void;
  readonly #waiting = new Set<Session>();
  /** In the order of who said or heard something last, the last one first to go. */
  #order: Session[] = [];
  readonly #underWay = new Set<Session>();
  /** ms of `performance.now()`. */
  #nextAt = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(pace: () => DialPace, dial: (session: Session) => void) {
    this.#pace = pace;
    this.#dial = dial;
  }

  /** Dials for it in its turn: whoever was active last is first. */
  add(session: Session): void {
    if (this.#waiting.has(session) || this.#underWay.has(session)) return;
    this.#waiting.add(session);
    this.#order = [];
    // Those that are added in the same turn are put in order first.
    this.#timer ??= setInterval(() => this.#work(), TICK_MS).unref();
    setImmediate(() => this.#work());
  }

  /** Its leg is there, or could not be had, or it needs none any more. */
  done(session: Session): void {
    this.#waiting.delete(session);
    this.#underWay.delete(session);
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #work(): void {
    const { movesPerS, dialsAtOnce } = this.#pace();
    const now = performance.now();
    this.#nextAt = Math.max(this.#nextAt, now - TICK_MS);
    while (this.#waiting.size > 0 && this.#underWay.size < dialsAtOnce && this.#nextAt <= now) {
      const session = this.#next();
      this.#nextAt += 1_000 / movesPerS;
      this.#underWay.add(session);
      this.#dial(session);
    }
    if (this.#waiting.size === 0) this.close();
  }

  #next(): Session {
    if (this.#order.length === 0) {
      this.#order = [...this.#waiting].sort((a, b) => a.activeAt - b.activeAt);
    }
    for (;;) {
      const session = this.#order.pop() as Session;
      // It may have left, or moved, meanwhile.
      if (this.#waiting.delete(session)) return session;
      if (this.#order.length === 0) return this.#next();
    }
  }
}
