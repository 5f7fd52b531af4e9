// Stretches of time that follow something, each as long as it may have its effects.

/** Epoch ms; both ends belong to it. */
interface Span {
  readonly from: number;
  until: number;
}

export class Spans {
  readonly #lengthMs: number;
  /** In order, and none touches the next. */
  readonly #spans: Span[] = [];

  constructor(lengthMs: number) {
    this.#lengthMs = lengthMs;
  }

  /** It has happened, and does until it is over. `atMs` never goes back. */
  begin(atMs: number): void {
    this.#reach(atMs, Number.POSITIVE_INFINITY);
  }

  /** It has happened, or is over that began. */
  note(atMs: number): void {
    this.#reach(atMs, atMs + this.#lengthMs);
  }

  #reach(atMs: number, until: number): void {
    const last = this.#spans.at(-1);
    if (last !== undefined && atMs <= last.until) last.until = until;
    else this.#spans.push({ from: atMs, until });
    // What is asked about came a length ago, or as long again before that.
    const over = atMs - 3 * this.#lengthMs;
    while ((this.#spans[0]?.until ?? over) < over) this.#spans.shift();
  }

  /** Has it happened by then, and no more than a length before? */
  has(atMs: number): boolean {
    return this.#spans.some(({ from, until }) => from <= atMs && atMs <= until);
  }
}
