// The emergency lane: straight to legacy by a plain http-proxy. It shares no code with the other
// lanes but the rules about header fields, so that a fault of theirs is not one of its own.
import { type ClientRequest, type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream';
import httpProxy from 'http-proxy';
import type { Logger } from 'pino';
import { ERRORS, type ErrorCode } from '../errors.ts';
import type { Decider, Tap, TrafficObserver, WriteLedger } from '../ports.ts';
import { BYPASS_NAME, matchRoute } from '../rules/routes.ts';
import { answerFraming } from '../wire/body.ts';
import { checkClientHandshake, checkServerHandshake, offeredProtocols } from '../wire/handshake.ts';
import { fieldValues, without } from '../wire/headers.ts';
import { isWrite } from '../wire/http-method.ts';
import { phraseFor, refuseRequest, refuseSocket, sendHead } from './answer.ts';
import { BypassCopies } from './bypass-copies.ts';
import { failureOf } from './bypass-failure.ts';
import { Stalls } from './bypass-stalls.ts';
import { BypassedSocket } from './bypassed-socket.ts';
import type { TrafficContext } from './context.ts';
import type { Counters } from './counters.ts';
import { lookupShared } from './lookup.ts';
import { paced } from './pace.ts';
import { logRefusal } from './refusal-log.ts';
import { idsOf, readRequest } from './request.ts';
import { fieldsToClient } from './shown-side.ts';
import {
  fieldsFor,
  type RequestFacts,
  type RequestIds,
  targetFor,
  type Upstream,
  watchForDeadPeer,
} from './upstream.ts';
import { idempotencyKey, type Noted, pairOutcomes } from './write-outcomes.ts';

/** No route is asked here; the answer says what it is. */
const EVENT_STREAM = /^text\/event-stream\b/i;
/** One each of node:http, the library, stream.pipeline and this lane ask when an answer is over: 11 for a write. */
const MOST_LISTENERS = 20;
const UPGRADE = ['Connection', 'Upgrade', 'Upgrade', 'websocket'] as const;

export interface BypassLaneOptions {
  readonly context: () => TrafficContext;
  readonly observer: TrafficObserver;
  readonly counters: Counters;
  readonly ledger: WriteLedger;
  readonly tap: Tap;
  readonly decider: Decider;
  readonly logger: Logger;
}

/** A request, while the library has it. */
interface Passage {
  /** What it is counted as. */
  readonly name: string;
  readonly path: string;
  readonly ids: RequestIds;
  /** Legacy has begun to answer: what fails from then on can not be answered by us as well. */
  answered: boolean;
  /** Its answer on the way to the client; null before it, once it broke off, and for a WebSocket. */
  response: ServerResponse | null;
  /** Of a write that went to both services. */
  readonly noted: Noted | null;
}

interface Prepared {
  readonly extra?: readonly string[];
  readonly noted?: Noted | null;
}

export class BypassLane {
  readonly #options: BypassLaneOptions;
  readonly #proxy = httpProxy.createProxyServer({ agent: false, selfHandleResponse: true });
  readonly #copies = new BypassCopies();
  readonly #stalls = new Stalls(() => this.#options.context().limits.stallMs);
  readonly #passages = new WeakMap<IncomingMessage, Passage>();
  /** Clients that asked for a WebSocket; null until it is open. */
  readonly #sockets = new Map<Socket, BypassedSocket | null>();
  #draining = false;

  constructor(options: BypassLaneOptions) {
    this.#options = options;
    this.#proxy.on('proxyReq', (outgoing, incoming, client) => {
      // The library resolves paths; legacy is to get the bytes that came.
      outgoing.path = this.#passageOf(incoming).path;
      // Nobody asked for another protocol. Without a listener neither answer nor error would come.
      outgoing.once('upgrade', (_answer, socket) => {
        socket.destroy();
        const unasked = Object.assign(new Error('unasked upgrade'), { code: 'EPROTO' });
        this.#fail(unasked, incoming, client);
      });
      keepFraming(outgoing, incoming);
      if (outgoing.socket !== null) watchForDeadPeer(outgoing.socket);
      limitWait(outgoing, incoming, this.#legacy.config.responseTimeoutMs);
    });
    this.#proxy.on('proxyRes', (answer, incoming, response) => {
      if (response instanceof ServerResponse) this.#passOn(answer, incoming, response);
    });
    this.#proxy.on('proxyReqWs', (outgoing, incoming, client) => {
      outgoing.path = this.#passageOf(incoming).path;
      this.#followUpgrade(outgoing, incoming, client);
    });
    this.#proxy.on('error', (error, incoming, client) => this.#fail(error, incoming, client));
  }

  /** Passes a request on. `name` is what it is counted as. */
  web(incoming: IncomingMessage, response: ServerResponse, name: string): void {
    const startedAt = performance.now();
    const { context, observer, counters, ledger } = this.#options;
    const request = readRequest(incoming, context());
    if (typeof request === 'string') {
      observer.failed(name, 'none', request);
      const about = { ...idsOf(incoming), route: name };
      logRefusal(this.#options.logger, 'a request was refused', request, about);
      return refuseRequest(response, request);
    }
    const twice = name === BYPASS_NAME && this.#goesTwice(incoming, request);
    response.setMaxListeners(MOST_LISTENERS);
    this.#stalls.watch(response, () => response.destroy());
    if (isWrite(incoming.method ?? '')) ledger.begun(name, twice ? 'both' : 'primary');
    response.on('close', () => {
      // A client may leave before there is an answer.
      if (!response.headersSent) return;
      counters.of(name, 'legacy').requests += 1;
      observer.requestDone(name, 'legacy', response.statusCode, performance.now() - startedAt);
    });
    const { expect } = incoming.headers;
    // A client of HTTP/1.0 knows no interim answers (RFC 9110 15.2).
    if (expect !== undefined && incoming.httpVersion === '1.1') response.writeContinue();
    if (twice) this.#copy(incoming, response, request, name);
    else this.#prepare(incoming, request, { name });
    this.#proxy.web(incoming, response, targetOptions(this.#legacy));
  }

  /** Second copies of writes that have no answer yet. */
  get writesUnderWay(): number {
    return this.#copies.underWay;
  }

  /** Passes an upgrade on. `head` is what came behind the request. */
  upgrade(incoming: IncomingMessage, client: Socket, head: Buffer, name: string): void {
    const { context, observer, logger } = this.#options;
    const { method = '', httpVersion, rawHeaders } = incoming;
    const request =
      checkClientHandshake(method, httpVersion, rawHeaders) ?? readRequest(incoming, context());
    if (typeof request === 'string') {
      observer.failed(name, 'none', request);
      const about = { ...idsOf(incoming), route: name };
      logRefusal(logger, 'an upgrade was refused', request, about);
      return refuseSocket(client, request);
    }
    this.#sockets.set(client, null);
    client.once('close', () => this.#sockets.delete(client));
    this.#prepare(incoming, request, { name, extra: UPGRADE });
    this.#proxy.ws(incoming, client, head, targetOptions(this.#legacy));
  }

  /** Those that are open, and those that were asked for. */
  get webSockets(): number {
    return this.#sockets.size;
  }

  /** Ends the WebSockets that are open, and those that open from now on, over `windowMs`. */
  async drain(windowMs: number): Promise<void> {
    this.#draining = true;
    const open = [...this.#sockets.values()].filter(socket => socket !== null);
    await paced(open, windowMs, endForRestart);
  }

  /** Cuts off what is left. */
  close(): void {
    this.#stalls.close();
    for (const client of this.#sockets.keys()) client.destroy();
  }

  get #legacy(): Upstream {
    return this.#options.context().upstreams.legacy;
  }

  /** True for a write that somebody who is still on the candidate is to hear of. */
  #goesTwice(incoming: IncomingMessage, { target }: RequestFacts): boolean {
    if (!isWrite(incoming.method ?? '')) return false;
    const route = matchRoute(this.#options.context().routes, target.path, 'http');
    return route !== undefined && this.#options.decider(route, null).decision.writeTo === 'both';
  }

  /** Prepares a write for legacy and gives the candidate its own. */
  #copy(
    incoming: IncomingMessage,
    response: ServerResponse,
    request: RequestFacts,
    name: string,
  ): void {
    const { method = '' } = incoming;
    const { candidate } = this.#options.context().upstreams;
    const key = idempotencyKey(request);
    const extra = ['Idempotency-Key', key];
    const noted = pairOutcomes(this.#options.ledger, {
      route: name,
      sides: { primary: 'legacy', second: 'candidate' },
      facts: () => ({ key, digest: null, bytes: null }),
      answered: this.#options.tap.write(),
      leftOut: side => this.#options.tap.writeLeftOut(side),
    });
    // A client that left has taken its request back, as far as it can be told.
    response.once('close', () => noted.primary('upstream-closed'));
    const fields = passedFields(candidate, incoming, request, extra);
    const copy = { method, path: targetFor(candidate, request.target), fields };
    this.#copies.send(incoming, candidate, copy, noted.second);
    this.#prepare(incoming, request, { name, extra, noted: noted.primary });
  }

  /** Gives the request the fields that legacy is to get, and the path, which the library asks for. */
  #prepare(
    incoming: IncomingMessage,
    request: RequestFacts,
    { name, extra = [], noted = null }: Pick<Passage, 'name'> & Prepared,
  ): void {
    const path = targetFor(this.#legacy, request.target);
    const ids = idsOf(incoming);
    this.#passages.set(incoming, { name, path, ids, noted, answered: false, response: null });
    const fields = passedFields(this.#legacy, incoming, request, extra);
    // The library looks for names in lower case.
    incoming.headers = byName(fields, name => name.toLowerCase());
  }

  #fieldsOf(answer: IncomingMessage): string[] {
    // No trailers are passed on here, so none are announced; node:http refuses the field elsewhere.
    const headers = without(answer.rawHeaders, TRAILER);
    const { statusCode: status = 502 } = answer;
    return fieldsToClient({ status, headers }, this.#options.context(), 'legacy');
  }

  /** Passes legacy's answer on. What breaks off there breaks off here: no end where there was none. */
  #passOn(answer: IncomingMessage, incoming: IncomingMessage, response: ServerResponse): void {
    const passage = this.#passageOf(incoming);
    const { name } = passage;
    if (isAmbiguous(answer)) {
      this.#turnAway('upstream-invalid', 'its body could be read in two ways', incoming, response);
      return void answer.destroy();
    }
    passage.answered = true;
    passage.noted?.(answer.statusCode ?? 502);
    passage.response = response;
    response.sendDate = false;
    // What is left of the request has no reader, so nothing may follow it.
    if (!incoming.complete) response.shouldKeepAlive = false;
    const { statusCode = 502, statusMessage = '' } = answer;
    response.writeHead(statusCode, phraseFor(statusCode, statusMessage), this.#fieldsOf(answer));
    sendHead(response);
    if (EVENT_STREAM.test(answer.headers['content-type'] ?? '')) {
      const lane = this.#options.counters.of(name, 'legacy');
      lane.streamsOpen += 1;
      response.once('close', () => {
        lane.streamsOpen -= 1;
      });
    }
    pipeline(answer, response, error => {
      // A client that left before the end is nobody's failure.
      if (!error || error.code === 'ERR_STREAM_PREMATURE_CLOSE') return;
      this.#cutOff(passage, error);
    });
  }

  /** Listens to what comes of an upgrade. Called before the library listens itself. */
  #followUpgrade(outgoing: ClientRequest, incoming: IncomingMessage, client: Socket): void {
    const passage = this.#passageOf(incoming);
    // Otherwise a client that leaves before the answer leaves legacy's socket behind.
    client.once('close', () => outgoing.destroy());
    outgoing.once('socket', () => {
      // The library listens by now. It would give a refusal that breaks off no end at all.
      outgoing.removeAllListeners('response');
      outgoing.once('response', answer => {
        if (answer.statusCode !== 101) return this.#refuse(answer, incoming, client);
        // To node:http one that names no protocol is an answer like any other, without an end.
        this.#turnAway('upstream-invalid', NO_UPGRADE, incoming, client);
        outgoing.destroy();
      });
      // Nor would it look at what legacy agrees to.
      const passOn = outgoing.listeners('upgrade');
      outgoing.removeAllListeners('upgrade');
      outgoing.once('upgrade', (answer, upstream, head) => {
        const wrong = wrongUpgrade(incoming, answer);
        if (wrong !== null) {
          upstream.destroy();
          return this.#turnAway('upstream-invalid', wrong, incoming, client);
        }
        passage.answered = true;
        answer.headers = byName([...UPGRADE, ...this.#fieldsOf(answer)]);
        for (const listener of passOn) listener.call(outgoing, answer, upstream, head);
        this.#open(client, upstream, passage.name);
      });
      limitWait(outgoing, incoming, this.#legacy.config.handshakeTimeoutMs);
    });
  }

  #open(client: Socket, upstream: Socket, name: string): void {
    // It left in the very moment of the answer; its end has been told already.
    if (client.destroyed) return void upstream.destroy();
    const lane = this.#options.counters.of(name, 'legacy');
    lane.sessionsOpen += 1;
    client.once('close', () => {
      lane.sessionsOpen -= 1;
    });
    for (const peer of [client, upstream]) this.#stalls.watch(peer, () => client.destroy());
    const socket = new BypassedSocket(client, upstream, this.#options.context().limits);
    this.#sockets.set(client, socket);
    if (this.#draining) endForRestart(socket);
  }

  /** Legacy's own answer to an upgrade that it does not grant. */
  #refuse(answer: IncomingMessage, incoming: IncomingMessage, client: Socket): void {
    const { name } = this.#passageOf(incoming);
    const { statusCode: status = 502 } = answer;
    this.#options.observer.handshakeRefused(name, 'legacy', status);
    const about = { ...idsOf(incoming), route: name, side: 'legacy' };
    this.#options.logger.info({ ...about, status }, 'a service refused an upgrade');
    const response = new ServerResponse(incoming);
    response.shouldKeepAlive = false;
    response.assignSocket(client);
    response.once('finish', () => client.destroySoon());
    client.setTimeout(this.#legacy.config.responseTimeoutMs, () => client.destroy());
    // What the client sends meanwhile has no reader.
    client.resume();
    this.#passOn(answer, incoming, response);
  }

  #fail(
    error: NodeJS.ErrnoException,
    incoming: IncomingMessage,
    client: ServerResponse | Socket,
  ): void {
    // A client that left is nobody's failure.
    if (incoming.socket.destroyed) return;
    const passage = this.#passageOf(incoming);
    if (passage.answered) return this.#cutOff(passage, error);
    this.#turnAway(failureOf(error), error.code ?? 'unknown', incoming, client);
  }

  /** Legacy gave no answer that can be passed on. */
  #turnAway(
    code: ErrorCode,
    detail: string,
    incoming: IncomingMessage,
    client: ServerResponse | Socket,
  ): void {
    const { name, ids, noted } = this.#passageOf(incoming);
    noted?.(code);
    const { observer, logger } = this.#options;
    observer.failed(name, 'legacy', code);
    const about = { ...ids, route: name, side: 'legacy', detail } as const;
    if (client instanceof ServerResponse) {
      logRefusal(logger, 'a request was refused', code, about);
      refuseRequest(client, code);
    } else {
      logRefusal(logger, 'an upgrade was refused', code, about);
      refuseSocket(client, code);
    }
  }

  /**
   * An answer broke off. One that ends with its connection looks whole after a reset, but for the
   * error, so it is cut here and not left to its stream.
   */
  #cutOff(passage: Passage, error: NodeJS.ErrnoException): void {
    const { name, response } = passage;
    if (response === null || response.writableEnded) return;
    // Told once, whoever notices first.
    passage.response = null;
    response.destroy();
    const { logger, observer } = this.#options;
    const about = { ...passage.ids, route: name, side: 'legacy', detail: error.code };
    logger.warn(about, 'an answer broke off');
    observer.failed(name, 'legacy', 'upstream-closed');
  }

  #passageOf(incoming: IncomingMessage): Passage {
    const passage = this.#passages.get(incoming);
    if (passage === undefined) throw new Error('a request that was not let in');
    return passage;
  }
}

/** The fields as a service gets them. The body keeps its framing: a length, or it came in chunks. */
function passedFields(
  upstream: Upstream,
  incoming: IncomingMessage,
  request: RequestFacts,
  extra: readonly string[],
): string[] {
  const drop = (name: string) => name === 'expect' || fieldValues(extra, name).length > 0;
  const fields = [...fieldsFor(upstream, request, drop), ...extra];
  if (isChunked(incoming)) fields.push('Transfer-Encoding', 'chunked');
  return fields;
}

function endForRestart(socket: BypassedSocket): void {
  socket.end(ERRORS.draining.close, 'service restart');
}

function targetOptions({ secure, host, port, ca, config }: Upstream) {
  return {
    target: { protocol: secure ? 'https:' : 'http:', host, hostname: host, port },
    connectTimeout: config.connectTimeoutMs,
    // The library builds the options of its request on this object.
    ssl: { lookup: lookupShared },
    ...(ca === undefined ? {} : { ca: ca.toString() }),
  };
}

/**
 * The library says of a DELETE or OPTIONS without a length that it has length 0, and sends a chunked
 * body all the same: legacy would take that for the next request.
 */
function keepFraming(outgoing: ClientRequest, incoming: IncomingMessage): void {
  if (fieldValues(incoming.rawHeaders, 'content-length').length > 0) return;
  if (outgoing.hasHeader('content-length')) outgoing.removeHeader('content-length');
  if (isChunked(incoming)) outgoing.setHeader('Transfer-Encoding', 'chunked');
}

function isChunked(incoming: IncomingMessage): boolean {
  return fieldValues(incoming.rawHeaders, 'transfer-encoding').length > 0;
}

/**
 * Legacy must begin to answer within `limitMs` of the request's last byte, and take the next bytes of
 * an upload within that time; after that it may be silent for as long as it likes.
 */
function limitWait(outgoing: ClientRequest, incoming: IncomingMessage, limitMs: number): void {
  const late = Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' });
  const timer = setTimeout(() => {
    // An upload takes as long as its client likes.
    if (incoming.complete || outgoing.writableNeedDrain) outgoing.destroy(late);
    else timer.refresh();
  }, limitMs);
  const again = () => timer.refresh();
  const stop = () => {
    clearTimeout(timer);
    // It would start anew.
    outgoing.off('drain', again).off('finish', again);
  };
  outgoing.on('drain', again).on('finish', again);
  for (const event of ['response', 'upgrade', 'close']) outgoing.once(event, stop);
}

/** Fields as an object, which is what the library takes; those that are repeated as a list. */
function byName(
  fields: readonly string[],
  spell: (name: string) => string = name => name,
): Record<string, string | string[]> {
  const grouped = new Map<string, string[]>();
  for (let i = 0; i < fields.length; i += 2) {
    const name = spell(fields[i] as string);
    grouped.set(name, [...(grouped.get(name) ?? []), fields[i + 1] as string]);
  }
  return Object.fromEntries(
    [...grouped].map(([name, values]) => [name, values.length === 1 ? (values[0] ?? '') : values]),
  );
}

/** node:http undoes chunks in HTTP/1.0 as well, and says nothing of codings under or beside them. */
function isAmbiguous({ httpVersionMinor, statusCode = 502, rawHeaders }: IncomingMessage): boolean {
  const minor = httpVersionMinor === 0 ? 0 : 1;
  return answerFraming({ minor, status: statusCode, headers: rawHeaders }) === null;
}

const TRAILER: ReadonlySet<string> = new Set(['trailer']);
const NO_UPGRADE = 'it does not upgrade to websocket';

/** Those that a client offers are between him and legacy here: nobody looks into the frames. */
const EXTENSIONS: ReadonlySet<string> = new Set(['sec-websocket-extensions']);

/** What is wrong with a 101 of legacy's; null if it is what the client asked for. */
function wrongUpgrade({ rawHeaders }: IncomingMessage, answer: IncomingMessage): string | null {
  const [key = ''] = fieldValues(rawHeaders, 'sec-websocket-key');
  const hasOffered = fieldValues(rawHeaders, 'sec-websocket-extensions').length > 0;
  const fields = hasOffered ? without(answer.rawHeaders, EXTENSIONS) : answer.rawHeaders;
  return checkServerHandshake(fields, key, offeredProtocols(rawHeaders));
}
