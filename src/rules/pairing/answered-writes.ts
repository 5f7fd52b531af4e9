// How far the services are with the writes that both were given: what one of them has not answered yet has its
// effects there still to come, though it had them long ago at the other one.
import { ofSide, type Side } from '../decide.ts';

/** So many windows are looked back: an event comes within two of a beginning, and waits for two. */
const WINDOWS = 4;

/** How things stood a few times a second, by side. */
export interface WritesLook {
  /** It had answered all writes that began by then, epoch ms, but for such as hang for longer than a window. */
  readonly answered: Readonly<Record<Side, number>>;
  /** The longest that any took which it has answered since the last look, or has to answer since before, ms. */
  readonly longestMs: Readonly<Record<Side, number>>;
}

export class AnsweredWrites {
  readonly #windowMs: number;
  /** In order. */
  readonly #looks: (WritesLook & { readonly at: number })[] = [];

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** `atMs`, epoch ms, never goes back. */
  note(atMs: number, { answered, longestMs }: WritesLook): void {
    this.#looks.push({ at: atMs, answered, longestMs });
    const before = atMs - WINDOWS * this.#windowMs;
    while ((this.#looks[1]?.at ?? atMs) < before) this.#looks.shift();
  }

  /**
   * How long it took from then on, at the most, until `side` had answered all writes that began by `begunBy`, ms. Not
   * from then: `since` where they may have had their effects at the other one before.
   */
  lateMs(side: Side, begunBy: number, since = begunBy): number {
    let longestMs = 0;
    for (const look of this.#looks) {
      if (look.at < since) continue;
      longestMs = Math.max(longestMs, ofSide(look.longestMs, side));
      if (ofSide(look.answered, side) >= begunBy) return Math.min(longestMs, look.at - since);
    }
    return longestMs;
  }
}
