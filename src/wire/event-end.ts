// Where a server-sent event ends: behind a blank line (WHATWG HTML 9.2.5). Bytes beyond ASCII do not
// matter, so streams are looked at as Latin-1.

/** Two line ends in a row; a CRLF is one. */
const BLANK_LINE = /(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)/;
/** As many bytes as can be the beginning of the longest such pair. */
export const TAIL_BYTES = 3;

/** True if a stream that ends in `tail`, its last bytes, is between two events. */
export function isBetweenEvents(tail: string): boolean {
  return tail === '' || eventEnd(tail.slice(0, -1), tail.slice(-1)) !== null;
}

/**
 * How many characters of `text` belong to the event under way; null if it goes on behind them. `tail`
 * is what came before, at least its last `TAIL_BYTES`.
 */
export function eventEnd(tail: string, text: string): number | null {
  const all = tail + text;
  for (let from = 0; from < all.length; ) {
    const found = BLANK_LINE.exec(all.slice(from));
    if (found === null) return null;
    const end = from + found.index + found[0].length;
    if (end > tail.length) return end - tail.length;
    from += found.index + 1;
  }
  return null;
}
