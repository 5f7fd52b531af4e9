// When to look at a flag server again.

/** A server that comes back is noticed within this, however long it was away. */
const MOST_MS = 15_000;
/** Twice as long after each failure, up to so many times the usual. */
const MOST_POLLS = 10;

/**
 * Milliseconds until the next look after `failures` failed ones in a row. Delays after failures are
 * drawn from the upper half of their range, so that a fleet does not come back all at once.
 * `random` is 0 to 1.
 */
export function pollDelayMs(failures: number, pollMs: number, random: number): number {
  if (failures === 0) return pollMs;
  // 2^4 is beyond ten polls; more doublings would only overflow.
  const grown = pollMs * 2 ** Math.min(failures, 4);
  const ceiling = Math.min(grown, pollMs * MOST_POLLS, MOST_MS);
  return ceiling * (0.5 + random / 2);
}
