// Events that could not be read: each may be what an event of the other side would have paired with.
import type { Side } from '../decide.ts';
import type { UnjudgedReason } from '../verdict.ts';

/** Of one side, without a counterpart; more say nothing more. */
const MOST_UNREAD = 64;

interface UnreadEvent {
  readonly because: UnjudgedReason;
  readonly at: number;
}

export class Unread {
  readonly #windowMs: number;
  readonly #events: Readonly<Record<Side, UnreadEvent[]>> = { legacy: [], candidate: [] };

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  add(side: Side, because: UnjudgedReason, at: number): void {
    const events = this.#events[side];
    events.push({ because, at });
    if (events.length > MOST_UNREAD) events.shift();
  }

  /** Takes one of `side` that came within a window of `at`; why it could not be read, or null. */
  take(side: Side, at: number): UnjudgedReason | null {
    const events = this.#events[side];
    while (events[0] !== undefined && events[0].at < at - this.#windowMs) events.shift();
    const index = events.findIndex(event => event.at <= at + this.#windowMs);
    return index === -1 ? null : (events.splice(index, 1)[0]?.because ?? null);
  }
}
