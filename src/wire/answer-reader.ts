// One answer to one request, interim answers before it included, read from chunks cut anywhere. What
// two readers could understand in two ways is invalid.
import { answerFraming, BodyTracker, belies } from './body.ts';
import { fieldValues, lists, type RawHeaders } from './headers.ts';
import { type AnswerHead, readAnswerHead } from './http-head.ts';

/** An answer's head; four times what services usually allow for a request's. */
const MOST_HEAD_BYTES = 65_536;
/** Interim answers before the real one: one every 20 s of an hour's work is more than any service says. */
const MOST_INTERIM = 200;

/** What is found, in this order. */
export interface AnswerParts {
  /** An interim answer (RFC 9110 15.2) but 100 and 101, which nobody asked for. */
  interim(status: number, headers: RawHeaders): void;
  head(status: number, reason: string, headers: RawHeaders): void;
  /** Content without its framing. A view into the bytes that were pushed. */
  content(part: Buffer): void;
}

export class AnswerReader {
  /** `invalid`: `why` says what it is. */
  state: 'head' | 'body' | 'complete' | 'invalid' = 'head';
  why = '';
  /** Anything of it has come. */
  begun = false;
  /**
   * For how many more seconds the service keeps the connection for another request: 0 not at all,
   * Infinity if it does not say. Settled with the head.
   */
  keepsForS = 0;
  readonly #isHead: boolean;
  readonly #parts: AnswerParts;
  readonly #onContent: (part: Buffer) => void;
  #early: Buffer | null = null;
  #interim = 0;
  #body: BodyTracker | null = null;

  constructor(method: string, parts: AnswerParts) {
    this.#isHead = method === 'HEAD';
    this.#parts = parts;
    this.#onContent = part => parts.content(part);
  }

  /** Fields behind the last chunk, flat. */
  get trailers(): readonly string[] {
    return this.#body?.trailers ?? [];
  }

  /** How many of the bytes belong to the answer. Less than all: it ended, or is invalid, there. */
  push(bytes: Buffer): number {
    this.begun = true;
    let rest = bytes;
    if (this.state === 'head') {
      const all = this.#early === null ? bytes : Buffer.concat([this.#early, bytes]);
      this.#early = null;
      rest = all.subarray(this.#readHeads(all));
      if (this.state === 'head') {
        // The bytes are only lent.
        this.#early = Buffer.from(rest);
        return bytes.length;
      }
    }
    const taken = this.#body === null ? 0 : this.#readBody(this.#body, rest);
    return bytes.length - (rest.length - taken);
  }

  /** The connection ended: an answer that is framed by that is complete, any other was cut short. */
  end(): void {
    if (this.#body === null) return this.#fail('it ended within its head');
    this.#body.end();
    this.#settle(this.#body, 'it ended within its body');
  }

  /** Reads heads up to the final one. Returns how many bytes they took. */
  #readHeads(bytes: Buffer): number {
    let at = 0;
    while (this.state === 'head') {
      const head = readAnswerHead(at === 0 ? bytes : bytes.subarray(at), MOST_HEAD_BYTES);
      if (head === 'incomplete') break;
      if ('invalid' in head) {
        this.#fail(head.invalid);
        break;
      }
      at += head.bytes;
      if (head.status < 200) this.#takeInterim(head);
      else this.#takeFinal(head);
    }
    return at;
  }

  #takeInterim({ status, headers }: AnswerHead): void {
    this.#interim += 1;
    // `Expect` and `Upgrade` do not go on, so nobody told the service to say either.
    if (status <= 101) this.#fail(`a ${status} that nobody asked for`);
    else if (this.#interim > MOST_INTERIM) this.#fail('too many interim answers');
    else this.#parts.interim(status, headers);
  }

  #takeFinal(head: AnswerHead): void {
    const { minor, status, reason, headers } = head;
    const framing = answerFraming(head);
    if (framing === null)
      return this.#fail('its body ends in two places, or is in an unknown coding');
    this.state = 'body';
    // After a HEAD some services send the body all the same.
    const mayGoOn = this.#isHead || belies(status, headers);
    const isKept = minor === 1 && framing.kind !== 'until-close' && !mayGoOn;
    this.keepsForS = isKept && !lists(headers, 'connection', 'close') ? keepsForS(headers) : 0;
    this.#body = new BodyTracker(this.#isHead ? { kind: 'none' } : framing);
    this.#parts.head(status, reason, headers);
    this.#settle(this.#body, '');
  }

  #readBody(body: BodyTracker, bytes: Buffer): number {
    const taken = body.push(bytes, this.#onContent);
    this.#settle(body, 'its chunks are malformed');
    return taken;
  }

  #settle(body: BodyTracker, wrong: string): void {
    if (body.state === 'complete') this.state = 'complete';
    else if (body.state === 'invalid') this.#fail(wrong);
  }

  #fail(why: string): void {
    this.state = 'invalid';
    this.why = why;
  }
}

/** `Keep-Alive: timeout=5` (RFC 2068 19.7.1.1, and what services write today). */
function keepsForS(headers: RawHeaders): number {
  for (const value of fieldValues(headers, 'keep-alive')) {
    const seconds = /(?:^|[,;\s])timeout=(\d{1,6})(?:$|[,;\s])/i.exec(value)?.[1];
    if (seconds !== undefined) return Number(seconds);
  }
  return Number.POSITIVE_INFINITY;
}
