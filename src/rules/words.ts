// What a text says, word by word, whether it was typed or a service has made it.

/**
 * A hash of each word: of letters and digits, and of what joins them in ids and addresses of e-mail, in lower case.
 * The same of what was typed and of what a service makes of it: escapes of JSON and of URLs are undone.
 */
export function wordsOf(written: string): number[] {
  const text = plain(written);
  const words: number[] = [];
  let hash = 0;
  /** As of the last letter: what joins nothing is not part of it. */
  let word = 0;
  let isInside = false;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    const isLetter = isLetterCode(code);
    if (isLetter || (isInside && isJoint(code))) {
      if (!isInside) hash = 0x811c9dc5;
      isInside = true;
      hash = Math.imul(hash ^ (code >= 0x41 && code <= 0x5a ? code + 0x20 : code), 0x01000193);
      if (isLetter) word = hash;
    } else if (isInside) {
      isInside = false;
      words.push(word);
    }
  }
  if (isInside) words.push(word);
  return words;
}

const JSON_ESCAPE = /\\(?:u([0-9a-f]{4})|[bfnrt])/gi;
const URL_ESCAPES = /(?:%[0-9a-f]{2})+/gi;

function plain(text: string): string {
  let read = text;
  if (read.includes('%')) read = read.replace(URL_ESCAPES, percentDecoded);
  if (read.includes('\\')) {
    read = read.replace(JSON_ESCAPE, (_, code?: string) =>
      code === undefined ? ' ' : String.fromCharCode(Number.parseInt(code, 16)),
    );
  }
  return read;
}

function percentDecoded(escapes: string): string {
  try {
    return decodeURIComponent(escapes);
  } catch {
    // No UTF-8: no name that a service would make of it, either.
    return ' ';
  }
}

/**
 * ASCII letters and digits, `_`, and whatever is beyond ASCII, but for what stands in place of bytes that are no text:
 * binary data is read as well as it can be, and most of it has strings as they are.
 */
function isLetterCode(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) ||
    (code >= 0x41 && code <= 0x5a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x5f ||
    (code > 0x7f && code !== 0xfffd)
  );
}

/** Of `-`, `.`, `@`, `|`, `~`. Not `+`, which a query has for a blank. */
function isJoint(code: number): boolean {
  return code === 0x2d || code === 0x2e || code === 0x40 || code === 0x7c || code === 0x7e;
}
