// What a service may still be about to say: a write that it was given and has not answered. Whoever is
// slow to take a write is late with the events that it causes, and late is not missing; but a write that
// hangs must not keep every session's verdicts back: it counts for one window.
//
//   Node takes one new connection a turn of its loop. Of 80 backends that began to post at once, the last
//   ones had legacy's event after a moment and the candidate's more than a window later: false alarms.
import { SIDES, type Side } from '../rules/decide.ts';
import type { WritesLook } from '../rules/pairing/answered-writes.ts';

/** From one tick to the next. */
interface Span {
  /** Epoch ms. */
  readonly since: number;
  until: number;
  /** Writes that began in it, by the side that has not answered. */
  readonly open: Record<Side, number>;
  /** At its end, that side had answered every write that began before. */
  readonly answered: Record<Side, number>;
}

/** See `WritesLook`, and by side, epoch ms: */
export interface JudgedWrites extends WritesLook {
  /**
   * Events that arrived from it by then have had their window, since a window ago the other side had answered every
   * write that could have caused them, or had had a window for that.
   */
  readonly due: Readonly<Record<Side, number>>;
}

export class UnansweredWrites {
  readonly #windowMs: number;
  /** In order; the last one is under way. */
  readonly #spans: Span[] = [spanFrom(0)];
  /** That any took which was answered since the last look. */
  readonly #longestMs: Record<Side, number> = { legacy: 0, candidate: 0 };

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** A write goes to both services; to be told once of each that has answered or was given up. */
  begin(begunMs: number): (side: Side, nowMs: number) => void {
    const { open } = this.#last;
    for (const side of SIDES) open[side] += 1;
    return (side, nowMs) => {
      open[side] -= 1;
      this.#longestMs[side] = Math.max(this.#longestMs[side], nowMs - begunMs);
    };
  }

  /** To be called a few times a second. */
  look(nowMs: number): JudgedWrites {
    const spans = this.#spans;
    const last = this.#last;
    last.until = nowMs;
    const answered = { legacy: nowMs, candidate: nowMs };
    const longestMs = { ...this.#longestMs };
    for (const side of SIDES) {
      const oldest = spans.find(({ open }) => open[side] > 0);
      // A write that began in the same millisecond is behind it.
      last.answered[side] = Math.max((oldest?.since ?? nowMs) - 1, nowMs - this.#windowMs);
      const late = spans.find(
        ({ open, since }) => open[side] > 0 && since >= nowMs - this.#windowMs,
      );
      if (late !== undefined) answered[side] = late.since - 1;
      if (late !== undefined && late !== last)
        longestMs[side] = Math.max(longestMs[side], nowMs - late.since);
      this.#longestMs[side] = 0;
    }
    spans.push(spanFrom(nowMs));
    const before = nowMs - this.#windowMs;
    while (isOver(spans[0]) && (spans[1]?.until ?? nowMs) <= before) spans.shift();
    const then = spans.findLast(({ until }) => until <= before)?.answered;
    const due = {
      legacy: then?.candidate ?? Number.NEGATIVE_INFINITY,
      candidate: then?.legacy ?? Number.NEGATIVE_INFINITY,
    };
    return { due, answered, longestMs };
  }

  get #last(): Span {
    return this.#spans.at(-1) as Span;
  }
}

function isOver(span: Span | undefined): boolean {
  return span !== undefined && SIDES.every(side => span.open[side] === 0);
}

function spanFrom(since: number): Span {
  return {
    ...{ since, until: Number.POSITIVE_INFINITY },
    open: { legacy: 0, candidate: 0 },
    answered: { legacy: 0, candidate: 0 },
  };
}
