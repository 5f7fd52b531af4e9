// What a service may still be about to say: a write that it was given and has not answered. Whoever is
// slow to take a write is late with the events that it causes, and late is not missing; but a write that
// hangs must not keep every session's verdicts back: it counts for one window.
//
//   Node takes one new connection a turn of its loop. Of 80 backends that began to post at once, the last
//   ones had legacy's event after a moment and the candidate's more than a window later: false alarms.
import { ofSide, SIDES, type Side } from '../rules/decide.ts';
import {
  LATE_MS,
  type LateByUser,
  type LateWrites,
  together,
  type WritesLook,
} from '../rules/pairing/late-writes.ts';

/**
 * Users of whom late writes are told by name, of each look and side: a second's worth of 2,560 writes that are all
 * late. Those of others count for everybody.
 */
const MOST_USERS = 256;

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
  /** Answered since the last look. */
  #late: Record<Side, Map<string | null, LateWrites>> = noneLate();

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /**
   * A write goes to both services; to be told once of each that has answered or was given up. `about`: the user's name
   * whom it is about, null where nobody knows.
   */
  begin(begunMs: number, about: string | null): (side: Side, nowMs: number) => void {
    const { open } = this.#last;
    for (const side of SIDES) open[side] += 1;
    return (side, nowMs) => {
      open[side] -= 1;
      if (nowMs - begunMs >= LATE_MS) this.#noteLate(side, about, begunMs, nowMs);
    };
  }

  #noteLate(side: Side, about: string | null, begunAt: number, answeredAt: number): void {
    const late = ofSide(this.#late, side);
    const whose = late.size < MOST_USERS || late.has(about) ? about : null;
    const write = { begunAt, answeredAt, tookMs: answeredAt - begunAt };
    late.set(whose, together(late.get(whose), write));
  }

  /** To be called a few times a second. */
  look(nowMs: number): JudgedWrites {
    const spans = this.#spans;
    const last = this.#last;
    last.until = nowMs;
    const before = nowMs - this.#windowMs;
    const openSince: Record<Side, number | null> = { legacy: null, candidate: null };
    for (const side of SIDES) {
      const isOpen = ({ open }: Span) => open[side] > 0;
      // A write that began in the same millisecond is behind it.
      last.answered[side] = Math.max((spans.find(isOpen)?.since ?? nowMs) - 1, before);
      const recent = spans.find(span => isOpen(span) && span.since >= before);
      // One that has only just begun is not late.
      if (recent !== undefined && recent !== last) openSince[side] = recent.since;
    }
    const late: Record<Side, LateByUser> = this.#late;
    this.#late = noneLate();
    spans.push(spanFrom(nowMs));
    while (isOver(spans[0]) && (spans[1]?.until ?? nowMs) <= before) spans.shift();
    const then = spans.findLast(({ until }) => until <= before)?.answered;
    const due = {
      legacy: then?.candidate ?? Number.NEGATIVE_INFINITY,
      candidate: then?.legacy ?? Number.NEGATIVE_INFINITY,
    };
    return { due, late, openSince };
  }

  get #last(): Span {
    return this.#spans.at(-1) as Span;
  }
}

function noneLate(): Record<Side, Map<string | null, LateWrites>> {
  return { legacy: new Map(), candidate: new Map() };
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
