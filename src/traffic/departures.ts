// Sessions and streams whose clients are to be told to come again, one after another: when all reconnect at once, that is
// an outage of its own. Some have no leg any more; the others are served until it is their turn, and on if by
// then nothing says that they are to go: a release must not be followed by the closes of the rollback.

/** Whose turn it is, is looked at so often. */
const TICK_MS = 5;
/** So many are asked about at a time: a decision takes up to 5 µs, and clients are held up for a millisecond. */
const SLICE = 200;
/** What a busy turn has held up is made up for, but for no more than what was due in so long. */
const MOST_BEHIND_MS = 1_000;

export interface DeparturesOptions<T> {
  /** How many are told a second. */
  readonly perS: () => number;
  /** Asked of each in its turn. */
  readonly isDue: (member: T) => boolean;
  readonly tell: (member: T) => void;
}

export class Departures<T> {
  readonly #options: DeparturesOptions<T>;
  /** In the order of their turns. */
  readonly #waiting = new Set<T>();
  /** ms of `performance.now()`. */
  #nextAt = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: DeparturesOptions<T>) {
    this.#options = options;
  }

  /** Again: it keeps its place. */
  add(member: T): void {
    // Time in which nobody waited is not saved up.
    if (this.#waiting.size === 0) {
      this.#nextAt = Math.max(this.#nextAt, performance.now() - TICK_MS);
    }
    this.#waiting.add(member);
    this.#timer ??= setInterval(() => this.#work(performance.now()), TICK_MS).unref();
  }

  /** It has left by itself. */
  forget(member: T): void {
    this.#waiting.delete(member);
  }

  close(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  #work(now: number): void {
    const { perS, isDue, tell } = this.#options;
    this.#nextAt = Math.max(this.#nextAt, now - MOST_BEHIND_MS);
    let looked = 0;
    for (const member of this.#waiting) {
      looked += 1;
      if (this.#nextAt > now || looked > SLICE) return;
      this.#waiting.delete(member);
      if (!isDue(member)) continue;
      // Clients with one delay of their own must not come back in step.
      this.#nextAt += ((0.5 + Math.random()) * 1_000) / perS();
      tell(member);
    }
    this.close();
  }
}
