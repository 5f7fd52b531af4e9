// What goes from the lanes to the judge thread: copies of bytes, one record a read, many records a
// batch, and notes about streams in between, in the order in which things happened.
import type { AnswerSample, ExchangeFacts, ExchangeSample, StreamFacts } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import type { LegEnd } from '../rules/pairing/legs.ts';

/** Size of a batch: what a busy process copies in 20 ms, and enough for four full reads. */
export const BATCH_BYTES = 262_144;
/**
 * A batch that is not full waits so long for more. Each wakes two threads (bench/README.md); what is told within 100 ms
 * waits for two of them.
 */
export const FLUSH_MS = 10;
/**
 * Beyond that many bytes, some 3 MB/s, it waits as long once more: half the wakes take 4 µs less of every event
 * (bench/README.md).
 */
export const BUSY_BYTES = 32_768;
export const LONGEST_FLUSH_MS = 2 * FLUSH_MS;
/**
 * Words: side and flags, stream, length, messages left out (of what was said, the length of the names); then the time.
 */
const RECORD_BYTES = 24;
const TIME_AT = 16;
const WORD_BYTES = 4;
/** Records begin at multiples of it: so words and times are written and read in one go. */
const TIME_BYTES = 8;
/** The longest piece that one record holds. */
export const MOST_RECORD_BYTES = BATCH_BYTES - RECORD_BYTES;

/** It is the candidate's. */
const CANDIDATE = 1;
/** Bytes are missing before this record, which begins at a message boundary. */
const AFTER_GAP = 2;
/** A client said it: his names follow, as JSON, and the words. By a connection that is compared, or else its stream is 0. */
const SAID = 4;
/** ... to legacy alone. */
const OVERHEARD = 8;

/** A batch's memory, seen as bytes, words and times. */
export class BatchMemory {
  readonly bytes: Buffer;
  readonly words: Uint32Array;
  readonly times: Float64Array;

  constructor(memory: ArrayBuffer) {
    this.bytes = Buffer.from(memory);
    this.words = new Uint32Array(memory);
    this.times = new Float64Array(memory);
  }
}

/** A side's bytes are left out from here on, until a piece follows that says how many messages were. */
export interface GapBegan {
  readonly at: number;
  readonly kind: 'gap-began';
  readonly stream: number;
  readonly side: Side;
  readonly because: 'overload' | 'judge-restart';
  readonly time: number;
}

/** A side's stream is there from now on. */
export interface LegOpened {
  readonly at: number;
  readonly kind: 'leg-opened';
  readonly stream: number;
  readonly side: Side;
  /** Messages that its leg had begun before. */
  readonly messages: number;
  /** Which opening of a leg of this stream it is. */
  readonly generation: number;
  readonly time: number;
  /** Since then it is followed; its leg may be older. */
  readonly toldAt: number;
  /** It has what its client says. */
  readonly isPrimary: boolean;
}

/** Of what that side was never to hear there is a note so often at most: with `mirror: none` it is all that is said. */
export const SAY_UNTOLD_AGAIN_MS = 30_000;

/** The client said something that one side does not get. */
export interface SaidAlone {
  readonly at: number;
  readonly kind: 'said-alone';
  readonly stream: number;
  readonly unheardBy: Side;
  /** That side was to hear it. */
  readonly isMeant: boolean;
  readonly time: number;
}

/** A side's stream is over. */
export interface LegClosed {
  readonly at: number;
  readonly kind: 'leg-closed';
  readonly stream: number;
  readonly side: Side;
  readonly how: LegEnd;
  /** Messages that began in a gap that lasts to the end. */
  readonly leftOut: number;
  readonly time: number;
}

/** Said about a stream, or whole answers; `at` is the offset in the batch at which it counts. */
export type Note =
  | {
      readonly at: number;
      readonly kind: 'open';
      readonly stream: number;
      readonly facts: StreamFacts;
      /** Of legacy's alone, which is not paired. */
      readonly isOverheard: boolean;
    }
  | LegOpened
  | LegClosed
  | GapBegan
  /** It says nothing more, and would be heard if it did; so many messages began in the gap. */
  | {
      readonly at: number;
      readonly kind: 'gap-ended';
      readonly stream: number;
      readonly side: Side;
      readonly leftOut: number;
      readonly time: number;
    }
  | {
      readonly at: number;
      readonly kind: 'held';
      readonly stream: number;
      readonly isHeld: boolean;
      readonly time: number;
    }
  | SaidAlone
  /** He said something that can not be read. */
  | {
      readonly at: number;
      readonly kind: 'said-unread';
      readonly user: string;
      /** Legacy alone was told. */
      readonly isOverheard: boolean;
    }
  /** Somebody whom nobody knows said something that there was no room for. */
  | { readonly at: number; readonly kind: 'said-unheard' }
  /** What anybody has said until now was told to a judge which is no more. */
  | { readonly at: number; readonly kind: 'said-before' }
  | { readonly at: number; readonly kind: 'close'; readonly stream: number; readonly time: number }
  | {
      readonly at: number;
      readonly kind: 'exchange';
      readonly sample: ExchangeSample;
      /** Legacy's answer and legacy's. */
      readonly isTwins: boolean;
      readonly time: number;
    }
  /** One answer, which is looked at before the other one is there. */
  | {
      readonly at: number;
      readonly kind: 'answered';
      readonly facts: ExchangeFacts;
      readonly side: Side;
      readonly sample: AnswerSample;
      readonly time: number;
    }
  /** Legacy's, to somebody who is not compared. */
  | {
      readonly at: number;
      readonly kind: 'overheard';
      readonly facts: ExchangeFacts;
      readonly sample: AnswerSample;
      readonly time: number;
    }
  /** An exchange was left out, because the judge is behind. */
  | { readonly at: number; readonly kind: 'exchange-left-out'; readonly route: string }
  /** The other side has writes to answer that this one was not given, or no more. */
  | {
      readonly at: number;
      readonly kind: 'writes-left-out';
      readonly side: Side;
      readonly isOver: boolean;
      readonly time: number;
    }
  /** A request that only one service was sent. */
  | { readonly at: number; readonly kind: 'unpaired'; readonly route: string; readonly side: Side };

export interface Batch {
  readonly kind: 'batch';
  readonly bytes: ArrayBuffer;
  readonly length: number;
  readonly notes: readonly Note[];
  /** What the answers in its notes take. */
  readonly exchangeBytes: number;
  /** When it was sent, epoch ms of a clock that never steps. */
  readonly time: number;
}

export interface Piece {
  readonly stream: number;
  readonly side: Side;
  readonly afterGap: boolean;
  /** Messages that began in the gap before it. */
  readonly leftOut: number;
  /** Epoch ms. */
  readonly time: number;
  readonly bytes: Buffer;
}

/** Words of a client's. */
export interface Said {
  /** 0: of no connection that is compared. */
  readonly stream: number;
  /** The client's. */
  readonly names: readonly string[];
  readonly text: string;
  readonly time: number;
  /** Legacy alone was told. */
  readonly isOverheard: boolean;
}

/** Of a record that is what a client said. */
export type SaidTo = 'both' | 'legacy';

/** A piece as it lies in its batch: a view of its own takes longer than reading it. */
export interface ReadPiece extends Omit<Piece, 'bytes'> {
  readonly batch: Buffer;
  readonly start: number;
  readonly end: number;
}

/**
 * Writes a record at `offset`; returns the offset behind it, or -1 if it does not fit. `saidTo`: it is what a client
 * said, and `leftOut` is the length of its names, which stand before it.
 */
export function writePiece(
  batch: BatchMemory,
  offset: number,
  piece: Piece,
  saidTo: SaidTo | null = null,
): number {
  const { bytes, side, afterGap } = piece;
  const from = offset + RECORD_BYTES;
  const end = from + bytes.length;
  if (end > batch.bytes.length) return -1;
  const { words } = batch;
  const at = offset / WORD_BYTES;
  const said = saidTo === null ? 0 : saidTo === 'both' ? SAID : SAID | OVERHEARD;
  words[at] = (side === 'legacy' ? 0 : CANDIDATE) | said | (afterGap ? AFTER_GAP : 0);
  words[at + 1] = piece.stream;
  words[at + 2] = bytes.length;
  words[at + 3] = piece.leftOut;
  batch.times[(offset + TIME_AT) / TIME_BYTES] = piece.time;
  batch.bytes.set(bytes, from);
  return aligned(end);
}

function aligned(offset: number): number {
  return Math.ceil(offset / TIME_BYTES) * TIME_BYTES;
}

/** Hands over records and notes in order. */
export function readBatch(
  { bytes, length, notes }: Pick<Batch, 'bytes' | 'length' | 'notes'>,
  reader: {
    piece(piece: ReadPiece): void;
    note(note: Note): void;
    said(said: Said): void;
  },
): void {
  const { bytes: batch, words, times } = new BatchMemory(bytes);
  let next = 0;
  let offset = 0;
  for (;;) {
    for (let note = notes[next]; note !== undefined && note.at <= offset; note = notes[next]) {
      next += 1;
      reader.note(note);
    }
    if (offset >= length) return;
    const at = offset / WORD_BYTES;
    const flags = words[at] as number;
    const stream = words[at + 1] as number;
    const from = offset + RECORD_BYTES;
    const end = from + (words[at + 2] as number);
    const leftOut = words[at + 3] as number;
    const time = times[(offset + TIME_AT) / TIME_BYTES] as number;
    if ((flags & SAID) !== 0) {
      const names: string[] = JSON.parse(batch.toString('utf8', from, from + leftOut));
      const text = batch.toString('utf8', from + leftOut, end);
      reader.said({ stream, names, text, time, isOverheard: (flags & OVERHEARD) !== 0 });
    } else {
      reader.piece({
        stream,
        side: (flags & CANDIDATE) === 0 ? 'legacy' : 'candidate',
        afterGap: (flags & AFTER_GAP) !== 0,
        // Field by field: a spread here took a seventh of the judge's time (bench/README.md).
        leftOut,
        time,
        batch,
        start: from,
        end,
      });
    }
    offset = aligned(end);
  }
}
