// The judge's ear in the lanes: copies bytes into batches for as long as the judge keeps up, and counts
// what it leaves out when it does not. Never waits, never throws on a client's path.
import type {
  AnswerSample,
  ExchangeFacts,
  ExchangeSample,
  OverheardTap,
  StreamFacts,
  StreamTap,
  Tap,
} from '../ports.ts';
import { namesOf, ofSide, SIDES, type Side, type Subject } from '../rules/decide.ts';
import type { MarkerSearch, Markers } from '../rules/isolation/marker.ts';
import type { LegEnd } from '../rules/pairing/legs.ts';
import type { FrameTracker, StopAt } from '../wire/frames.ts';
import {
  BATCH_BYTES,
  type Batch,
  BatchMemory,
  BUSY_BYTES,
  FLUSH_MS,
  MOST_RECORD_BYTES,
  type Note,
  SAY_UNTOLD_AGAIN_MS,
  type SaidAlone,
  type SaidTo,
  writePiece,
} from './batch.ts';
import { type OverheardHost, TappedOverheard } from './overheard-tap.ts';
import type { UnansweredWrites } from './unanswered-writes.ts';

/** Batches that the judge may have in hand: 8 MiB, a fifth of a second of 40 MB/s. */
const MOST_BATCHES = 32;
/** Answers that it may have in hand, bodies and fields; they are not copied into batches. */
const MOST_EXCHANGE_BYTES = 16 * 1024 * 1024;
/** What an answer takes beside them, and a text beside its characters. */
const ANSWER_BYTES = 500;
const TEXT_BYTES = 16;
/**
 * With so many in hand the judge is behind, and a batch that is not full waits for one to come back.
 * Else a thread that was not scheduled for a sixth of a second would have its hands full of batches
 * with next to nothing in them, and a trickle of events would be left out as overload.
 */
const MOST_PARTLY_FILLED = 8;
/** With so many in hand (1 MiB, 25 ms of work) nobody else's streams are heard: who is compared comes first. */
const MOST_OVERHEARD_BATCHES = 4;
/** ... and so much of their answers, which are not in batches; and of what they say a second. */
const MOST_OVERHEARD_ANSWER_BYTES = 1_048_576;
const MOST_OVERHEARD_SAID_A_SECOND = 524_288;
/** Of whom it is noted, in a second, that they told legacy what was not heard. */
const MOST_UNREAD_NOTES = 1_000;
/** Streams that are heard at a time: 80 MB, of this thread and the judge's together. */
const MOST_OVERHEARD = 20_000;
/** Streams are numbered from 1 on, in 32 bits. */
const NO_STREAM = 0;
const MOST_STREAM = 2 ** 32 - 1;
/** Longer texts of clients are not read: the judge has answers and events to look at. */
const MOST_SAID_BYTES = 65_536;
/** Of all clients in a second: a twentieth of what the judge has time for. */
const MOST_SAID_A_SECOND = 2 * 1_048_576;
/** Of one of them, and of all whom nobody knows, so that it takes eight to be too many. */
const MOST_SAID_BY_ONE = MOST_SAID_A_SECOND / 8;
/** Notes of what can not be read, or was not heard, are repeated no sooner: it is remembered for longer. */
const SAY_AGAIN_MS = 1_000;
/** Who is left out and then says nothing for so long has nothing to say: his gap ends without a piece. */
const SILENT_MS = 1_000;
/** A write that only one service was given has that long to be answered: `responseTimeoutMs`, where nobody says more. */
const MOST_LEFT_OUT_MS = 60_000;

/** What the judge says of a batch that it has dealt with. */
export interface Taken {
  /** How far streams are paired off, in fours: stream, generation, and a message's number on each side. */
  readonly marks: ArrayLike<number>;
  /** Streams of which one side is closed and nothing of it waits. */
  readonly settled: readonly number[];
}

/** Messages of one route that were handed over or left out, by side. */
export type Handed = Record<Side, number>;

export interface BatchTapOptions {
  /** Gives a batch to the judge; the bytes are no longer ours. */
  readonly send: (batch: Batch) => void;
  /** Epoch ms of a clock that never steps. */
  readonly now: () => number;
  readonly writes: UnansweredWrites;
  readonly markers?: Markers;
}

export class BatchTap implements Tap {
  readonly #options: BatchTapOptions;
  readonly #streams = new Map<number, TappedStream>();
  readonly #overheard = new Map<number, TappedOverheard>();
  /** Those of which the judge was told that a side is left out. */
  readonly #inGap = new Set<TappedStream>();
  readonly #handed = new Map<string, Handed>();
  readonly #free: ArrayBuffer[] = [];
  #inHand = 0;
  #exchangeBytesInHand = 0;
  /** When the judge was sent something last. */
  #sentAt = 0;
  #exchangeBytes = 0;
  #batch: BatchMemory | null = null;
  #length = 0;
  #notes: Note[] = [];
  #timer: NodeJS.Timeout | null = null;
  #lastNumber = 0;
  /** What clients were heard to say since. */
  #saidBytes = 0;
  #saidSince = Number.NEGATIVE_INFINITY;
  /** Of that by user; those whom nobody knows as one. Infinite: the rest is not heard, and that was told. */
  readonly #saidBy = new Map<string, number>();
  /** Who has told legacy alone what was not heard. */
  readonly #unreadByLegacy = new Set<string>();
  /** Writes that the side was not given, and the other one has not answered, in order: since when. */
  readonly #leftOut: Readonly<Record<Side, Set<{ readonly since: number }>>> = {
    legacy: new Set(),
    candidate: new Set(),
  };
  /** Bytes that were left out because the judge was behind. */
  bytesLeftOut = 0;
  /** The same of streams and answers that are overheard; and streams that were one too many. */
  bytesUnheard = 0;
  streamsUnheard = 0;
  readonly #forOverheard: OverheardHost = {
    open: (stream, facts) => this.note({ kind: 'open', stream, facts, isOverheard: true }),
    piece: (stream, bytes, afterGap) =>
      this.#mayOverhear && this.#put(stream, 'legacy', bytes, afterGap, 0) === 0,
    said: (names, text, { subject }) => {
      if (text === null || text.length > MOST_SAID_BYTES) this.saidUnread(subject, true);
      else this.hear(subject, names, text, NO_STREAM, 'legacy');
    },
    leftOut: bytes => {
      this.bytesUnheard += bytes;
    },
    close: stream => {
      this.#overheard.delete(stream);
      this.note({ kind: 'close', stream, time: this.now() });
    },
  };

  constructor(options: BatchTapOptions) {
    this.#options = options;
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  /** What the books of a route must add up to. */
  handed(route: string): Handed {
    let handed = this.#handed.get(route);
    if (handed === undefined) {
      handed = { legacy: 0, candidate: 0 };
      this.#handed.set(route, handed);
    }
    return handed;
  }

  allHanded(): Iterable<readonly [route: string, handed: Handed]> {
    return this.#handed;
  }

  stream(facts: StreamFacts): StreamTap {
    const number = this.#nextNumber();
    // A twin's is in nobody's books.
    const handed = facts.isTwin ? { legacy: 0, candidate: 0 } : this.handed(facts.route);
    const stream = new TappedStream(this, number, facts, handed);
    this.#streams.set(stream.number, stream);
    this.sayOpen(number, facts);
    return stream;
  }

  sayOpen(stream: number, facts: StreamFacts): void {
    this.note({ kind: 'open', stream, facts, isOverheard: false });
  }

  overhear(facts: StreamFacts): OverheardTap | null {
    if (facts.subject === null) return null;
    if (this.#overheard.size >= MOST_OVERHEARD) {
      this.streamsUnheard += 1;
      return null;
    }
    const number = this.#nextNumber();
    const stream = new TappedOverheard(this.#forOverheard, number, facts);
    this.#overheard.set(number, stream);
    return stream;
  }

  overhearAnswer(facts: ExchangeFacts, sample: AnswerSample): boolean {
    const left = this.#makeRoom([sample], this.#mayOverhear ? MOST_OVERHEARD_ANSWER_BYTES : 0);
    this.bytesUnheard += left;
    if (left > 0) return false;
    this.note({ kind: 'overheard', facts, sample, time: this.now() });
    return true;
  }

  get #mayOverhear(): boolean {
    return this.#inHand < MOST_OVERHEARD_BATCHES;
  }

  #nextNumber(): number {
    this.#lastNumber = (this.#lastNumber % MOST_STREAM) + 1;
    return this.#lastNumber;
  }

  exchange(sample: ExchangeSample): void {
    const handed = this.handed(sample.route);
    handed.legacy += 1;
    handed.candidate += 1;
    if (!this.#hand(sample, false)) this.note({ kind: 'exchange-left-out', route: sample.route });
  }

  answered(facts: ExchangeFacts, side: Side, sample: AnswerSample): boolean {
    if (!this.#roomFor([sample])) return false;
    this.note({ kind: 'answered', facts, side, sample, time: this.now() });
    return true;
  }

  markersAt(subject: Subject | null): MarkerSearch | null {
    if (subject === null) return null;
    return this.#options.markers?.search(namesOf(subject)) ?? null;
  }

  said(subject: Subject | null, text: Buffer | null, isOverheard = false): void {
    if (text === null || text.length > MOST_SAID_BYTES) this.saidUnread(subject, isOverheard);
    else this.hear(subject, spokenBy(subject), text, NO_STREAM, isOverheard ? 'legacy' : 'both');
  }

  saidUnread(subject: Subject | null, isOverheard = false): void {
    // Nobody anonymous is accused, nor anybody else by what he alone may have said.
    if (subject === null) return;
    if (!isOverheard) return this.note({ kind: 'said-unread', user: subject.id, isOverheard });
    // Notes are not left out, and are to stay few.
    this.#beginSecond();
    if (this.#unreadByLegacy.size >= MOST_UNREAD_NOTES || this.#unreadByLegacy.has(subject.id))
      return;
    this.#unreadByLegacy.add(subject.id);
    this.note({ kind: 'said-unread', user: subject.id, isOverheard });
  }

  /**
   * Words of a client's; where there is no room for them, they are as good as binary data until the next second.
   */
  hear(
    subject: Subject | null,
    names: Buffer,
    text: Buffer,
    stream: number,
    to: SaidTo = 'both',
  ): void {
    this.#beginSecond();
    const who = subject?.id ?? '';
    const his = (this.#saidBy.get(who) ?? 0) + text.length;
    if (his === Number.POSITIVE_INFINITY) return;
    const isOverheard = to === 'legacy';
    const most = isOverheard ? MOST_OVERHEARD_SAID_A_SECOND : MOST_SAID_A_SECOND;
    const isHeard =
      his <= MOST_SAID_BY_ONE &&
      this.#saidBytes + text.length <= most &&
      (!isOverheard || this.#mayOverhear) &&
      this.#record(stream, 'legacy', Buffer.concat([names, text]), false, names.length, to);
    if (!isHeard && isOverheard) return this.saidUnread(subject, true);
    this.#saidBy.set(who, isHeard ? his : Number.POSITIVE_INFINITY);
    if (isHeard) this.#saidBytes += text.length;
    else if (subject === null) this.note({ kind: 'said-unheard' });
    else this.saidUnread(subject);
  }

  #beginSecond(): void {
    const now = this.now();
    if (now - this.#saidSince < SAY_AGAIN_MS) return;
    this.#saidSince = now;
    this.#saidBytes = 0;
    this.#saidBy.clear();
    this.#unreadByLegacy.clear();
  }

  twins(sample: ExchangeSample): void {
    // Of a sample nothing is missing where one is left out.
    this.#hand(sample, true);
  }

  #hand(sample: ExchangeSample, isTwins: boolean): boolean {
    if (!this.#roomFor([sample.legacy, sample.candidate])) return false;
    this.note({ kind: 'exchange', sample, isTwins, time: this.now() });
    return true;
  }

  #roomFor(samples: readonly AnswerSample[]): boolean {
    const left = this.#makeRoom(samples, MOST_EXCHANGE_BYTES);
    this.bytesLeftOut += left;
    return left === 0;
  }

  /** Returns how many bytes are left out. */
  #makeRoom(samples: readonly AnswerSample[], most: number): number {
    const bytes = samples.reduce((sum, sample) => sum + bytesOf(sample), 0);
    const isLeftOut = samples.some(({ body }) => body === 'overload');
    if (isLeftOut || this.#exchangeBytesInHand + bytes > most) return bytes;
    this.#exchangeBytes += bytes;
    this.#exchangeBytesInHand += bytes;
    return 0;
  }

  unpaired(route: string, side: Side): void {
    this.handed(route)[side] += 1;
    this.note({ kind: 'unpaired', route, side });
  }

  write(about: Subject | null): (answered: Side) => void {
    const answered = this.#options.writes.begin(this.now(), about?.id ?? null);
    return side => answered(side, this.now());
  }

  writeLeftOut(side: Side): () => void {
    // However many they are: notes are not left out, and are to stay few.
    const open = ofSide(this.#leftOut, side);
    const write = { since: this.now() };
    open.add(write);
    if (open.size === 1) this.#sayLeftOut(side, false);
    return () => {
      // One that hung has its effects now, if it has any.
      open.delete(write);
      if (open.size === 0) this.#sayLeftOut(side, true);
    };
  }

  /** Writes that hang do not count any longer. To be called now and then. */
  endHanging(): void {
    const before = this.now() - MOST_LEFT_OUT_MS;
    for (const side of SIDES) {
      const open = ofSide(this.#leftOut, side);
      for (const write of open) {
        if (write.since > before) break;
        open.delete(write);
        if (open.size === 0) this.#sayLeftOut(side, true);
      }
    }
  }

  #sayLeftOut(side: Side, isOver: boolean): void {
    this.note({ kind: 'writes-left-out', side, isOver, time: this.now() });
  }

  now(): number {
    return this.#options.now();
  }

  /** Notes are few and small, and without them the judge would be lost: they are never left out. */
  note(note: Note extends infer N ? (N extends Note ? Omit<N, 'at'> : never) : never): void {
    this.#notes.push({ ...note, at: this.#length } as Note);
    this.#flushSoon();
  }

  /** False: there is no room for all of it, and the rest is left out. */
  piece(stream: number, side: Side, bytes: Buffer, afterGap: boolean, leftOut: number): boolean {
    const left = this.#put(stream, side, bytes, afterGap, leftOut);
    this.bytesLeftOut += left;
    return left === 0;
  }

  /** Returns how many of the bytes there is no room for. */
  #put(stream: number, side: Side, bytes: Buffer, afterGap: boolean, leftOut: number): number {
    // A read nearly always fits into one record.
    for (let at = 0; at < bytes.length; at += MOST_RECORD_BYTES) {
      const part =
        at === 0 && bytes.length <= MOST_RECORD_BYTES
          ? bytes
          : bytes.subarray(at, at + MOST_RECORD_BYTES);
      const isFirst = at === 0;
      if (!this.#record(stream, side, part, isFirst && afterGap, isFirst ? leftOut : 0))
        return bytes.length - at;
    }
    return 0;
  }

  #record(
    stream: number,
    side: Side,
    bytes: Buffer,
    afterGap: boolean,
    leftOut: number,
    saidTo: SaidTo | null = null,
  ): boolean {
    for (let tries = 0; tries < 2; tries += 1) {
      const batch = this.#batch ?? this.#takeBatch();
      if (batch === null) return false;
      const piece = { stream, side, bytes, afterGap, leftOut, time: this.now() };
      const end = writePiece(batch, this.#length, piece, saidTo);
      if (end !== -1) {
        this.#length = end;
        this.#flushSoon();
        return true;
      }
      this.flush();
    }
    return false;
  }

  /** The judge is done with a batch and gives its memory back. */
  returned(
    bytes: ArrayBuffer,
    exchangeBytes: number,
    { marks, settled }: Pick<Taken, 'marks' | 'settled'>,
  ): void {
    this.#inHand -= 1;
    this.#exchangeBytesInHand -= exchangeBytes;
    if (this.#length > 0 || this.#notes.length > 0) this.#flushSoon();
    if (bytes.byteLength === BATCH_BYTES) this.#free.push(bytes);
    for (let i = 0; i + 3 < marks.length; i += MARK_NUMBERS) {
      const at = (n: number) => marks[i + n] as number;
      this.#streams.get(at(0))?.mark(at(1), at(2), at(3));
    }
    for (const stream of settled) this.#streams.get(stream)?.settled();
  }

  /** A new judge knows nothing: it is told of every stream that is open, and of a gap in each. */
  beginAnew(): void {
    this.#inHand = 0;
    this.#exchangeBytesInHand = 0;
    this.#exchangeBytes = 0;
    this.#batch = null;
    this.#length = 0;
    this.#notes = [];
    this.note({ kind: 'said-before' });
    for (const side of SIDES)
      if (ofSide(this.#leftOut, side).size > 0) this.#sayLeftOut(side, false);
    for (const stream of this.#streams.values()) stream.beginAnew();
    for (const stream of this.#overheard.values()) stream.beginAnew();
  }

  /** Nobody is compared, and the judge was told nothing since then (as `now`). */
  isIdleSince(time: number): boolean {
    return this.#streams.size === 0 && this.#notes.length === 0 && this.#sentAt < time;
  }

  /** All that was handed over goes to the judge. False: it is behind, and gets it when it is not. */
  flushIfFree(): boolean {
    if (this.#inHand >= MOST_PARTLY_FILLED) return false;
    const silentSince = this.now() - SILENT_MS;
    for (const stream of this.#inGap) {
      if (!stream.endGaps(silentSince)) this.#inGap.delete(stream);
    }
    this.flush();
    return true;
  }

  inGap(stream: TappedStream): void {
    this.#inGap.add(stream);
  }

  flush(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#length === 0 && this.#notes.length === 0) return;
    const bytes = this.#batch?.bytes.buffer as ArrayBuffer | undefined;
    const batch = {
      kind: 'batch',
      bytes: bytes ?? new ArrayBuffer(0),
      length: this.#length,
      notes: this.#notes,
      exchangeBytes: this.#exchangeBytes,
      time: this.now(),
    } as const;
    this.#batch = null;
    this.#length = 0;
    this.#notes = [];
    this.#exchangeBytes = 0;
    this.#inHand += 1;
    this.#sentAt = batch.time;
    this.#options.send(batch);
  }

  forget(stream: TappedStream): void {
    this.#streams.delete(stream.number);
    this.#inGap.delete(stream);
  }

  #takeBatch(): BatchMemory | null {
    // Batches of notes alone count as well: they are in the judge's hand all the same.
    if (this.#inHand >= MOST_BATCHES) return null;
    this.#batch = new BatchMemory(this.#free.pop() ?? new ArrayBuffer(BATCH_BYTES));
    return this.#batch;
  }

  #flushSoon(): void {
    this.#timer ??= setTimeout(() => {
      if (this.#length >= BUSY_BYTES) this.#timer = setTimeout(this.#onTimer, FLUSH_MS).unref();
      else this.#onTimer();
    }, FLUSH_MS).unref();
  }

  readonly #onTimer = () => {
    this.#timer = null;
    this.flushIfFree();
  };
}

const NO_GAP = -1;
/** Stream, generation, and a message's number on each side. */
const MARK_NUMBERS = 4;

class TappedStream implements StreamTap {
  synced: Readonly<Record<Side, number>> | null = null;
  readonly number: number;
  readonly #tap: BatchTap;
  readonly #facts: StreamFacts;
  readonly #handed: Handed;
  readonly #open: Record<Side, boolean> = { legacy: false, candidate: false };
  /** Number of the side's messages before its gap; `NO_GAP` while there is none. */
  readonly #gapFrom: Record<Side, number> = { legacy: NO_GAP, candidate: NO_GAP };
  readonly #messages: Record<Side, number> = { legacy: 0, candidate: 0 };
  /** Null for an event stream, whose boundaries are not followed here. */
  readonly #trackers: Record<Side, FrameTracker | null> = { legacy: null, candidate: null };
  /** When bytes were left out last, while the judge believes that they are. */
  readonly #leftOutAt: Record<Side, number | null> = { legacy: null, candidate: null };
  readonly #openedAt: Record<Side, number> = { legacy: 0, candidate: 0 };
  #isSettled = false;
  #onSettled: (() => void) | null = null;
  #generation = 0;
  #closed = false;
  #isHeld = false;
  /** What the judge was told last of what a side did not hear, though it was to; and of what it was not to hear. */
  #unheard: Omit<SaidAlone, 'at'> | null = null;
  #untold: Omit<SaidAlone, 'at'> | null = null;
  #saidUnreadAt = Number.NEGATIVE_INFINITY;
  #names: Buffer | null = null;

  constructor(tap: BatchTap, number: number, facts: StreamFacts, handed: Handed) {
    this.#tap = tap;
    this.number = number;
    this.#facts = facts;
    this.#handed = handed;
  }

  follow(side: Side, view: Buffer, tracker: FrameTracker, stop: StopAt = 'never'): number {
    const before = tracker.messages;
    const taken =
      ofSide(this.#gapFrom, side) === NO_GAP
        ? this.#copy(side, view, tracker, stop)
        : this.#pickUp(side, view, tracker, stop);
    const { messages } = tracker;
    if (side === 'legacy') {
      this.#handed.legacy += messages - before;
      this.#messages.legacy = messages;
    } else {
      this.#handed.candidate += messages - before;
      this.#messages.candidate = messages;
    }
    return taken;
  }

  #copy(side: Side, view: Buffer, tracker: FrameTracker, stop: StopAt): number {
    const before = tracker.messages;
    const taken = tracker.push(view, stop);
    // A view of all of it would be one more for every read.
    const bytes = taken === view.length ? view : view.subarray(0, taken);
    if (!this.#tap.piece(this.number, side, bytes, false, 0)) {
      this.#gapFrom[side] = before;
      this.#leaveOut(side);
    }
    return taken;
  }

  /** In a gap: goes on at the first boundary, if there is room again. */
  #pickUp(side: Side, view: Buffer, tracker: FrameTracker, stop: StopAt): number {
    const start = tracker.atMessageBoundary ? 0 : tracker.push(view, 'message');
    if (!tracker.atMessageBoundary || start === view.length) {
      this.#leaveOut(side);
      return start;
    }
    const leftOut = tracker.messages - this.#gapFrom[side];
    if (stop !== 'never' && start > 0) return start;
    const rest = view.subarray(start);
    const taken = tracker.push(rest, stop);
    if (this.#tap.piece(this.number, side, rest.subarray(0, taken), true, leftOut)) {
      this.#gapFrom[side] = NO_GAP;
      this.#leftOutAt[side] = null;
    } else this.#leaveOut(side);
    return start + taken;
  }

  hears(side: Side): boolean {
    return this.#gapFrom[side] === NO_GAP;
  }

  bytes(side: Side, view: Buffer): void {
    const afterGap = this.#gapFrom[side] !== NO_GAP;
    const taken = this.#tap.piece(this.number, side, view, afterGap, 0);
    this.#gapFrom[side] = taken ? NO_GAP : 0;
    if (taken) this.#leftOutAt[side] = null;
    else this.#leaveOut(side);
  }

  #leaveOut(side: Side, because: 'overload' | 'judge-restart' = 'overload'): void {
    if (this.#leftOutAt[side] === null) this.#sayGapBegan(side, because);
    this.#leftOutAt[side] = this.#tap.now();
  }

  /** There is room again: gaps of sides that are silent since then are over. False: none is left. */
  endGaps(silentSince: number): boolean {
    let isLeft = false;
    for (const side of ['legacy', 'candidate'] as const) {
      const leftOutAt = this.#leftOutAt[side];
      if (leftOutAt === null) continue;
      if (leftOutAt > silentSince) isLeft = true;
      else this.#endGap(side);
    }
    return isLeft;
  }

  #endGap(side: Side): void {
    const tracker = this.#trackers[side];
    const from = this.#gapFrom[side];
    const leftOut = tracker === null ? 0 : tracker.messages - from;
    // Inside of something its rest is left out, and told of, when it comes.
    if (tracker !== null)
      this.#gapFrom[side] = tracker.atMessageBoundary ? NO_GAP : tracker.messages;
    this.#leftOutAt[side] = null;
    this.#tap.note({
      ...{ kind: 'gap-ended', stream: this.number, side, leftOut, time: this.#tap.now() },
    });
  }

  legOpened(
    side: Side,
    tracker?: FrameTracker,
    agoMs = 0,
    isPrimary = side === this.#facts.primary,
  ): void {
    const messages = tracker?.messages ?? 0;
    const isInside = tracker !== undefined && !tracker.atMessageBoundary;
    this.#open[side] = true;
    this.#trackers[side] = tracker ?? null;
    this.#leftOutAt[side] = null;
    this.#gapFrom[side] = isInside ? messages : NO_GAP;
    this.#messages[side] = messages;
    this.#openedAt[side] = this.#tap.now() - Math.round(agoMs);
    this.#sayOpened(side, isPrimary);
  }

  /** At once: the side may have nothing more to say, and the other one's events wait for what was left out. */
  #sayGapBegan(side: Side, because: 'overload' | 'judge-restart'): void {
    this.#tap.inGap(this);
    this.#tap.note({
      ...{ kind: 'gap-began', stream: this.number, side, because, time: this.#tap.now() },
    });
  }

  /** The judge has paired off both streams up to there, as of that opening of a leg. */
  mark(generation: number, legacy: number, candidate: number): void {
    if (generation === this.#generation) this.synced = { legacy, candidate };
  }

  #sayOpened(side: Side, isPrimary = false): void {
    this.#generation += 1;
    this.#isSettled = false;
    this.synced = null;
    const messages = this.#messages[side];
    this.#tap.note({
      ...{ kind: 'leg-opened', stream: this.number, side, messages },
      ...{ generation: this.#generation, time: this.#openedAt[side], toldAt: this.#tap.now() },
      isPrimary,
    });
  }

  legClosed(side: Side, how: LegEnd): void {
    if (!this.#open[side]) return;
    this.#open[side] = false;
    this.#leftOutAt[side] = null;
    const gapFrom = this.#gapFrom[side];
    const leftOut = gapFrom === NO_GAP ? 0 : this.#messages[side] - gapFrom;
    this.#tap.note({
      ...{ kind: 'leg-closed', stream: this.number, side, how, leftOut, time: this.#tap.now() },
    });
  }

  saidAlone(unheardBy: Side, isMeant: boolean): void {
    const time = this.#tap.now();
    const known = isMeant ? this.#unheard : this.#untold;
    // Notes are not left out, and are to stay few.
    const againMs = isMeant ? SAY_AGAIN_MS : SAY_UNTOLD_AGAIN_MS;
    const isKnown = known?.unheardBy === unheardBy && time - known.time < againMs;
    if (!isKnown && !this.#closed) this.#saySaidAlone(unheardBy, isMeant);
  }

  #saySaidAlone(unheardBy: Side, isMeant: boolean): void {
    const said = {
      ...({ kind: 'said-alone', stream: this.number, time: this.#tap.now() } as const),
      ...{ unheardBy, isMeant },
    };
    if (isMeant) this.#unheard = said;
    else this.#untold = said;
    this.#tap.note(said);
  }

  said(text: Buffer | null): void {
    if (this.#closed) return;
    if (text !== null && text.length <= MOST_SAID_BYTES) {
      this.#names ??= spokenBy(this.#facts.subject);
      return this.#tap.hear(this.#facts.subject, this.#names, text, this.number);
    }
    // However much it says so: notes are not left out, and are to stay few.
    const now = this.#tap.now();
    if (now - this.#saidUnreadAt < SAY_AGAIN_MS) return;
    this.#saidUnreadAt = now;
    this.#tap.saidUnread(this.#facts.subject);
  }

  held(isHeld: boolean): void {
    if (this.#closed) return;
    this.#isHeld = isHeld;
    this.#tap.note({ kind: 'held', stream: this.number, isHeld, time: this.#tap.now() });
  }

  onceSettled(settled: () => void): void {
    if (this.#isSettled) settled();
    else this.#onSettled = settled;
  }

  /** The judge has seen one side's end, and nothing of that side waits. */
  settled(): void {
    const told = this.#onSettled;
    this.#isSettled = true;
    this.#onSettled = null;
    told?.();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#tap.forget(this);
    this.#tap.note({ kind: 'close', stream: this.number, time: this.#tap.now() });
  }

  beginAnew(): void {
    this.#tap.sayOpen(this.number, this.#facts);
    if (this.#isHeld) this.held(true);
    // Whatever runs are under way begin anew for it.
    for (const said of [this.#unheard, this.#untold])
      if (said !== null) this.#saySaidAlone(said.unheardBy, said.isMeant);
    for (const side of ['legacy', 'candidate'] as const) {
      if (!this.#open[side]) continue;
      this.#sayOpened(side);
      this.#gapFrom[side] = this.#messages[side];
      this.#leftOutAt[side] = null;
      this.#leaveOut(side, 'judge-restart');
    }
  }
}

/** What it takes in the hands of the judge, about. */
function bytesOf({ headers, body }: AnswerSample): number {
  const fields = headers.reduce((sum, text) => sum + TEXT_BYTES + text.length, ANSWER_BYTES);
  return fields + (Buffer.isBuffer(body) ? body.length : 0);
}

function spokenBy(subject: Subject | null): Buffer {
  return Buffer.from(JSON.stringify(subject === null ? [] : namesOf(subject)));
}
