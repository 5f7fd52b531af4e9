// Which legs were there when, and where copies were lost: why an event without a pair may have none.
import { SIDES, type Side } from '../decide.ts';
import type { UnjudgedReason } from '../verdict.ts';
import type { Pending } from './pending.ts';

export const otherSide = (side: Side): Side => (side === 'legacy' ? 'candidate' : 'legacy');

/**
 * Legs that open within so long were dialled for one client at one time. Well above a handshake, and
 * above what jitter does to one.
 */
const TOGETHER_MS = 800;

interface Leg {
  /** Null while it is not there. */
  openedAt: number | null;
  openings: number;
  /** When its first event was sent: by then it was among those who are sent events. */
  joinedAt: number | null;
  /** The event at which both sides were first seen to run together; null before. */
  anchor: number | null;
  /** Number of the last event before the latest gap. */
  lastBeforeGap: number;
}

interface Gap {
  /** Counts up, so that lanes can tell whether they have resumed since. */
  readonly nth: number;
  readonly at: number;
  readonly because: UnjudgedReason;
}

const NO_GAP: Gap = { nth: 0, at: Number.NEGATIVE_INFINITY, because: 'overload' };

export class Legs {
  readonly #windowMs: number;
  readonly #legs: Readonly<Record<Side, Leg>> = { legacy: notThere(), candidate: notThere() };
  #areTogether = false;
  #gap = NO_GAP;

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  isOpen(side: Side): boolean {
    return this.#legs[side].openedAt !== null;
  }

  opened(side: Side, atMs: number): void {
    const leg = this.#legs[side];
    leg.openedAt = atMs;
    leg.openings++;
    leg.joinedAt = null;
    for (const each of SIDES) this.#legs[each].anchor = null;
    const other = this.#legs[otherSide(side)];
    this.#areTogether =
      other.openedAt !== null && atMs - other.openedAt <= TOGETHER_MS && leg.openings === 1;
  }

  closed(side: Side): void {
    this.#legs[side].openedAt = null;
  }

  gap(side: Side, lastNo: number, atMs: number, because: UnjudgedReason): void {
    this.#legs[side].lastBeforeGap = lastNo;
    this.#gap = { nth: this.#gap.nth + 1, at: atMs, because };
  }

  arrived({ side, isReplay, sentAt, at }: Pending): void {
    const leg = this.#legs[side];
    // A replay was sent long before its leg was there.
    if (leg.joinedAt === null && !isReplay) leg.joinedAt = Math.min(sentAt ?? at, at);
  }

  paired(legacy: Pending, candidate: Pending): void {
    const { legacy: left, candidate: right } = this.#legs;
    if (left.anchor === null || right.anchor === null) this.#anchor(legacy, candidate);
    const { lane } = legacy;
    if (this.#gap === NO_GAP || lane === null || lane !== candidate.lane) return;
    if (lane.gap === this.#gap.nth) return;
    if (legacy.no <= left.lastBeforeGap || candidate.no <= right.lastBeforeGap) return;
    lane.gap = this.#gap.nth;
    lane.resumed.legacy = legacy.place;
    lane.resumed.candidate = candidate.place;
  }

  /** Both sides run together from here. Only what has a name of its own proves that, and no replay. */
  #anchor(legacy: Pending, candidate: Pending): void {
    if (!legacy.isPointed || legacy.isReplay || candidate.isReplay) return;
    const { legacy: left, candidate: right } = this.#legs;
    if (left.openedAt === null || legacy.at < left.openedAt) return;
    if (right.openedAt === null || candidate.at < right.openedAt) return;
    left.anchor = legacy.no;
    right.anchor = candidate.no;
  }

  /** Why nothing can be made of it that an event found no pair; null: it should have found one. */
  excuse(event: Pending): UnjudgedReason | null {
    return this.#absence(event) ?? this.#lost(event);
  }

  /** Copies were lost around then, and its lane had not resumed. */
  isInGap(event: Pending): boolean {
    return this.#lost(event) !== null;
  }

  #lost({ side, at, lane, place }: Pending): UnjudgedReason | null {
    const { nth, because } = this.#gap;
    if (nth === 0 || at > this.#gap.at + this.#windowMs) return null;
    const hasResumed = lane !== null && lane.gap === nth && place > lane.resumed[side];
    return hasResumed ? null : because;
  }

  #absence({ side, at, no, sentAt }: Pending): UnjudgedReason | null {
    const leg = this.#legs[side];
    const other = this.#legs[otherSide(side)];
    if (other.openedAt === null || at < other.openedAt) return 'no-second';
    if (leg.anchor !== null && no > leg.anchor) return null;
    if (!this.#areTogether) {
      // Until both are seen to run together nobody knows what the late one was there for.
      const both = Math.max(leg.openedAt ?? other.openedAt, other.openedAt);
      return at <= both + this.#windowMs ? 'no-second' : null;
    }
    // The other leg was there a moment later. By the event's own word, else by when it arrived.
    const missed =
      sentAt === null
        ? at <= other.openedAt + TOGETHER_MS
        : Math.min(sentAt, at) <= (other.joinedAt ?? other.openedAt);
    return missed ? 'no-second' : null;
  }
}

function notThere(): Leg {
  return { openedAt: null, openings: 0, joinedAt: null, anchor: null, lastBeforeGap: -1 };
}
