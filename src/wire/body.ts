// Where a message body ends (RFC 9112 6.3), followed through chunks cut anywhere, without keeping
// or changing its bytes.
import { fieldValues, type RawHeaders, without } from './headers.ts';
import { type AnswerHead, readField } from './http-head.ts';

/** Longest chunk-size line with its extensions; a real one has a few bytes. */
const MOST_LINE_BYTES = 1_024;
/** Trailer section of a chunked body. */
const MOST_TRAILER_BYTES = 16_384;

const CONTENT_LENGTH: ReadonlySet<string> = new Set(['content-length']);

export type BodyFraming =
  | { readonly kind: 'none' }
  | { readonly kind: 'length'; readonly bytes: number }
  | { readonly kind: 'chunked' }
  | { readonly kind: 'until-close' };

/** Ends with its head, whatever its fields say (RFC 9112 6.3, 1); 304 may tell a length all the same. */
const isBodiless = (status: number) => status < 200 || status === 204;

/** How an answer to a request other than HEAD or CONNECT is framed; null if it is ambiguous. */
export function answerFraming({
  minor,
  status,
  headers,
}: Pick<AnswerHead, 'minor' | 'status' | 'headers'>): BodyFraming | null {
  if (isBodiless(status)) return { kind: 'none' };
  const codings = fieldValues(headers, 'transfer-encoding');
  const lengths = fieldValues(headers, 'content-length');
  let framing: BodyFraming = { kind: 'until-close' };
  if (codings.length > 0) {
    // An empty one as well. Both at once is how one answer is made to look like two (RFC 9112 6.1), and
    // in HTTP/1.0 some undo chunks and some, browsers among them, show them.
    const isChunked = codings.length === 1 && codings[0]?.toLowerCase() === 'chunked';
    if (!isChunked || lengths.length > 0 || minor === 0) return null;
    framing = { kind: 'chunked' };
  } else if (lengths.length > 0) {
    // Leading zeros are in the grammar, and written by some services (RFC 9110 8.6).
    const [length = ''] = lengths;
    if (lengths.length > 1 || !/^0*[0-9]{1,15}$/.test(length)) return null;
    framing = { kind: 'length', bytes: Number(length) };
  }
  return status === 304 ? { kind: 'none' } : framing;
}

/** True for an answer without a body that speaks of one: some services send it all the same. */
export function belies(status: number, headers: RawHeaders): boolean {
  return (
    isBodiless(status) &&
    (fieldValues(headers, 'transfer-encoding').length > 0 ||
      fieldValues(headers, 'content-length').some(length => !/^0+$/.test(length)))
  );
}

/**
 * The fields of an answer with its length as every reader understands it: none where there is no body
 * (RFC 9110 8.6 forbids it), and no leading zeros, which some read as octal.
 */
export function plainLength(status: number, headers: RawHeaders): RawHeaders {
  const [length] = fieldValues(headers, 'content-length');
  if (length === undefined) return headers;
  if (isBodiless(status)) return without(headers, CONTENT_LENGTH);
  if (!/^0[0-9]/.test(length)) return headers;
  return headers.map((text, i) =>
    i % 2 === 1 && headers[i - 1]?.toLowerCase() === 'content-length'
      ? text.replace(/^0+(?=[0-9])/, '')
      : text,
  );
}

/**
 * How a request's body is framed; null if two readers could see its end in two places, or if its
 * coding would have to be undone on the way (RFC 9112 6.1, 6.3).
 */
export function requestFraming(httpVersion: string, headers: RawHeaders): BodyFraming | null {
  const codings = fieldValues(headers, 'transfer-encoding');
  const lengths = fieldValues(headers, 'content-length');
  if (codings.length > 0) {
    // HTTP/1.0 has no chunks: whoever speaks it and sends them may mean something else by them.
    return httpVersion === '1.1' &&
      lengths.length === 0 &&
      codings.length === 1 &&
      codings[0]?.toLowerCase() === 'chunked'
      ? { kind: 'chunked' }
      : null;
  }
  if (lengths.length === 0) return { kind: 'none' };
  const [length = ''] = lengths;
  // No leading zeros, which some read as octal; nothing that a number would round.
  return lengths.length === 1 &&
    /^(?:0|[1-9][0-9]{0,15})$/.test(length) &&
    Number.isSafeInteger(Number(length))
    ? { kind: 'length', bytes: Number(length) }
    : null;
}

const NOTHING = (): void => undefined;

/** Follows one body. `push` says how many of the bytes belong to it; `state` what came of it. */
export class BodyTracker {
  state: 'open' | 'complete' | 'invalid' = 'open';
  /** Fields behind the last chunk, flat. */
  readonly trailers: string[] = [];
  readonly #framing: BodyFraming;
  #left: number;
  /** Chunked: which part comes next. */
  #part: 'size' | 'data' | 'data-end' | 'trailer' = 'size';
  #line = '';
  #trailerBytes = 0;

  constructor(framing: BodyFraming) {
    this.#framing = framing;
    this.#left = framing.kind === 'length' ? framing.bytes : 0;
    if (framing.kind === 'none' || (framing.kind === 'length' && framing.bytes === 0))
      this.state = 'complete';
  }

  /**
   * Bytes of `bytes` that belong to the body. Less than all: it ended, or is invalid, there. `content`
   * gets what they carry, without the framing, as views.
   */
  push(bytes: Buffer, content: (part: Buffer) => void = NOTHING): number {
    if (this.state !== 'open' || bytes.length === 0) return 0;
    if (this.#framing.kind === 'chunked') return this.#pushChunked(bytes, content);
    if (this.#framing.kind === 'until-close') {
      content(bytes);
      return bytes.length;
    }
    const taken = Math.min(this.#left, bytes.length);
    this.#left -= taken;
    if (this.#left === 0) this.state = 'complete';
    content(taken === bytes.length ? bytes : bytes.subarray(0, taken));
    return taken;
  }

  /** The connection ended: a body framed by that is complete, any other was cut short. */
  end(): void {
    if (this.state === 'open')
      this.state = this.#framing.kind === 'until-close' ? 'complete' : 'invalid';
  }

  #pushChunked(bytes: Buffer, content: (part: Buffer) => void): number {
    let at = 0;
    while (at < bytes.length && this.state === 'open') {
      if (this.#part === 'data') {
        const taken = Math.min(this.#left, bytes.length - at);
        content(bytes.subarray(at, at + taken));
        at += taken;
        this.#left -= taken;
        if (this.#left === 0) this.#part = 'data-end';
        continue;
      }
      const newline = bytes.indexOf(0x0a, at);
      const upTo = newline === -1 ? bytes.length : newline + 1;
      this.#line += bytes.toString('latin1', at, upTo);
      at = upTo;
      const most = this.#part === 'trailer' ? MOST_TRAILER_BYTES : MOST_LINE_BYTES;
      if (this.#line.length > most) this.state = 'invalid';
      else if (newline !== -1) this.#endLine();
    }
    return at;
  }

  #endLine(): void {
    const line = this.#line;
    this.#line = '';
    if (!/^[^\r\n]*\r\n$/.test(line)) {
      this.state = 'invalid';
    } else if (this.#part === 'size') {
      // RFC 9112 7.1: hex digits, then extensions after a semicolon.
      const size = /^([0-9A-Fa-f]{1,12})[\t ]*(?:;[^\r\n]*)?\r\n$/.exec(line)?.[1];
      if (size === undefined) this.state = 'invalid';
      else {
        this.#left = Number.parseInt(size, 16);
        this.#part = this.#left === 0 ? 'trailer' : 'data';
      }
    } else if (this.#part === 'data-end') {
      if (line === '\r\n') this.#part = 'size';
      else this.state = 'invalid';
    } else {
      this.#trailerBytes += line.length;
      const field = line === '\r\n' ? [] : readField(line.slice(0, -2));
      if (line === '\r\n') this.state = 'complete';
      else if (field === null || this.#trailerBytes > MOST_TRAILER_BYTES) this.state = 'invalid';
      else this.trailers.push(...field);
    }
  }
}
