// Writes that one service was given and the other was not, because there was no room for its copy: what
// it does not say for want of them is no fault of its own.
import type { Side } from '../decide.ts';

/** Epoch ms; both ends belong to it. */
interface Span {
  readonly from: number;
  until: number;
}

export class LeftOutWrites {
  readonly #windowMs: number;
  /** By the side that lacks them; in order, and none touches the next. */
  readonly #spans: Readonly<Record<Side, Span[]>> = { legacy: [], candidate: [] };

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** `side` was not given a write. `atMs` never goes back. */
  note(side: Side, atMs: number): void {
    const spans = this.#spans[side];
    const last = spans.at(-1);
    const until = atMs + this.#windowMs;
    if (last !== undefined && atMs <= last.until) last.until = until;
    else spans.push({ from: atMs, until });
    // An event waits for a window, or as long again for a service that is slow to answer.
    const over = atMs - 3 * this.#windowMs;
    while ((spans[0]?.until ?? over) < over) spans.shift();
  }

  /** May an event that `side` alone lacks, and that came at `atMs`, be due to one? Within a window of it. */
  mayExplain(side: Side, atMs: number): boolean {
    return this.#spans[side].some(({ from, until }) => from <= atMs && atMs <= until);
  }
}
