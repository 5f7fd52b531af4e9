// What a client said while one of the services did not hear it, though it was to: its leg was away, or could not
// be opened. A run that the other one begins by it, that service never has.
import type { Side } from '../decide.ts';

/** Of one session: as often a leg was away for a while. Beyond, the first is forgotten. */
const MOST_SPANS = 32;

/** Epoch ms; both ends belong to it. */
interface Span {
  readonly from: number;
  until: number;
}

export class Unheard {
  readonly #windowMs: number;
  /** By the side that did not hear it; in order, and none touches the next. */
  readonly #spans: Readonly<Record<Side, Span[]>> = { legacy: [], candidate: [] };

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** `side` did not hear something. `atMs` never goes back. */
  note(side: Side, atMs: number): void {
    const spans = this.#spans[side];
    const last = spans.at(-1);
    // It may have been begun by what was said just before that leg was lost.
    const [from, until] = [atMs - this.#windowMs, atMs + this.#windowMs];
    if (last !== undefined && from <= last.until) last.until = until;
    else spans.push({ from, until });
    if (spans.length > MOST_SPANS) spans.shift();
  }

  /** May a run whose first event came then have been begun by that? */
  mayHaveBegun(side: Side, atMs: number): boolean {
    return this.#spans[side].some(({ from, until }) => from <= atMs && atMs <= until);
  }
}
