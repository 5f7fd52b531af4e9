// One session as the judge sees it: bytes of both sides become messages, messages become events, and
// the pairing says what became of each.
import type { StreamFacts } from '../ports.ts';
import type { CompiledRules } from '../rules/compare/compile.ts';
import { ofSide, SIDES, type Side } from '../rules/decide.ts';
import { typeOf } from '../rules/event-key.ts';
import type { MessageForm } from '../rules/isolation/inspect.ts';
import { TOGETHER_MS } from '../rules/pairing/beginning.ts';
import { type LegEnd, otherSide } from '../rules/pairing/legs.ts';
import type { Pairing } from '../rules/pairing/pairing.ts';
import { Spans } from '../rules/pairing/spans.ts';
import { endedWithLast, StreamEnds } from '../rules/pairing/stream-ends.ts';
import type { UnjudgedReason } from '../rules/verdict.ts';
import {
  type GapBegan,
  type LegClosed,
  type LegOpened,
  type ReadPiece,
  SAY_UNTOLD_AGAIN_MS,
  type SaidAlone,
} from './batch.ts';
import type { Decoded } from './decode.ts';
import { type EventReader, eventReader } from './event-reader.ts';
import type { WatchedEvent } from './owned-data.ts';
import type { StreamWatch } from './stream-watch.ts';

const NONE_UNREAD = { legacy: 0, candidate: 0 };

/** What somebody said may have its effects so long, as long as his words are remembered: an agent answers slowly. */
const UNTOLD_MS = 60_000;
/** What was kept for a client is sent again as soon as his leg is there. */
const AGAIN_MS = 5_000;

export class JudgedStream {
  readonly facts: StreamFacts;
  readonly pairing: Pairing;
  /** The last batch with a piece of it. */
  touchedBy = 0;
  readonly #rules: CompiledRules;
  readonly #watch: StreamWatch | null;
  readonly #ends: StreamEnds;
  readonly #lacksWrite: (side: Side, atMs: number) => boolean;
  readonly #readers: Record<Side, EventReader | null> = { legacy: null, candidate: null };
  /** Messages of each side, those that were left out included, counted from the leg's own start. */
  readonly #messages: Record<Side, number> = { legacy: 0, candidate: 0 };
  readonly #openSince: Record<Side, number> = {
    legacy: Number.POSITIVE_INFINITY,
    candidate: Number.POSITIVE_INFINITY,
  };
  /** Hears what legacy says as well, to hold it against what its twin says. */
  #twin: Pairing | null = null;
  /** The side that was closed last. */
  #closed: Side | null = null;
  /** Number of the latest opening of a leg. */
  #generation = 0;
  #lastGapAt = Number.NEGATIVE_INFINITY;
  /** Messages of each side that nothing could be paired by, and when the last one came. */
  readonly #unread: Record<Side, number> = { legacy: 0, candidate: 0 };
  #lastUnreadAt = Number.NEGATIVE_INFINITY;
  /** Since then legacy's leg is heard here, however long it has been there. */
  #legacyReadSince = Number.POSITIVE_INFINITY;
  /** When legacy was not told what its client said, or came to what was under way. */
  readonly #legacyUntold = new Spans(UNTOLD_MS);
  /** When it was not to be told that, the last time of which may be as long after the note. */
  readonly #legacyNotMeant = new Spans(UNTOLD_MS + SAY_UNTOLD_AGAIN_MS);
  /** When the candidate's leg was opened once more, and what it had kept was sent again. */
  readonly #candidateBack = new Spans(AGAIN_MS);
  #candidateWasThere = false;
  /** Up to when legacy's bytes were left out; infinite while they are. */
  #legacyGapUntil = Number.NEGATIVE_INFINITY;
  /** Why the gap is that each side has, or will have next. */
  readonly #gapBy: Record<Side, GapBegan['because']> = {
    legacy: 'overload',
    candidate: 'overload',
  };
  /** Until then the client held both sides back; it does still where that never ends. */
  #heldUntil = Number.NEGATIVE_INFINITY;
  /** Since then both have been read for a window. */
  #isCaughtUp = true;
  /** When the piece that is being read came. */
  #time = 0;
  /** Of a stream of events: when legacy's came, and which sides have brought it to its end. */
  readonly #legacyTimes = { firstAt: 0, lastAt: 0, events: 0 };
  readonly #complete = new Set<Side>();
  #endedWithLast = false;

  constructor(
    facts: StreamFacts,
    pairing: Pairing,
    rules: CompiledRules,
    watch: StreamWatch | null,
    ends: StreamEnds = new StreamEnds(),
    lacksWrite: (side: Side, atMs: number) => boolean = () => false,
  ) {
    this.facts = facts;
    this.pairing = pairing;
    this.#rules = rules;
    this.#watch = watch;
    this.#ends = ends;
    this.#lacksWrite = lacksWrite;
    watch?.askOfLegacy(
      since => this.#isLegacyHeard(since),
      since => this.#isLegacyTold(since),
    );
  }

  legOpened({ side, time, messages, generation, toldAt, isPrimary }: LegOpened): void {
    this.#readers[side] = this.#reader(side);
    this.#messages[side] = messages;
    Object.assign(this.#unread, NONE_UNREAD);
    this.#openSince[side] = time;
    this.#gapBy[side] = 'overload';
    if (side === 'legacy') {
      this.#legacyGapUntil = Number.NEGATIVE_INFINITY;
      this.#legacyReadSince = toldAt;
      const isLate = this.#openSince.candidate + TOGETHER_MS < time;
      if (isLate && !isPrimary) this.#legacyUntold.note(toldAt);
    } else {
      if (this.#candidateWasThere) this.#candidateBack.note(toldAt);
      this.#candidateWasThere = true;
    }
    this.#generation = generation;
    if (this.#closed === side) this.#closed = null;
    this.pairing.legOpened(side, time);
    if (side === 'legacy') this.#twin?.legOpened(side, time);
  }

  /** From now on `twin` hears legacy's events as legacy's; null: nobody does. */
  tellTwin(twin: Pairing | null): void {
    this.#twin = twin;
    const { legacy } = this.#openSince;
    if (legacy !== Number.POSITIVE_INFINITY) twin?.legOpened('legacy', legacy);
  }

  legClosed({ side, how, leftOut, time }: LegClosed): void {
    if (leftOut > 0) this.#gap(side, leftOut, time);
    this.#readers[side] = null;
    this.#closed = side;
    this.#openSince[side] = Number.POSITIVE_INFINITY;
    const ended = how === 'complete' ? this.#completed(side, time) : how;
    this.pairing.legClosed(side, time, ended);
    if (side === 'legacy') this.#twin?.legClosed(side, time, ended);
  }

  /** Its answer is at its end. Does that belong to what it is about? */
  #completed(side: Side, time: number): LegEnd {
    const { areOfRuns } = this.#ends;
    this.#complete.add(side);
    if (side === 'legacy') this.#endedWithLast = endedWithLast(this.#legacyTimes, time);
    if (this.#complete.size === SIDES.length) this.#ends.note(this.#endedWithLast);
    return areOfRuns && (side === 'candidate' || this.#endedWithLast) ? 'complete' : 'by-service';
  }

  piece({ side, batch, start, end, afterGap, leftOut, time }: ReadPiece): void {
    const reader = ofSide(this.#readers, side);
    if (reader === null || reader.lost) return;
    if (afterGap) this.#gap(side, leftOut, time);
    this.#time = time;
    reader.push(batch, start, end);
    if (reader.lost) this.pairing.lost(side, time, 'unframeable');
  }

  /** The judge has failed at a piece of that side's, or (null) at a sweep: see `Pairing.failed`. */
  failed(side: Side | null, time: number): void {
    this.#lastGapAt = Math.max(this.#lastGapAt, time);
    if (side === 'legacy') {
      this.#legacyGapUntil = time;
      this.#twin?.failed(time);
    }
    this.pairing.failed(time);
  }

  /** The client told one service what the other does not hear: see `Pairing.saidAlone`. */
  saidAlone({ time, unheardBy, isMeant }: Omit<SaidAlone, 'at'>): void {
    if (unheardBy === 'legacy') {
      (isMeant ? this.#legacyUntold : this.#legacyNotMeant).note(time);
    }
    this.pairing.saidAlone(time, isMeant ? unheardBy : null);
  }

  /** The client holds both sides back, or no more. */
  held(isHeld: boolean, time: number): void {
    this.#heldUntil = isHeld ? Number.POSITIVE_INFINITY : time;
    this.#isCaughtUp = false;
  }

  /**
   * Gives their verdict to events that waited long enough, see `Pairing.sweep`. What one side said while the
   * other one could not be read has a window from when both are read again.
   */
  sweep(time: number, windowMs: number, due: Readonly<Record<Side, number>>): void {
    this.#isCaughtUp ||= time - this.#heldUntil > windowMs;
    if (this.#isCaughtUp) this.pairing.sweep(time, due);
  }

  /** That side's bytes are left out, until a piece says that they are not. */
  gapBegan({ side, because, time }: GapBegan): void {
    const reader = this.#readers[side];
    if (reader === null || reader.lost) return;
    this.#lastGapAt = Number.POSITIVE_INFINITY;
    if (side === 'legacy') this.#legacyGapUntil = Number.POSITIVE_INFINITY;
    this.#gapBy[side] = because;
    this.pairing.lost(side, time, because);
    if (side === 'legacy') this.#twin?.lost(side, time, because);
  }

  /** That side would be heard again, and is silent: what it does not say is missing, a window from now on. */
  gapEnded(side: Side, leftOut: number, time: number): void {
    const reader = this.#readers[side];
    if (reader === null || reader.lost) return;
    // Where in an event stream the bytes were left out the next piece says, and skips what it is torn from.
    if (this.facts.format === 'websocket') return this.#gap(side, leftOut, time);
    this.#gapIn(side, time, 0);
  }

  /**
   * Adds to `marks`, behind `number`, how far both streams are known to be paired off, for a handover. Nothing unless
   * nothing waits, both legs were there for a window, and within two nothing was left out, and nothing came of one side
   * alone that can not be paired.
   */
  mark(marks: number[], number: number, time: number, windowMs: number): void {
    const { legacy, candidate } = this.#openSince;
    if (time - this.#lastUnreadAt > 2 * windowMs) Object.assign(this.#unread, NONE_UNREAD);
    const isKnown =
      this.pairing.pending === 0 &&
      this.#unread.legacy === this.#unread.candidate &&
      time - Math.max(legacy, candidate) > windowMs &&
      time - this.#lastGapAt > 2 * windowMs;
    if (!isKnown) return;
    marks.push(number, this.#generation, this.#messages.legacy, this.#messages.candidate);
  }

  /** One side is over, and nothing that it sent waits for the other one's any more. */
  get isSettled(): boolean {
    return this.#closed !== null && !this.pairing.isWaiting(this.#closed);
  }

  end(time: number): void {
    this.#openSince.legacy = Number.POSITIVE_INFINITY;
    this.#legacyReadSince = Number.POSITIVE_INFINITY;
    this.pairing.end(time);
  }

  #gap(side: Side, leftOut: number, time: number): void {
    const torn = this.#readers[side]?.gap() ?? 0;
    this.#messages[side] += leftOut + torn;
    this.#lastGapAt = time;
    this.#gapIn(side, time, leftOut + torn);
  }

  #gapIn(side: Side, time: number, leftOut: number): void {
    const because = this.#gapBy[side];
    this.#gapBy[side] = 'overload';
    if (side === 'legacy') this.#legacyGapUntil = time;
    this.pairing.gap(side, time, because, leftOut);
    if (side === 'legacy') this.#twin?.gap(side, time, because);
  }

  /** What it failed at is in the books like any other event. */
  #event(side: Side, decoded: Decoded, payload: Buffer, form: MessageForm): void {
    if (side === 'legacy') this.#messages.legacy += 1;
    else this.#messages.candidate += 1;
    const books = ofSide(this.pairing.books, side);
    const { seen } = books;
    try {
      this.#judge(side, decoded, payload, form);
    } catch (error) {
      if (books.seen === seen) this.pairing.unjudged(side, 'judge-restart', this.#time);
      throw error;
    }
  }

  #judge(side: Side, decoded: Decoded, payload: Buffer, form: MessageForm): void {
    const value = 'value' in decoded ? decoded.value : undefined;
    const event: WatchedEvent = { value, plan: this.#rules.planOf(typeOf(value)), exact: null };
    const other = this.#isOpen(otherSide(side)) ? 'maybe' : 'nothing';
    const anothers = this.#watch?.arrived(side, payload, event, form, this.#time, other) ?? null;
    if ('value' in decoded) {
      const { text } = decoded;
      const bytes = payload.length;
      this.pairing.event(side, value, this.#time, anothers, text, bytes, event.exact);
      if (side === 'legacy') this.#twin?.event(side, value, this.#time, null, text, bytes);
    } else this.#unpaired(side, decoded.because);
  }

  /**
   * Has legacy had its say about what the candidate sent then? Not of what it may have sent before its leg was there,
   * or was read again: a moment ahead of the candidate. Nor yet of what the client holds back: that comes. Nor of what
   * it was perhaps not told, or has sent before the candidate sends it again.
   */
  #isLegacyHeard(since: number): boolean {
    const reader = this.#readers.legacy;
    if (reader === null || reader.lost) return false;
    if (!this.#isLegacyTold(since) || this.#candidateBack.has(since)) return false;
    if (this.#lacksWrite('legacy', since)) return false;
    const readSince = Math.max(this.#legacyReadSince, this.#legacyGapUntil);
    return readSince + TOGETHER_MS < since && (this.#isCaughtUp || this.#heldUntil < since);
  }

  #isLegacyTold(since: number): boolean {
    return !this.#legacyUntold.has(since) && !this.#legacyNotMeant.has(since);
  }

  #unpaired(side: Side, because: UnjudgedReason): void {
    this.#unread[side] += 1;
    this.#lastUnreadAt = this.#time;
    this.pairing.unjudged(side, because, this.#time);
  }

  #isOpen(side: Side): boolean {
    return ofSide(this.#openSince, side) !== Number.POSITIVE_INFINITY;
  }

  #reader(side: Side): EventReader {
    const { format } = this.facts;
    return eventReader(format, {
      event: (decoded, payload, form) => {
        if (format === 'sse' && side === 'legacy') {
          const times = this.#legacyTimes;
          if (times.events === 0) times.firstAt = this.#time;
          times.lastAt = this.#time;
          times.events += 1;
        }
        this.#event(side, decoded, payload, form);
      },
      tooLong: owner => {
        this.#messages[side] += 1;
        const other = this.#isOpen(otherSide(side)) ? 'maybe' : 'nothing';
        this.#watch?.unread(side, 'too-large', owner, this.#time, other);
        this.#unpaired(side, 'too-large');
      },
      search: this.#watch?.search() ?? null,
    });
  }
}
