// How much of the other service is still read where nobody waits for it.

/** A shadow may send this much a second, and four times what the primary sends. */
const FLOOD_BYTES = 8 * 1_048_576;
const FLOOD_FACTOR = 4;

/** Both in bytes of the same second. */
export function isFlood(bytes: number, primaryBytes: number): boolean {
  return bytes > Math.max(FLOOD_BYTES, FLOOD_FACTOR * primaryBytes);
}
