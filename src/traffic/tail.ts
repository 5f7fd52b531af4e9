// The tail of a leg, read: its last messages, each with its number in the leg's stream, and what has come
// of the one that is on its way.
import type { CompiledRules } from '../rules/compare/compile.ts';
import type { TailEvent } from '../rules/handover/reconcile.ts';
import { tailEvent } from '../rules/handover/tail-event.ts';
import { OPCODE } from '../wire/frames.ts';
import { UnitSplitter } from '../wire/message-units.ts';
import type { Leg } from './leg.ts';
import type { TailRecord, TailRing } from './tail-ring.ts';

/** Longer messages are not read; they have no key, and are delivered if in doubt. */
const MOST_MESSAGE_BYTES = 1_048_576;

/** Lies in the ring: to be read, or copied, before anything is appended to that. */
export interface TailMessage {
  /** How many the leg had begun before it. */
  readonly index: number;
  readonly payload: Buffer;
  readonly isBinary: boolean;
  /** As it can be given to the client. */
  readonly raw: Buffer;
}

export interface Tail {
  /** Oldest first. */
  readonly messages: readonly TailMessage[];
  /** Bytes behind the last message boundary. */
  readonly partial: Buffer;
  /** ms of `performance.now()`: all that the leg has said from then on is there, or was said by both. */
  readonly since: number;
}

const NONE: Tail = {
  messages: [],
  partial: Buffer.alloc(0),
  since: Number.NEGATIVE_INFINITY,
};

/**
 * Messages of a leg from number `from` on (what came before is known to be the same on both legs), or
 * where that is not known, those since then (ms of `performance.now()`).
 */
export function readTail(tails: TailRing, leg: Leg, from: number | null, since: number): Tail {
  const { tracker } = leg;
  if (from !== null && tracker.messages === from && tracker.atMessageBoundary) return NONE;
  const wanted = (record: TailRecord): boolean =>
    !record.atBoundary || (from === null ? record.time >= since : record.messages > from);
  const { records, complete } = tails.back(leg.tail, wanted);
  const messages: TailMessage[] = [];
  let index = 0;
  const splitter = new UnitSplitter(
    {
      unit: unit => {
        const message = unit.message();
        // A control frame is the leg's own business.
        if (message === null) return;
        const { opcode, payload } = message;
        const isBinary = opcode === OPCODE.binary;
        if (from === null || index >= from)
          messages.push({ index, payload, isBinary, raw: unit.raw });
        index += 1;
      },
      // Neither read nor given: the leg is past it, or its rest is not held.
      tooLong: () => undefined,
    },
    MOST_MESSAGE_BYTES,
  );
  const oldest = records.at(-1)?.time ?? Number.POSITIVE_INFINITY;
  const start = from === null ? leg.tailedSince : Number.NEGATIVE_INFINITY;
  let begun = false;
  for (const { bytes, atBoundary, messages: before } of records.reverse()) {
    if (!begun && !atBoundary) continue;
    if (!begun) index = before;
    begun = true;
    splitter.push(bytes);
  }
  return { messages, partial: splitter.held(), since: complete ? start : oldest };
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
