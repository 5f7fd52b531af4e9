// A frame stream cut where messages end: each unit is one message with its frames as they came (control
// frames between its fragments included), or control frames alone. For whoever decides message by message
// and passes on bytes.
import { FrameTracker } from './frames.ts';
import { MessageReader } from './message-reader.ts';

export interface MessageUnit {
  /** Frames as they came. Holds during the call only. */
  readonly raw: Buffer;
  /** The message in it, unmasked and put together; null for control frames alone. */
  message(): { readonly opcode: number; readonly payload: Buffer } | null;
  /** Control frames in it, as they came. */
  controls(): Buffer;
}

export interface UnitSink {
  unit(unit: MessageUnit): void;
  /** A piece of a message that is longer than is held: it can only be passed on. */
  tooLong(piece: Buffer): void;
}

/** Splits one direction of a stream that is at a message boundary at first. */
export class UnitSplitter {
  readonly #sink: UnitSink;
  readonly #maxBytes: number;
  readonly #tracker = new FrameTracker();
  #parts: Buffer[] = [];
  #bytes = 0;
  /** The message at hand was too long: the rest of it goes the same way. */
  #passing = false;

  constructor(sink: UnitSink, maxBytes: number) {
    this.#sink = sink;
    this.#maxBytes = maxBytes;
  }

  /** True between two messages, with nothing held. */
  get atBoundary(): boolean {
    return this.#bytes === 0 && !this.#passing && this.#tracker.atMessageBoundary;
  }

  /** The frames can no longer be followed: everything goes to `tooLong`. */
  get lost(): boolean {
    return this.#tracker.lost;
  }

  /** Bytes of the message that has not ended. */
  held(): Buffer {
    return Buffer.concat(this.#parts);
  }

  push(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      const taken = this.#tracker.push(bytes.subarray(at), 'message');
      this.#take(bytes.subarray(at, at + taken));
      at += taken;
    }
  }

  #take(part: Buffer): void {
    const ends = this.#tracker.atMessageBoundary;
    if (this.#passing || this.#bytes + part.length > this.#maxBytes || this.#tracker.lost) {
      for (const held of this.#parts) this.#sink.tooLong(held);
      this.#sink.tooLong(part);
      this.#parts = [];
      this.#bytes = 0;
      this.#passing = !ends;
      return;
    }
    if (!ends) {
      this.#parts.push(Buffer.from(part));
      this.#bytes += part.length;
      return;
    }
    const raw = this.#bytes === 0 ? part : Buffer.concat([...this.#parts, part]);
    this.#parts = [];
    this.#bytes = 0;
    this.#sink.unit(unitOf(raw));
  }
}

function unitOf(raw: Buffer): MessageUnit {
  let found: ReturnType<typeof read> | null = null;
  const once = () => {
    found ??= read(raw);
    return found;
  };
  return { raw, message: () => once().message, controls: () => once().controls };
}

function read(raw: Buffer): {
  message: { opcode: number; payload: Buffer } | null;
  controls: Buffer;
} {
  let message: { opcode: number; payload: Buffer } | null = null;
  const controls: Buffer[] = [];
  const reader = new MessageReader(
    {
      message: (opcode, payload) => {
        message = { opcode, payload };
      },
      tooLong: () => undefined,
      control: (opcode, payload) => {
        // From a service: not masked, and never longer than 125 bytes (RFC 6455 5.1, 5.5).
        controls.push(Buffer.from([0x80 | opcode, payload.length]), payload);
      },
    },
    raw.length,
  );
  reader.push(raw);
  return { message, controls: Buffer.concat(controls) };
}
