// A stream of events on its way to its client: it can be ended between two of them, and the client then
// comes back and says which event it had last.
import type { ServerResponse } from 'node:http';
import { codingsOf } from '../wire/content-coding.ts';
import { eventEnd, isBetweenEvents, TAIL_BYTES } from '../wire/event-end.ts';
import { fieldValues, type RawHeaders, without } from '../wire/headers.ts';
import { isWrite } from '../wire/http-method.ts';
import type { AnswerSink, Exchange } from './exchange.ts';

const CODINGS: ReadonlySet<string> = new Set(['accept-encoding']);

/**
 * A request's fields without the codings that its client would take: no event ends where a proxy can see it in
 * what is compressed, and none can be compared. The same is not offered to WebSockets.
 */
export function withoutCodings(headers: RawHeaders): RawHeaders {
  // Without the field any coding would be acceptable (RFC 9110 12.5.3).
  return [...without(headers, CODINGS), 'Accept-Encoding', 'identity'];
}

/** What feeds the client. */
export interface EventSink extends AnswerSink {
  /** Its end is not the service's. */
  isCutShort: boolean;
  /** Takes bytes that are not the service's. */
  ours(bytes: Buffer): void;
  /** Cuts it off. */
  cutShort(): void;
}

export class EventStream implements AnswerSink {
  readonly #response: ServerResponse;
  readonly #sink: EventSink;
  readonly #onBegin: () => void;
  #exchange: Exchange | null = null;
  /** The last bytes that the client was sent, as Latin-1. */
  #tail = '';
  /** Events can not be told apart in what is compressed. */
  #isCoded = false;
  /** It is a stream of events indeed: only that may be given an end of ours. */
  #isEvents = false;
  #retryMs = 0;
  #ending = false;
  /** It was to end before its service had said anything, by each of those whose word still counts. */
  readonly #whenBegun: (() => void)[] = [];
  #ended = false;

  /** `sink` is what feeds `response`. `onBegin` is called once events are about to flow. */
  constructor(response: ServerResponse, sink: EventSink, onBegin: () => void = () => undefined) {
    this.#response = response;
    this.#sink = sink;
    this.#onBegin = onBegin;
  }

  follow(exchange: Exchange): void {
    this.#exchange = exchange;
  }

  /** The answer is none of events: it has a length, or another type. It comes to its own end. */
  get isPlain(): boolean {
    return this.#response.headersSent && !this.#isEvents;
  }

  /** Events flow, and their client comes again by itself: EventSource does, which only reads. */
  get comesAgain(): boolean {
    const { headersSent, req } = this.#response;
    return headersSent && this.#isEvents && !isWrite(req.method ?? '');
  }

  /**
   * Ends it behind the event under way; cuts it off if that event does not end within `limitMs`. One that
   * has not begun is cut off, a plain answer left alone: an end of ours would make it look whole, or shorter
   * than its length, so that the next answer is read as its rest. So is an answer to a write until it has begun:
   * it may be the service's word on that; `isDue` is asked again then. Its client tries again after `retryMs` (the
   * standard's `retry` field, which it keeps to from then on).
   */
  endSoon(limitMs: number, retryMs: number, isDue: () => boolean): void {
    if (this.#ending || this.isPlain || !isDue()) return;
    const { headersSent, req } = this.#response;
    if (!headersSent && isWrite(req.method ?? '')) {
      this.#whenBegun.push(() => this.endSoon(limitMs, retryMs, isDue));
      return;
    }
    this.#ending = true;
    this.#sink.isCutShort = true;
    this.#retryMs = retryMs;
    if (!headersSent || this.#isCoded) return this.#sink.cutShort();
    if (isBetweenEvents(this.#tail)) return this.#finish();
    setTimeout(() => {
      if (!this.#ended) this.#sink.cutShort();
    }, limitMs).unref();
  }

  interim(status: number, headers: readonly string[]): boolean {
    return this.#sink.interim(status, headers);
  }

  head(status: number, reason: string, headers: readonly string[]): void {
    this.#isCoded = codingsOf(headers).length > 0;
    this.#isEvents =
      /^text\/event-stream\b/i.test(fieldValues(headers, 'content-type')[0] ?? '') &&
      fieldValues(headers, 'content-length').length === 0;
    this.#sink.head(status, reason, headers);
    for (const end of this.#whenBegun.splice(0)) end();
    if (this.#isEvents) this.#onBegin();
  }

  data(chunk: Buffer): boolean {
    if (this.#ended) return true;
    const end = this.#ending ? eventEnd(this.#tail, chunk.toString('latin1')) : null;
    const last = chunk.toString('latin1', Math.max(0, chunk.length - TAIL_BYTES));
    this.#tail = (this.#tail + last).slice(-TAIL_BYTES);
    if (end === null) return this.#sink.data(chunk);
    this.#sink.data(chunk.subarray(0, end));
    this.#finish();
    return true;
  }

  end(trailers: readonly string[]): void {
    if (!this.#ended) this.#sink.end(trailers);
    this.#ended = true;
  }

  fail(...why: Parameters<AnswerSink['fail']>): void {
    if (!this.#ended) this.#sink.fail(...why);
    this.#ended = true;
  }

  #finish(): void {
    this.#ended = true;
    this.#sink.ours(Buffer.from(`retry: ${Math.round(this.#retryMs)}\n\n`));
    this.#sink.end([]);
    this.#exchange?.abort();
  }
}
