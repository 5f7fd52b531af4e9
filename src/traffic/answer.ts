// Answers of the proxy's own, where an error becomes HTTP: the one place for each kind of client.
import type { ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { ERRORS, type ErrorCode, errorBody } from '../errors.ts';
import { writeHead } from '../wire/http-head.ts';

/** A client that does not take a short answer within that time is not waited for. */
const ANSWER_MS = 5_000;

const REASON: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  417: 'Expectation Failed',
  409: 'Conflict',
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
  if (code === 'method') return ['Allow', 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'];
  if (code === 'unauthorized') return ['WWW-Authenticate', 'Bearer'];
  return [];
}

/** Answers on a bare socket (an upgrade, or a request that could not be parsed) and closes it. */
export function refuseSocket(
  socket: Duplex,
  code: ErrorCode,
  status: number = ERRORS[code].status,
): void {
  if (socket.destroyed) return;
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

/** Answers a request, or cuts the answer off where one has begun. */
export function refuseRequest(response: ServerResponse, code: ErrorCode): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const body = errorBody(code);
  response.writeHead(ERRORS[code].status, [
    'Content-Type',
    'application/json',
    'Content-Length',
    String(Buffer.byteLength(body)),
    ...extraFields(code),
    // What is left of the request is not read, so nothing may follow it.
    'Connection',
    'close',
  ]);
  response.end(body);
}

const NOTHING = Buffer.alloc(0);

/**
 * Sends the head of an answer whose body has not begun. `flushHeaders` would write it as UTF-8, and
 * fields with bytes beyond ASCII would arrive as others (Node 24.21).
 */
export function sendHead(response: ServerResponse): void {
  if (!response.destroyed && !response.writableEnded) response.write(NOTHING);
}
