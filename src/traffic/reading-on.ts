// Second legs, and second streams of events, whose client has left, or whose own service has ended it. What the
// primary said last may have its counterpart still on its way: they are heard until nothing waits for one any more, and no longer than the judge would wait.
import type { RouteScope } from '../ports.ts';
import type { Side } from '../rules/decide.ts';

/** The judge's window, and the second that a sweep may be late. */
const MOST_MS = 6_000;
/** At a time; beyond, a leg leaves with its client. Half of the sessions that there may be by default. */
const MOST_LEGS = 5_000;
/** Besides them, of clients who were refused; beyond, nobody looks whether the other service lets them in. */
const MOST_REFUSED = 500;

/** A leg that is heard without its client. */
export interface Lone {
  readonly route: string;
  readonly side: Side;
  /** Says goodbye. */
  leave(): void;
  /** Called about once a second. */
  sweepLone(): void;
}

export class ReadingOn {
  /** Since when, ms of `performance.now()`. */
  readonly #legs = new Map<Lone, number>();
  /** Of them, those whose client was refused: they have room of their own. */
  readonly #refused = new Set<Lone>();
  #isOver = false;

  /** False: there is no room for it, or the proxy is about to end. */
  add(leg: Lone): boolean {
    return this.#legs.size - this.#refused.size < MOST_LEGS && this.#add(leg);
  }

  /** The same for one whose client was refused by his own service. */
  addRefused(leg: Lone): boolean {
    if (this.#refused.size >= MOST_REFUSED || !this.#add(leg)) return false;
    this.#refused.add(leg);
    return true;
  }

  #add(leg: Lone): boolean {
    if (this.#isOver) return false;
    this.#legs.set(leg, performance.now());
    return true;
  }

  /** Harmless for one that is not there. */
  delete(leg: Lone): void {
    this.#legs.delete(leg);
    this.#refused.delete(leg);
  }

  sweep(nowMs: number): void {
    for (const [leg, sinceMs] of this.#legs) {
      if (nowMs - sinceMs >= MOST_MS) this.#leave(leg);
      else leg.sweepLone();
    }
  }

  /** Nothing of those routes goes to that side any more. */
  sever(side: Side, routes: RouteScope): void {
    for (const leg of this.#legs.keys())
      if (leg.side === side && routes.has(leg.route)) this.#leave(leg);
  }

  /** All leave, and whoever would be added later. */
  end(): void {
    this.#isOver = true;
    for (const leg of this.#legs.keys()) this.#leave(leg);
  }

  #leave(leg: Lone): void {
    this.delete(leg);
    leg.leave();
  }
}
