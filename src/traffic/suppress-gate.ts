// After a handover: withholds once what the client already has of the old primary, and what a service says
// to every new socket or repeats for it; lets all else pass as it came. Removed as soon as nothing is owed
// any more and the leg is not new.
import type { TailEvent } from '../rules/handover/reconcile.ts';
import { type MessageUnit, UnitSplitter } from '../wire/message-units.ts';

/** Longer messages are passed on without a look; as much as the services advertise. */
const MOST_MESSAGE_BYTES = 1_048_576;

export interface SuppressGateOptions {
  /** Event keys that are owed to nobody, each as often as it stands here. */
  readonly keys: readonly string[];
  /** ms of `performance.now()`: what has not come by then will not come. */
  readonly until: number;
  /** Likewise: what the leg's service says to a new socket has come by then. */
  readonly newUntil: number;
  readonly eventOf: (payload: Buffer) => TailEvent;
  /** Where what passes goes. */
  readonly write: (bytes: Buffer) => void;
}

export class SuppressGate {
  readonly #options: SuppressGateOptions;
  readonly #owed = new Map<string, number>();
  readonly #splitter: UnitSplitter;
  /** Messages that were withheld. */
  suppressed = 0;

  constructor(options: SuppressGateOptions) {
    this.#options = options;
    for (const key of options.keys) this.#owed.set(key, (this.#owed.get(key) ?? 0) + 1);
    this.#splitter = new UnitSplitter(
      { unit: unit => this.#take(unit), tooLong: piece => options.write(piece) },
      MOST_MESSAGE_BYTES,
    );
  }

  /** True once bytes may pass without it: nothing is owed, or it is too late, between two messages. */
  isDone(now: number): boolean {
    const { until, newUntil } = this.#options;
    if (this.#splitter.lost) return true;
    const isOwed = this.#owed.size > 0 && now < until;
    return !isOwed && now >= newUntil && this.#splitter.atBoundary;
  }

  push(bytes: Buffer): void {
    this.#splitter.push(bytes);
  }

  #take(unit: MessageUnit): void {
    const { write, eventOf } = this.#options;
    const message = unit.message();
    const { key, isReplay, isGreeting } = message === null ? NO_EVENT : eventOf(message.payload);
    const left = key === null ? 0 : (this.#owed.get(key) ?? 0);
    if (key !== null && left > 0) {
      if (left === 1) this.#owed.delete(key);
      else this.#owed.set(key, left - 1);
    }
    if (left === 0 && !isReplay && !isGreeting) return write(unit.raw);
    this.suppressed += 1;
    const controls = unit.controls();
    if (controls.length > 0) write(controls);
  }
}

/** Nothing but control frames. */
const NO_EVENT = { key: null, isReplay: false, isGreeting: false };
