// The tail of a leg, read: its last messages, each with its number in the leg's stream, and what has come
// of the one that is on its way.
import { createHash } from 'node:crypto';
import type { CompiledRules } from '../rules/compare/compile.ts';
import { longEvent, type TailEvent } from '../rules/handover/reconcile.ts';
import { tailEvent } from '../rules/handover/tail-event.ts';
import { OPCODE } from '../wire/frames.ts';
import { MessageReader } from '../wire/message-reader.ts';
import { UnitSplitter } from '../wire/message-units.ts';
import type { Leg } from './leg.ts';
import type { TailRecord, TailRing } from './tail-ring.ts';

/**
 * Longer messages are not read, and known by their digest: as much as the services advertise, and the frames
 * beside the content.
 */
export const MOST_MESSAGE_BYTES = 1_048_576 + 65_536;

/** Lies in the ring: to be read, or copied, before anything is appended to that. */
export interface TailMessage {
  /** How many the leg had begun before it. */
  readonly index: number;
  /** Null for one that is too long to be read. */
  readonly payload: Buffer | null;
  readonly isBinary: boolean;
  /** As it can be given to the client, in pieces. */
  readonly raw: readonly Buffer[];
  /** When its last byte came, or the first of one that is too long (ms of `performance.now()`). */
  readonly time: number;
}

export interface Tail {
  /** Oldest first. */
  readonly messages: readonly TailMessage[];
  /** Bytes behind the last message boundary, in pieces. */
  readonly partial: readonly Buffer[];
  /** The leg is in the middle of a message whose beginning is not there: the rest is nothing for a client. */
  readonly isTorn: boolean;
  /** ms of `performance.now()`: all that the leg has said from then on is there, or was said by both. */
  readonly since: number;
  /** False: some of what was asked for is gone. */
  readonly isComplete: boolean;
}

/** Of a frame's first byte. */
const OPCODE_BITS = 0x0f;

/** Nothing that is not known to be the same on both legs; nearly everybody's, in a rollback of thousands. */
export const NO_TAIL: Tail = {
  messages: [],
  partial: [],
  isTorn: false,
  since: Number.NEGATIVE_INFINITY,
  isComplete: true,
};

/**
 * Messages of a leg from number `from` on (what came before is known to be the same on both legs), or
 * where that is not known, those since then (ms of `performance.now()`).
 */
export function readTail(
  tails: TailRing,
  leg: Pick<Leg, 'tracker' | 'tail' | 'tailedSince'>,
  from: number | null,
  since: number,
): Tail {
  const { tracker } = leg;
  if (from !== null && tracker.messages === from && tracker.atMessageBoundary) return NO_TAIL;
  const wanted = (record: TailRecord): boolean =>
    !record.atBoundary || (from === null ? record.time >= since : record.messages > from);
  const { records, complete } = tails.back(leg.tail, wanted);
  const messages: TailMessage[] = [];
  let index = 0;
  const add = (message: Omit<TailMessage, 'index' | 'time'>): void => {
    if (from === null || index >= from) messages.push({ index, time, ...message });
    index += 1;
  };
  let time = 0;
  let long: Buffer[] = [];
  const splitter = new UnitSplitter(
    {
      unit: unit => {
        const message = unit.message();
        // A control frame is the leg's own business.
        if (message === null) return;
        const { opcode, payload } = message;
        add({ payload, isBinary: opcode === OPCODE.binary, raw: [unit.raw] });
      },
      tooLong: (piece, isFirst) => {
        if (isFirst) {
          long = [];
          const opcode = (piece[0] as number) & OPCODE_BITS;
          add({ payload: null, isBinary: opcode === OPCODE.binary, raw: long });
        }
        long.push(piece);
      },
    },
    MOST_MESSAGE_BYTES,
  );
  let begun: TailRecord | null = null;
  for (const record of records.reverse()) {
    if (begun === null && !record.atBoundary) continue;
    begun ??= record;
    if (record.atBoundary) index = record.messages;
    time = record.time;
    splitter.push(record.bytes);
  }
  const partial = [splitter.held()].filter(({ length }) => length > 0);
  // One that is too long is not held, and has not ended.
  if (!splitter.atBoundary && !splitter.holdsAll) {
    if (messages.at(-1)?.raw === long) messages.pop();
    partial.unshift(...long);
  }
  const start = from === null ? leg.tailedSince : Number.NEGATIVE_INFINITY;
  return {
    messages,
    partial,
    isTorn: begun === null && !tracker.atMessageBoundary,
    since: complete ? start : (begun?.time ?? Number.POSITIVE_INFINITY),
    isComplete: complete,
  };
}

/** What a handover has to know of a message. */
export function tailEventOf(
  payload: Buffer,
  rules: CompiledRules,
  greeting: readonly string[],
): TailEvent {
  let value: unknown;
  try {
    value = JSON.parse(payload.toString('utf8'));
  } catch {
    // Not JSON: a message without a key.
    value = null;
  }
  return tailEvent(value, rules, greeting);
}

/** ... and of one that is too long to be read, of which both services may well have sent the same bytes. */
export function longEventOf(raw: readonly Buffer[]): TailEvent {
  const digest = createHash('sha256');
  const reader = new MessageReader(
    {
      message: (_opcode, payload) => void digest.update(payload),
      overlong: part => void digest.update(part),
      tooLong: () => undefined,
    },
    0,
  );
  for (const piece of raw) reader.push(piece);
  return longEvent(digest.digest('base64'));
}
