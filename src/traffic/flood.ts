// How much of the other service is still read where nobody waits for it.

/** A shadow may send this much a second, and four times what the primary sends. */
const FLOOD_BYTES = 8 * 1_048_576;
const FLOOD_FACTOR = 4;

/** Both in bytes of the same second. */
export function isFlood(bytes: number, primaryBytes: number): boolean {
  return bytes > Math.max(FLOOD_BYTES, FLOOD_FACTOR * primaryBytes);
}

/** Of a stream of events, which nobody opens anew while its client stays. */
export class StreamFlood {
  #bytes = 0;
  #primaryBytes = 0;

  /**
   * To be asked once a second, with the bytes of both since their beginning. What the primary has sent a second before,
   * or does not go on with since its client has left, makes no flood of the same.
   */
  look(bytes: number, primaryBytes: number): boolean {
    const isMuchNow = isFlood(bytes - this.#bytes, primaryBytes - this.#primaryBytes);
    this.#bytes = bytes;
    this.#primaryBytes = primaryBytes;
    return isMuchNow && isFlood(bytes, primaryBytes);
  }
}
