// WebSocket frames by the book (RFC 6455 5.2), and against it.

export interface FrameShape {
  /** Text is sent as UTF-8; bytes as they are. */
  readonly payload?: string | Uint8Array;
  /** Last frame of its message. */
  readonly fin?: boolean;
  /** The three reserved bits as a number. */
  readonly rsv?: number;
  /** Null for a frame that is not masked. */
  readonly mask?: Uint8Array | null;
  /** Bytes of the length field: 0 in the second byte itself, 2 or 8; by default the fewest that do. */
  readonly lengthBytes?: 0 | 2 | 8;
  /** The length that the frame claims to have, in place of the payload's own. */
  readonly claims?: bigint;
}

export const MASK = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

/** A frame as clients send it, masked. */
export function clientFrame(opcode: number, shape: FrameShape = {}): Buffer {
  return frame(opcode, { mask: MASK, ...shape });
}

export function frame(
  opcode: number,
  { payload = '', fin = true, rsv = 0, mask = null, lengthBytes, claims }: FrameShape = {},
): Buffer {
  const body = Buffer.from(payload);
  const length = claims ?? BigInt(body.length);
  const field = lengthBytes ?? (length < 126n ? 0 : length < 65_536n ? 2 : 8);
  const masked = mask === null ? 0 : 0x80;
  const head = Buffer.alloc(2 + field);
  head[0] = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  head[1] = masked | (field === 0 ? Number(length) : field === 2 ? 126 : 127);
  if (field === 2) head.writeUInt16BE(Number(length), 2);
  if (field === 8) head.writeBigUInt64BE(length, 2);
  if (mask === null) return Buffer.concat([head, body]);
  for (let i = 0; i < body.length; i += 1) body[i] = (body[i] as number) ^ (mask[i % 4] as number);
  return Buffer.concat([head, mask, body]);
}

/** Payload of a close frame. */
export function closePayload(code: number, reason: string | Uint8Array = ''): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(code);
  return Buffer.concat([head, Buffer.from(reason)]);
}
