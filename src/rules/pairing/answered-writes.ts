// How far the services are with the writes that both were given: what one of them has not answered yet has its
// effects there still to come, though it had them long ago at the other one.
import { ofSide, type Side } from '../decide.ts';

/** So many windows are looked back: an event comes within two of a beginning, and waits for two. */
const WINDOWS = 4;

interface Look {
  /** Epoch ms, as all here. */
  readonly at: number;
  /** Each side had answered all writes that began by then. */
  readonly until: Readonly<Record<Side, number>>;
}

export class AnsweredWrites {
  readonly #windowMs: number;
  /** In order. */
  readonly #looks: Look[] = [];

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** To be called a few times a second; `atMs` never goes back, nor does any of the others. */
  note(atMs: number, until: Readonly<Record<Side, number>>): void {
    this.#looks.push({ at: atMs, until });
    const before = atMs - WINDOWS * this.#windowMs;
    while ((this.#looks[1]?.at ?? atMs) < before) this.#looks.shift();
  }

  /** How long it took from then on until `side` had answered all writes that began by then, ms; a window at most. */
  lateMs(side: Side, begunBy: number): number {
    if (this.#looks.length === 0) return 0;
    const at = this.#looks.find(({ until }) => ofSide(until, side) >= begunBy)?.at;
    return Math.min(this.#windowMs, Math.max(0, (at ?? Number.POSITIVE_INFINITY) - begunBy));
  }
}
