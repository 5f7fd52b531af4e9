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

/** At one time, by side: when the last began of those writes before which all were answered, epoch ms. */
interface Look {
  readonly at: number;
  readonly answered: Readonly<Record<Side, number>>;
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
  /** In order, the first one a window ago or more. */
  readonly #looks: Look[] = [];
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
    return (side, nowMs) => {
      if (ofSide(this.#open, side).delete(write)) this.#noteLate(side, write, nowMs);
    };
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
    const answered = { legacy: nowMs, candidate: nowMs };
    for (const side of SIDES) {
      const open = this.#open[side];
      const [oldest] = open;
      // A write that began in the same millisecond is behind it.
      answered[side] = Math.max((oldest?.begunAt ?? nowMs) - 1, before);
      for (const write of open) this.#noteLate(side, write, nowMs);
    }
    const late = { legacy: toldOf(this.#late.legacy), candidate: toldOf(this.#late.candidate) };
    this.#late = noneLate();
    const looks = this.#looks;
    looks.push({ at: nowMs, answered });
    while ((looks[1]?.at ?? nowMs) <= before) looks.shift();
    const then = looks[0] !== undefined && looks[0].at <= before ? looks[0].answered : null;
    const due = {
      legacy: then?.candidate ?? Number.NEGATIVE_INFINITY,
      candidate: then?.legacy ?? Number.NEGATIVE_INFINITY,
    };
    return { due, late };
  }
}

function noneLate(): Record<Side, Map<string | null, LateWrites>> {
  return { legacy: new Map(), candidate: new Map() };
}
