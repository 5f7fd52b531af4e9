// Writes that only one service was given, because there was no room for the other one's copy: what that
// does not say for want of them is no fault of its own.
import { ofSide, type Side } from '../decide.ts';
import { Spans } from './spans.ts';

export class LeftOutWrites {
  /** By the side that lacks them. */
  readonly #spans: Readonly<Record<Side, Spans>>;

  constructor(windowMs: number) {
    this.#spans = { legacy: new Spans(windowMs), candidate: new Spans(windowMs) };
  }

  /** `side` was not given a write. `atMs` never goes back. */
  note(side: Side, atMs: number): void {
    ofSide(this.#spans, side).note(atMs);
  }

  /** May an event that `side` alone lacks, and that came at `atMs`, be due to one? Within a window of it. */
  mayExplain(side: Side, atMs: number): boolean {
    return ofSide(this.#spans, side).has(atMs);
  }
}
