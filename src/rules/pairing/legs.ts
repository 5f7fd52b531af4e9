// Which legs were there when, and where copies were lost: why an event without a pair may have none.
import { instantMs } from '../compare/instant.ts';
import { isRecord, read } from '../compare/record.ts';
import { SIDES, type Side } from '../decide.ts';
import type { UnjudgedReason } from '../verdict.ts';
import type { LeftOutWrites } from './left-out-writes.ts';
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
  readonly #leftOut: LeftOutWrites | null;
  readonly #legs: Readonly<Record<Side, Leg>> = { legacy: notThere(), candidate: notThere() };
  #areTogether = false;
  #gap = NO_GAP;
  /** Since then replies may be to what one service was told alone. */
  #saidAloneAt = Number.POSITIVE_INFINITY;
  /** Why nothing is heard of a side at present, though its leg is there. */
  readonly #lost: Record<Side, UnjudgedReason | null> = { legacy: null, candidate: null };

  constructor(windowMs: number, leftOut: LeftOutWrites | null) {
    this.#windowMs = windowMs;
    this.#leftOut = leftOut;
  }

  isOpen(side: Side): boolean {
    return this.#legs[side].openedAt !== null;
  }

  opened(side: Side, atMs: number): void {
    const leg = this.#legs[side];
    leg.openedAt = atMs;
    leg.openings++;
    leg.joinedAt = null;
    this.#lost[side] = null;
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
    this.#lost[side] = null;
  }

  /** Behind a `gap` that does not end before the next one, or before the leg is opened anew. */
  lost(side: Side, because: UnjudgedReason): void {
    this.#lost[side] = because;
  }

  saidAlone(atMs: number): void {
    this.#saidAloneAt = Math.min(this.#saidAloneAt, atMs);
  }

  arrived(event: Pending): void {
    const leg = this.#legs[event.side];
    // A replay was sent long before its leg was there.
    if (leg.joinedAt !== null || event.isReplay) return;
    const sent = Math.min(sentAt(event) ?? event.at, event.at);
    // Not before it was there, whatever the sender's clock says.
    leg.joinedAt = Math.max(sent, leg.openedAt ?? sent);
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

  /** Its leg is gone and never said anything that the other one said: it was shown the door, and says so. */
  isOfPasserBy({ side }: Pending): boolean {
    const { openedAt, anchor } = this.#legs[side];
    return side === 'candidate' && openedAt === null && anchor === null;
  }

  /** Why an event can have no pair: the other leg was not there, or copies were lost. Null: neither. */
  excuse(event: Pending): UnjudgedReason | null {
    const { openedAt } = this.#legs[otherSide(event.side)];
    if (openedAt === null) return 'no-second';
    if (event.at < openedAt && !this.#isToBoth(event)) return 'no-second';
    if (this.#mayBeToOne(event)) return 'no-second';
    if (!this.#isInGap(event)) return this.#mayBeLeftOut(event) ? 'write-left-out' : null;
    return this.#lost.legacy ?? this.#lost.candidate ?? this.#gap.because;
  }

  /**
   * Did the event come before both legs were seen to run together, so that the other one may not have
   * had it? Where they were dialled together that is a moment: by the event's own word, else by when it
   * arrived. Behind a late leg it is until the first common event, and no longer than a window.
   */
  isEarly(event: Pending): boolean {
    const { side, at } = event;
    const other = this.#legs[otherSide(side)];
    if (other.openedAt === null || this.#isBehindAnchor(event)) return false;
    if (!this.#areTogether) return at <= this.#bothOpenAt(other.openedAt, side) + this.#windowMs;
    if (this.#isToBoth(event)) return false;
    const sent = sentAt(event);
    const latest = other.openedAt + TOGETHER_MS;
    if (sent === null) return at <= latest;
    // One that says nothing for a long time has joined all the same.
    return Math.min(sent, at) <= Math.min(other.joinedAt ?? other.openedAt, latest);
  }

  /** A reply where both were dialled together: each greets whenever it is there, and answers what both were told. */
  #isToBoth({ plan }: Pending): boolean {
    return plan.isReply && this.#areTogether;
  }

  /** Why events were lost last. */
  get lossReason(): UnjudgedReason {
    return this.#gap === NO_GAP ? 'no-second' : this.#gap.because;
  }

  /** Nothing can be concluded from what stands or once stood beside it. */
  isUnsettled(event: Pending): boolean {
    return (
      this.#mayBeToOne(event) ||
      this.#isInGap(event) ||
      this.#mayBeLeftOut(event) ||
      (!this.#areTogether && this.isEarly(event))
    );
  }

  /** Is it a reply to what perhaps only its service was told, or what stands beside such a one? */
  #mayBeToOne({ plan, at }: Pending): boolean {
    return plan.isReply && at >= this.#saidAloneAt;
  }

  /** Is it perhaps the doing of a write that the other service was not given? */
  #mayBeLeftOut({ side, at }: Pending): boolean {
    return this.#leftOut?.mayExplain(otherSide(side), at) === true;
  }

  #isBehindAnchor({ side, no }: Pending): boolean {
    const { anchor } = this.#legs[side];
    return anchor !== null && no > anchor;
  }

  #bothOpenAt(otherOpenedAt: number, side: Side): number {
    return Math.max(this.#legs[side].openedAt ?? otherOpenedAt, otherOpenedAt);
  }

  /** Copies were lost around then, and its lane had not resumed. */
  #isInGap({ side, at, lane, place }: Pending): boolean {
    const { nth } = this.#gap;
    if (this.#lost.legacy !== null || this.#lost.candidate !== null) return true;
    if (nth === 0 || at > this.#gap.at + this.#windowMs) return false;
    return lane === null || lane.gap !== nth || place <= lane.resumed[side];
  }
}

/** By the event's own word, epoch ms; null where it does not say. */
function sentAt({ plan, value }: Pending): number | null {
  if (plan.stamp === null || !isRecord(value)) return null;
  return instantMs(read(value, plan.stamp, plan.envelopes)) ?? null;
}

function notThere(): Leg {
  return {
    openedAt: null,
    openings: 0,
    joinedAt: null,
    anchor: null,
    lastBeforeGap: -1,
  };
}
