// The beginning of two legs. A service sends to whoever is there when it sends, so of what goes on already the one
// that is behind sends more:
//
//   legacy      a  b | c  d  e          | its leg is there
//   candidate        | a  b  c  d  e    a and b have no pair, and are nobody's fault
//
// How far apart the services are is learned from the first pairs, by when events arrived, or by what they say
// themselves of when they were sent: that is known to the millisecond, also where the way is slow, and on either
// side by a clock of its own, so that stamps are held against those of the same side alone. It varies, also within a
// run: the one that is behind catches up. What may be due to that is nobody's fault either. Nor is what a write does
// that both were given before, and one of them was slow to take: it was behind with that by as much more. A write that
// is about another user counts where the event may be his as well.
//
// Of a run that the client has most likely begun since, other runs and writes that began before say nothing: it named the
// run here and first of all, and the event is what runs begin with. It is behind by as much as its own first pair; who
// comes anew may name a run that goes on, or has just begun.
import { instantMs } from '../compare/instant.ts';
import { isRecord, read } from '../compare/record.ts';
import type { Side } from '../decide.ts';
import type { Lane } from './lane.ts';
import type { Lateness } from './late-writes.ts';
import { NamedRuns } from './named-runs.ts';
import type { Pending } from './pending.ts';
import type { RunBeginnings } from './run-beginnings.ts';

/**
 * Legs that open within so long were dialled for one client at one time. Well above a handshake, and
 * above what jitter does to one.
 */
export const TOGETHER_MS = 800;
/** Pairs from which the distance is learned. */
const FIRST_PAIRS = 8;
/** From fewer nothing is known of how much it varies: it may, as it seems, be as much as it is. */
const FEW_PAIRS = 4;

/** When an event came, and when it was sent by its own word, epoch ms; null where that is not known. */
export interface Moment {
  readonly at: number;
  readonly sent: number | null;
}

/** The first pair of a lane: its places, and by how much the candidate's is behind. */
export interface FirstPair {
  readonly beginning: Beginning;
  readonly place: Readonly<Record<Side, number>>;
  readonly behind: Moment;
}

interface Opened {
  readonly openedAt: number;
  /** Of its first event: by then it was among those who are sent events. Null before. */
  readonly joined: Moment | null;
}

export interface BeginningOptions {
  readonly windowMs: number;
  /** Null: nothing is known of writes. */
  readonly writes: Lateness | null;
  readonly runs: RunBeginnings;
}

export class Beginning {
  readonly #windowMs: number;
  readonly #writes: Lateness | null;
  readonly #runs: RunBeginnings;
  /** By its client, since both legs are there. */
  readonly named = new NamedRuns();
  /** Nothing that arrives later is due to it: an event may be behind by a window, and wait for another one. */
  readonly #until: number;
  readonly #byArrival = new Distance();
  readonly #byStamp = new Distance();
  /** Of what may be paired wrongly, by arrival: as long as nothing else is known. */
  readonly #byGuess = new Distance();

  /** `at`: when the second leg opened. */
  constructor(at: number, { windowMs, writes, runs }: BeginningOptions) {
    this.#windowMs = windowMs;
    this.#writes = writes;
    this.#runs = runs;
    this.#until = at + 2 * windowMs;
  }

  isUnderWay(at: number): boolean {
    return at <= this.#until;
  }

  paired(legacy: Pending, candidate: Pending): void {
    if (legacy.at > this.#until || !legacy.isPointed || legacy.plan.isReply) return;
    if (legacy.isReplay || candidate.isReplay) return;
    const { lane } = legacy;
    const isFirst = lane !== null && lane === candidate.lane && this.#firstOf(lane) === null;
    // The first of each run, however many there are: one may be further behind than all others.
    if (!isFirst && this.#byArrival.pairs >= FIRST_PAIRS) return;
    const [left, right] = [sentAt(legacy), sentAt(candidate)];
    const behind = {
      at: candidate.at - legacy.at,
      sent: left === null || right === null ? null : right - left,
    };
    if (isFirst) {
      const place = { legacy: legacy.place, candidate: candidate.place };
      lane.first = { beginning: this, place, behind };
    }
    this.#byArrival.add(behind.at);
    if (behind.sent !== null) this.#byStamp.add(behind.sent);
  }

  guessed(legacy: Pending, candidate: Pending): void {
    if (legacy.at <= this.#until && !legacy.plan.isReply) {
      this.#byGuess.add(candidate.at - legacy.at);
    }
  }

  /** Is nothing known yet of how far apart the services are, and may it be that this is still due to it? */
  isOpenAt(at: number): boolean {
    return this.#byArrival.pairs === 0 && at <= this.#until - this.#windowMs;
  }

  /**
   * Are they about as far apart as others are, so that they may be one event? One that has no pair, and one whose
   * pair is still to come, wait at one time only if they are a window further apart than that.
   */
  fits(legacy: Pending, candidate: Pending): boolean {
    const known = this.#byArrival.pairs === 0 ? this.#byGuess : this.#byArrival;
    if (legacy.at > this.#until || known.pairs === 0) return true;
    return known.isWithin(this.#windowMs / 2, candidate.at - legacy.at);
  }

  /** May the other service, if it sent the event at all, have sent it before its leg was there? */
  mayPrecede(event: Pending, { openedAt, joined }: Opened): boolean {
    const { side, at, lane, place } = event;
    if (at > this.#until) return false;
    const first = this.#firstOf(lane);
    // A service may be behind with one run alone: pairs of others say no more than how much that varies.
    if (first !== null && place > first.place[side]) return false;
    const isBegunHere = first !== null && this.#isBegunHere(event);
    // One that says nothing for a long time has joined all the same.
    const latest = openedAt + TOGETHER_MS;
    const isPrompt = joined !== null && joined.at <= latest;
    const begunBy = isPrompt ? joined.at : latest;
    const isBy = (sentBy: number, thereBy: number, since = begunBy): boolean => {
      if (sentBy <= thereBy) return true;
      if (this.#writes === null || isBegunHere) return false;
      const { his, anybodys, isHis } = this.#writes;
      if (sentBy - anybodys.lateMs(side, begunBy, since) > thereBy) return false;
      return sentBy - his.lateMs(side, begunBy, since) <= thereBy || !isHis(event);
    };
    if (isPrompt && joined.sent !== null && this.#byStamp.pairs > 0) {
      const sent = sentAt(event);
      if (sent !== null) {
        // When that was, on the clock here: what it sent as it was dialled may have been long on its way.
        const since = openedAt - TOGETHER_MS;
        const behindMs = this.#byStamp.most(side, first?.behind.sent, isBegunHere);
        return isBy(sent - behindMs, joined.sent, since);
      }
    }
    if (this.#byArrival.pairs === 0) {
      if (isBy(at, latest)) return true;
      return this.#byGuess.pairs > 0 && isBy(at - this.#byGuess.most(side), latest);
    }
    const behindMs = this.#byArrival.most(side, first?.behind.at, isBegunHere);
    return isBy(at - behindMs, begunBy);
  }

  /** Do runs begin with it, and had the client named this one here, and nobody before? */
  #isBegunHere(event: Pending): boolean {
    const { lane } = event;
    if (lane === null || lane.bornAt === null || !this.#runs.begins(event)) return false;
    return this.named.has(lane.unit, lane.bornAt);
  }

  #firstOf(lane: Lane | null): FirstPair | null {
    return lane?.first?.beginning === this ? lane.first : null;
  }
}

/** By its own word; null where it does not say, or in whole seconds. */
export function sentAt({ plan, value }: Pending): number | null {
  if (plan.stamp === null || !isRecord(value)) return null;
  const sent = instantMs(read(value, plan.stamp, plan.envelopes)) ?? null;
  return sent === null || sent % 1_000 === 0 ? null : sent;
}

/** By how much the candidate is behind legacy, ms; below 0 where it is ahead. */
class Distance {
  pairs = 0;
  #least = Number.POSITIVE_INFINITY;
  #most = Number.NEGATIVE_INFINITY;

  add(ms: number): void {
    this.pairs += 1;
    this.#least = Math.min(this.#least, ms);
    this.#most = Math.max(this.#most, ms);
  }

  isWithin(marginMs: number, ms: number): boolean {
    return ms >= this.#least - marginMs && ms <= this.#most + marginMs;
  }

  /**
   * By how much that side may be behind the other one, in a lane where something is known of that, or in any.
   * `isAlone`: how others vary says nothing of that lane.
   */
  most(side: Side, ofLane: number | null = null, isAlone = false): number {
    const sign = side === 'candidate' ? 1 : -1;
    const most = side === 'candidate' ? this.#most : -this.#least;
    const seen = sign * (ofLane ?? sign * most);
    if (isAlone && ofLane !== null) return seen;
    const varies = this.#most - this.#least;
    return seen + (this.pairs < FEW_PAIRS ? Math.max(varies, Math.abs(most)) : varies);
  }
}
