// The look that every message pays for: can there be somebody else's address in these bytes at all?
// Answers without parsing, and is never wrong when it says no: a routing field's name is there in
// plain bytes, or with a `\u` escape in it.
import type { Recipient } from './recipient.ts';
import type { Isolation } from './rules.ts';

export type Scanned =
  /** No routing field, or none that names anybody but the recipient. */
  | 'clean'
  /** Must be looked at with `inspect`. */
  | 'parse';

const [QUOTE, COLON, SPACE, TAB, LF, CR] = [0x22, 0x3a, 0x20, 0x09, 0x0a, 0x0d];
/** Begins an escape of an ASCII character. */
const ASCII_ESCAPE = Buffer.from('\\u00');
const NOTHING = [Buffer.from('null'), Buffer.from('""')];

/**
 * Of any bytes: one message, or all that was read of a socket, frame headers included, as long as no
 * message in it is fragmented, compressed or cut off (a name would be in pieces). One search of the
 * bytes for each field's name and one for escapes; what is found is looked at on the spot. Text that
 * is no JSON and binary data are `clean` too where no name is in them in any way that JSON knows;
 * whether that is enough for binary data is the caller's to say.
 */
export function scan(isolation: Isolation, recipient: Recipient, bytes: Buffer): Scanned {
  if (!mayName(isolation, bytes)) return 'clean';
  if (isNameEscaped(isolation, bytes)) return 'parse';
  for (const needle of isolation.needles) {
    for (let at = bytes.indexOf(needle); at !== -1; at = bytes.indexOf(needle, at)) {
      at += needle.length;
      if (!isHarmless(recipient, bytes, at)) return 'parse';
    }
  }
  return 'clean';
}

/**
 * Is there a routing field in these bytes, whomever it names? Never wrong when it says no. `ascii` as in
 * `MessageForm`.
 */
export function hasRoutingField(
  isolation: Isolation,
  bytes: Buffer,
  ascii: string | null = null,
): boolean {
  return (
    mayName(isolation, bytes, ascii) &&
    (isolation.needles.some(needle => bytes.includes(needle)) || isNameEscaped(isolation, bytes))
  );
}

/**
 * What nearly all messages end with. One search for all names at once; each for itself, as bytes, takes
 * 1.1 µs of 512 bytes in place of 0.2 (bench/README.md).
 */
function mayName({ anyName }: Isolation, bytes: Buffer, ascii: string | null = null): boolean {
  return anyName.test(ascii ?? bytes.toString('latin1'));
}

function isNameEscaped({ nameCodes }: Isolation, bytes: Buffer): boolean {
  // Encoders that write ASCII alone escape every accent: only what could be part of a name counts.
  for (let at = bytes.indexOf(ASCII_ESCAPE); at !== -1; at = bytes.indexOf(ASCII_ESCAPE, at)) {
    at += ASCII_ESCAPE.length;
    // No letter of a name is a control character or beyond ASCII: digits 2 to 7 come first.
    if (!isNameDigit(bytes[at])) continue;
    const code = Number.parseInt(bytes.toString('latin1', at, at + 2), 16);
    if (nameCodes.has(code)) return true;
  }
  return false;
}

function isNameDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x32 && byte <= 0x37;
}

/** Of what follows a name: it is no key, or its value is nobody or the recipient. */
function isHarmless(recipient: Recipient, bytes: Buffer, after: number): boolean {
  let at = skipBlanks(bytes, after);
  // Behind the last byte too: what is cut off there is whole when it is scanned again, or no JSON.
  if (bytes[at] !== COLON) return at < bytes.length;
  at = skipBlanks(bytes, at + 1);
  const { written } = recipient;
  if (bytes[at] === QUOTE && written.some(name => hasAt(bytes, name, at))) return true;
  return NOTHING.some(word => hasAt(bytes, word, at));
}

function skipBlanks(bytes: Buffer, from: number): number {
  let at = from;
  while (bytes[at] === SPACE || bytes[at] === TAB || bytes[at] === LF || bytes[at] === CR) at += 1;
  return at;
}

function hasAt(bytes: Buffer, what: Buffer, at: number): boolean {
  for (let i = 0; i < what.length; i += 1) if (bytes[at + i] !== what[i]) return false;
  return true;
}
