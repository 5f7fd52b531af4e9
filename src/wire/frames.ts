// WebSocket frames (RFC 6455 5.2): following a byte stream from header to header, and writing the
// few control frames that the proxy sends itself.

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** Code reported when a close frame carried none, and when none came (RFC 6455 7.4.1). */
export const NO_CODE = 1005;
export const ABNORMAL = 1006;

/** First byte of a close frame (RFC 6455 5.2). */
export const CLOSE_BYTE = 0x88;

/** A control frame holds no more (RFC 6455 5.5). */
const MOST_CONTROL_BYTES = 125;

/** Which part of a frame comes next. */
const PHASE = { first: 0, second: 1, length: 2, mask: 3, payload: 4 } as const;

/** Where a call of `push` may stop early. */
export type StopAt = 'never' | 'frame' | 'message';

/**
 * Follows the frames of one direction of a session through chunks cut anywhere. Looks at headers
 * and at close codes only; keeps numbers, never bytes, so that an idle session costs next to
 * nothing. A header that can not be followed (a length beyond 2^53) sets `lost`, for good.
 */
export class FrameTracker {
  /** Data messages begun so far. */
  messages = 0;
  /** Code of the first close frame; `NO_CODE` if it had no body; null before one came whole. */
  closeCode: number | null = null;
  /** Length of that frame, its header included. */
  closeBytes = 0;
  lost = false;

  #phase: number = PHASE.first;
  #inMessage = false;
  #fin = false;
  #opcode = 0;
  #masked = false;
  /** Bytes of the current part (length field, mask, payload) still to come. */
  #left = 0;
  #length = 0;
  /** The four mask bytes as a number, and the first two of the payload, as far as a close code needs them. */
  #mask = 0;
  #code = 0;
  readonly #onPing: ((payload: Buffer) => void) | null;
  /** Payload of the ping that is being read; null where nobody asks for it. */
  #ping: Buffer | null = null;

  /** `onPing` gets the payload of every ping that may be answered (RFC 6455 5.5.2): 125 bytes at most. */
  constructor(onPing: ((payload: Buffer) => void) | null = null) {
    this.#onPing = onPing;
  }

  /** True where a new message could begin, and one of ours could be put in. */
  get atMessageBoundary(): boolean {
    return this.#phase === PHASE.first && !this.#inMessage && !this.lost;
  }

  /** True between two frames: a control frame of ours could be put in (RFC 6455 5.4). */
  get atFrameBoundary(): boolean {
    return this.#phase === PHASE.first && !this.lost;
  }

  /**
   * Takes the next bytes of the stream. Returns how many it consumed: all, or with `stop` those up
   * to the first boundary of that kind that lies behind at least one byte.
   */
  push(bytes: Uint8Array, stop: StopAt = 'never'): number {
    const end = bytes.length;
    let at = 0;
    while (at < end && !this.lost) {
      const next = this.#phase === PHASE.first ? this.#stepOver(bytes, at) : at;
      if (next > at) at = next;
      else if (this.#phase === PHASE.payload) {
        const taken = Math.min(this.#left, end - at);
        if (this.#opcode === OPCODE.close && this.closeCode === null)
          this.#readCode(bytes, at, taken);
        if (this.#ping !== null)
          this.#ping.set(bytes.subarray(at, at + taken), this.#ping.length - this.#left);
        at += taken;
        this.#left -= taken;
        if (this.#left === 0) this.#endFrame();
      } else {
        this.#readHeader(bytes[at] as number);
        at += 1;
      }
      if (stop === 'message' ? this.atMessageBoundary : stop === 'frame' && this.atFrameBoundary) {
        return at;
      }
    }
    return end;
  }

  /** Where the data frame ends that begins here, if all of it is at hand, as it nearly always is; else `at`. */
  #stepOver(bytes: Uint8Array, at: number): number {
    if (at + 4 > bytes.length) return at;
    const first = bytes[at] as number;
    const second = bytes[at + 1] as number;
    const short = second & 0x7f;
    if ((first & 0x0f) >= OPCODE.close || short === 127) return at;
    const length =
      short < 126 ? short : (bytes[at + 2] as number) * 256 + (bytes[at + 3] as number);
    const end = at + (short < 126 ? 2 : 4) + (second < 0x80 ? 0 : 4) + length;
    if (end > bytes.length) return at;
    if ((first & 0x0f) !== OPCODE.continuation) this.messages += 1;
    this.#inMessage = first < 0x80;
    return end;
  }

  #readHeader(byte: number): void {
    switch (this.#phase) {
      case PHASE.first:
        this.#fin = byte >= 0x80;
        this.#opcode = byte & 0x0f;
        this.#phase = PHASE.second;
        return;
      case PHASE.second: {
        this.#masked = byte >= 0x80;
        this.#mask = 0;
        const short = byte & 0x7f;
        this.#length = short < 126 ? short : 0;
        this.#left = short < 126 ? 0 : short === 126 ? 2 : 8;
        if (this.#left > 0) this.#phase = PHASE.length;
        else this.#endLength();
        return;
      }
      case PHASE.length:
        this.#length = this.#length * 256 + byte;
        this.#left -= 1;
        if (this.#left === 0) this.#endLength();
        return;
      default:
        this.#mask = (this.#mask << 8) | byte;
        this.#left -= 1;
        if (this.#left === 0) this.#beginPayload();
    }
  }

  #endLength(): void {
    if (this.#length > Number.MAX_SAFE_INTEGER) {
      this.lost = true;
    } else if (this.#masked) {
      this.#left = 4;
      this.#phase = PHASE.mask;
    } else {
      this.#beginPayload();
    }
  }

  #beginPayload(): void {
    if (this.#opcode < OPCODE.close) {
      if (this.#opcode !== OPCODE.continuation) this.messages += 1;
      this.#inMessage = !this.#fin;
    }
    this.#left = this.#length;
    this.#phase = PHASE.payload;
    if (
      this.#onPing !== null &&
      this.#opcode === OPCODE.ping &&
      this.#length <= MOST_CONTROL_BYTES
    ) {
      this.#ping = Buffer.alloc(this.#length);
    }
    if (this.#left === 0) this.#endFrame();
  }

  #readCode(bytes: Uint8Array, at: number, taken: number): void {
    // The position within the payload is what is gone of it so far.
    for (let i = 0, seen = this.#length - this.#left; i < taken && seen < 2; i += 1, seen += 1) {
      this.#code = (this.#code << 8) | (bytes[at + i] as number);
    }
  }

  #maskAt(i: number): number {
    return (this.#mask >>> (24 - 8 * (i & 3))) & 0xff;
  }

  #endFrame(): void {
    this.#phase = PHASE.first;
    if (this.#opcode === OPCODE.close && this.closeCode === null) {
      this.closeCode = this.#length < 2 ? NO_CODE : (this.#code ^ (this.#mask >>> 16)) & 0xffff;
      this.closeBytes = headerBytes(this.#length, this.#masked) + this.#length;
    }
    if (this.#ping !== null) {
      const payload = this.#ping;
      this.#ping = null;
      if (this.#masked)
        for (const [i, byte] of payload.entries()) payload[i] = byte ^ this.#maskAt(i);
      this.#onPing?.(payload);
    }
  }
}

/** Of a frame with that much payload, written no longer than need be. */
function headerBytes(length: number, masked: boolean): number {
  return 2 + (length < 126 ? 0 : length < 65_536 ? 2 : 8) + (masked ? 4 : 0);
}

/**
 * A close frame; of `NO_CODE`, one that names none. `mask` is four bytes for the direction from client to server, which must be masked
 * (RFC 6455 5.3). `reason` is cut to the 123 bytes that fit, at a character's edge.
 */
export function closeFrame(code: number, reason = '', mask?: Uint8Array): Buffer {
  if (code === NO_CODE) return controlFrame(OPCODE.close, Buffer.alloc(0), mask);
  const payload = Buffer.alloc(2 + Math.min(Buffer.byteLength(reason), 123));
  payload.writeUInt16BE(code, 0);
  const written = payload.write(reason, 2, 'utf8');
  return controlFrame(OPCODE.close, payload.subarray(0, 2 + written), mask);
}

/** A control frame with at most 125 bytes of payload (RFC 6455 5.5). */
export function controlFrame(opcode: number, payload: Uint8Array, mask?: Uint8Array): Buffer {
  if (payload.length > MOST_CONTROL_BYTES) {
    throw new RangeError(`a control frame holds at most ${MOST_CONTROL_BYTES} bytes`);
  }
  return wholeFrame(opcode, payload, mask);
}

/** A message in one frame. `mask` as for `closeFrame`. */
export function wholeFrame(opcode: number, payload: Uint8Array, mask?: Uint8Array): Buffer {
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const head = 2 + extended;
  const body = head + (mask === undefined ? 0 : 4);
  const frame = Buffer.allocUnsafe(body + length);
  frame[0] = 0x80 | opcode;
  frame[1] =
    (mask === undefined ? 0 : 0x80) | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) frame.writeUInt16BE(length, 2);
  else if (extended === 8) frame.writeBigUInt64BE(BigInt(length), 2);
  frame.set(payload, body);
  if (mask === undefined) return frame;
  frame.set(mask, head);
  for (let i = 0; i < length; i += 1) {
    frame[body + i] = (frame[body + i] as number) ^ (mask[i & 3] as number);
  }
  return frame;
}
