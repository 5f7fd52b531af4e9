// What legs sent of late, for handovers: one bounded ring of bytes for the process. Each record points to
// the one before it of the same leg, so that a leg holds one number and nothing is freed.
const RECORD_BYTES = 32;
/** A second and a half of 20,000 events a second of 512 bytes on two legs; minutes of what people cause. */
const CAPACITY = 64 * 1024 * 1024;

/** Sixteen page faults: a quarter of a millisecond where they are slow. */
const TOUCHED_BYTES = 64 * 1024;

/** No record. */
export const NOTHING = -1;

export interface TailRecord {
  /** In the ring: to be read at once. */
  readonly bytes: Buffer;
  /** Messages that the leg had begun before these bytes. */
  readonly messages: number;
  /** The bytes begin a message. */
  readonly atBoundary: boolean;
  /** ms of `performance.now()`. */
  readonly time: number;
}

export class TailRing {
  readonly #capacity: number;
  #ring: Buffer | null = null;
  /** Bytes ever written, gaps at the end of the ring included: the next record's position. */
  #head = 0;

  constructor(capacity = CAPACITY) {
    this.#capacity = capacity;
  }

  /** Copies a piece of a leg's stream; `previous` is that leg's last one. Returns its position. */
  append(previous: number, { bytes, messages, atBoundary, time }: TailRecord): number {
    // Made when it is first needed: a proxy without second legs pays nothing.
    this.#ring ??= this.#makeRing();
    const size = RECORD_BYTES + bytes.length;
    if (size > this.#capacity) return this.#pass(size);
    const left = this.#capacity - (this.#head % this.#capacity);
    if (left < size) this.#head += left;
    const position = this.#head;
    const at = position % this.#capacity;
    const ring = this.#ring;
    ring.writeDoubleLE(previous, at);
    ring.writeDoubleLE(time, at + 8);
    ring.writeUInt32LE(bytes.length, at + 16);
    ring.writeUInt32LE(messages % 2 ** 32, at + 20);
    ring[at + 24] = atBoundary ? 1 : 0;
    bytes.copy(ring, at + RECORD_BYTES);
    this.#head = position + size;
    return position;
  }

  /**
   * Records of a leg from its last one backwards, for as long as `wanted` says so. `complete` is false
   * if the ring had overwritten what was still wanted.
   */
  back(
    last: number,
    wanted: (record: TailRecord) => boolean,
  ): { readonly records: TailRecord[]; readonly complete: boolean } {
    const records: TailRecord[] = [];
    for (let position = last; position !== NOTHING; ) {
      const record = this.#read(position);
      if (record === null) return { records, complete: false };
      records.push(record);
      if (!wanted(record)) return { records, complete: true };
      position = record.previous;
    }
    return { records, complete: true };
  }

  /** More than there is room for: as if it had been overwritten at once. */
  #pass(size: number): number {
    const position = this.#head;
    this.#head += size;
    return position;
  }

  /**
   * All of its pages are written to soon, a piece a turn from the end on: the process has its size then, and
   * does not seem to leak until traffic has gone round once.
   */
  #makeRing(): Buffer {
    const ring = Buffer.allocUnsafeSlow(this.#capacity);
    const touch = (end: number): void => {
      const start = end - TOUCHED_BYTES;
      if (start <= this.#head) return;
      ring.fill(0, start, end);
      setImmediate(touch, start);
    };
    setImmediate(touch, this.#capacity);
    return ring;
  }

  #read(position: number): (TailRecord & { readonly previous: number }) | null {
    if (this.#ring === null || position < this.#head - this.#capacity) return null;
    const at = position % this.#capacity;
    const from = at + RECORD_BYTES;
    return {
      previous: this.#ring.readDoubleLE(at),
      time: this.#ring.readDoubleLE(at + 8),
      bytes: this.#ring.subarray(from, from + this.#ring.readUInt32LE(at + 16)),
      messages: this.#ring.readUInt32LE(at + 20),
      atBoundary: this.#ring[at + 24] === 1,
    };
  }
}
