// Pairs the two streams of one session: which event of legacy is which of the candidate, and what
// became of those that are nobody's.
import type { CompiledRules } from '../compare/compile.ts';
import type { IdClasses } from '../compare/ids.ts';
import type { Side } from '../decide.ts';
import type { Finding, UnjudgedReason } from '../verdict.ts';
import { type Books, emptyBooks } from './books.ts';

export interface PairingOptions {
  readonly route: string;
  readonly session: string;
  readonly rules: CompiledRules;
  /** The session's user under all of his names; empty when nobody is named. */
  readonly subject: readonly string[];
  /** What is known of this user's generated ids; shared by his sessions. */
  readonly ids: IdClasses;
  /** How long an event waits for its pair. */
  readonly windowMs: number;
  /** Events that wait at a time; beyond, the oldest are `unjudged(window-overrun)`. */
  readonly maxPending: number;
  /** Called once for every event or pair, matches included. */
  readonly onFinding: (finding: Finding) => void;
}

/** One per session. All times are epoch milliseconds and never go back. */
export class Pairing {
  readonly books: Books = emptyBooks();

  readonly options: PairingOptions;

  constructor(options: PairingOptions) {
    this.options = options;
  }

  /** Events that have no verdict yet, of both sides. */
  get pending(): number {
    return this.books.legacy.pending + this.books.candidate.pending;
  }

  /**
   * An event that arrived. `value` is parsed JSON where the message is a JSON object or array, else
   * the message's text. `contaminated`: another user's data was found in it.
   */
  event(_side: Side, _value: unknown, _atMs: number, _contaminated = false): void {
    throw new Error('comes next');
  }

  /** An event that arrived and can not be read. One unmatched event of the other side is excused. */
  unjudged(_side: Side, _because: UnjudgedReason, _atMs: number): void {
    throw new Error('comes next');
  }

  /** Events of this side were lost on the way here: lanes are `unjudged` until the next common event. */
  gap(_side: Side, _atMs: number, _because: UnjudgedReason = 'overload'): void {
    throw new Error('comes next');
  }

  /** Events of this side may come from now on. Also when a leg is dialled again. */
  legOpened(_side: Side, _atMs: number): void {
    throw new Error('comes next');
  }

  /** No more events of this side, until it is opened again. */
  legClosed(_side: Side, _atMs: number): void {
    throw new Error('comes next');
  }

  /** Gives their verdict to events that waited long enough. Call every 100 ms; cheap when nothing waits. */
  sweep(_atMs: number): void {
    throw new Error('comes next');
  }

  /** The session is over: everything gets its verdict, `pending` becomes 0. */
  end(_atMs: number): void {
    throw new Error('comes next');
  }
}
