// Writes that only one service was given, because there was no room for the other one's copy: what that
// does not say for want of them is no fault of its own. What they cause may come from when they are there until some
// time after they were answered, and of an upload behind each part of it; not for as long as its client takes to send it.
import { ofSide, type Side } from '../decide.ts';
import { Spans } from './spans.ts';

export class LeftOutWrites {
  /** By the side that lacks them. */
  readonly #spans: Readonly<Record<Side, Spans>>;

  constructor(windowMs: number) {
    this.#spans = { legacy: new Spans(windowMs), candidate: new Spans(windowMs) };
  }

  /** `side` is not given a write that the other one has to answer yet. `atMs` never goes back. */
  begin(side: Side, atMs: number): void {
    ofSide(this.#spans, side).begin(atMs);
  }

  /** All are answered that it was not given. */
  over(side: Side, atMs: number): void {
    ofSide(this.#spans, side).note(atMs);
  }

  /** May an event that `side` alone lacks, and that came at `atMs`, be due to one? Until a window behind it. */
  mayExplain(side: Side, atMs: number): boolean {
    return ofSide(this.#spans, side).has(atMs);
  }
}
