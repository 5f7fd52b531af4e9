// Who waits, first come, first served. Not an array whose first is shifted off: that moves all who stand behind,
// which at thousands takes longer than what they wait for.

export class Line<T> {
  #waiting: T[] = [];
  /** Those before it have had their turn. */
  #next = 0;

  get length(): number {
    return this.#waiting.length - this.#next;
  }

  add(one: T): void {
    this.#waiting.push(one);
  }

  /** Undefined: nobody waits. */
  take(): T | undefined {
    const one = this.#waiting[this.#next];
    this.#next += 1;
    if (this.#next >= this.#waiting.length) {
      this.#waiting = [];
      this.#next = 0;
    }
    return one;
  }
}
