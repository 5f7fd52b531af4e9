// Heads of HTTP/1.1 messages (RFC 9112 2–5): writing a request's, reading an answer's. Strict: what
// two readers could understand in two ways is refused.
import type { RawHeaders } from './headers.ts';

/** Fields in one head. Node's own limit for its parser is 2,000; answers to handshakes have a dozen. */
const MOST_FIELDS = 500;

/** A reason phrase may be any bytes that do not end the line: nobody reads it (RFC 9112 4). */
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: ([^\0\r\n]*))?$/;
const FIELD_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;

export interface AnswerHead {
  readonly minor: 0 | 1;
  readonly status: number;
  readonly reason: string;
  readonly headers: RawHeaders;
  /** Bytes that the head took, its empty line included. */
  readonly bytes: number;
}

/** Bytes of a head; callers pass validated fields. */
export function writeHead(startLine: string, headers: RawHeaders): Buffer {
  return Buffer.from(headText(startLine, headers), 'latin1');
}

/** Text of a head, to be written as latin1, as HTTP reads it; callers pass validated fields. */
export function headText(startLine: string, headers: RawHeaders): string {
  let text = `${startLine}\r\n`;
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return `${text}\r\n`;
}

/** Name and value of one field line, without its end; null if it is malformed (RFC 9112 5). */
export function readField(line: string): readonly [name: string, value: string] | null {
  const colon = line.indexOf(':');
  const name = line.slice(0, Math.max(colon, 0));
  const value = line.slice(colon + 1).replace(/^[\t ]+|[\t ]+$/g, '');
  return FIELD_NAME.test(name) && FIELD_VALUE.test(value) ? [name, value] : null;
}

/**
 * Reads an answer's head from the start of `bytes`. `incomplete`: more bytes are needed;
 * a string of another kind says what is wrong. `maxBytes` bounds the head.
 */
export function readAnswerHead(
  bytes: Buffer,
  maxBytes: number,
): AnswerHead | 'incomplete' | { readonly invalid: string } {
  const end = bytes.indexOf('\r\n\r\n');
  if (end === -1 ? bytes.length > maxBytes : end + 4 > maxBytes) {
    return { invalid: `the head is longer than ${maxBytes} bytes` };
  }
  if (end === -1) {
    return bytes.length >= 5 && bytes.toString('latin1', 0, 5) !== 'HTTP/'
      ? { invalid: 'it does not begin with HTTP/' }
      : 'incomplete';
  }
  const lines = bytes.toString('latin1', 0, end).split('\r\n');
  const status = STATUS_LINE.exec(lines[0] as string);
  if (status === null) return { invalid: 'the status line is malformed' };
  if (lines.length - 1 > MOST_FIELDS)
    return { invalid: `there are more than ${MOST_FIELDS} fields` };
  const headers: string[] = [];
  for (let i = 1; i < lines.length; i += 1) {
    const field = readField(lines[i] as string);
    if (field === null) return { invalid: 'a header field is malformed' };
    headers.push(...field);
  }
  return {
    minor: status[1] === '1' ? 1 : 0,
    status: Number(status[2]),
    reason: status[3] ?? '',
    headers,
    bytes: end + 4,
  };
}
