// One request to one service: given to a connection, its answer handed on piece by piece.
import type { IncomingMessage } from 'node:http';
import type net from 'node:net';
import type { ErrorCode } from '../errors.ts';
import { AnswerReader } from '../wire/answer-reader.ts';
import { GatheredBytes } from '../wire/gathered-bytes.ts';
import { fieldValues } from '../wire/headers.ts';
import { headText } from '../wire/http-head.ts';
import { MOST_READ_BYTES } from './leg.ts';
import type { Loss, RequestUnderWay, ServiceConnection } from './service-connection.ts';
import { streamBody } from './streamed-body.ts';
import { fieldsFor, type RequestFacts, targetFor } from './upstream.ts';

/** Methods that may be sent again when it is unknown whether the first try arrived (RFC 9110 9.2.2). */
const REPEATABLE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);
/** Methods that say so when they have no content, since services expect some (RFC 9110 8.6). */
const WITH_CONTENT: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

export interface ExchangeRequest {
  readonly method: string;
  readonly request: RequestFacts;
  /** Null for a request without one. A stream is read once, and not before the connection stands. */
  readonly body: IncomingMessage | Buffer | null;
  /** Further fields, flat; the client's own of these names give way. */
  readonly extra?: readonly string[];
  /** Called once the connection stands, just before the request is written to it. */
  readonly onStart?: () => void;
  /** Told of the bytes of a body that streams, as they go out. */
  readonly onBytes?: (bytes: number) => void;
  /** ... and once, when it has gone out whole. */
  readonly onSent?: () => void;
}

/** Where an answer goes. Called in this order; nothing follows `end` or `fail`. */
export interface AnswerSink {
  /** An informational answer other than 100 (RFC 9110 15.2). False: no more until `resume`. */
  interim(status: number, headers: readonly string[]): boolean;
  head(status: number, reason: string, headers: readonly string[]): void;
  /** May keep the bytes. False: no more until `resume`. */
  data(chunk: Buffer): boolean;
  end(trailers: readonly string[]): void;
  fail(code: ErrorCode, detail: string): void;
  /** In place of `end` and `fail`: the proxy reads no further, and nobody has failed. Never where a client waits. */
  left?(): void;
}

export interface Exchange {
  resume(): void;
  /** Gives up: the connection is closed, the sink hears nothing more. */
  abort(): void;
}

/** Begins an exchange. Failures of every kind reach `sink.fail`; this does not throw. */
export function exchange(
  connection: ServiceConnection,
  request: ExchangeRequest,
  sink: AnswerSink,
): Exchange {
  const underWay = new ExchangeUnderWay(connection, request, sink);
  connection.give(underWay);
  return underWay;
}

class ExchangeUnderWay implements Exchange, RequestUnderWay {
  readonly #connection: ServiceConnection;
  readonly #request: ExchangeRequest;
  readonly #sink: AnswerSink;
  readonly #reader: AnswerReader;
  /** Content in the read under way: its first part, a view, and all of them where there are more. */
  #part: Buffer | null = null;
  #parts: GatheredBytes | null = null;
  #sentAtMs: number | null = null;
  #stopBody: (() => void) | null = null;
  #isRepeated = false;
  #isOver = false;

  constructor(connection: ServiceConnection, request: ExchangeRequest, sink: AnswerSink) {
    this.#connection = connection;
    this.#request = request;
    this.#sink = sink;
    this.#reader = this.#newReader();
  }

  get unansweredSinceMs(): number | null {
    return this.isAnswered ? null : this.#sentAtMs;
  }

  get isAnswered(): boolean {
    return this.#reader.state !== 'head';
  }

  resume(): void {
    if (!this.#isOver) this.#connection.resume(this);
  }

  abort(): void {
    if (this.#isOver) return;
    this.#settle();
    this.#connection.abort(this);
  }

  start(socket: net.Socket): void {
    const { method, request, body, onStart, onBytes, onSent } = this.#request;
    onStart?.();
    const fields = this.#fields();
    const startLine = `${method} ${targetFor(this.#connection.upstream, request.target)} HTTP/1.1`;
    if (body === null || Buffer.isBuffer(body)) {
      // One write for both: a small body lies in the same packet.
      if (body !== null) socket.cork();
      socket.write(headText(startLine, fields), 'latin1');
      if (body !== null) {
        socket.write(body);
        socket.uncork();
      }
      this.#sentAtMs = performance.now();
      return;
    }
    const isChunked = fieldValues(fields, 'content-length').length === 0;
    if (isChunked) fields.push('Transfer-Encoding', 'chunked');
    socket.write(headText(startLine, fields), 'latin1');
    this.#stopBody = streamBody(body, socket, {
      isChunked,
      onBytes: bytes => onBytes?.(bytes),
      onSent: () => {
        this.#stopBody = null;
        this.#sentAtMs = performance.now();
        onSent?.();
      },
      onBroken: () => {
        if (this.#isOver) return;
        this.abort();
        this.#sink.fail('upstream-closed', 'the client broke off');
      },
    });
  }

  read(view: Buffer): 'open' | number | Loss {
    const taken = this.#reader.push(view);
    this.#handOn();
    const { state, why, keepsForS } = this.#reader;
    if (state === 'invalid') return { code: 'upstream-invalid', detail: why };
    if (state !== 'complete') return 'open';
    // What it sends beyond its answer belongs to nobody, and a request that it did not wait for ends
    // with its connection.
    return taken === view.length && this.#sentAtMs !== null ? keepsForS : 0;
  }

  readEnd(): boolean {
    this.#reader.end();
    return this.#reader.state === 'complete';
  }

  complete(): void {
    this.#settle();
    this.#sink.end(this.#reader.trailers);
  }

  mayRepeat(): boolean {
    const { method, body } = this.#request;
    // A connection that was idle may be closed by the service in the very moment of its next use.
    const may =
      this.#connection.isReused &&
      body === null &&
      REPEATABLE.has(method) &&
      !this.#reader.begun &&
      !this.#isRepeated;
    this.#isRepeated = true;
    return may;
  }

  lost({ code, detail }: Loss): void {
    this.#settle();
    this.#sink.fail(code, detail);
  }

  #settle(): void {
    this.#isOver = true;
    this.#stopBody?.();
    this.#stopBody = null;
  }

  #newReader(): AnswerReader {
    const sink = this.#sink;
    return new AnswerReader(this.#request.method, {
      interim: (status, headers) => {
        if (!sink.interim(status, headers)) this.#connection.pause();
      },
      head: (status, reason, headers) => sink.head(status, reason, headers),
      content: part => {
        if (this.#part === null) {
          this.#part = part;
          return;
        }
        if (this.#parts === null) {
          this.#parts = new GatheredBytes(MOST_READ_BYTES);
          this.#parts.add(this.#part);
        }
        this.#parts.add(part);
      },
    });
  }

  /** Hands on what a read has brought, in one piece however many chunks it came in. */
  #handOn(): void {
    if (this.#part === null) return;
    // The read buffer belongs to all connections: a copy.
    const content = this.#parts === null ? Buffer.from(this.#part) : this.#parts.take();
    this.#part = null;
    this.#parts = null;
    if (!this.#isOver && !this.#sink.data(content)) this.#connection.pause();
  }

  /** The fields as the service gets them, but for `Transfer-Encoding`. */
  #fields(): string[] {
    const { method, request, body, extra = [] } = this.#request;
    const fields = fieldsFor(
      this.#connection.upstream,
      request,
      name => isForUs(name) || fieldValues(extra, name).length > 0,
    );
    fields.push(...extra);
    if (body !== null && !Buffer.isBuffer(body)) return fields;
    const bytes = body === null ? 0 : body.length;
    // A body that was held may have come in chunks.
    if (
      (bytes > 0 || WITH_CONTENT.has(method)) &&
      fieldValues(fields, 'content-length').length === 0
    )
      fields.push('Content-Length', String(bytes));
    return fields;
  }
}

/** Not passed on: the proxy says 100 itself, and sends no trailers. */
function isForUs(name: string): boolean {
  return name === 'expect' || name === 'trailer';
}
