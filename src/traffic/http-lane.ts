// The lane of plain HTTP: one upstream request for each client's, streamed both ways, on a connection
// of its own that nobody else ever uses.
import http, { type ClientRequest, type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import { pipeline } from 'node:stream';
import type { Logger } from 'pino';
import type { ErrorCode } from '../errors.ts';
import { type Decider, type TrafficObserver, UNROUTED_NAME } from '../ports.ts';
import { matchRoute } from '../rules/routes.ts';
import { endToEnd } from '../wire/headers.ts';
import { admit } from './admission.ts';
import { refuseRequest } from './answer.ts';
import type { TrafficContext } from './context.ts';
import { createIdentityCache, type IdentityCache } from './identity.ts';
import { readRequest } from './request.ts';
import { fieldsFor, type RequestFacts, targetFor, type Upstream } from './upstream.ts';

export interface HttpLaneOptions {
  readonly context: () => TrafficContext;
  readonly decider: Decider;
  readonly observer: TrafficObserver;
  readonly logger: Logger;
}

export class HttpLane {
  readonly #options: HttpLaneOptions;
  /** Verified credentials, for as long as a client's connection lives and not a moment longer. */
  readonly #identities = new WeakMap<object, IdentityCache>();

  constructor(options: HttpLaneOptions) {
    this.#options = options;
  }

  /** Serves one request. Every end of it is an answer or a cut connection. */
  async serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      await this.#serve(incoming, response);
    } catch (error) {
      this.#options.logger.error({ err: error }, 'a request could not be served');
      this.#fail(response, 'none', 'none', 'internal');
    }
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedAt = performance.now();
    const context = this.#options.context();
    const request = readRequest(incoming, context);
    if (request === null) return this.#fail(response, 'none', 'none', 'bad-request');
    const route = matchRoute(context.routes, request.target.path, 'http') ?? null;
    const name = route?.name ?? UNROUTED_NAME;
    const admitted = await admit(
      context,
      request,
      incoming.url ?? '',
      this.#identitiesOf(incoming),
    );
    if (!admitted.ok) return this.#fail(response, name, 'none', 'unauthorized');
    const { decision } = this.#options.decider(route, admitted.subject);
    const upstream = context.upstreams[decision.primary];
    response.on('close', () => {
      this.#options.observer.requestDone(
        name,
        upstream.side,
        response.statusCode,
        performance.now() - startedAt,
      );
    });
    forward(incoming, response, request, upstream, (code, detail) => {
      this.#options.logger.warn(
        { requestId: request.requestId, route: name, side: upstream.side, code, detail },
        'a service did not answer a request',
      );
      this.#fail(response, name, upstream.side, code);
    });
  }

  #identitiesOf(incoming: IncomingMessage): IdentityCache {
    let cache = this.#identities.get(incoming.socket);
    if (cache === undefined) {
      cache = createIdentityCache();
      this.#identities.set(incoming.socket, cache);
    }
    return cache;
  }

  #fail(
    response: ServerResponse,
    route: string,
    side: Upstream['side'] | 'none',
    code: ErrorCode,
  ): void {
    this.#options.observer.failed(route, side, code);
    refuseRequest(response, code);
  }
}

function forward(
  incoming: IncomingMessage,
  response: ServerResponse,
  request: RequestFacts,
  upstream: Upstream,
  fail: (code: ErrorCode, detail: string) => void,
): void {
  const outgoing = send(upstream, incoming.method ?? 'GET', request, incoming);
  const timer = setTimeout(
    () => outgoing.destroy(new Error('timeout')),
    upstream.config.responseTimeoutMs,
  );
  let answered = false;

  outgoing.on('response', answer => {
    answered = true;
    clearTimeout(timer);
    response.writeHead(
      answer.statusCode ?? 502,
      answer.statusMessage ?? '',
      endToEnd(answer.rawHeaders),
    );
    response.flushHeaders();
    // An answer that breaks off is cut off here too: no end is put where there was none.
    pipeline(answer, response, error => {
      if (error) response.destroy();
    });
  });
  outgoing.on('error', (error: NodeJS.ErrnoException) => {
    clearTimeout(timer);
    if (answered || response.destroyed) return void response.destroy();
    fail(failureOf(error), error.code ?? error.message);
  });
  response.on('close', () => {
    clearTimeout(timer);
    outgoing.destroy();
  });
  pipeline(incoming, outgoing, error => {
    if (error) outgoing.destroy();
  });
}

function send(
  upstream: Upstream,
  method: string,
  request: RequestFacts,
  incoming: IncomingMessage,
): ClientRequest {
  const { host, port, secure, ca } = upstream;
  const fields = [...fieldsFor(upstream, request), 'Connection', 'close'];
  // The body keeps its framing: a length stands in the fields, anything else came in chunks.
  if (incoming.headers['transfer-encoding'] !== undefined)
    fields.push('Transfer-Encoding', 'chunked');
  const options = {
    host,
    port,
    method,
    path: targetFor(upstream, request.target),
    headers: fields,
    // No pool: a connection is never shared by users, nor used twice.
    agent: false as const,
    setDefaultHeaders: false,
  };
  return secure
    ? https.request({ ...options, ...(ca === undefined ? {} : { ca }), minVersion: 'TLSv1.2' })
    : http.request(options);
}

function failureOf(error: NodeJS.ErrnoException): ErrorCode {
  if (error.message === 'timeout') return 'upstream-timeout';
  if (error.code?.startsWith('HPE_')) return 'upstream-invalid';
  return error.code === 'ECONNRESET' || error.code === 'EPIPE'
    ? 'upstream-closed'
    : 'upstream-unreachable';
}
