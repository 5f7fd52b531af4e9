// WebSocket messages out of a byte stream cut anywhere (RFC 6455 5): frames put together again,
// unmasked, bounded. For whoever needs the content; `FrameTracker` follows a stream without it.
import { OPCODE } from './frames.ts';

/** RFC 6455 5.5: a control frame holds no more. */
const MOST_CONTROL_BYTES = 125;
/** First two bytes, eight of length, four of mask. */
const LONGEST_HEADER = 14;
const NOTHING = Buffer.alloc(0);

export interface MessageSink {
  /**
   * A whole data message. `payload` may lie in the bytes that were pushed: it holds during the call
   * only. `opcode` is that of the first frame.
   */
  message(opcode: number, payload: Buffer): void;
  /** A data message ended that was longer than `maxBytes` and was not kept. */
  tooLong(bytes: number): void;
  /** A piece of such a message, in order, from its first byte on; of frames without a mask. */
  overlong?(part: Buffer): void;
}

/**
 * Reads one direction. A header that can not be followed, a message begun inside another, and a
 * continuation of nothing set `lost`, for good: what follows could be read in two ways.
 */
export class MessageReader {
  lost = false;
  readonly #sink: MessageSink;
  readonly #maxBytes: number;

  readonly #header = Buffer.alloc(LONGEST_HEADER);
  #headerBytes = 0;

  /** Of the frame whose payload is being read; `#left` of it is still to come. */
  #inPayload = false;
  #opcode = 0;
  #fin = false;
  #left = 0;
  #mask: Buffer | null = null;
  #maskAt = 0;

  /** Of the message that is being put together; opcode -1 between two. */
  #messageOpcode = -1;
  /** Its beginning, `#bytes` of it, with room behind. One piece, however many fragments it came in. */
  #kept: Buffer = NOTHING;
  /** More than `#maxBytes`: nothing is kept of it. */
  #bytes = 0;

  constructor(sink: MessageSink, maxBytes: number) {
    this.#sink = sink;
    this.#maxBytes = maxBytes;
  }

  /** True while a message has begun and not ended. */
  get inMessage(): boolean {
    return this.#messageOpcode !== -1;
  }

  /** Forgets what has begun: the next byte is the first of a frame that begins a message. */
  reset(): void {
    this.#headerBytes = 0;
    this.#inPayload = false;
    this.#endMessage();
  }

  /** Of these bytes what lies from `start` to `end`. */
  push(bytes: Buffer, start = 0, end = bytes.length): void {
    let at = start;
    while (at < end && !this.lost) {
      at = this.#inPayload ? this.#takePayload(bytes, at, end) : this.#takeHeader(bytes, at, end);
    }
  }

  #takeHeader(bytes: Buffer, at: number, end: number): number {
    const here = end - at;
    // Nearly always the whole header lies in one piece.
    if (this.#headerBytes === 0 && here >= 2) {
      const length = headerLength(bytes[at + 1] as number);
      if (here >= length) return this.#beginFrame(bytes, at, length);
    }
    this.#header[this.#headerBytes] = bytes[at] as number;
    this.#headerBytes += 1;
    if (this.#headerBytes >= 2) {
      const length = headerLength(this.#header[1] as number);
      if (this.#headerBytes === length) {
        this.#headerBytes = 0;
        this.#beginFrame(this.#header, 0, length);
      }
    }
    return at + 1;
  }

  #beginFrame(bytes: Buffer, at: number, headerBytes: number): number {
    const first = bytes[at] as number;
    const second = bytes[at + 1] as number;
    this.#fin = first >= 0x80;
    this.#opcode = first & 0x0f;
    const short = second & 0x7f;
    this.#left =
      short < 126
        ? short
        : short === 126
          ? bytes.readUInt16BE(at + 2)
          : bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6);
    const masked = second >= 0x80;
    this.#mask = masked
      ? Buffer.from(bytes.subarray(at + headerBytes - 4, at + headerBytes))
      : null;
    this.#maskAt = 0;
    this.#inPayload = true;
    const isControl = this.#opcode >= OPCODE.close;
    const continues = this.#opcode === OPCODE.continuation;
    if (
      this.#left > Number.MAX_SAFE_INTEGER ||
      (!isControl && continues !== this.inMessage) ||
      (isControl && this.#left > MOST_CONTROL_BYTES)
    ) {
      this.lost = true;
    } else if (!isControl && !continues) {
      this.#messageOpcode = this.#opcode;
    }
    if (this.#left === 0 && !this.lost) this.#endFrame(NOTHING);
    return at + headerBytes;
  }

  #takePayload(bytes: Buffer, at: number, end: number): number {
    const taken = Math.min(this.#left, end - at);
    const part = bytes.subarray(at, at + taken);
    this.#left -= taken;
    if (this.#left === 0) this.#endFrame(part);
    else if (this.#opcode < OPCODE.close) this.#keep(part);
    return at + taken;
  }

  /** `last` is what of the payload lies in the bytes at hand. */
  #endFrame(last: Buffer): void {
    this.#inPayload = false;
    // Control frames may come between two fragments, and are no message.
    if (this.#opcode >= OPCODE.close) return;
    if (!this.#fin) {
      this.#keep(last);
      return;
    }
    const opcode = this.#messageOpcode;
    const total = this.#bytes + last.length;
    if (total > this.#maxBytes) {
      this.#passOver(last);
      this.#endMessage();
      this.#sink.tooLong(total);
    } else if (this.#bytes === 0 && this.#mask === null) {
      this.#endMessage();
      // The whole payload as it lies there.
      this.#sink.message(opcode, last);
    } else {
      this.#keep(last);
      const payload = this.#kept.subarray(0, total);
      this.#endMessage();
      this.#sink.message(opcode, payload);
    }
  }

  /** Copies a piece of a message; of one that is too long only the length is kept. */
  #keep(part: Buffer): void {
    const start = this.#bytes;
    if (start + part.length > this.#maxBytes) this.#passOver(part);
    this.#bytes += part.length;
    if (this.#bytes > this.#maxBytes) {
      this.#kept = NOTHING;
      this.#maskAt = (this.#maskAt + part.length) & 3;
      return;
    }
    if (this.#bytes > this.#kept.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#bytes, 2 * start));
      this.#kept.copy(grown, 0, 0, start);
      this.#kept = grown;
    }
    part.copy(this.#kept, start);
    this.#unmask(this.#kept.subarray(start, this.#bytes));
  }

  /** Of a message that has become too long by this piece, or was before. */
  #passOver(part: Buffer): void {
    if (this.#bytes <= this.#maxBytes) this.#sink.overlong?.(this.#kept.subarray(0, this.#bytes));
    if (this.#mask === null) this.#sink.overlong?.(part);
  }

  #unmask(part: Buffer): void {
    const mask = this.#mask;
    if (mask === null) return;
    for (let i = 0; i < part.length; i += 1) {
      part[i] = (part[i] as number) ^ (mask[(this.#maskAt + i) & 3] as number);
    }
    this.#maskAt = (this.#maskAt + part.length) & 3;
  }

  #endMessage(): void {
    this.#messageOpcode = -1;
    this.#kept = NOTHING;
    this.#bytes = 0;
  }
}

/** Bytes of a frame's header, from its second byte. */
function headerLength(second: number): number {
  const short = second & 0x7f;
  return 2 + (short === 127 ? 8 : short === 126 ? 2 : 0) + (second >= 0x80 ? 4 : 0);
}
