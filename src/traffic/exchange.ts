// One request to one service: given to a connection, its answer handed on piece by piece.
import type { Readable } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { ErrorCode } from '../errors.ts';
import { answerFraming } from '../wire/body.ts';
import { fieldValues } from '../wire/headers.ts';
import { CUT_OFF, type ServiceConnection } from './service-connection.ts';
import { connectFailure, fieldsFor, type RequestFacts, targetFor } from './upstream.ts';

/** Methods that may be sent again when it is unknown whether the first try arrived (RFC 9110 9.2.2). */
const REPEATABLE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

export interface ExchangeRequest {
  readonly method: string;
  readonly request: RequestFacts;
  /** Null for a request without one. A stream is read once. */
  readonly body: Readable | Buffer | null;
  /** Further fields, flat; the client's own of these names give way. */
  readonly extra?: readonly string[];
  /** Called once the connection stands, just before the request is written to it. */
  readonly onStart?: () => void;
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
  { method, request, body, extra = [], onStart = () => undefined }: ExchangeRequest,
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
      else onStart();
    },
    onResponseStart: (answer, status, _headers, reason = '') => {
      const fields = rawFields(answer.rawHeaders);
      // undici hands what is thrown here to `onResponseError`, and closes the connection.
      if (status < 100) throw invalid('a status below 100');
      if (status < 200) return sink.interim(status, fields);
      // Other codings than chunked would go on undecoded and unnamed (RFC 9112 6.1).
      if (method !== 'HEAD' && answerFraming(status, fields) === null) throw invalid('its framing');
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
    const { code, detail } = failureOf(error, controller !== undefined);
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

const INVALID = 'EANSWER';
const CLOSED: ReadonlySet<string> = new Set([CUT_OFF, 'UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);
const NO_ANSWER: ReadonlySet<string> = new Set([
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_CONNECT_TIMEOUT',
  'ETIMEDOUT',
]);

function invalid(what: string): Error {
  return Object.assign(new Error(`the answer is not valid: ${what}`), { code: INVALID });
}

function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return typeof code === 'string' ? code : '';
}

/** undici closes a connection itself, by the same code, at a 100 or 101 that nobody asked for. */
function isUnasked(error: unknown): boolean {
  return error instanceof Error && /^bad (?:response|upgrade)$/.test(error.message);
}

function wasClosed(error: unknown): boolean {
  return CLOSED.has(codeOf(error)) && !isUnasked(error);
}

/** `reached`: the connection stood and the request was on its way. */
function failureOf(error: unknown, reached: boolean): { code: ErrorCode; detail: string } {
  const code = codeOf(error);
  // Parser errors have no code, and a message that quotes nothing of the answer.
  const detail = code || (error instanceof Error ? error.message : 'unknown');
  if (NO_ANSWER.has(code)) return { code: 'upstream-timeout', detail };
  if (wasClosed(error)) return { code: 'upstream-closed', detail };
  if (!reached) {
    // What undici refuses to send is not the service's fault.
    const ours = code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED';
    return { code: ours ? 'internal' : connectFailure(code), detail };
  }
  const isNetworks = error instanceof Error && 'syscall' in error;
  return { code: isNetworks ? 'upstream-closed' : 'upstream-invalid', detail };
}
