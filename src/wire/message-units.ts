// A frame stream cut where messages end: each unit is one message with its frames as they came, or a control
// frame. One that came between the fragments of a message is given at once, before that: a message may stream
// for minutes, and nobody's ping or close is to wait for its end (RFC 6455 5.4). For whoever decides message
// by message and passes on bytes.
import { FrameTracker, OPCODE } from './frames.ts';
import { GatheredBytes } from './gathered-bytes.ts';
import { MessageReader } from './message-reader.ts';

interface Message {
  readonly opcode: number;
  readonly payload: Buffer;
}

export interface MessageUnit {
  /** Frames as they came. Holds during the call only. */
  readonly raw: Buffer;
  /** The message in it, unmasked and put together; null for a control frame. */
  message(): Message | null;
}

export interface UnitSink {
  unit(unit: MessageUnit): void;
  /** A piece of a message that is not held whole: it can only be passed on, or left out as a whole. */
  tooLong(piece: Buffer, isFirst: boolean): void;
}

/** Says that 16 bits of length follow (RFC 6455 5.2); a length of 64 bits, or a mask, is more. */
const LENGTH_16 = 126;
const FINAL = 0x80;
/** All but the opcode of a first byte. */
const FLAGS = 0xf0;
/** Of a second byte, the length. */
const LENGTH = 0x7f;
const NOTHING = Buffer.alloc(0);

/**
 * True where the bytes are whole frames of a service's, not masked, each of them a text message by itself or
 * a control frame: what stands in them stands there in one piece.
 */
export function areWholeTexts(bytes: Buffer): boolean {
  let at = 0;
  while (at + 1 < bytes.length) {
    const first = bytes[at] as number;
    const opcode = first & ~FLAGS;
    if ((first & FLAGS) !== FINAL || (opcode !== OPCODE.text && opcode < OPCODE.close))
      return false;
    const short = bytes[at + 1] as number;
    if (short < LENGTH_16) at += 2 + short;
    else if (short === LENGTH_16 && at + 4 <= bytes.length) at += 4 + bytes.readUInt16BE(at + 2);
    else return false;
  }
  return at === bytes.length;
}

/** Splits one direction of a stream that is at a message boundary at first. */
export class UnitSplitter {
  readonly #sink: UnitSink;
  readonly #maxBytes: number;
  readonly #tracker = new FrameTracker();
  /** Beginning of a message. A sink may keep what it is given, so it is given away. */
  readonly #held: GatheredBytes;
  /** Beginning of a control frame inside a message: less than its 131 bytes. */
  #control: Buffer = NOTHING;
  /** The frame at hand is one. */
  #inControl = false;
  /** The message at hand was too long: the rest of it goes the same way. */
  #passing = false;

  constructor(sink: UnitSink, maxBytes: number) {
    this.#sink = sink;
    this.#maxBytes = maxBytes;
    this.#held = new GatheredBytes(maxBytes);
  }

  /** True between two messages, with nothing held. */
  get atBoundary(): boolean {
    return this.#held.length === 0 && !this.#passing && this.#tracker.atMessageBoundary;
  }

  /** The frames can no longer be followed: everything goes to `tooLong`. */
  get lost(): boolean {
    return this.#tracker.lost;
  }

  /** A message has begun, and nothing of it was given. */
  get holdsAll(): boolean {
    return this.#held.length > 0;
  }

  /** How much of a message is held that has not ended. */
  get heldBytes(): number {
    return this.#held.length;
  }

  /** There is no room for what is held: it goes to `tooLong`, and so does the rest of its message. */
  letGo(): void {
    if (this.#held.length > 0) this.#passOn(null);
    this.#passing = true;
  }

  /** Bytes that are not given yet, of the message that has not ended. Holds until more is pushed. */
  held(): Buffer {
    return this.#control.length === 0
      ? this.#held.view
      : Buffer.concat([this.#held.view, this.#control]);
  }

  push(bytes: Buffer): void {
    const tracker = this.#tracker;
    for (let at = 0; at < bytes.length; ) {
      if (tracker.atFrameBoundary) {
        const opcode = (bytes[at] as number) & ~FLAGS;
        this.#inControl = !tracker.atMessageBoundary && opcode >= OPCODE.close;
      }
      const taken = tracker.push(bytes.subarray(at), 'frame');
      const part = bytes.subarray(at, at + taken);
      if (this.#inControl) this.#takeControl(part);
      else this.#take(part);
      at += taken;
    }
  }

  #takeControl(part: Buffer): void {
    const control = this.#control.length === 0 ? part : Buffer.concat([this.#control, part]);
    this.#control = NOTHING;
    if (control.length > 1 && ((control[1] as number) & LENGTH) >= LENGTH_16) {
      // Longer than any may be (RFC 6455 5.5): whoever reads the message fails by it, as by any bad frame in it.
      this.#inControl = false;
      this.#take(control);
    } else if (this.#tracker.atFrameBoundary) {
      this.#sink.unit(unitOf(control));
    } else {
      this.#control = Buffer.from(control);
    }
  }

  #take(part: Buffer): void {
    const ends = this.#tracker.atMessageBoundary;
    if (this.#passing || this.#held.length + part.length > this.#maxBytes || this.#tracker.lost) {
      this.#passOn(part);
      this.#passing = !ends;
      return;
    }
    if (ends && this.#held.length === 0) return this.#sink.unit(unitOf(part));
    this.#held.add(part);
    if (ends) this.#sink.unit(unitOf(this.#held.take()));
  }

  #passOn(part: Buffer | null): void {
    const held = this.#held.take();
    let isFirst = !this.#passing;
    for (const piece of [held, part]) {
      if (piece === null || piece.length === 0) continue;
      this.#sink.tooLong(piece, isFirst);
      isFirst = false;
    }
  }
}

function unitOf(raw: Buffer): MessageUnit {
  let found: Message | null | undefined;
  return {
    raw,
    message: () => {
      found = found === undefined ? read(raw) : found;
      return found;
    },
  };
}

function read(raw: Buffer): Message | null {
  let message: Message | null = null;
  const reader = new MessageReader(
    {
      message: (opcode, payload) => {
        message = { opcode, payload };
      },
      tooLong: () => undefined,
    },
    raw.length,
  );
  reader.push(raw);
  return message;
}
