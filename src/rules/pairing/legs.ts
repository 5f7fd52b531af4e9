// Which legs were there when, and where copies were lost: why an event without a pair may have none.
import { ofSide, SIDES, type Side } from '../decide.ts';
import type { UnjudgedReason } from '../verdict.ts';
import { Beginning, type Moment, sentAt, TOGETHER_MS } from './beginning.ts';
import type { Lateness } from './late-writes.ts';
import type { LeftOutWrites } from './left-out-writes.ts';
import type { Pending } from './pending.ts';
import type { RunBeginnings } from './run-beginnings.ts';
import { Unheard } from './unheard.ts';

export const otherSide = (side: Side): Side => (side === 'legacy' ? 'candidate' : 'legacy');

/**
 * How a leg ended: its service ended it by itself, or has brought its answer to its end (of one that ends with what it
 * is about: see `StreamEnds`), or the client or the proxy has left it.
 */
export type LegEnd = 'by-service' | 'complete' | 'left';

interface Leg {
  /** Null while it is not there. */
  openedAt: number | null;
  /** Before it was complete; null for any other. */
  wholeSince: number | null;
  openings: number;
  /** Of its first event: by then it was among those who are sent events. */
  joined: Moment | null;
  /** The event at which both sides were first seen to run together; null before. */
  anchor: number | null;
  /** Number of the last event before the latest gap. */
  lastBeforeGap: number;
  /** Numbers of what was the last event as its service ended the leg: of the last two ends. */
  farewells: readonly [number, number];
}

interface Gap {
  /** Counts up, so that lanes can tell whether they have resumed since. */
  readonly nth: number;
  readonly at: number;
  readonly because: UnjudgedReason;
}

const NO_GAP: Gap = { nth: 0, at: Number.NEGATIVE_INFINITY, because: 'overload' };

export interface LegsOptions {
  readonly windowMs: number;
  /** Null: nothing is known of writes. */
  readonly leftOut: LeftOutWrites | null;
  readonly writes: Lateness | null;
  readonly runs: RunBeginnings;
}

export class Legs {
  readonly #windowMs: number;
  readonly #leftOut: LeftOutWrites | null;
  readonly #writes: Lateness | null;
  readonly #runs: RunBeginnings;
  readonly #legs: Readonly<Record<Side, Leg>> = { legacy: notThere(), candidate: notThere() };
  /** Of both legs as they are now; null before both were there. */
  #beginning: Beginning | null = null;
  /** One leg was there well before the other one, or was there before. */
  #isLate = true;
  #gap = NO_GAP;
  /** Since then replies may be to what one service was told alone. */
  #saidAloneAt = Number.POSITIVE_INFINITY;
  readonly #unheard: Unheard;
  /** Why nothing is heard of a side at present, though its leg is there. */
  readonly #lost: Record<Side, UnjudgedReason | null> = { legacy: null, candidate: null };

  constructor({ windowMs, leftOut, writes, runs }: LegsOptions) {
    this.#windowMs = windowMs;
    this.#leftOut = leftOut;
    this.#writes = writes;
    this.#runs = runs;
    this.#unheard = new Unheard(windowMs);
  }

  isOpen(side: Side): boolean {
    return this.#legs[side].openedAt !== null;
  }

  opened(side: Side, atMs: number): void {
    const leg = this.#legs[side];
    leg.openedAt = atMs;
    leg.wholeSince = null;
    leg.openings++;
    leg.joined = null;
    this.#lost[side] = null;
    for (const each of SIDES) this.#legs[each].anchor = null;
    const other = this.#legs[otherSide(side)];
    this.#isLate =
      other.openedAt === null || atMs - other.openedAt > TOGETHER_MS || leg.openings > 1;
    const options = { windowMs: this.#windowMs, writes: this.#writes, runs: this.#runs };
    this.#beginning = other.openedAt === null ? null : new Beginning(atMs, options);
  }

  /** All that its service had to say has come; `closed` follows. */
  complete(side: Side): void {
    this.#legs[side].wholeSince = this.#legs[side].openedAt;
  }

  /** Both have come to their end: what one of them has not said then, it has not. */
  get areWhole(): boolean {
    return SIDES.every(side => this.#legs[side].wholeSince !== null);
  }

  /** `lastNo`: of its last event. */
  closed(side: Side, lastNo: number, how: LegEnd): void {
    const leg = this.#legs[side];
    leg.openedAt = null;
    // Whoever is left knows nothing of it before, and takes no leave: his last event is one as any other.
    if (how !== 'left') leg.farewells = [leg.farewells[1], lastNo];
  }

  gap(side: Side, lastNo: number, atMs: number, because: UnjudgedReason): void {
    this.torn(side, lastNo, atMs, because);
    this.#lost[side] = null;
  }

  /** As `gap`, but a side of which nothing is heard is heard no more than before. */
  torn(side: Side, lastNo: number, atMs: number, because: UnjudgedReason): void {
    this.#legs[side].lastBeforeGap = lastNo;
    this.#gap = { nth: this.#gap.nth + 1, at: atMs, because };
  }

  /** Behind a `gap` that does not end before the next one, or before the leg is opened anew. */
  lost(side: Side, because: UnjudgedReason): void {
    this.#lost[side] = because;
  }

  /** Both have come, and not long ago. */
  hearsNames(atMs: number): boolean {
    return this.#beginning?.isUnderWay(atMs) === true;
  }

  named(words: readonly number[], atMs: number): void {
    if (this.hearsNames(atMs)) this.#beginning?.named.note(words, atMs);
  }

  tidy(atMs: number): void {
    // What came while it was under way waits for up to two windows.
    const before = atMs - 2 * this.#windowMs;
    if (this.#beginning?.isUnderWay(before) === false) this.#beginning.named.forget();
  }

  saidAlone(atMs: number, unheardBy: Side | null): void {
    this.#saidAloneAt = Math.min(this.#saidAloneAt, atMs);
    if (unheardBy !== null) this.#unheard.note(unheardBy, atMs);
  }

  arrived(event: Pending): void {
    const leg = ofSide(this.#legs, event.side);
    if (event.side === 'legacy') this.#runs.note(event);
    // A replay was sent long before its leg was there.
    if (leg.joined === null && !event.isReplay) {
      leg.joined = { at: event.at, sent: sentAt(event) };
    }
  }

  paired(legacy: Pending, candidate: Pending): void {
    const { legacy: left, candidate: right } = this.#legs;
    if (this.#isOfLeg(legacy) && this.#isOfLeg(candidate)) {
      this.#beginning?.paired(legacy, candidate);
      if (left.anchor === null || right.anchor === null) this.#anchor(legacy, candidate);
    }
    const { lane } = legacy;
    if (this.#gap === NO_GAP || lane === null || lane !== candidate.lane) return;
    if (lane.gap === this.#gap.nth) return;
    if (legacy.no <= left.lastBeforeGap || candidate.no <= right.lastBeforeGap) return;
    lane.gap = this.#gap.nth;
    lane.resumed.legacy = legacy.place;
    lane.resumed.candidate = candidate.place;
  }

  /** Which was whose is not sure. */
  guessed(legacy: Pending, candidate: Pending): void {
    this.#beginning?.guessed(legacy, candidate);
  }

  /** Both sides run together from here. Only what has a name of its own proves that, and no replay. */
  #anchor(legacy: Pending, candidate: Pending): void {
    if (!legacy.isPointed || legacy.isReplay || candidate.isReplay) return;
    this.#legs.legacy.anchor = legacy.no;
    this.#legs.candidate.anchor = candidate.no;
  }

  /** Not of one that was there before. */
  #isOfLeg({ side, at }: Pending): boolean {
    const { openedAt } = this.#legs[side];
    return openedAt !== null && at >= openedAt;
  }

  /** Its leg is gone and never said anything that the other one said: it was shown the door, and says so. */
  isOfPasserBy({ side }: Pending): boolean {
    const { openedAt, anchor } = this.#legs[side];
    return side === 'candidate' && openedAt === null && anchor === null;
  }

  /** The last of its leg: a service that goes away may say so, to all, and the other one goes nowhere. */
  isFarewell({ side, no }: Pending): boolean {
    return !this.areWhole && this.#legs[side].farewells.includes(no);
  }

  /** May the other leg, once it is there, say the same? Whoever has been alone for long stays so. */
  mayBeFollowed({ side, at }: Pending): boolean {
    const { openedAt, openings } = this.#legs[otherSide(side)];
    const own = this.#legs[side].openedAt ?? at;
    return openings > 0 ? openedAt === null || at < openedAt : at <= own + 2 * this.#windowMs;
  }

  /** Why an event can have no pair: the other leg was not there, or copies were lost. Null: neither. */
  excuse(event: Pending): UnjudgedReason | null {
    const openedAt = this.#openedAt(otherSide(event.side));
    if (openedAt === null) return 'no-second';
    if (event.at < openedAt && !this.#isToBoth(event)) return 'no-second';
    if (this.isByOwnTimer(event) || this.#mayBeToOne(event)) return 'no-second';
    if (this.isOfUnheard(event)) return 'no-second';
    if (!this.#isInGap(event)) return this.mayBeLeftOut(event) ? 'write-left-out' : null;
    return this.#lost.legacy ?? this.#lost.candidate ?? this.#gap.because;
  }

  /**
   * Did the event come before both legs were seen to run together, so that the other one may not have
   * had it? See `Beginning`. Behind a late leg it is at any rate until the first common event, and no longer than a
   * window.
   */
  isEarly(event: Pending): boolean {
    const { side } = event;
    const { joined } = this.#legs[otherSide(side)];
    const openedAt = this.#openedAt(otherSide(side));
    if (openedAt === null) return false;
    if (this.#isBeforeAnchor(event)) return true;
    if (this.#isToBoth(event)) return false;
    return this.#beginning?.mayPrecede(event, { openedAt, joined }) === true;
  }

  /** May they be one event that was changed? Not where they are further apart than both sides are at their beginning. */
  fits(legacy: Pending, candidate: Pending): boolean {
    return this.#isLate || this.#beginning?.fits(legacy, candidate) !== false;
  }

  /** Dialled together, and before it is known how far apart they are: may it be from before both were there? */
  mayBeEarly(event: Pending): boolean {
    const isOpen = !this.#isLate && this.#beginning?.isOpenAt(event.at) === true;
    return isOpen || this.isEarly(event);
  }

  /** A reply where both were dialled together: each greets whenever it is there, and answers what both were told. */
  #isToBoth({ plan }: Pending): boolean {
    return plan.isReply && !this.#isLate;
  }

  /** Why events were lost last. */
  get lossReason(): UnjudgedReason {
    return this.#gap === NO_GAP ? 'no-second' : this.#gap.because;
  }

  /** Nothing can be concluded from what stands or once stood beside it. */
  isUnsettled(event: Pending): boolean {
    if (this.isByOwnTimer(event)) return true;
    return this.#mayBeToOne(event) || this.#isInGap(event) || this.#isBeforeAnchor(event);
  }

  /** Is it perhaps the doing of a write that the other service was not given? */
  mayBeLeftOut({ side, at }: Pending): boolean {
    return this.#leftOut?.mayExplain(otherSide(side), at) === true;
  }

  /** Is it a reply to what perhaps only its service was told, or what stands beside such a one? */
  #mayBeToOne({ plan, at }: Pending): boolean {
    return plan.isReply && at >= this.#saidAloneAt;
  }

  /** Is it due whenever its own leg says, and the other one's came at another time? */
  isByOwnTimer({ plan }: Pending): boolean {
    return plan.isTimer && this.#isLate;
  }

  /** Is it of a run that its service alone has, and perhaps alone was told to begin? */
  isOfUnheard({ side, lane }: Pending): boolean {
    if (lane === null || lane.bornAt === null || lane.isOfBoth) return false;
    return this.#unheard.mayHaveBegun(otherSide(side), lane.bornAt);
  }

  /** Behind a late leg, before both were seen to run together. */
  #isBeforeAnchor({ side, no, at }: Pending): boolean {
    const openedAt = this.#openedAt(otherSide(side));
    if (!this.#isLate || openedAt === null) return false;
    const { anchor } = this.#legs[side];
    const isBehind = anchor !== null && no > anchor;
    return !isBehind && at <= this.#bothOpenAt(openedAt, side) + this.#windowMs;
  }

  /** Null while it is not there, unless nothing is due from either any more. */
  #openedAt(side: Side): number | null {
    const { openedAt, wholeSince } = this.#legs[side];
    return openedAt ?? (this.areWhole ? wholeSince : null);
  }

  #bothOpenAt(otherOpenedAt: number, side: Side): number {
    return Math.max(this.#legs[side].openedAt ?? otherOpenedAt, otherOpenedAt);
  }

  /** Copies were lost of late: what its lane resumed with may be the other one of two that say the same. */
  isSoonAfterGap({ at }: Pending): boolean {
    return at <= this.#gap.at + this.#windowMs;
  }

  /** Copies were lost around then, and its lane had not resumed. */
  #isInGap({ side, at, lane, place }: Pending): boolean {
    const { nth } = this.#gap;
    if (this.#lost.legacy !== null || this.#lost.candidate !== null) return true;
    if (nth === 0 || at > this.#gap.at + this.#windowMs) return false;
    return lane === null || lane.gap !== nth || place <= lane.resumed[side];
  }
}

function notThere(): Leg {
  return {
    openedAt: null,
    wholeSince: null,
    openings: 0,
    joined: null,
    anchor: null,
    lastBeforeGap: -1,
    farewells: [-1, -1],
  };
}
