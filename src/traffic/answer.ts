// Answers of the proxy's own, where an error becomes HTTP: the one place for each kind of client.
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { ERRORS, type ErrorCode, errorBody } from '../errors.ts';
import { writeHead } from '../wire/http-head.ts';

/** A client that does not take a short answer within that time is not waited for. */
const ANSWER_MS = 5_000;
/** What is left of a request that is answered already is read for so long: `discardRest`. */
const REST_MS = 30_000;

/** CONNECT and TRACE are the two that no lane takes. */
const ALLOWED = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS';

/** Connections on which nothing is taken for a request any more, and what was refused there last. */
const refused = new WeakMap<Duplex, 'request' | 'behind'>();

/** What was answered because the proxy failed, not the service. */
const ownFailures = new WeakSet<ServerResponse>();

const REASON: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  417: 'Expectation Failed',
  409: 'Conflict',
  413: 'Content Too Large',
  422: 'Unprocessable Content',
  426: 'Upgrade Required',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  508: 'Loop Detected',
};

/** Fields that an error needs besides its body. */
function extraFields(code: ErrorCode): string[] {
  if (code === 'upgrade-version') return ['Sec-WebSocket-Version', '13'];
  if (code === 'method') return ['Allow', ALLOWED];
  if (code === 'overloaded' || code === 'exhausted') return ['Retry-After', '1'];
  if (code === 'unauthorized') return ['WWW-Authenticate', 'Bearer'];
  return [];
}

/** What node:http writes as a reason phrase. */
const PHRASE = /^[\t\x20-\x7e\x80-\xff]*$/;

/** A service's reason phrase, or the usual one where it can not be passed on. */
export function phraseFor(status: number, reason: string): string {
  return PHRASE.test(reason) ? reason : (STATUS_CODES[status] ?? '');
}

/** Answers on a bare socket (an upgrade, or a request that could not be parsed) and closes it. */
export function refuseSocket(
  socket: Duplex,
  code: ErrorCode,
  status: number = ERRORS[code].status,
): void {
  if (socket.destroyed || socket.writableEnded) return;
  const body = errorBody(code);
  const head = writeHead(`HTTP/1.1 ${status} ${REASON[status] ?? 'Error'}`, [
    'Content-Type',
    'application/json',
    'Content-Length',
    String(Buffer.byteLength(body)),
    ...extraFields(code),
    'Connection',
    'close',
  ]);
  socket.resume();
  socket.end(Buffer.concat([head, Buffer.from(body)]));
  setTimeout(() => socket.destroy(), ANSWER_MS).unref();
}

/**
 * Refuses what came on a client's socket while `answer` may still be under way on it: no byte of the
 * refusal gets into that answer, which is whole before its connection closes.
 */
export function refuseBehind(
  socket: Duplex,
  answer: ServerResponse | null,
  code: ErrorCode,
  status?: number,
): void {
  refused.set(socket, 'behind');
  if (!isUnderWay(answer)) return refuseSocket(socket, code, status);
  // Given up before its turn, it is the end of the connection.
  if (answer.destroyed) return;
  // The request that it answers has come whole: what is refused is another one, behind it.
  if (answer.req.complete || answer.writableEnded) {
    answer.once('close', () => {
      if (!isUnderWay(answer)) refuseSocket(socket, code, status);
    });
  } else if (!answer.headersSent && answer.socket === socket) {
    refuseSocket(socket, code, status);
  } else {
    // The rest of the request is missing, and there is no room left to say so.
    socket.destroy();
  }
}

/**
 * True until the last byte of an answer has been handed to its connection. One that was given up before its turn is
 * due for ever: those before it may be under way.
 */
export function isUnderWay(answer: ServerResponse | null): answer is ServerResponse {
  if (answer === null || answer.writableFinished) return false;
  return !answer.destroyed || isQueued(answer);
}

/** True for an answer whose turn has not come: one before it is under way on the same connection (pipelining). */
export function isQueued(answer: ServerResponse): boolean {
  return answer.socket === null && !answer.writableFinished;
}

/** Answers `OPTIONS *`, which is about the server as such: the proxy itself (RFC 9110 9.3.7). */
export function answerOptions(response: ServerResponse): void {
  response.writeHead(204, ['Allow', ALLOWED]);
  response.end();
}

/** Answers a request, or cuts the answer off where one has begun. */
export function refuseRequest(response: ServerResponse, code: ErrorCode): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = errorBody(code);
  const { status, fault } = ERRORS[code];
  const { req } = response;
  if (fault === 'proxy') ownFailures.add(response);
  // A client that was not told to go on may leave its body out: what follows could be either. Nor is
  // read on what was malformed.
  const isLast =
    req.headers.expect !== undefined || (fault === 'client' && code !== 'unauthorized');
  // The phrase too: one that was refused before would be used again.
  response.writeHead(status, REASON[status] ?? 'Error', [
    'Content-Type',
    'application/json',
    'Content-Length',
    String(Buffer.byteLength(body)),
    ...extraFields(code),
    ...(isLast ? ['Connection', 'close'] : []),
  ]);
  discardRest(req, response);
  response.end(body);
  // Null once the connection is gone.
  const socket = req.socket as Duplex | null;
  if (isLast && socket !== null) refused.set(socket, 'request');
}

/** Who is to answer for it. */
export function answeredBy(response: ServerResponse): 'service' | 'proxy' {
  return ownFailures.has(response) ? 'proxy' : 'service';
}

/**
 * True once a request on that connection was refused for its form. Where it ended may be in doubt, so what follows
 * is no request, even if node:http has read it as one already.
 */
export function wasRefused(socket: Duplex): boolean {
  return refused.has(socket);
}

/**
 * True once a request was refused that others may have been read behind: they are none. Garbage that is
 * refused came behind them all.
 */
export function wasCutShort(socket: Duplex): boolean {
  return refused.get(socket) === 'request';
}

/**
 * Has what is left of a request read and thrown away once its answer is out: a client that is busy
 * sending would otherwise see a reset in place of the answer, or wait for ever.
 */
export function discardRest(request: IncomingMessage, response: ServerResponse): void {
  response.once('finish', () => {
    const { socket } = request;
    request.unpipe().resume();
    if (request.complete) return;
    setTimeout(() => {
      if (!request.complete) socket.destroy();
    }, REST_MS).unref();
  });
}

const NOTHING = Buffer.alloc(0);

/**
 * Sends the head of an answer whose body has not begun. `flushHeaders` would write it as UTF-8, and
 * fields with bytes beyond ASCII would arrive as others (Node 24.21).
 */
export function sendHead(response: ServerResponse): void {
  if (!response.destroyed && !response.writableEnded) response.write(NOTHING);
}
