// Where verdicts are written down: in the session's books, and as findings for whoever keeps them.
import { ofSide, SIDES, type Side } from '../decide.ts';
import type { Difference, Finding, UnjudgedReason, Verdict } from '../verdict.ts';
import { type Books, emptyBooks, type SideBooks } from './books.ts';
import type { Pair } from './order.ts';
import type { Pending } from './pending.ts';

const LEGACY: readonly Side[] = ['legacy'];
const CANDIDATE: readonly Side[] = ['candidate'];

export interface LedgerOptions {
  readonly route: string;
  readonly session: string;
  /** Of all its sessions: whatever is written into this one's books is written there as well. */
  readonly routeBooks?: Books;
  /** Called once for every event or pair, matches included. */
  readonly onFinding: (finding: Finding) => void;
}

export class Ledger {
  readonly books: Books = emptyBooks();
  readonly #options: LedgerOptions;
  readonly #all: readonly Books[];

  constructor(options: LedgerOptions) {
    const { routeBooks } = options;
    this.#options = options;
    this.#all = routeBooks === undefined ? [this.books] : [this.books, routeBooks];
  }

  /** An event that will have its verdict later. */
  seen(side: Side): void {
    for (const books of this.#all) {
      const of = ofSide(books, side);
      of.seen++;
      of.pending++;
    }
  }

  /** By precedence: contaminated, out of order, mismatch; then what proves nothing; noise, match. */
  pair({ legacy, candidate, comparison, isLate }: Pair): void {
    const { differences, excused, stopped } = comparison;
    let verdict: Verdict;
    // What both services sent this user alike is no difference between them; it is reported apart.
    if (legacy.foreign !== candidate.foreign) verdict = 'contaminated';
    else if (isLate) verdict = 'out-of-order';
    else if (differences.length > 0) verdict = 'mismatch';
    else if (stopped !== null) verdict = 'unjudged';
    else if (legacy.plan.isFailure) verdict = 'failed-alike';
    else verdict = excused.length > 0 ? 'noise' : 'match';
    const because = verdict === 'unjudged' ? stopped : null;
    this.#write(verdict, because, legacy, candidate, verdict === 'noise' ? excused : differences);
  }

  alone(event: Pending, verdict: Verdict, because: UnjudgedReason | null): void {
    if (event.side === 'legacy') this.#write(verdict, because, event, null, []);
    else this.#write(verdict, because, null, event, []);
  }

  /** An event of which nothing is known but that it came. */
  unread(side: Side, because: UnjudgedReason, at: number): void {
    for (const books of this.#all) {
      books[side].seen++;
      books[side].unjudged[because]++;
    }
    this.#tellUnread(side, because, at);
  }

  /** What was seen and has no verdict yet will have no other one. */
  writeOff(side: Side, because: UnjudgedReason, at: number): void {
    const { pending } = this.books[side];
    for (const books of this.#all) {
      books[side].pending -= pending;
      books[side].unjudged[because] += pending;
    }
    for (let left = pending; left > 0; left--) this.#tellUnread(side, because, at);
  }

  #tellUnread(side: Side, because: UnjudgedReason, at: number): void {
    const { route, session, onFinding } = this.#options;
    onFinding({
      ...{ verdict: 'unjudged', because, route, eventType: '', key: null, unit: session, session },
      legacy: side === 'legacy' ? undefined : null,
      candidate: side === 'candidate' ? undefined : null,
      sides: side === 'legacy' ? LEGACY : CANDIDATE,
      differences: [],
      at,
    });
  }

  #write(
    verdict: Verdict,
    because: UnjudgedReason | null,
    legacy: Pending | null,
    candidate: Pending | null,
    differences: readonly Difference[],
  ): void {
    const event = legacy ?? candidate;
    if (event === null) return;
    for (const books of this.#all) {
      if (legacy !== null) bookPending(books.legacy, verdict, because);
      if (candidate !== null) bookPending(books.candidate, verdict, because);
    }
    this.#options.onFinding(
      new Found(this.#options, event, verdict, because, legacy, candidate, differences),
    );
  }
}

/** Of events: whose key is put together once somebody asks, since nearly all are only counted. */
class Found implements Finding {
  readonly verdict: Verdict;
  readonly because: UnjudgedReason | null;
  readonly route: string;
  readonly eventType: string;
  readonly unit: string;
  readonly unitLevel: number | undefined;
  readonly session: string;
  readonly legacy: unknown;
  readonly candidate: unknown;
  readonly sides: readonly Side[];
  readonly differences: readonly Difference[];
  readonly at: number;
  readonly #named: Pending['named'];

  constructor(
    { route, session }: LedgerOptions,
    event: Pending,
    verdict: Verdict,
    because: UnjudgedReason | null,
    legacy: Pending | null,
    candidate: Pending | null,
    differences: readonly Difference[],
  ) {
    this.verdict = verdict;
    this.because = because;
    this.route = route;
    this.eventType = event.type;
    this.unit = event.unit;
    this.unitLevel = event.unitLevel;
    this.session = session;
    this.legacy = legacy === null ? null : legacy.value;
    this.candidate = candidate === null ? null : candidate.value;
    this.sides = legacy === null ? CANDIDATE : candidate === null ? LEGACY : SIDES;
    this.differences = differences;
    this.at = Math.max(legacy?.at ?? 0, candidate?.at ?? 0);
    this.#named = event.named;
  }

  get key(): string | null {
    return this.#named?.key ?? null;
  }
}

/** What was pending has its verdict. */
function bookPending(books: SideBooks, verdict: Verdict, because: UnjudgedReason | null): void {
  books.pending--;
  // What nearly all have, without a look by a name that varies.
  if (verdict === 'match') books.match++;
  else if (verdict === 'noise') books.noise++;
  else if (verdict !== 'unjudged') books[verdict]++;
  else if (because !== null) books.unjudged[because]++;
}
