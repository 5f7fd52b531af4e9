// The emergency lane: straight to legacy by a plain http-proxy. It shares no code with the other
// lanes but the rules about header fields, so that a fault of theirs is not one of its own.
import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { pipeline } from 'node:stream';
import httpProxy from 'http-proxy';
import type { Logger } from 'pino';
import type { ErrorCode } from '../errors.ts';
import type { TrafficObserver } from '../ports.ts';
import { refuseRequest, refuseSocket, sendHead } from './answer.ts';
import type { TrafficContext } from './context.ts';
import type { Counters } from './counters.ts';
import { readRequest } from './request.ts';
import { fieldsToClient } from './shown-side.ts';
import { fieldsFor, type RequestFacts, targetFor, type Upstream } from './upstream.ts';

/** What the system's errors mean; any other: legacy could not be reached. */
const FAILURES: Readonly<Record<string, ErrorCode>> = {
  ECONNRESET: 'upstream-closed',
  EPIPE: 'upstream-closed',
  ETIMEDOUT: 'upstream-timeout',
};

export interface BypassLaneOptions {
  readonly context: () => TrafficContext;
  readonly observer: TrafficObserver;
  readonly counters: Counters;
  readonly logger: Logger;
}

/** What a request was let in as, kept until the library asks for it. */
interface Passage {
  readonly name: string;
  readonly path: string;
}

export class BypassLane {
  readonly #options: BypassLaneOptions;
  readonly #proxy = httpProxy.createProxyServer({ agent: false, selfHandleResponse: true });
  readonly #passages = new WeakMap<IncomingMessage, Passage>();
  /** WebSockets that pass through; closed only by their ends, or by the end of the process. */
  readonly #sockets = new Set<Socket>();

  constructor(options: BypassLaneOptions) {
    this.#options = options;
    this.#proxy.on('proxyReq', (outgoing, incoming) => {
      // The library resolves paths; legacy is to get the bytes that came.
      outgoing.path = this.#passageOf(incoming).path;
      this.#limit(outgoing);
    });
    this.#proxy.on('proxyReqWs', (outgoing, incoming, client) => {
      outgoing.path = this.#passageOf(incoming).path;
      // Otherwise a client that leaves before the answer leaves legacy's socket behind.
      client.on('close', () => outgoing.destroy());
      const showSide = (answer: IncomingMessage): void => {
        // The library writes these to the client itself.
        if (this.#options.context().showSide) answer.headers['x-cutover-side'] = 'legacy';
      };
      outgoing.once('upgrade', showSide).once('response', showSide);
      this.#limit(outgoing);
    });
    this.#proxy.on('proxyRes', (answer, _incoming, response) => {
      if (response instanceof Socket) return;
      response.sendDate = false;
      response.writeHead(
        answer.statusCode ?? 502,
        answer.statusMessage ?? '',
        fieldsToClient(answer.rawHeaders, this.#options.context(), 'legacy'),
      );
      sendHead(response);
      // What breaks off here breaks off there: no end is put where there was none.
      pipeline(answer, response, error => {
        if (error) response.destroy();
      });
    });
    this.#proxy.on('error', (error, incoming, client) => this.#fail(error, incoming, client));
  }

  /** Passes a request on. `name` is what it is counted as. */
  web(incoming: IncomingMessage, response: ServerResponse, name: string): void {
    const startedAt = performance.now();
    const { context, observer } = this.#options;
    const request = readRequest(incoming, context());
    if (typeof request === 'string') {
      observer.failed(name, 'none', request);
      return refuseRequest(response, request);
    }
    response.on('close', () => {
      observer.requestDone(name, 'legacy', response.statusCode, performance.now() - startedAt);
    });
    if (incoming.headers.expect !== undefined) response.writeContinue();
    const { legacy } = context().upstreams;
    this.#prepare(incoming, request, legacy, name);
    this.#proxy.web(incoming, response, {
      ...targetOptions(legacy),
      connectTimeout: legacy.config.connectTimeoutMs,
    });
  }

  /** Passes an upgrade on. `head` is what came behind the request. */
  upgrade(incoming: IncomingMessage, client: Socket, head: Buffer, name: string): void {
    const { context, observer, counters } = this.#options;
    const request = readRequest(incoming, context());
    if (typeof request === 'string') {
      observer.failed(name, 'none', request);
      return refuseSocket(client, request);
    }
    const { legacy } = context().upstreams;
    const lane = counters.of(name, 'legacy');
    this.#sockets.add(client);
    lane.sessionsOpen += 1;
    client.once('close', () => {
      this.#sockets.delete(client);
      lane.sessionsOpen -= 1;
    });
    this.#prepare(incoming, request, legacy, name, [
      'Connection',
      'Upgrade',
      'Upgrade',
      'websocket',
    ]);
    this.#proxy.ws(incoming, client, head, {
      ...targetOptions(legacy),
      connectTimeout: legacy.config.connectTimeoutMs,
    });
  }

  /** Cuts off what is left. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Gives the request the fields that legacy is to get, and the path, which the library asks for. */
  #prepare(
    incoming: IncomingMessage,
    request: RequestFacts,
    legacy: Upstream,
    name: string,
    extra: readonly string[] = [],
  ): void {
    this.#passages.set(incoming, { name, path: targetFor(legacy, request.target) });
    const fields = [...fieldsFor(legacy, request, field => field === 'expect'), ...extra];
    // The body keeps its framing: a length stands in the fields, anything else came in chunks.
    if (incoming.headers['transfer-encoding'] !== undefined)
      fields.push('Transfer-Encoding', 'chunked');
    const headers = new Map<string, string[]>();
    for (let i = 0; i < fields.length; i += 2) {
      const key = (fields[i] as string).toLowerCase();
      headers.set(key, [...(headers.get(key) ?? []), fields[i + 1] as string]);
    }
    incoming.headers = Object.fromEntries(
      [...headers].map(([key, values]) => [key, values.length === 1 ? values[0] : values]),
    );
  }

  #fail(
    error: NodeJS.ErrnoException,
    incoming: IncomingMessage,
    client: ServerResponse | Socket,
  ): void {
    const { name } = this.#passageOf(incoming);
    const code = FAILURES[error.code ?? ''] ?? 'upstream-unreachable';
    this.#options.logger.warn({ route: name, code, detail: error.code }, 'legacy did not answer');
    this.#options.observer.failed(name, 'legacy', code);
    if (client instanceof Socket) refuseSocket(client, code);
    else refuseRequest(client, code);
  }

  /** Legacy must begin to answer in time; after that it may be silent for as long as it likes. */
  #limit(outgoing: ClientRequest): void {
    const { responseTimeoutMs } = this.#options.context().upstreams.legacy.config;
    const late = Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' });
    const timer = setTimeout(() => outgoing.destroy(late), responseTimeoutMs);
    for (const event of ['response', 'upgrade', 'close'])
      outgoing.once(event, () => clearTimeout(timer));
  }

  #passageOf(incoming: IncomingMessage): Passage {
    const passage = this.#passages.get(incoming);
    if (passage === undefined) throw new Error('a request that was not let in');
    return passage;
  }
}

function targetOptions({ secure, host, port, ca }: Upstream) {
  return {
    target: { protocol: secure ? 'https:' : 'http:', host, hostname: host, port },
    ...(ca === undefined ? {} : { ca: ca.toString() }),
  };
}
