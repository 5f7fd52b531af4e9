// Open sessions that need another leg of one service: dialled at a pace, so that neither a move of thousands nor
// the end of thousands of second legs is a storm on it.
import type { Session } from './session.ts';

/** The queue is looked at so often. */
const TICK_MS = 5;

/** What for, the most pressing first: to be served there, as the way back, to be compared. */
export const NEEDS = ['move', 'standby', 'shadow'] as const;
export type Need = (typeof NEEDS)[number];

export interface DialPace {
  readonly movesPerS: number;
  readonly dialsAtOnce: number;
}

export class DialQueue {
  readonly #pace: () => DialPace;
  readonly #dial: (session: Session) => boolean;
  readonly #waiting = new Map<Session, Need>();
  /** Who is most in need, and of those who said or heard something last, is the last one here. */
  #order: Session[] = [];
  readonly #underWay = new Set<Session>();
  /** ms of `performance.now()`. */
  #nextAt = 0;
  #timer: NodeJS.Timeout | null = null;

  /** `dial` says whether a dial is under way then, whose end `done` is to tell. */
  constructor(pace: () => DialPace, dial: (session: Session) => boolean) {
    this.#pace = pace;
    this.#dial = dial;
  }

  /** Dials for it in its turn. Again: what is more pressing counts. */
  add(session: Session, need: Need): void {
    if (this.#underWay.has(session)) return;
    const before = this.#waiting.get(session);
    if (before !== undefined && NEEDS.indexOf(before) <= NEEDS.indexOf(need)) return;
    this.#waiting.set(session, need);
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
      if (this.#dial(session)) {
        // Another leg may have been let go for it, and its own need told again.
        this.#underWay.add(session);
        this.#waiting.delete(session);
      } else this.#underWay.delete(session);
    }
    if (this.#waiting.size === 0) this.close();
  }

  #next(): Session {
    if (this.#order.length === 0) {
      const rank = (session: Session) => NEEDS.indexOf(this.#waiting.get(session) ?? 'shadow');
      this.#order = [...this.#waiting.keys()].sort(
        (a, b) => rank(b) - rank(a) || a.activeAt - b.activeAt,
      );
    }
    for (;;) {
      const session = this.#order.pop() as Session;
      // It may have left, or moved, meanwhile.
      if (this.#waiting.delete(session)) return session;
      if (this.#order.length === 0) return this.#next();
    }
  }
}
