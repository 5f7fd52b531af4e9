// One request to one service: given to a connection, its answer handed on piece by piece.
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { ErrorCode } from '../errors.ts';
import { fieldValues } from '../wire/headers.ts';
import { CUT_OFF, type ServiceConnection } from './service-connection.ts';
import { fieldsFor, type RequestFacts, targetFor } from './upstream.ts';

/** Methods that may be sent again when it is unknown whether the first try arrived (RFC 9110 9.2.2). */
const REPEATABLE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

export interface ExchangeRequest {
  readonly method: string;
  readonly request: RequestFacts;
  /** Null for a request without one. A stream is read once. */
  readonly body: Readable | Buffer | null;
  /** Further fields, flat; the client's own of these names give way. */
  readonly extra?: readonly string[];
}

/** Where an answer goes. Called in this order; nothing follows `end` or `fail`. */
export interface AnswerSink {
  /** An informational answer other than 100 (RFC 9110 15.2). */
  interim(status: number, headers: readonly string[]): void;
  head(status: number, reason: string, headers: readonly string[]): void;
  /** False: no more until `resume`. */
  data(chunk: Buffer): boolean;
  end(trailers: readonly string[]): void;
  fail(code: ErrorCode, detail: string): void;
}

export interface Exchange {
  resume(): void;
  /** Gives up: the connection is closed, the sink hears nothing more. */
  abort(): void;
}

/** Begins an exchange. Failures of every kind reach `sink.fail`; this does not throw. */
export function exchange(
  connection: ServiceConnection,
  { method, request, body, extra = [] }: ExchangeRequest,
  sink: AnswerSink,
): Exchange {
  const { upstream, dispatcher } = connection;
  let controller: Dispatcher.DispatchController | undefined;
  let aborted = false;
  let begun = false;
  // A connection that was idle may be closed by the service in the very moment of its next use.
  let mayRepeat = connection.requests > 0 && body === null && REPEATABLE.has(method);
  const options: Dispatcher.DispatchOptions = {
    path: targetFor(upstream, request.target),
    method: method as Dispatcher.HttpMethod,
    headers: [
      ...fieldsFor(upstream, request, name => isForUs(name) || fieldValues(extra, name).length > 0),
      ...extra,
    ],
    body,
  };
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart: started => {
      controller = started;
      if (aborted) started.abort(new Error('aborted'));
    },
    onResponseStart: (answer, status, _headers, reason = '') => {
      const fields = rawFields(answer.rawHeaders);
      if (status < 200) return sink.interim(status, fields);
      begun = true;
      sink.head(status, reason, fields);
    },
    onResponseData: (answer, chunk) => {
      if (!sink.data(chunk)) answer.pause();
    },
    onResponseEnd: answer => {
      connection.free();
      sink.end(rawFields(answer.rawTrailers));
    },
    onResponseError: (_answer, error) => fail(error),
  };
  send();
  return {
    resume: () => controller?.resume(),
    abort: () => {
      aborted = true;
      controller?.abort(new Error('aborted'));
    },
  };

  function send(): void {
    connection.requests += 1;
    try {
      dispatcher.dispatch(options, handler);
    } catch (error) {
      // What undici refuses to send, it throws.
      fail(error);
    }
  }

  function fail(error: unknown): void {
    if (!aborted && mayRepeat && !begun && wasClosed(error)) {
      mayRepeat = false;
      send();
      return;
    }
    connection.free();
    if (aborted) return;
    const { code, detail } = failureOf(error);
    sink.fail(code, detail);
  }
}

/** Not passed on: the proxy says 100 itself, and undici sends no trailers. */
function isForUs(name: string): boolean {
  return name === 'expect' || name === 'trailer';
}

/** Names and values as they came, which undici keeps only untyped and as bytes. */
function rawFields(fields: unknown): string[] {
  if (!Array.isArray(fields)) return [];
  return fields.map(field => (Buffer.isBuffer(field) ? field.toString('latin1') : String(field)));
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : '';
}

const CLOSED: ReadonlySet<string> = new Set([CUT_OFF, 'UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);
const NO_ANSWER: ReadonlySet<string> = new Set([
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'ETIMEDOUT',
]);

function wasClosed(error: unknown): boolean {
  return CLOSED.has(codeOf(error));
}

function failureOf(error: unknown): { code: ErrorCode; detail: string } {
  const detail = codeOf(error) || (error instanceof Error ? error.name : 'unknown');
  if (CLOSED.has(detail)) return { code: 'upstream-closed', detail };
  if (NO_ANSWER.has(detail)) return { code: 'upstream-timeout', detail };
  // The parser's own codes, and an answer that is longer or shorter than it says.
  if (/^(HPE_|UND_ERR_RES|UND_ERR_HEADERS_OVERFLOW)/.test(detail))
    return { code: 'upstream-invalid', detail };
  return { code: 'upstream-unreachable', detail };
}
