// Bytes that come in pieces and are wanted whole. A list of the pieces would be an object of some 100 bytes
// for each, and a peer may well send one byte at a time: what limits count has to be what is taken.

const NOTHING = Buffer.alloc(0);

export class GatheredBytes {
  readonly #mostBytes: number;
  /** With room behind `#length`. */
  #room: Buffer = NOTHING;
  #length = 0;

  /** Beyond `mostBytes` nothing is reserved for what is still to come. */
  constructor(mostBytes: number) {
    this.#mostBytes = mostBytes;
  }

  get length(): number {
    return this.#length;
  }

  /** What there is so far. Holds until more is added. */
  get view(): Buffer {
    return this.#room.subarray(0, this.#length);
  }

  /** Copies `part`. */
  add(part: Buffer): void {
    const total = this.#length + part.length;
    if (total > this.#room.length) {
      const grown = Buffer.allocUnsafe(
        Math.max(total, Math.min(2 * this.#length, this.#mostBytes)),
      );
      this.#room.copy(grown, 0, 0, this.#length);
      this.#room = grown;
    }
    part.copy(this.#room, this.#length);
    this.#length = total;
  }

  /** Gives all of it away, which is never written to again, and begins anew. */
  take(): Buffer {
    const all = this.view;
    this.#room = NOTHING;
    this.#length = 0;
    return all;
  }
}
