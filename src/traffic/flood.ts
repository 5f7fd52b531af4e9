// How much of the other service is still read where nobody waits for it.

/** A shadow may send this much a second, or four times what the primary sends. */
const FLOOD_BYTES = 8 * 1_048_576;
const FLOOD_FACTOR = 4;
/**
 * ... and so much beyond, made up for by what it sends less before and after. What the primary sent a second ago is no
 * flood: where a machine stands still, one second brings one side's bytes and the next one the other's (30 MB in a test).
 */
const BURST_BYTES = 64 * 1_048_576;

/** Of one stream of a shadow. */
export class Flood {
  #left = BURST_BYTES;
  #bytes = 0;
  #primaryBytes = 0;

  /** To be asked once a second, with the bytes of both since it began. */
  look(bytes: number, primaryBytes: number): boolean {
    const allowed = Math.max(FLOOD_BYTES, FLOOD_FACTOR * (primaryBytes - this.#primaryBytes));
    this.#left = Math.min(BURST_BYTES, this.#left + allowed - (bytes - this.#bytes));
    this.#bytes = bytes;
    this.#primaryBytes = primaryBytes;
    return this.#left < 0;
  }
}
