// Control frames out of a byte stream cut anywhere (RFC 6455 5.5), between whatever else is in it.
import { OPCODE } from '../../src/wire/frames.ts';

export class ControlFrames {
  #rest: Buffer = Buffer.alloc(0);
  readonly #onFrame: (opcode: number, payload: Buffer) => void;

  /** `onFrame` gets each once it is whole, its mask taken off. */
  constructor(onFrame: (opcode: number, payload: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  push(bytes: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    for (let bytesOfFrame = this.#take(); bytesOfFrame > 0; bytesOfFrame = this.#take())
      this.#rest = this.#rest.subarray(bytesOfFrame);
  }

  /** Bytes of the first frame, 0 while it is not whole. */
  #take(): number {
    const [first = 0, second = 0] = this.#rest;
    const short = second & 0x7f;
    const maskAt = 2 + (short === 127 ? 8 : short === 126 ? 2 : 0);
    const at = maskAt + (second >= 0x80 ? 4 : 0);
    if (this.#rest.length < Math.max(2, at)) return 0;
    const length =
      short < 126
        ? short
        : short === 126
          ? this.#rest.readUInt16BE(2)
          : Number(this.#rest.readBigUInt64BE(2));
    if (this.#rest.length < at + length) return 0;
    const opcode = first & 0x0f;
    const mask = this.#rest.subarray(maskAt, at);
    const payload = Buffer.from(this.#rest.subarray(at, at + length));
    for (let i = 0; i < length && mask.length > 0; i += 1)
      payload[i] = (payload[i] as number) ^ (mask[i & 3] as number);
    if (opcode >= OPCODE.close) this.#onFrame(opcode, payload);
    return at + length;
  }
}
