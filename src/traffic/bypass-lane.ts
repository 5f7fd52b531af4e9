// The emergency lane: straight to legacy by a plain http-proxy. It shares no code with the other
// lanes but the rules about header fields, so that a fault of theirs is not one of its own.
import { type ClientRequest, type IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { pipeline } from 'node:stream';
import httpProxy from 'http-proxy';
import type { Logger } from 'pino';
import { ERRORS, type ErrorCode } from '../errors.ts';
import type { Decider, RouteScope, Tap, TrafficObserver, WriteLedger } from '../ports.ts';
import { BYPASS_NAME, matchRoute } from '../rules/routes.ts';
import { answerFraming } from '../wire/body.ts';
import { checkClientHandshake, checkServerHandshake, offeredProtocols } from '../wire/handshake.ts';
import { fieldValues, without } from '../wire/headers.ts';
import { isWrite } from '../wire/http-method.ts';
import { afterReads } from './after-reads.ts';
import {
  answeredBy,
  discardRest,
  phraseFor,
  refuseRequest,
  refuseSocket,
  sendHead,
} from './answer.ts';
import { BypassCopies } from './bypass-copies.ts';
import { failureOf } from './bypass-failure.ts';
import { libraryOptions, onceConnected, passedFields, sendHeadAtOnce } from './bypass-request.ts';
import { Stalls } from './bypass-stalls.ts';
import { BypassedSocket } from './bypassed-socket.ts';
import type { TrafficContext } from './context.ts';
import type { Counters } from './counters.ts';
import { cutOff } from './cut-off.ts';
import { paced } from './pace.ts';
import { logRefusal } from './refusal-log.ts';
import { idsOf, readRequest } from './request.ts';
import { fieldsToClient } from './shown-side.ts';
import {
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
  /** A connection to a service could not be had: nothing is left to make it of. */
  readonly onExhausted: () => void;
}

/** A request, while the library has it. */
interface Passage {
  /** What it is counted as. */
  readonly name: string;
  readonly ids: RequestIds;
  /** Legacy has begun to answer: what fails from then on can not be answered by us as well. */
  answered: boolean;
  /** Its answer as it comes, and on the way to the client; null before it, and for a WebSocket. */
  passing: { readonly answer: IncomingMessage; readonly response: ServerResponse } | null;
  /** It broke off, which is told once, whoever notices first. */
  brokenOff: boolean;
  /** Of a write that went to both services. */
  readonly noted: Noted | null;
}

export class BypassLane {
  readonly #options: BypassLaneOptions;
  readonly #proxy = httpProxy.createProxyServer({ agent: false, selfHandleResponse: true });
  readonly #copies = new BypassCopies();
  /** At legacy, of those that go to both, without an answer. */
  readonly #writes = new Set<ClientRequest>();
  readonly #stalls = new Stalls(() => this.#options.context().limits.stallMs);
  readonly #passages = new WeakMap<IncomingMessage, Passage>();
  /** Clients that asked for a WebSocket; null until it is open. */
  readonly #sockets = new Map<Socket, BypassedSocket | null>();
  #draining = false;

  constructor(options: BypassLaneOptions) {
    this.#options = options;
    this.#proxy.on('proxyReq', (outgoing, incoming, client) => {
      // Nobody asked for another protocol. Without a listener neither answer nor error would come.
      outgoing.once('upgrade', (_answer, socket) => {
        socket.destroy();
        const unasked = Object.assign(new Error('unasked upgrade'), { code: 'EPROTO' });
        this.#fail(unasked, incoming, client);
      });
      const { socket } = outgoing;
      if (socket !== null) {
        watchForDeadPeer(socket);
        if (client instanceof ServerResponse) {
          askForBody(client, socket);
          sendHeadAtOnce(outgoing, socket);
        }
        writeBehindReads(incoming, socket);
      }
      limitWait(outgoing, incoming, this.#legacy.config.responseTimeoutMs);
      const { noted } = this.#passageOf(incoming);
      if (noted !== null) this.#followWrite(outgoing, noted);
    });
    this.#proxy.on('proxyRes', (answer, incoming, response) => {
      if (response instanceof ServerResponse) this.#passOn(answer, incoming, response);
    });
    this.#proxy.on('proxyReqWs', (outgoing, incoming, client) =>
      this.#followUpgrade(outgoing, incoming, client),
    );
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
    const route = name === BYPASS_NAME ? this.#routeOfBoth(incoming, request) : null;
    response.setMaxListeners(MOST_LISTENERS);
    this.#stalls.watch(response, () => response.destroy());
    discardRest(incoming, response);
    if (isWrite(incoming.method ?? '')) ledger.begun(name, route === null ? 'primary' : 'both');
    response.on('close', () => {
      // A client may leave before there is an answer.
      if (!response.headersSent) return;
      counters.of(name, 'legacy').requests += 1;
      const durationMs = performance.now() - startedAt;
      observer.requestDone(name, 'legacy', response.statusCode, durationMs, answeredBy(response));
    });
    const writing = route === null ? null : this.#writing(request, name);
    this.#begin(incoming, name, writing?.primary ?? null);
    const extra = writing === null ? [] : ['Idempotency-Key', writing.key];
    const legacy = this.#legacy;
    const options = libraryOptions(legacy, headFor(legacy, incoming, request, extra));
    this.#proxy.web(incoming, response, options);
    if (route === null || writing === null) return;
    outliveClient(incoming, response);
    const { method = '' } = incoming;
    const { candidate } = context().upstreams;
    const copy = { route, method, ...headFor(candidate, incoming, request, extra) };
    this.#copies.send(incoming, candidate, copy, writing.second);
  }

  /** Writes that go to both services and have no answer yet, at either. */
  get writesUnderWay(): number {
    return this.#copies.underWay + this.#writes.size;
  }

  /** The candidate is severed: copies of those routes' writes that it was not sent yet are let go. */
  sever(routes: RouteScope): void {
    this.#copies.sever(routes);
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
    this.#begin(incoming, name);
    // The library asks for that and nothing else.
    incoming.headers.upgrade = 'websocket';
    const legacy = this.#legacy;
    const options = libraryOptions(legacy, headFor(legacy, incoming, request, UPGRADE));
    this.#proxy.ws(incoming, client, head, options);
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

  /** The route of a write that somebody who is still on the candidate is to hear of; null for any other. */
  #routeOfBoth(incoming: IncomingMessage, { target }: RequestFacts): string | null {
    if (!isWrite(incoming.method ?? '')) return null;
    const route = matchRoute(this.#options.context().routes, target.path, 'http');
    if (route === undefined) return null;
    return this.#options.decider(route, null).decision.writeTo === 'both' ? route.name : null;
  }

  /** Who is to hear what comes of a write that goes to both services, and its key. */
  #writing(request: RequestFacts, name: string) {
    const key = idempotencyKey(request);
    const noted = pairOutcomes(this.#options.ledger, {
      route: name,
      sides: { primary: 'legacy', second: 'candidate' },
      facts: () => ({ key, digest: null, bytes: null }),
      // Whom it is about its body would tell, which is not held here.
      answered: this.#options.tap.write(null),
      leftOut: side => this.#options.tap.writeLeftOut(side),
    });
    return { key, ...noted };
  }

  /** Its client may leave before legacy has said what becomes of it. */
  #followWrite(outgoing: ClientRequest, noted: Noted): void {
    this.#writes.add(outgoing);
    outgoing
      .once('response', () => this.#writes.delete(outgoing))
      .once('close', () => {
        this.#writes.delete(outgoing);
        // Whatever else it was that ended it.
        noted('upstream-closed');
      });
  }

  #begin(incoming: IncomingMessage, name: string, noted: Noted | null = null): void {
    const ids = idsOf(incoming);
    const passage = { name, ids, noted, answered: false, passing: null, brokenOff: false };
    this.#passages.set(incoming, passage);
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
    const wrong = wrongAnswer(answer);
    if (response.destroyed) {
      passage.noted?.(wrong === null ? (answer.statusCode ?? 502) : 'upstream-invalid');
      return void answer.destroy();
    }
    if (wrong !== null) {
      this.#turnAway('upstream-invalid', wrong, incoming, response);
      return void answer.destroy();
    }
    passage.answered = true;
    passage.noted?.(answer.statusCode ?? 502);
    passage.passing = { answer, response };
    response.sendDate = false;
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
    // Before its stream is: that would end the client's connection as if all were well.
    answer.once('error', error => this.#cutOff(passage, error));
    // What legacy has not taken of the request by then, it may never take.
    const { socket } = answer;
    response.once('finish', () => socket.destroy());
    // That a client left before the end is nobody's failure.
    pipeline(answer, response, () => undefined);
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
        if (answer.statusCode !== 101) return this.#refuse(outgoing, answer, incoming, client);
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
        // The library writes the head as text: its bytes beyond ASCII are one character each.
        client.setDefaultEncoding('latin1');
        for (const listener of passOn) listener.call(outgoing, answer, upstream, head);
        client.setDefaultEncoding('utf8');
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
    this.#stalls.watch(client, () => client.destroy());
    this.#stalls.watch(upstream, () => {
      client.destroy();
      // What still waits for it would keep it for ever.
      upstream.destroy();
    });
    const socket = new BypassedSocket(client, upstream, this.#options.context().limits);
    this.#sockets.set(client, socket);
    if (this.#draining) endForRestart(socket);
  }

  /** Legacy's own answer to an upgrade that it does not grant. */
  #refuse(
    outgoing: ClientRequest,
    answer: IncomingMessage,
    incoming: IncomingMessage,
    client: Socket,
  ): void {
    // The library would end the client's connection, whatever of the answer is still to go out.
    outgoing.removeAllListeners('error');
    outgoing.on('error', error => this.#fail(error, incoming, client));
    const { name } = this.#passageOf(incoming);
    const { statusCode: status = 502 } = answer;
    this.#options.observer.handshakeRefused(name, 'legacy', status, null);
    const about = { ...idsOf(incoming), route: name, side: 'legacy' };
    this.#options.logger.info({ ...about, status }, 'a service refused an upgrade');
    const response = new ServerResponse(incoming);
    response.shouldKeepAlive = false;
    response.assignSocket(client);
    // node:http does so on connections that have not been upgraded.
    client.on('drain', () => response.emit('drain'));
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
    const passage = this.#passageOf(incoming);
    // A client that left is nobody's failure.
    if (incoming.socket.destroyed) return passage.noted?.(failureOf(error));
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
    const { observer, logger, onExhausted } = this.#options;
    observer.failed(name, 'legacy', code);
    if (code === 'exhausted') onExhausted();
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
   * An answer broke off. Where the end of the connection would be the end of the body, only a reset tells the
   * client; with TLS, that no end is announced.
   */
  #cutOff(passage: Passage, error: NodeJS.ErrnoException): void {
    const { name, passing } = passage;
    // All of it may have come, and what followed was no HTTP.
    if (passing === null || passage.brokenOff || passing.answer.complete) return;
    const { response } = passing;
    if (response.writableEnded || response.destroyed) return;
    passage.brokenOff = true;
    const { socket } = response;
    if (endsWithConnection(passing) && socket !== null) cutOff(socket);
    else response.destroy();
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

function headFor(
  upstream: Upstream,
  incoming: IncomingMessage,
  request: RequestFacts,
  extra: readonly string[],
) {
  return {
    path: targetFor(upstream, request.target),
    fields: passedFields(upstream, incoming, request, extra),
  };
}

function endForRestart(socket: BypassedSocket): void {
  socket.end(ERRORS.draining.close, 'service restart');
}

/**
 * A client that leaves behind a whole write takes it from neither service: the library would break it off at legacy,
 * and the candidate keep its copy. To be called behind the library, whose listeners are the last ones by then.
 */
function outliveClient(incoming: IncomingMessage, response: ServerResponse): void {
  for (const [emitter, event] of [[response, 'close'] as const, [incoming, 'error'] as const]) {
    const leave = emitter.listeners(event).at(-1);
    if (leave === undefined) throw new Error(`the library does not listen to ${event}`);
    emitter.off(event, leave as () => void);
    emitter.on(event, (...what: unknown[]) => {
      if (!incoming.readableEnded) Reflect.apply(leave, emitter, what);
    });
  }
}

/** Says 100 to a client that waits for it, once legacy has taken the connection. */
function askForBody(response: ServerResponse, legacy: Socket): void {
  const { headers, httpVersion } = response.req;
  // A client of HTTP/1.0 knows no interim answers (RFC 9110 15.2).
  if (headers.expect === undefined || httpVersion !== '1.1') return;
  onceConnected(legacy, () => {
    if (!response.headersSent) response.writeContinue();
  });
}

/**
 * What comes of a body goes out once everything that has arrived has been read. Written to a legacy that has closed
 * it would take an answer along that nobody has read yet.
 */
function writeBehindReads(incoming: IncomingMessage, legacy: Socket): void {
  let isHeld = false;
  // Before the library's, which writes it.
  incoming.prependListener('data', () => {
    if (isHeld) return;
    isHeld = true;
    legacy.cork();
    afterReads(() => {
      isHeld = false;
      legacy.uncork();
    });
  });
}

/**
 * Legacy must begin to answer within `limitMs` of the request's last byte, and take the next bytes of
 * an upload within that time; after that it may be silent for as long as it likes.
 */
function limitWait(outgoing: ClientRequest, incoming: IncomingMessage, limitMs: number): void {
  const late = Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' });
  let isDue = false;
  const giveUp = () => {
    if (!isDue) return;
    // An upload takes as long as its client likes.
    if (incoming.complete || outgoing.writableNeedDrain) outgoing.destroy(late);
    else again();
  };
  const timer = setTimeout(() => {
    isDue = true;
    // What lies there unread, since the proxy itself stood still, is no silence.
    afterReads(giveUp);
  }, limitMs);
  const again = () => {
    isDue = false;
    timer.refresh();
  };
  const stop = () => {
    isDue = false;
    clearTimeout(timer);
    // It would start anew.
    outgoing.off('drain', again).off('finish', again);
  };
  outgoing.on('drain', again).on('finish', again);
  for (const event of ['response', 'upgrade', 'close']) outgoing.once(event, stop);
}

/** Fields as an object, which is what the library takes; those that are repeated as a list. */
function byName(fields: readonly string[]): Record<string, string | string[]> {
  const grouped = new Map<string, string[]>();
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    grouped.set(name, [...(grouped.get(name) ?? []), fields[i + 1] as string]);
  }
  return Object.fromEntries(
    [...grouped].map(([name, values]) => [name, values.length === 1 ? (values[0] ?? '') : values]),
  );
}

/**
 * What is wrong with an answer that node:http lets through, or null: it undoes chunks in HTTP/1.0 as well,
 * says nothing of codings under or beside them, and reads statuses that it would not write.
 */
function wrongAnswer({
  httpVersionMinor,
  statusCode: status = 0,
  rawHeaders,
}: IncomingMessage): string | null {
  if (status < LEAST_STATUS) return 'its status is none';
  const minor = httpVersionMinor === 0 ? 0 : 1;
  const isClear = answerFraming({ minor, status, headers: rawHeaders }) !== null;
  return isClear ? null : 'its body could be read in two ways';
}

/** True for a body whose end the client sees by that of the connection: HTTP/1.0 knows no chunks. */
function endsWithConnection({ answer, response }: NonNullable<Passage['passing']>): boolean {
  const hasLength = fieldValues(answer.rawHeaders, 'content-length').length > 0;
  return response.req.httpVersion === '1.0' && !hasLength;
}

/** RFC 9110 15. */
const LEAST_STATUS = 100;
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
