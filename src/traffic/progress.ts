// Whether a peer still takes what is written to it.

/** Only what is asked of a stream here. */
interface Taker {
  /** Bytes that wait to be taken. */
  readonly writableLength: number;
}

/** Watches one peer; asked about once a second. */
export class Progress {
  #pending = 0;
  #sinceMs: number;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  /** Its time begins now: it was not asked to take anything before. */
  restart(nowMs: number): void {
    this.#sinceMs = nowMs;
  }

  /**
   * True if nothing moved for `limitMs`: bytes wait and none is taken; with `ending`, also if nothing
   * waits but the end that is due has not come. A peer that takes a whole read's worth within the
   * limit is slow, not stuck.
   */
  isStuck(peer: Taker, nowMs: number, limitMs: number, ending = false): boolean {
    const pending = peer.writableLength;
    if (pending !== this.#pending || (pending === 0 && !ending)) {
      this.#pending = pending;
      this.#sinceMs = nowMs;
    }
    return nowMs - this.#sinceMs >= limitMs;
  }
}
