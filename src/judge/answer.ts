// An answer as it is compared: fields by name, the body decoded.
import { isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';
import type { AnswerSample } from '../ports.ts';
import type { Answer } from '../rules/compare/answers.ts';
import { codingsOf, decoded, isDecodable } from '../wire/content-coding.ts';
import { fieldValues, type RawHeaders } from '../wire/headers.ts';
import { decodeText } from './decode.ts';
import { bodyWithoutBoundary, typeWithoutBoundary } from './multipart.ts';

/** A body of 1 MiB may become so long; whatever becomes longer is a bomb, or not worth comparing. */
const MOST_DECODED_BYTES = 8 * 1_048_576;
/** Before the first character of JSON. */
const MOST_BLANKS = 512;
/** Byte order mark. */
const MARK = Buffer.from('\uFEFF');

/** `plain` is its `plainBody`. */
export function answerOf(
  { status, headers, end, ms }: AnswerSample,
  plain: Buffer | null | undefined,
): Answer {
  const codings = codingsOf(headers);
  const isUnread = plain === undefined && (!isDecodable(codings) || isStream(headers));
  const body = plain ? read(bodyWithoutBoundary(typeOf(headers), plain)) : plain;
  return {
    ...(isUnread ? { unread: 'not-comparable' } : {}),
    status,
    headers: fieldsOf(headers),
    body,
    isCut: end === 'cut',
    ...(plain && isMarked(plain) ? { isMarked: true } : {}),
    latencyMs: ms,
  };
}

/**
 * Its body without content codings. Null: it has none. Undefined: it is not there within its bounds.
 * `method` is the request's: an answer to HEAD has no body, whatever its fields say.
 */
export function plainBody(
  { headers, body, end }: AnswerSample,
  method: string,
): Buffer | null | undefined {
  if (method === 'HEAD' || end === 'failed') return null;
  if (body === null || body === 'overload') return undefined;
  if (body.length === 0) return null;
  // Between threads a Buffer becomes a plain array of bytes.
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  return decoded(bytes, codingsOf(headers), MOST_DECODED_BYTES);
}

/** A stream of events of which nothing was kept can not be read, however short it is. */
function isStream(headers: RawHeaders): boolean {
  return /^text\/event-stream\b/i.test(typeOf(headers));
}

function typeOf(headers: RawHeaders): string {
  return fieldValues(headers, 'content-type')[0] ?? '';
}

function fieldsOf(headers: RawHeaders): Answer['headers'] {
  const fields = new Map<string, string[]>();
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    const said = headers[i + 1] as string;
    const value = name === 'content-type' ? typeWithoutBoundary(said) : said;
    const values = fields.get(name);
    if (values === undefined) fields.set(name, [value]);
    else values.push(value);
  }
  return Object.fromEntries(fields);
}

/** The body as it came, where its numbers may have lost digits on their way into a value. */
export function exactTextOf(plain: Buffer | null | undefined): string | null {
  if (!plain || !isUtf8(plain)) return null;
  const decoded = decodeText(textOf(plain));
  return 'value' in decoded ? decoded.text : null;
}

/** Undefined for what is not comparable within its bounds. */
function read(plain: Buffer): unknown {
  if (!isUtf8(plain)) return `binary, ${plain.length} bytes, sha256 ${hash('sha256', plain)}`;
  const text = decodeText(textOf(plain));
  return 'value' in text ? text.value : undefined;
}

/**
 * What whose data it is is asked of: `body`, and of JSON with bytes that are no UTF-8, which are compared as
 * bytes, what a client reads that puts U+FFFD in their place.
 */
export function saidIn(plain: Buffer | null | undefined, body: unknown): unknown {
  if (typeof body !== 'string' || !plain || isUtf8(plain)) return body;
  const from = isMarked(plain) ? MARK.length : 0;
  const first = plain.toString('latin1', from, from + MOST_BLANKS).trimStart()[0];
  if (first !== '{' && first !== '[') return body;
  const text = decodeText(textOf(plain));
  return 'value' in text ? text.value : undefined;
}

function isMarked(plain: Buffer): boolean {
  return plain.subarray(0, MARK.length).equals(MARK);
}

/** Without the mark, as `fetch().json()` and `text()` have it. */
function textOf(plain: Buffer): string {
  return plain.toString('utf8', isMarked(plain) ? MARK.length : 0);
}
