// Pairs the two streams of one session: which event of legacy is which of the candidate, and what
// became of those that are nobody's.
//
//   event ──► same key waiting on the other side? ──► same content? ──► pair ──► order ──► verdict
//                 │ no                                   │ no
//                 └──────────► waits in its lane ◄───────┘
//                                │ both sides came past it, or it waited long enough
//                                └──► a changed event's pair, duplicate, missing, extra, unjudged
import { exactPrint } from '../compare/canonical.ts';
import { type Comparison, compare, isSame } from '../compare/compare.ts';
import type { CompiledRules } from '../compare/compile.ts';
import type { IdClasses } from '../compare/ids.ts';
import { ofSide, SIDES, type Side } from '../decide.ts';
import type { UnjudgedReason, Verdict } from '../verdict.ts';
import { Arrivals } from './arrivals.ts';
import type { Books } from './books.ts';
import { mayBeInexact, withExactIntegers } from './exact.ts';
import type { Lane } from './lane.ts';
import type { Lateness, WriteTimes } from './late-writes.ts';
import { Ledger, type LedgerOptions } from './ledger.ts';
import type { LeftOutWrites } from './left-out-writes.ts';
import { type LegEnd, Legs, otherSide } from './legs.ts';
import {
  isOfTypeOrUser,
  isSameButForUsers,
  likelihood,
  likenessOf,
  saysSomething,
} from './likeness.ts';
import type { Pair } from './order.ts';
import { PairedContent } from './paired-content.ts';
import { nextAlike, type Pending, printOf, Waiting, type WaitingRoom } from './pending.ts';
import { RunBeginnings } from './run-beginnings.ts';
import { Unread } from './unread.ts';

/**
 * After so long without news an event that differs from what it should pair with is taken for changed, where
 * it can be nothing else: a side may stall for longer. Above twice the jitter that is to be expected; and
 * above twice what was seen of late, see `#lagMs`.
 */
const QUIET_MS = 800;
/** Events of one key that are compared in full; those behind them only where their fingerprints are equal. */
const MOST_COMPARED = 8;
/** Types of legacy's that are remembered; a service has some dozens. */
const MOST_TYPES = 256;
/** Events at one place that are looked through for a changed one; a fault changes one or two. */
const MOST_CHANGED = 8;

/** What is another user's by what legacy sends to whom; legacy has no such event. */
const OWNED = 'owned';

export interface PairingOptions extends LedgerOptions {
  readonly rules: CompiledRules;
  /** The session's user under all of his names; empty when nobody is named. */
  readonly subject: readonly string[];
  /** What is known of this user's generated ids; shared by his sessions. */
  readonly ids: IdClasses;
  /** How long an event waits for its pair. */
  readonly windowMs: number;
  /** Writes that only one of the services was given. */
  readonly leftOut?: LeftOutWrites;
  /** Those that both were given. */
  readonly writes?: WriteTimes;
  /** What runs begin with; shared by the route's sessions. */
  readonly runs?: RunBeginnings;
  /** Is an event, by its identifiers, the subject's alone? Not given: nobody knows. */
  readonly isHis?: (event: Pending) => boolean;
  /** Events of one side that wait at a time; beyond, the oldest is `unjudged(window-overrun)`. */
  readonly maxPending: number;
  /** The same for their bytes, of one side and of all sessions; not given: no bounds. */
  readonly maxPendingBytes?: number;
  readonly room?: WaitingRoom;
  /**
   * Asked about an event of the candidate's that legacy did not send this user, at least not so: null, or
   * `legacy`'s that it was paired with. Is it another user's? `byIdsAlone`: what it says may be his own, and
   * only be like another's.
   */
  readonly isOthers?: (candidate: Pending, legacy: Pending | null, byIdsAlone: boolean) => boolean;
  /** Told of a `foreign` event of the candidate's whose pair is not, or not by the same. */
  readonly differs?: (candidate: Pending) => void;
  /** Asked about a `foreign` event that has no pair, and gets its verdict: may legacy have sent the same, unheard? */
  readonly isLeftInDoubt?: (event: Pending) => boolean;
}

/** One per session. All times are epoch milliseconds and never go back. */
export class Pairing {
  readonly #ledger: Ledger;
  readonly #options: PairingOptions;
  readonly #arrivals: Arrivals;
  readonly #legs: Legs;
  readonly #content = new PairedContent();
  /** Of pairs without a name of their own, found where events were lost: which was whose is a guess. */
  readonly #guessed = new PairedContent();
  /** Of what was given up since the other leg was not there: that may come, and yet say it. */
  readonly #givenUp: Readonly<Record<Side, PairedContent>> = {
    legacy: new PairedContent(),
    candidate: new PairedContent(),
  };
  readonly #waiting: Readonly<Record<Side, Waiting>> = {
    legacy: new Waiting(),
    candidate: new Waiting(),
  };
  readonly #unread: Unread;
  readonly #legacyTypes = new Set<string>();
  #lastLegacyType: string | null = null;
  /** Largest distance between the two of a pair: since `#sinceMs`, and before that. */
  #lagMs = 0;
  #lagBeforeMs = 0;
  #sinceMs = Number.NEGATIVE_INFINITY;
  /** What had waited by then on both sides was looked at, and is no event that was readdressed. */
  #triedMs = Number.NEGATIVE_INFINITY;
  #lightenedMs = Number.NEGATIVE_INFINITY;
  #now = 0;

  constructor(options: PairingOptions) {
    this.#options = options;
    this.#arrivals = new Arrivals(options.rules, options.session);
    this.#legs = new Legs({
      ...{ windowMs: options.windowMs, leftOut: options.leftOut ?? null },
      ...{ writes: latenessOf(options), runs: options.runs ?? new RunBeginnings() },
    });
    this.#ledger = new Ledger(options);
    this.#unread = new Unread(options.windowMs);
  }

  get books(): Books {
    return this.#ledger.books;
  }

  /** Does an event of that side wait for its pair? */
  isWaiting(side: Side): boolean {
    return this.#waiting[side].size > 0;
  }

  /** Events that have no verdict yet, of both sides. */
  get pending(): number {
    return this.books.legacy.pending + this.books.candidate.pending;
  }

  /**
   * An event that arrived. `value` is parsed JSON where the message is a JSON object or array, else
   * the message's text. `foreign`: what was found in it that is another user's, the
   * same text for the same in both services. With `text`, the message
   * as it came, integers beyond 2^53 are compared to the last digit; without it they are not
   * comparable where they look equal. `bytes`: of the message, for what may wait. `exact`: its exact print, where
   * that is known.
   */
  event(
    side: Side,
    value: unknown,
    atMs: number,
    foreign: string | null = null,
    text: string | null = null,
    bytes = 0,
    exact: number | null = null,
  ): void {
    this.#now = atMs;
    this.#tidy(atMs);
    this.#ledger.seen(side);
    const event = this.#arrivals.take(side, value, atMs, foreign, text, bytes);
    event.exact = exact;
    this.#legs.arrived(event);
    if (side === 'legacy' && event.type !== this.#lastLegacyType) this.#noteType(event.type);
    if (this.#findPair(event)) return;
    ofSide(this.#waiting, side).add(event);
    if (this.#options.room !== undefined) this.#options.room.bytes += event.bytes;
    if (event.lane !== null) ofSide(event.lane.waiting, side).push(event);
    this.#makeRoom(side);
  }

  /** An event that arrived and can not be read. One unmatched event of the other side is excused. */
  unjudged(side: Side, because: UnjudgedReason, atMs: number): void {
    this.#now = atMs;
    this.#ledger.unread(side, because, atMs);
    // Its counterpart may have been no more readable.
    if (this.#unread.take(otherSide(side), atMs) === null) this.#unread.add(side, because, atMs);
  }

  /**
   * Copies of this side's events were lost on the way here, `leftOut` of them: lanes are unjudged
   * until the next common event. Also, with `judge-restart`, when pairing begins anew in mid-stream.
   */
  gap(side: Side, atMs: number, because: UnjudgedReason = 'overload', leftOut = 0): void {
    this.#now = atMs;
    for (let left = leftOut; left > 0; left--) this.#ledger.unread(side, because, atMs);
    this.#legs.gap(side, this.#arrivals.lastNo(side), atMs, because);
  }

  /**
   * The judge has failed in the middle of an event or of a sweep, and what is under way may be half done: nothing can be
   * said of it, nor of what comes until the next common event.
   */
  failed(atMs: number): void {
    const { room } = this.#options;
    for (const side of SIDES) {
      if (room !== undefined) room.bytes -= this.#waiting[side].bytes;
      this.#waiting[side].clear();
    }
    this.#arrivals.forget();
    for (const side of SIDES) {
      this.#legs.torn(side, this.#arrivals.lastNo(side), atMs, 'judge-restart');
    }
    for (const side of SIDES) this.#ledger.writeOff(side, 'judge-restart', atMs);
  }

  /**
   * The client told one service what the other one does not hear: replies may have no pair from now on. `unheardBy`
   * was to hear it: a run that the other one begins within a window has no pair either.
   */
  saidAlone(atMs: number, unheardBy: Side | null = null): void {
    this.#legs.saidAlone(atMs, unheardBy);
  }

  /** Is it of interest what its client says now? */
  hearsNames(atMs: number): boolean {
    return this.#legs.hearsNames(atMs);
  }

  /** What its client says, by `wordsOf`, and nobody was heard to say before. */
  named(words: readonly number[], atMs: number): void {
    this.#legs.named(words, atMs);
  }

  /** Nothing of this side is heard from now on, until `gap` says that it is again, or its leg is opened anew. */
  lost(side: Side, atMs: number, because: UnjudgedReason): void {
    this.gap(side, atMs, because);
    this.#legs.lost(side, because);
  }

  /** Events of this side may come from now on. Also when a leg is dialled again. */
  legOpened(side: Side, atMs: number): void {
    this.#now = atMs;
    this.#legs.opened(side, atMs);
  }

  /** No more events of this side, until it is opened again. */
  legClosed(side: Side, atMs: number, how: LegEnd): void {
    this.#now = atMs;
    // Before: what the leg did and did not send while it was there still counts.
    const other = otherSide(side);
    if (how === 'complete') this.#legs.complete(side);
    // What waits has its verdict when the other one is complete as well, or goes on without it.
    if (how !== 'complete' || !this.#legs.isOpen(other)) this.#giveUp(other, 'no-second');
    this.#legs.closed(side, this.#arrivals.lastNo(side), how);
    if (!this.#legs.isOpen(other)) this.#giveUp(side, 'no-second');
  }

  /**
   * Gives their verdict to events that waited long enough: by side, those that arrived by `dueMs`, a window
   * ago unless told otherwise. Call some times a second; cheap when nothing waits. `atMs` may be behind what arrived last.
   */
  sweep(atMs: number, dueMs?: Readonly<Record<Side, number>>): void {
    this.#now = Math.max(this.#now, atMs);
    this.#tidy(atMs);
    const { windowMs } = this.#options;
    if (this.#waiting.legacy.size + this.#waiting.candidate.size === 0) return;
    this.#lighten(atMs);
    const quietMs = Math.min(windowMs, Math.max(QUIET_MS, 2 * this.#lagMs, 2 * this.#lagBeforeMs));
    this.#settleQuiet(atMs - quietMs, SIDES);
    this.#triedMs = Math.max(this.#triedMs, atMs - quietMs);
    for (const side of SIDES) {
      const due = dueMs?.[side] ?? atMs - windowMs;
      const until = this.#legs.isOpen(otherSide(side)) ? due : atMs - quietMs;
      const waiting = this.#waiting[side];
      for (let event = waiting.oldest; event !== null; event = waiting.oldest) {
        if (event.at > until) break;
        if (!this.#pairChanged(event, quietMs)) this.#resolveAlone(event);
      }
    }
  }

  /** What was not paired at once may wait for a window, and its text is a third of what it takes. */
  #lighten(atMs: number): void {
    for (const side of SIDES) {
      let event = this.#waiting[side].newest;
      for (; event !== null && event.at > this.#lightenedMs; event = event.older) {
        if (event.text === null || mayBeInexact(event.text)) continue;
        event.text = null;
        event.isExact = true;
      }
    }
    this.#lightenedMs = atMs;
  }

  /** The session is over: everything gets its verdict, `pending` becomes 0. */
  end(atMs: number): void {
    this.#now = atMs;
    for (const side of SIDES) this.#giveUp(side, 'session-ended');
  }

  #noteType(type: string): void {
    this.#lastLegacyType = type;
    if (this.#legacyTypes.size < MOST_TYPES) this.#legacyTypes.add(type);
  }

  /** Forgets what is over. An event may wait for a window, and look back for another one. */
  #tidy(atMs: number): void {
    const { windowMs } = this.#options;
    if (atMs - this.#sinceMs <= 2 * windowMs) return;
    this.#sinceMs = atMs;
    this.#legs.tidy(atMs);
    this.#lagBeforeMs = this.#lagMs;
    this.#lagMs = 0;
    this.#content.age();
    this.#guessed.age();
    for (const side of SIDES) this.#givenUp[side].age();
    this.#arrivals.sweep(atMs - 2 * windowMs);
  }

  /**
   * Pairs the event with one of the other side that has its key and its content, if one waits: the oldest; where
   * several say the same, the oldest that this side has not come past, since those before it may be lost.
   */
  #findPair(event: Pending): boolean {
    let other = ofSide(this.#waiting, otherSide(event.side)).find(event);
    let passed: { readonly other: Pending; readonly comparison: Comparison } | null = null;
    for (let tried = 0; other !== null; other = nextAlike(other), tried++) {
      if (tried >= MOST_COMPARED && printOf(event) !== printOf(other)) continue;
      const comparison = this.#compare(event, other);
      // What could not be compared to its end will not be the next time.
      if (isSame(comparison) || (comparison.stopped !== null && !hasFindings(comparison))) {
        const mayBeLost = other.lane === event.lane && wasPassed(other);
        if (mayBeLost && (passed !== null || nextAlike(other) !== null)) {
          passed ??= { other, comparison };
          continue;
        }
        this.#pair(event, other, comparison);
        return true;
      }
    }
    if (passed === null) return false;
    this.#pair(event, passed.other, passed.comparison);
    return true;
  }

  #compare(a: Pending, b: Pending): Comparison {
    const legacy = a.side === 'legacy' ? a : b;
    const candidate = a.side === 'legacy' ? b : a;
    const found = compare(legacy.plan, legacy.value, candidate.value, this.#options);
    if (!found.inexact) return found;
    const left = exactValueOf(legacy);
    const right = exactValueOf(candidate);
    if (left !== undefined && right !== undefined) {
      return compare(legacy.plan, left, right, this.#options);
    }
    return isSame(found) ? { ...found, stopped: 'not-comparable', isAlike: false } : found;
  }

  #pair(a: Pending, b: Pending, comparison: Comparison): void {
    const legacy = a.side === 'legacy' ? a : b;
    const candidate = a.side === 'legacy' ? b : a;
    this.#remove(legacy);
    this.#remove(candidate);
    const isGuess = this.#isGuess(legacy, candidate);
    if (isGuess) this.#guessed.note(printOf(legacy), this.#now);
    // What each connection's timer sends says neither how far apart the services are nor that they run together.
    const { isTimer } = legacy.plan;
    if (!isTimer) {
      this.#lagMs = Math.max(this.#lagMs, Math.abs(legacy.at - candidate.at));
      if (isGuess) this.#legs.guessed(legacy, candidate);
      else this.#legs.paired(legacy, candidate);
    }
    // These prints take long: what is alike has the other's.
    const isOnePrint = comparison.isAlike && legacy.plan === candidate.plan;
    if (isOnePrint) candidate.exact ??= legacy.exact;
    this.#content.note(exactOf(candidate), this.#now);
    // Of legacy's own only what has a name can be a duplicate; a changed one may come from the candidate as well.
    const mayRepeat = legacy.isNamed || hasFindings(comparison);
    if (isOnePrint) legacy.exact ??= candidate.exact;
    else if (mayRepeat) this.#content.note(exactOf(legacy), this.#now);
    if (comparison.learned.length > 0 && !this.#hasDouble(legacy) && !this.#hasDouble(candidate)) {
      for (const { idClass, legacy: left, candidate: right } of comparison.learned) {
        this.#options.ids.learn(idClass, left, right);
      }
    }
    // What both name alike says nothing of whose the rest is.
    const isOpen = candidate.foreign === null || candidate.foreign === legacy.foreign;
    if (!isOpen) this.#options.differs?.(candidate);
    else if (hasFindings(comparison) || comparison.hasAdded) {
      // Their content is one where nothing was found.
      if (this.#isOthers(candidate, legacy, !hasFindings(comparison))) candidate.foreign = OWNED;
    }
    const pair: Pair = { legacy, candidate, comparison, isLate: false };
    const { lane } = legacy;
    // Where the sides do not agree on a lane, or only on what was said, there is no order to keep.
    const isOrdered = lane !== null && lane === candidate.lane && !isGuess && !isTimer;
    if (!isOrdered) this.#ledger.pair(pair);
    else {
      lane.pair(pair, this.#rest);
      if (lane.hasBefore(legacy) || lane.hasBefore(candidate)) {
        this.#settlePassed(lane, legacy.place, candidate.place);
      }
    }
    // The lanes that they left may have pairs that waited for this.
    if (!isOrdered) {
      lane?.settle(this.#rest);
      candidate.lane?.settle(this.#rest);
    }
  }

  readonly #rest = (pair: Pair): void => this.#ledger.pair(pair);

  /** Both sides came past these places: what has waited before them on both sides was changed on the way. */
  #settlePassed(lane: Lane, legacyPlace: number, candidatePlace: number): void {
    const legacy = lane.waiting.legacy.filter(({ place }) => place < legacyPlace);
    const candidate = lane.waiting.candidate.filter(({ place }) => place < candidatePlace);
    this.#settleChanged(legacy, candidate, true);
    for (const event of [...legacy, ...candidate]) {
      // What has no name of its own may come in another order, or once more: that needs time.
      if (event.isWaiting && event.isNamed && this.#isDuplicate(event)) this.#resolveAlone(event);
    }
  }

  /**
   * Pairs what has the same key, then what has the same place, and not the same content. `isOver`: what
   * either of them should pair with would be here by now; else only what can be nothing else is paired.
   */
  #settleChanged(legacy: readonly Pending[], candidate: readonly Pending[], isOver: boolean): void {
    if (legacy.length === 0 || candidate.length === 0) return;
    const among = { legacy: new Set(legacy), candidate: new Set(candidate) };
    for (const event of legacy) {
      if (!event.isWaiting) continue;
      const changed = this.#findChanged(event, among, isOver);
      if (changed !== null) this.#pair(event, changed, this.#compare(event, changed));
    }
    for (const event of legacy.filter(isWaiting).slice(0, MOST_CHANGED)) {
      const likely = this.#findAtPlace(event, candidate.filter(isWaiting), isOver);
      if (likely !== null) this.#pair(event, likely, this.#compare(event, likely));
    }
  }

  /** By its key, before all in its own lane; of several that share it the one that says most of the same. */
  #findChanged(
    legacy: Pending,
    among: Readonly<Record<Side, ReadonlySet<Pending>>>,
    isOver: boolean,
  ): Pending | null {
    let elsewhere: Pending | null = null;
    const near: Pending[] = [];
    let tried = 0;
    let other = this.#waiting.candidate.find(legacy);
    for (; other !== null && tried < MOST_CHANGED; other = nextAlike(other)) {
      if (!among.candidate.has(other)) continue;
      tried++;
      if (!this.#isChanged(legacy, other, isOver)) continue;
      if (other.lane !== legacy.lane) elsewhere ??= other;
      else if (legacy.isNamed) return other;
      else near.push(other);
    }
    return near.length === 0 ? elsewhere : this.#likestOf(near, legacy, among.legacy);
  }

  /**
   * Null where each is more like another one of legacy's. In their order where none is left over, or they are many:
   * what they say is dear to look through.
   */
  #likestOf(
    near: readonly Pending[],
    legacy: Pending,
    among: ReadonlySet<Pending>,
  ): Pending | null {
    const rivals = this.#likeIn(legacy, 'legacy').filter(each => each !== legacy);
    const passed = rivals.filter(each => among.has(each)).length;
    const isEven =
      near.length === passed + 1 || this.#likeIn(legacy, 'candidate').length === rivals.length + 1;
    if (isEven || near.length === MOST_CHANGED) return near[0] ?? null;
    const alike = near.map(candidate => ({ candidate, share: likenessOf(legacy, candidate) }));
    const best = alike
      .toSorted((a, b) => b.share - a.share)
      .find(({ candidate, share }) => rivals.every(each => likenessOf(each, candidate) <= share));
    return best?.candidate ?? null;
  }

  /** Those that wait on that side of its lane under its name; the first of many. */
  #likeIn(event: Pending, side: Side): Pending[] {
    const found: Pending[] = [];
    for (const each of this.#waiting[side].allOf(event)) {
      if (each.lane === event.lane) found.push(each);
      if (found.length > MOST_CHANGED) break;
    }
    return found;
  }

  /** The last look for what an event may have become; what came much later has a pair of its own to come. */
  #pairChanged(event: Pending, quietMs: number): boolean {
    const other = otherSide(event.side);
    if (this.#waiting[other].size === 0) return false;
    const namesakes = [...this.#waiting[other].allOf(event)];
    const others = namesakes.length === 0 ? (event.lane?.waiting[other] ?? []) : namesakes;
    const near = others.filter(
      // What another lane has may be due there, however late that one is.
      ({ at, lane }) => at <= event.at + (lane === event.lane ? quietMs : QUIET_MS),
    );
    if (event.side === 'legacy') this.#settleChanged([event], near, true);
    else this.#settleChanged(near, [event], true);
    return !event.isWaiting;
  }

  /** Is it one event, though all that is known is that both have one key? Many events may share it. */
  #isChanged(legacy: Pending, candidate: Pending, isOver: boolean): boolean {
    if (this.#legs.isByOwnTimer(legacy)) return false;
    const fits = legacy.isNamed || (isOver && this.#legs.fits(legacy, candidate));
    if (fits && this.#areSettled(legacy, candidate)) return true;
    return isOver ? isSameButForUsers(legacy, candidate) : this.#isReadressed(legacy, candidate);
  }

  /** The likeliest of what has its place, unless either of them is likelier to be another one that waits. */
  #findAtPlace(legacy: Pending, among: readonly Pending[], isOver: boolean): Pending | null {
    let best: Pending | null = null;
    let most = 0;
    for (const candidate of among.slice(0, MOST_CHANGED)) {
      const likely = this.#likelihoodAtPlace(legacy, candidate, isOver);
      if (likely <= most || this.#hasLikelier(legacy, candidate, likely)) continue;
      best = candidate;
      most = likely;
      if (most === 1) break;
    }
    return best;
  }

  /** One that is likelier, and likelier still to be a third one, is that. */
  #hasLikelier(legacy: Pending, candidate: Pending, likely: number): boolean {
    if (likely === 1) return false;
    return [legacy, candidate].some(event =>
      facing(event).some(other => {
        const more = likelihoodOf(event, other);
        return more > likely && facing(other).every(each => likelihoodOf(other, each) <= more);
      }),
    );
  }

  #likelihoodAtPlace(legacy: Pending, candidate: Pending, isOver: boolean): number {
    if (!isOver && !this.#mayBeReadressed(legacy, candidate)) return 0;
    if (!this.#areSettled(legacy, candidate) || !this.#legs.fits(legacy, candidate)) return 0;
    const likely = likelihood(legacy, candidate);
    return likely === 0 || isOver || this.#isReadressed(legacy, candidate) ? likely : 0;
  }

  /**
   * Is it one event that was changed in its type or its users alone, before both sides have come past it? Not
   * where it could as well be another one: of a type that legacy has, or with nothing to say but its type.
   */
  #isReadressed(legacy: Pending, candidate: Pending): boolean {
    if (!this.#mayBeReadressed(legacy, candidate) || !saysSomething(legacy)) return false;
    if (legacy.type !== candidate.type && this.#legacyTypes.has(candidate.type)) return false;
    return this.#compare(legacy, candidate).differences.every(({ path }) =>
      isOfTypeOrUser(path, legacy.plan),
    );
  }

  /** What two events say is dear to compare, and does not change: at each sweep is asked what is new alone. */
  #mayBeReadressed(legacy: Pending, candidate: Pending): boolean {
    return legacy.isPointed && Math.max(legacy.at, candidate.at) > this.#triedMs;
  }

  /**
   * Whatever has waited on both sides since before `until` will not find its like any more, nor on
   * `sides` what has a double: once it was passed, or if `isOnly` says that nobody says it twice.
   */
  #settleQuiet(
    until: number,
    sides: readonly Side[],
    isOnly: (event: Pending) => boolean = () => false,
  ): void {
    const isQuiet = ({ at }: Pending) => at <= until;
    for (const { waiting } of this.#lanesOfBoth(until)) {
      this.#settleChanged(waiting.legacy.filter(isQuiet), waiting.candidate.filter(isQuiet), false);
    }
    // Where nothing was paired of late nothing is a duplicate.
    if (this.#content.isEmpty) return;
    for (const side of sides) {
      let next: Pending | null = null;
      for (
        let event = this.#waiting[side].oldest;
        event !== null && event.at <= until;
        event = next
      ) {
        next = event.newer;
        // A side that is late may yet send its own second one; and it may say the same again.
        if (!isOnly(event) && !wasPassed(event)) continue;
        if (!this.#isDuplicate(event)) continue;
        this.#resolveAlone(event);
        if (next !== null && !next.isWaiting) next = this.#waiting[side].oldest;
      }
    }
  }

  /** In which something of both sides waits, and of legacy since before `until`. */
  #lanesOfBoth(until: number): ReadonlySet<Lane> {
    const lanes = new Set<Lane>();
    // Ten times a second all that a silent candidate does not send would be looked through.
    if (this.#waiting.candidate.size === 0) return lanes;
    let event = this.#waiting.legacy.oldest;
    for (; event !== null && event.at <= until; event = event.newer) {
      if (event.lane !== null && event.lane.waiting.candidate.length > 0) lanes.add(event.lane);
    }
    return lanes;
  }

  /** No pair will come for the events of this side any more. */
  #giveUp(side: Side, because: UnjudgedReason): void {
    // For the last time, and in full: what spoke against it when it was looked at may be settled by now.
    this.#triedMs = Number.NEGATIVE_INFINITY;
    // A leg that is gone takes along what it would have said again.
    this.#settleQuiet(Number.POSITIVE_INFINITY, [side], isSaidOnce);
    if (this.#legs.areWhole) return this.#resolveAll(side);
    const goesOn = because === 'no-second' && this.#legs.isOpen(side);
    let next: Pending | null = null;
    for (let event = this.#waiting[side].oldest; event !== null; event = next) {
      next = event.newer;
      // It had come before its leg went, and may have been changed: that is known once this side has gone on.
      if (goesOn && this.#hasLike(event)) continue;
      const isOnly = isSaidOnce(event) && this.#isDuplicate(event);
      if (wasPassed(event) || isOnly) this.#resolveAlone(event);
      else this.#resolve(event, 'unjudged', because);
    }
  }

  /** Both sides have said all that they had to say. */
  #resolveAll(side: Side): void {
    const waiting = this.#waiting[side];
    for (let event = waiting.oldest; event !== null; event = waiting.oldest) {
      if (!this.#pairChanged(event, this.#options.windowMs)) this.#resolveAlone(event);
    }
  }

  /** Does one of its key wait on the other side of its lane? */
  #hasLike(event: Pending): boolean {
    for (const other of this.#waiting[otherSide(event.side)].allOf(event)) {
      if (other.lane === event.lane) return true;
    }
    return false;
  }

  /** Does one that says the same wait beside it, so that an id may be the other one's? */
  #hasDouble(event: Pending): boolean {
    if (event.isNamed) return false;
    let tried = 0;
    for (const other of this.#waiting[event.side].allOf(event)) {
      // Among so many there will be one.
      if (printOf(other) === printOf(event) || ++tried >= MOST_COMPARED) return true;
    }
    return false;
  }

  /** Could either of them as well be the pair of another one that says the same, and that is lost? */
  #isGuess(legacy: Pending, candidate: Pending): boolean {
    if (legacy.isNamed) return false;
    return (
      this.#isUnsettled(legacy) ||
      this.#isUnsettled(candidate) ||
      ((this.#legs.mayBeEarly(legacy) || this.#legs.mayBeEarly(candidate)) &&
        this.#hasOther(legacy))
    );
  }

  /** Does one that says something else under the same name wait, so that its run says much, and may repeat itself? */
  #hasOther(event: Pending): boolean {
    return SIDES.some(side => {
      const other = this.#waiting[side].find(event);
      return other !== null && printOf(other) !== printOf(event);
    });
  }

  /** Was one that says the same paired by a guess of late? Then this one may be what is left over. */
  #isGuessed(event: Pending): boolean {
    if (event.isNamed || this.#guessed.isEmpty) return false;
    return this.#guessed.has(printOf(event), event.at - this.#options.windowMs);
  }

  /** Of two that say the same the other side's first may be lost, and its second be paired with the first of these. */
  #isLeftOver(event: Pending): boolean {
    return this.#legs.isSoonAfterGap(event) && this.#wasPaired(event);
  }

  /** Did the other side say so before this one's leg was there? */
  #wasGivenUp(event: Pending): boolean {
    const theirs = ofSide(this.#givenUp, otherSide(event.side));
    return !theirs.isEmpty && theirs.has(printOf(event), event.at - this.#options.windowMs);
  }

  #isUnsettled(event: Pending): boolean {
    return this.#mayBeLost(event) || this.#legs.mayBeLeftOut(event);
  }

  /**
   * Does nothing speak against it that they are one event? Of one with a name no write does that a service lacks: it
   * may be silent for want of that, but says nothing else under the name.
   */
  #areSettled(legacy: Pending, candidate: Pending): boolean {
    if (this.#mayBeLost(legacy) || this.#mayBeLost(candidate)) return false;
    return legacy.isNamed || ![legacy, candidate].some(each => this.#legs.mayBeLeftOut(each));
  }

  /** May what it belongs to be lost, or have been paired with another one? */
  #mayBeLost(event: Pending): boolean {
    return this.#legs.isUnsettled(event) || this.#isGuessed(event);
  }

  /** Is it one more of what was paired of late? */
  #isDuplicate(event: Pending): boolean {
    if (this.#isUnsettled(event) || this.#legs.isSoonAfterGap(event)) return false;
    // Of what legacy says again and again the candidate may have dropped one.
    if (event.side === 'legacy' && !event.isNamed) return false;
    return this.#wasPaired(event);
  }

  /** Was one that says the same paired of late? */
  #wasPaired(event: Pending): boolean {
    return this.#content.has(exactOf(event), event.at - this.#options.windowMs);
  }

  /** An event whose pair did not come. */
  #resolveAlone(event: Pending): void {
    const { side } = event;
    const absent = this.#legs.excuse(event);
    const isDuplicate = absent === null && this.#isDuplicate(event);
    const isEarly = absent === null && this.#legs.isEarly(event);
    const isFarewell = !isDuplicate && absent === null && this.#legs.isFarewell(event);
    const excuse = isDuplicate
      ? null
      : (absent ??
        this.#unread.take(otherSide(side), event.at) ??
        (isEarly || isFarewell || this.#wasGivenUp(event) ? 'no-second' : null) ??
        (this.#isGuessed(event) || this.#isLeftOver(event) ? this.#legs.lossReason : null));
    if (excuse !== null) {
      // A run that he began himself is nobody's else, nor is one that he met under way: legacy goes on with that, and
      // a window is over. What is another's is told of all the same.
      const isOnlyAlone =
        isEarly || this.#legs.isByOwnTimer(event) || this.#legs.isOfUnheard(event);
      if (side === 'candidate' && isOnlyAlone) this.#lookWhose(event, true);
      else if (side === 'candidate' && isFarewell) this.#lookWhose(event, false);
      return this.#resolve(event, 'unjudged', excuse);
    }
    // Also of what comes once more, or is sent again: rules leave things out, and it says so of itself.
    if (side === 'candidate') this.#lookWhose(event, false);
    if (isDuplicate) this.#resolve(event, 'duplicate', null);
    else if (event.isReplay || this.#legs.isOfPasserBy(event)) {
      this.#resolve(event, 'unjudged', 'no-second');
    } else this.#resolve(event, side === 'legacy' ? 'missing' : 'extra', null);
  }

  /** Of an event of the candidate's that has no pair. */
  #lookWhose(event: Pending, byIdsAlone: boolean): void {
    if (this.#isForeign(event)) return;
    if (this.#options.isOthers?.(event, null, byIdsAlone) === true) event.foreign = OWNED;
  }

  #isForeign(event: Pending): boolean {
    return event.foreign !== null && this.#options.isLeftInDoubt?.(event) !== true;
  }

  #isOthers(candidate: Pending, legacy: Pending, byIdsAlone: boolean): boolean {
    return this.#options.isOthers?.(candidate, legacy, byIdsAlone) ?? false;
  }

  #resolve(event: Pending, verdict: Verdict, because: UnjudgedReason | null): void {
    this.#remove(event);
    if (because === 'no-second' && this.#legs.mayBeFollowed(event)) {
      ofSide(this.#givenUp, event.side).note(printOf(event), this.#now);
    }
    // Whose data it was is known, whatever else is not.
    if (this.#isForeign(event)) this.#ledger.alone(event, 'contaminated', null);
    else this.#ledger.alone(event, verdict, because);
    event.lane?.settle(this.#rest);
  }

  #makeRoom(side: Side): void {
    const waiting = ofSide(this.#waiting, side);
    while (waiting.oldest !== null && this.#isFull(waiting)) {
      // What would have been its pair must not be taken for an extra one.
      for (const each of SIDES) {
        this.#legs.gap(each, this.#arrivals.lastNo(each), this.#now, 'window-overrun');
      }
      this.#resolve(waiting.oldest, 'unjudged', 'window-overrun');
    }
  }

  #isFull({ size, bytes }: Waiting): boolean {
    const { maxPending, maxPendingBytes = Number.POSITIVE_INFINITY, room } = this.#options;
    if (size > maxPending || bytes > maxPendingBytes) return true;
    return room !== undefined && room.bytes > room.mostBytes;
  }

  #remove(event: Pending): void {
    if (!event.isWaiting) return;
    ofSide(this.#waiting, event.side).remove(event);
    if (this.#options.room !== undefined) this.#options.room.bytes -= event.bytes;
    event.lane?.remove(event);
  }
}

function latenessOf({ writes, subject, isHis }: PairingOptions): Lateness | null {
  if (writes === undefined) return null;
  const [his, anybodys] = [writes.about(subject), writes.about([])];
  return { his, anybodys, isHis: isHis ?? (() => false) };
}

const isWaiting = (event: Pending): boolean => event.isWaiting;

/** A client may say the same again, and is answered again. */
const isSaidOnce = (event: Pending): boolean => event.isNamed && !event.plan.isReply;

/** A replay is of no lane, and nothing passes it. */
const wasPassed = (event: Pending): boolean => event.lane?.hasPassed(event) === true;

/** To the last digit; undefined where that is not known. */
function exactValueOf({ text, isExact, value }: Pending): unknown {
  if (isExact) return value;
  return text === null ? undefined : withExactIntegers(text);
}

function exactOf(event: Pending): number | null {
  event.exact ??= exactPrint(event.plan, event.value);
  if (event.exact === null && event.text !== null && mayBeInexact(event.text)) {
    event.exact = exactPrint(event.plan, withExactIntegers(event.text));
  }
  return event.exact;
}

const hasFindings = ({ differences }: Comparison): boolean => differences.length > 0;

/** What waits in its lane on the other side; the first of many. */
function facing({ side, lane }: Pending): readonly Pending[] {
  return lane?.waiting[otherSide(side)].slice(0, 2 * MOST_CHANGED) ?? [];
}

function likelihoodOf(a: Pending, b: Pending): number {
  return a.side === 'legacy' ? likelihood(a, b) : likelihood(b, a);
}
