// Who needs a leg of one service: dialled for at a pace, so that neither a move of thousands nor the end of thousands
// of second legs is a storm on it.

/** The queue is looked at so often. */
const TICK_MS = 5;

/**
 * What for, the most pressing first: to be let in, since until then nobody serves him; to be served there because of
 * a rollback; the same for who was tried in vain (he keeps nobody waiting who was not tried yet); to be served there as
 * planned; as the way back; to be compared.
 */
const NEEDS = ['entry', 'rollback', 'retry', 'move', 'standby', 'shadow'] as const;
export type Need = (typeof NEEDS)[number];

export interface DialPace {
  readonly movesPerS: number;
  readonly dialsAtOnce: number;
}

/** A session, or somebody who is still to be let in. */
export interface InLine {
  /** When it said or heard something last (ms of `performance.now()`). */
  readonly activeAt: number;
}

interface Queue<Waiting> {
  readonly waiting: Set<Waiting>;
  /** Some of them: who said or heard something last is the last one here. */
  order: Waiting[];
}

export class DialQueue<Waiting extends InLine> {
  readonly #pace: () => DialPace;
  readonly #dial: (who: Waiting) => boolean;
  readonly #queues: Readonly<Record<Need, Queue<Waiting>>> = {
    entry: emptyQueue(),
    rollback: emptyQueue(),
    retry: emptyQueue(),
    move: emptyQueue(),
    standby: emptyQueue(),
    shadow: emptyQueue(),
  };
  readonly #underWay = new Set<Waiting>();
  /** ms of `performance.now()`. */
  #nextAt = 0;
  #timer: NodeJS.Timeout | null = null;

  /** `dial` says whether a dial is under way then, whose end `done` is to tell. */
  constructor(pace: () => DialPace, dial: (who: Waiting) => boolean) {
    this.#pace = pace;
    this.#dial = dial;
  }

  /** Dials for it in its turn. Again: what is more pressing counts. */
  add(who: Waiting, need: Need): void {
    if (this.#underWay.has(who)) return;
    const before = NEEDS.find(each => this.#queues[each].waiting.has(who));
    if (before !== undefined && NEEDS.indexOf(before) <= NEEDS.indexOf(need)) return;
    if (before !== undefined) this.#queues[before].waiting.delete(who);
    this.#queues[need].waiting.add(who);
    // Those that are added in the same turn are put in order first.
    this.#timer ??= setInterval(() => this.#work(), TICK_MS).unref();
    setImmediate(() => this.#work());
  }

  /** Its leg is there, or could not be had, or it needs none any more. */
  done(who: Waiting): void {
    this.#forget(who);
    this.#underWay.delete(who);
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #work(): void {
    const { movesPerS, dialsAtOnce } = this.#pace();
    const now = performance.now();
    this.#nextAt = Math.max(this.#nextAt, now - TICK_MS);
    while (this.#underWay.size < dialsAtOnce && this.#nextAt <= now) {
      const who = this.#next();
      if (who === null) return this.close();
      this.#nextAt += 1_000 / movesPerS;
      this.#underWay.add(who);
      if (this.#dial(who)) {
        // Another leg may have been let go for it, and its own need told again.
        this.#underWay.add(who);
        this.#forget(who);
      } else this.#underWay.delete(who);
    }
  }

  #forget(who: Waiting): void {
    for (const need of NEEDS) this.#queues[need].waiting.delete(who);
  }

  #next(): Waiting | null {
    for (const need of NEEDS) {
      const queue = this.#queues[need];
      while (queue.waiting.size > 0) {
        // Thousands come in slices. Whoever came meanwhile is put in order once they are as many as those that are: a
        // sort for each would take the loop's time.
        if (2 * queue.order.length <= queue.waiting.size) {
          queue.order = [...queue.waiting].sort((a, b) => a.activeAt - b.activeAt);
        }
        const who = queue.order.pop() as Waiting;
        // It may have left, or moved, meanwhile.
        if (queue.waiting.delete(who)) return who;
      }
      queue.order = [];
    }
    return null;
  }
}

const emptyQueue = <Waiting>(): Queue<Waiting> => ({ waiting: new Set(), order: [] });
