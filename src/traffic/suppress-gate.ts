// After a handover: withholds once what the client already has of the old primary, and what a service says
// to every new socket or repeats for it; lets all else pass as it came, and counts what nobody can say that
// the client did not have it. Removed as soon as nothing is owed or in doubt any more and the leg is not new.
import type { TailEvent } from '../rules/handover/reconcile.ts';
import { type MessageUnit, UnitSplitter } from '../wire/message-units.ts';
import { MOST_MESSAGE_BYTES } from './tail.ts';

export interface SuppressGateOptions {
  /** Event keys that are owed to nobody, each as often as it stands here. */
  readonly keys: readonly string[];
  /** ms of `performance.now()`: what has not come by then will not come. */
  readonly until: number;
  /** Likewise: what the leg's service says to a new socket has come by then. */
  readonly newUntil: number;
  /** Messages without a key, or too long to be read, that the client has and that may still come. */
  readonly unnamed: number;
  /** Lanes of which alone it is known what the client has; null where that is known of all. */
  readonly certain: ReadonlySet<string> | null;
  /** Lanes of which the client has had something of late; null where that is not known. */
  readonly had: ReadonlySet<string> | null;
  readonly eventOf: (payload: Buffer) => TailEvent;
  /** Where what passes goes. */
  readonly write: (bytes: Buffer) => void;
  /** One has passed of which nobody can say whether the client had it, or had all before it. */
  readonly onDoubt: () => void;
}

export class SuppressGate {
  readonly #options: SuppressGateOptions;
  readonly #owed = new Map<string, number>();
  readonly #splitter: UnitSplitter;
  readonly #certain: Set<string> | null;
  #unnamed: number;
  #now = 0;
  /** Messages that were withheld. */
  suppressed = 0;

  constructor(options: SuppressGateOptions) {
    this.#options = options;
    this.#certain = options.certain === null ? null : new Set(options.certain);
    this.#unnamed = options.unnamed;
    for (const key of options.keys) this.#owed.set(key, (this.#owed.get(key) ?? 0) + 1);
    this.#splitter = new UnitSplitter(
      {
        unit: unit => this.#take(unit),
        tooLong: (piece, isFirst) => {
          if (isFirst) this.#weigh(null, null);
          options.write(piece);
        },
      },
      MOST_MESSAGE_BYTES,
    );
  }

  /** True once bytes may pass without it: nothing is owed, or it is too late, between two messages. */
  isDone(now: number): boolean {
    const { until, newUntil } = this.#options;
    if (this.#splitter.lost) return true;
    const isOwed = this.#owed.size > 0 || this.#unnamed > 0 || this.#certain !== null;
    return !(isOwed && now < until) && now >= newUntil && this.#splitter.atBoundary;
  }

  /** A message has begun, and the client has nothing of it. */
  get holdsAll(): boolean {
    return this.#splitter.holdsAll;
  }

  push(bytes: Buffer, now: number): void {
    this.#now = now;
    this.#splitter.push(bytes);
  }

  #take(unit: MessageUnit): void {
    const { write, eventOf } = this.#options;
    const message = unit.message();
    if (message === null) return write(unit.raw);
    const event = eventOf(message.payload);
    const { key, isReplay, isGreeting } = event;
    const left = key === null ? 0 : (this.#owed.get(key) ?? 0);
    if (key !== null && left > 0) {
      if (left === 1) this.#owed.delete(key);
      else this.#owed.set(key, left - 1);
      if (event.lane !== null) this.#certain?.add(event.lane);
    }
    if (left === 0 && !isReplay && !isGreeting) {
      this.#weigh(key, event.lane);
      return write(unit.raw);
    }
    this.suppressed += 1;
  }

  /** `lane` is null for one that nobody looks into. */
  #weigh(key: string | null, lane: string | null): void {
    if (this.#now >= this.#options.until) return;
    const isUnnamed = key === null && this.#unnamed > 0;
    if (isUnnamed) this.#unnamed -= 1;
    const isUncertain = this.#certain !== null && (lane === null || !this.#certain.has(lane));
    if (isUnnamed || isUncertain) this.#options.onDoubt();
    // Of what is new to the client only the beginning may be missing: what follows is next.
    const isNew = lane !== null && this.#options.had?.has(lane) === false;
    if (isUncertain && isNew) this.#certain?.add(lane);
  }
}
