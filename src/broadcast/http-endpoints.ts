// Plain HTTP of the reference services: health, figures, tickets, ingest, event streams.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type TokenVerifier, userOfRequest } from './credentials.ts';
import { isEvent, isRecord } from './event.ts';
import type { BroadcastHub } from './hub.ts';
import { LIVENESS } from './liveness.ts';
import { sseSocket } from './sse.ts';
import { TICKET_TTL_S, type Tickets } from './tickets.ts';

/** What the real services advertise as their largest message; also the largest posted body. */
const ADVERTISED_MAX_BYTES = 1024 * 1024;

export interface Endpoints {
  readonly hub: BroadcastHub;
  readonly verify: TokenVerifier;
  readonly tickets: Tickets;
}

/** Thrown for a request that can not be answered as asked. */
class Refusal extends Error {
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export function handleHttp(
  endpoints: Endpoints,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  answer(endpoints, request, response).catch((error: unknown) => {
    const refusal =
      error instanceof Refusal
        ? error
        : new Refusal(500, 'INTERNAL_ERROR', 'The service could not do that.');
    if (response.headersSent) response.destroy();
    else json(response, refusal.status, { error_code: refusal.code, message: refusal.message });
  });
}

async function answer(
  endpoints: Endpoints,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { hub } = endpoints;
  // Only path and query count; the host is there because URL wants one.
  const target = URL.parse(request.url ?? '/', 'http://broadcaster');
  if (target === null) throw new Refusal(400, 'BAD_REQUEST', 'The address is malformed.');
  const { pathname, searchParams } = target;
  const ready = !hub.isClosing;
  switch (`${request.method} ${pathname}`) {
    case 'GET /health':
    case 'GET /health/live':
    case 'GET /ws/health':
      return json(response, 200, { status: 'healthy', service: hub.side.kind });
    case 'GET /health/ready':
      return json(response, ready ? 200 : 503, { status: ready ? 'ready' : 'closing' });
    case 'GET /ws/config':
      return json(response, 200, {
        heartbeat_interval_seconds: LIVENESS.pingEveryMs / 1000,
        max_message_size: ADVERTISED_MAX_BYTES,
        endpoints: hub.socketPaths,
        subprotocols: ['jwt-auth'],
      });
    case 'GET /ws/stats':
      return json(response, 200, hub.side.stats());
    case 'POST /ws/ticket': {
      const userId = await authorised(endpoints, request, searchParams);
      const ticket = endpoints.tickets.issue(userId);
      return json(response, 200, { ticket, expires_in: TICKET_TTL_S });
    }
    case 'POST /broadcast':
      return json(response, 200, await ingest(hub, await body(request)));
    case 'GET /events': {
      const userId = await authorised(endpoints, request, searchParams);
      const connection = hub.join(userId, sseSocket(response));
      response.once('close', () => hub.leave(connection));
      return;
    }
    default:
      throw new Refusal(404, 'NOT_FOUND', 'There is nothing at this address.');
  }
}

async function authorised(
  { verify }: Endpoints,
  request: IncomingMessage,
  query: URLSearchParams,
): Promise<string> {
  const userId = await userOfRequest(request, query, verify);
  if (userId === undefined) {
    throw new Refusal(401, 'AUTH_FAILED', 'A valid token is required.');
  }
  return userId;
}

async function ingest(hub: BroadcastHub, text: string): Promise<object> {
  let posted: unknown;
  try {
    posted = JSON.parse(text);
  } catch {
    throw new Refusal(400, 'JSON_PARSE_ERROR', 'The body is not JSON.');
  }
  if (!isRecord(posted)) throw new Refusal(400, 'INVALID_BODY', 'The body is no object.');
  const { user_id: userId, event } = posted;
  if (typeof userId !== 'string' || userId === '') {
    throw new Refusal(400, 'INVALID_BODY', 'user_id must be a non-empty string.');
  }
  if (!isEvent(event)) {
    throw new Refusal(400, 'INVALID_BODY', 'event must be an object with a string type.');
  }
  try {
    return await hub.broadcast(userId, event);
  } catch (error) {
    // The format gate's refusal, and values nested too deep to be written.
    if (!(error instanceof RangeError)) throw error;
    throw new Refusal(422, 'BROADCAST_FAILED', 'The event can not be broadcast.');
  }
}

async function body(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request) {
    if (!(chunk instanceof Buffer)) continue;
    bytes += chunk.length;
    if (bytes > ADVERTISED_MAX_BYTES) {
      throw new Refusal(413, 'TOO_LARGE', `A body may have ${ADVERTISED_MAX_BYTES} bytes.`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

function json(response: ServerResponse, status: number, value: object): void {
  response
    .writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
    .end(JSON.stringify(value));
}
