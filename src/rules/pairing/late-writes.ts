// How late the services are with the writes that both were given: what one of them was slow to take has its effects
// there late, though it had them long ago at the other one, and perhaps before its user was there.
//
//   Whose they are matters. On a machine under load all writes take as long as some are late, and what the candidate
//   drops for one who has just connected would pass for what another user's write did late.
import { ofSide, type Side } from '../decide.ts';
import type { Pending } from './pending.ts';

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

/** `LateWrites` by the users whom they are about, three numbers for each; null: nobody knows whom. */
export interface LateTold {
  readonly whose: readonly (string | null)[];
  readonly times: Float64Array;
}

/** How things stood a few times a second: what that side was slow to take since the time before, or is still. */
export type LateBySide = Readonly<Record<Side, LateTold>>;

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

export type LateByUser = ReadonlyMap<string | null, LateWrites>;

interface Look {
  readonly at: number;
  readonly late: Readonly<Record<Side, LateByUser>>;
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
  note(atMs: number, told: LateBySide): void {
    if (told.legacy.whose.length + told.candidate.whose.length > 0) {
      const late = { legacy: byUser(told.legacy), candidate: byUser(told.candidate) };
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
      else {
        const late = ofSide(look.late, side);
        count(late.get(null));
        for (const name of names) count(late.get(name));
      }
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

/** Flat: what goes to another thread is written and read there by the piece. */
export function toldOf(late: LateByUser): LateTold {
  const times = new Float64Array(3 * late.size);
  let at = 0;
  for (const { begunAt, answeredAt, tookMs } of late.values()) {
    times[at++] = begunAt;
    times[at++] = answeredAt;
    times[at++] = tookMs;
  }
  return { whose: [...late.keys()], times };
}

function byUser({ whose, times }: LateTold): LateByUser {
  const numbers = times.values();
  const next = (): number => numbers.next().value as number;
  return new Map(
    whose.map(user => [user, { begunAt: next(), answeredAt: next(), tookMs: next() }]),
  );
}

function inOne(late: LateByUser): LateWrites | null {
  let all: LateWrites | null = null;
  for (const writes of late.values()) all = together(all, writes);
  return all;
}
