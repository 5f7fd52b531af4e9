// One correlation lane of a session: its events that wait, and how far its pairs have come.
import { ofSide, type Side } from '../decide.ts';
import type { FirstPair } from './beginning.ts';
import { Order, type Pair, type Rest } from './order.ts';
import type { Pending } from './pending.ts';

export class Lane {
  readonly unit: string;
  /** The pointer that named it, among those of lanes; null for what is of no run or thread. */
  readonly level: number | null;
  /** When its first event came; null for what is of no run or thread, and lasts as long as the session. */
  readonly bornAt: number | null;
  /** Events without a pair, in their order. */
  readonly waiting: Readonly<Record<Side, Pending[]>> = { legacy: [], candidate: [] };
  /** Places given out. */
  readonly places: Record<Side, number> = { legacy: 0, candidate: 0 };
  /** Highest place that has a pair: the other side has come past everything before. */
  readonly paired: Record<Side, number> = { legacy: -1, candidate: -1 };
  /** The gap after which both sides were first seen to run together again, and from which place on. */
  gap = 0;
  readonly resumed: Record<Side, number> = { legacy: -1, candidate: -1 };
  /** Its first pair of the beginning at hand: see `Beginning`. */
  first: FirstPair | null = null;
  /** When its latest event arrived. */
  lastAt = 0;
  /** Null as long as everything comes in order. */
  #order: Order | null = null;

  constructor(unit: string, level: number | null = null, bornAt: number | null = null) {
    this.unit = unit;
    this.level = level;
    this.bornAt = bornAt;
  }

  /** Both services have sent something of it. */
  get isOfBoth(): boolean {
    return this.paired.legacy !== -1;
  }

  /** Nothing waits, for a pair or for a verdict. */
  get isIdle(): boolean {
    const { legacy, candidate } = this.waiting;
    return legacy.length === 0 && candidate.length === 0 && this.#order === null;
  }

  /** Takes a pair whose events no longer wait. `rest` gets every pair whose place became certain. */
  pair(pair: Pair, rest: Rest): void {
    const { legacy, candidate } = pair;
    if (legacy.place > this.paired.legacy) this.paired.legacy = legacy.place;
    if (candidate.place > this.paired.candidate) this.paired.candidate = candidate.place;
    if (this.#order === null && !this.hasBefore(legacy) && !this.hasBefore(candidate)) {
      rest(pair);
      return;
    }
    this.#order ??= new Order();
    this.#order.add(pair);
    this.settle(rest);
  }

  /** An event no longer waits. Pairs may come to rest by that: see `settle`. */
  remove(event: Pending): void {
    const list = ofSide(this.waiting, event.side);
    // Nearly always the only one; and a shift is a call into the engine.
    if (list.length === 1 && list[0] === event) list.pop();
    else if (list[0] === event) list.shift();
    else {
      const index = list.indexOf(event);
      if (index > 0) list.splice(index, 1);
    }
  }

  settle(rest: Rest): void {
    if (this.#order === null) return;
    this.#order.settle(this.waiting, rest);
    if (this.#order.isEmpty) this.#order = null;
  }

  /**
   * Has the other side sent something that this side sent later? Then it is not merely late. Lanes say
   * nothing of each other: a service may be slow on one run alone.
   */
  hasPassed({ side, place }: Pending): boolean {
    return this.paired[side] > place;
  }

  /** Does an event before this one still wait on the same side? */
  hasBefore(event: Pending): boolean {
    const first = ofSide(this.waiting, event.side)[0];
    return first !== undefined && first.place < event.place;
  }
}
