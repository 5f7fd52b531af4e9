// Sessions and streams whose clients are to be told to come again, one after another: when all reconnect at once, that is
// an outage of its own. Some have no leg any more; the others are served until it is their turn, and on if by
// then nothing says that they are to go: a release must not be followed by the closes of the rollback. Who is rolled
// back goes first, whatever else is planned.

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
  /** Each in the order of their turns; the urgent ones come before all others. */
  readonly #urgent = new Set<T>();
  readonly #waiting = new Set<T>();
  /** ms of `performance.now()`. */
  #nextAt = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(options: DeparturesOptions<T>) {
    this.#options = options;
  }

  /** Again: it keeps its place, unless it is urgent now. */
  add(member: T, { isUrgent = false } = {}): void {
    // Time in which nobody waited is not saved up.
    if (this.#urgent.size + this.#waiting.size === 0) {
      this.#nextAt = Math.max(this.#nextAt, performance.now() - TICK_MS);
    }
    if (isUrgent) {
      this.#waiting.delete(member);
      this.#urgent.add(member);
    } else if (!this.#urgent.has(member)) this.#waiting.add(member);
    this.#timer ??= setInterval(() => this.#work(performance.now()), TICK_MS).unref();
  }

  /** It has left by itself. */
  forget(member: T): void {
    this.#urgent.delete(member);
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
    for (const waiting of [this.#urgent, this.#waiting]) {
      for (const member of waiting) {
        looked += 1;
        if (this.#nextAt > now || looked > SLICE) return;
        waiting.delete(member);
        if (!isDue(member)) continue;
        // Clients with one delay of their own must not come back in step.
        this.#nextAt += ((0.5 + Math.random()) * 1_000) / perS();
        tell(member);
      }
    }
    this.close();
  }
}
