// How late the services are with the writes that both were given: what one of them was slow to take has its effects
// there late, though it had them long ago at the other one, and perhaps before its user was there.
//
//   Whose they are matters. On a machine under load all writes take as long as some are late, and what the candidate
//   drops for one who has just connected would pass for what another user's write did late.
import { ofSide, type Side } from '../decide.ts';
import type { Pending } from './pending.ts';

/** Shorter is not worth the telling: no service says to the millisecond when it did something. */
export const LATE_MS = 3;
/** So many windows are looked back: an event comes within two of a beginning, and waits for two. */
const WINDOWS = 4;

/** Writes that one service was slow to take; several in one. */
export interface LateWrites {
  /** When the first of them began, and the last was answered or given up, or was still to be answered, epoch ms. */
  readonly begunAt: number;
  readonly answeredAt: number;
  /** The longest that any of them took, ms. */
  readonly tookMs: number;
}

/** By the user whom they are about; null: nobody knows whom. */
export type LateByUser = ReadonlyMap<string | null, LateWrites>;

/** How things stood a few times a second: what that side was slow to take since the time before, or is still. */
export type LateBySide = Readonly<Record<Side, LateByUser>>;

/** As far as one user is concerned. */
export interface WritesAbout {
  /**
   * How long `side` took, at the most, for a write that began by `begunBy` and that it had not answered by `since`,
   * ms; no longer than from then on.
   */
  lateMs(side: Side, begunBy: number, since: number): number;
}

/** How late a service may be with what it sends one user. */
export interface Lateness {
  /** By writes about him, or about nobody known; and by those about anybody. */
  readonly his: WritesAbout;
  readonly anybodys: WritesAbout;
  /** Is the event of what is known to be his alone, so that no write about another user causes it? */
  isHis(event: Pending): boolean;
}

interface Look {
  readonly at: number;
  readonly late: LateBySide;
  /** Of all users together, for whom nobody knows. */
  readonly ofAll: Readonly<Record<Side, LateWrites | null>>;
}

export class WriteTimes {
  readonly #windowMs: number;
  /** Those that told of any, in order. */
  readonly #looks: Look[] = [];

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** `atMs`, epoch ms, never goes back. */
  note(atMs: number, late: LateBySide): void {
    if (late.legacy.size + late.candidate.size > 0) {
      const ofAll = { legacy: inOne(late.legacy), candidate: inOne(late.candidate) };
      this.#looks.push({ at: atMs, late, ofAll });
    }
    const before = atMs - WINDOWS * this.#windowMs;
    while ((this.#looks[0]?.at ?? atMs) < before) this.#looks.shift();
  }

  /** Under all of his names; without any, whomever they are about. */
  about(names: readonly string[]): WritesAbout {
    return { lateMs: (side, begunBy, since) => this.#lateMs(names, side, begunBy, since) };
  }

  #lateMs(names: readonly string[], side: Side, begunBy: number, since: number): number {
    let longestMs = 0;
    const count = (writes: LateWrites | null | undefined): void => {
      if (writes == null || writes.begunAt > begunBy || writes.answeredAt < since) return;
      longestMs = Math.max(longestMs, Math.min(writes.tookMs, writes.answeredAt - since));
    };
    for (let i = this.#looks.length - 1; i >= 0; i -= 1) {
      const look = this.#looks[i] as Look;
      if (look.at < since) break;
      if (names.length === 0) count(ofSide(look.ofAll, side));
      const late = ofSide(look.late, side);
      count(late.get(null));
      for (const name of names) count(late.get(name));
    }
    return longestMs;
  }
}

/** One that stands for both. */
export function together(a: LateWrites | null | undefined, b: LateWrites): LateWrites {
  if (a == null) return b;
  return {
    begunAt: Math.min(a.begunAt, b.begunAt),
    answeredAt: Math.max(a.answeredAt, b.answeredAt),
    tookMs: Math.max(a.tookMs, b.tookMs),
  };
}

function inOne(late: LateByUser): LateWrites | null {
  let all: LateWrites | null = null;
  for (const writes of late.values()) all = together(all, writes);
  return all;
}
