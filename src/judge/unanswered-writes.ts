// What a service may still be about to say: a write that it was given and has not answered. Whoever is
// slow to take a write is late with the events that it causes, and late is not missing; but a write that
// hangs must not keep every session's verdicts back: it counts for one window.
//
//   Node takes one new connection a turn of its loop. Of 80 backends that began to post at once, the last
//   ones had legacy's event after a moment and the candidate's more than a window later: false alarms.
import { ofSide, SIDES, type Side } from '../rules/decide.ts';
import {
  type LateBySide,
  type LateWrites,
  together,
  toldOf,
} from '../rules/pairing/late-writes.ts';

/** Users of whom late writes are told by name, of each look and side. Those of others count for everybody. */
const MOST_USERS = 256;

interface Write {
  /** Epoch ms. */
  readonly begunAt: number;
  /** The user's name; null where nobody knows. */
  readonly about: string | null;
}

/** From one time on, by side: when the oldest write began that is to be answered, epoch ms; infinite where none is. */
interface Change {
  readonly at: number;
  readonly oldest: Readonly<Record<Side, number>>;
}

export interface JudgedWrites {
  /**
   * By side, epoch ms: events that arrived from it by then have had their window, since a window ago the other side
   * had answered every write that could have caused them, or had had a window for that.
   */
  readonly due: Readonly<Record<Side, number>>;
  /**
   * By side: what it has answered since the last look, and what it has to answer still; of what hangs for longer than
   * a window no more than that.
   */
  readonly late: LateBySide;
}

export class UnansweredWrites {
  readonly #windowMs: number;
  /** What that side has to answer, in order. */
  readonly #open: Readonly<Record<Side, Set<Write>>> = { legacy: new Set(), candidate: new Set() };
  /** In order, one a millisecond at most, the first one a window ago or more. */
  readonly #changes: Change[] = [];
  /** Answered since the last look. */
  #late: Record<Side, Map<string | null, LateWrites>> = noneLate();

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /**
   * A write goes to both services; to be told once of each that has answered or was given up. `about`: the user's name
   * whom it is about, null where nobody knows. `begunAt` never goes back.
   */
  begin(begunAt: number, about: string | null): (side: Side, nowMs: number) => void {
    const write = { begunAt, about };
    for (const side of SIDES) this.#open[side].add(write);
    this.#noteChange(begunAt);
    return (side, nowMs) => {
      if (!ofSide(this.#open, side).delete(write)) return;
      this.#noteChange(nowMs);
      this.#noteLate(side, write, nowMs);
    };
  }

  /** How many times are known at which what is to be answered became another. */
  get changes(): number {
    return this.#changes.length;
  }

  #noteChange(nowMs: number): void {
    const changes = this.#changes;
    const last = changes.at(-1)?.oldest;
    const oldest = { legacy: this.#oldest('legacy'), candidate: this.#oldest('candidate') };
    if (last?.legacy === oldest.legacy && last.candidate === oldest.candidate) return;
    if (changes.at(-1)?.at === nowMs) changes.pop();
    changes.push({ at: nowMs, oldest });
    // Where nobody looks, those of a window are enough.
    if (changes.length > 2 * this.#windowMs) this.#forget(nowMs - this.#windowMs);
  }

  #oldest(side: Side): number {
    const [oldest] = this.#open[side];
    return oldest?.begunAt ?? Number.POSITIVE_INFINITY;
  }

  /** All but the last change by then, and what came after it. */
  #forget(before: number): void {
    const next = this.#changes.findIndex(({ at }) => at > before);
    this.#changes.splice(0, (next === -1 ? this.#changes.length : next) - 1);
  }

  #noteLate(side: Side, { begunAt, about }: Write, nowMs: number): void {
    const tookMs = nowMs - begunAt;
    if (tookMs <= 0 || tookMs > this.#windowMs) return;
    const late = ofSide(this.#late, side);
    const whose = late.size < MOST_USERS || late.has(about) ? about : null;
    late.set(whose, together(late.get(whose), { begunAt, answeredAt: nowMs, tookMs }));
  }

  /** To be called a few times a second. */
  look(nowMs: number): JudgedWrites {
    const before = nowMs - this.#windowMs;
    for (const side of SIDES)
      for (const write of this.#open[side]) this.#noteLate(side, write, nowMs);
    const late = { legacy: toldOf(this.#late.legacy), candidate: toldOf(this.#late.candidate) };
    this.#late = noneLate();
    this.#forget(before);
    const [first] = this.#changes;
    const then = first !== undefined && first.at <= before ? first.oldest : null;
    // A write that began in the same millisecond is behind it; one that hung for a window counted no longer.
    const answeredBy = (side: Side) =>
      Math.max(Math.min(before, then?.[side] ?? before) - 1, before - this.#windowMs);
    return { due: { legacy: answeredBy('candidate'), candidate: answeredBy('legacy') }, late };
  }
}

function noneLate(): Record<Side, Map<string | null, LateWrites>> {
  return { legacy: new Map(), candidate: new Map() };
}
