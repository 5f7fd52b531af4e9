// The client's side of the proxy: one listener, and a lane for each kind of traffic.
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { Loaded } from '../config/load.ts';
import { type ErrorCode, listenFailure } from '../errors.ts';
import type {
  Decider,
  IsolationWatch,
  LaneCounters,
  RollbackOutlook,
  RollbackProgress,
  RouteScope,
  Tap,
  TrafficObserver,
  TrafficView,
  TwinSampling,
  WriteLedger,
} from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import { BYPASS_NAME, UNROUTED_NAME } from '../rules/routes.ts';
import { asksForWebSocket } from '../wire/handshake.ts';
import { afterReads } from './after-reads.ts';
import {
  answerOptions,
  isUnderWay,
  refuseBehind,
  refuseRequest,
  refuseSocket,
  wasRefused,
} from './answer.ts';
import { BypassLane } from './bypass-lane.ts';
import { contextOf, type TrafficContext } from './context.ts';
import { Counters } from './counters.ts';
import { HttpLane } from './http-lane.ts';
import { KeptConnections } from './kept-connections.ts';
import { Newcomers } from './newcomers.ts';
import { Pipeline } from './pipeline.ts';
import { logRefusal } from './refusal-log.ts';
import { idsOf, isAmbiguous } from './request.ts';
import { RollbackRun } from './rollback-run.ts';
import type { Session } from './session.ts';
import type { TailRing } from './tail-ring.ts';
import { Uploads } from './uploads.ts';
import { watchForDeadPeer } from './upstream.ts';
import { WebSocketLane } from './ws-lane.ts';

/** How often node:http looks for requests that drip too slowly. */
const SLOW_REQUEST_CHECK_MS = 1_000;
/** A shutdown waits for second writes, and looks so often. */
const SECOND_WRITE_CHECK_MS = 20;
/** In a shutdown a client that is connected has so long, and at most twice that, to say what it wants. */
const IDLE_GRACE_MS = 500;

export interface TrafficOptions {
  readonly loaded: Loaded;
  readonly decider: Decider;
  readonly observer: TrafficObserver;
  readonly isolation: IsolationWatch;
  readonly ledger: WriteLedger;
  readonly tap: Tap;
  readonly twins: TwinSampling;
  readonly logger: Logger;
  /** True while an operator sends everything straight to legacy. */
  readonly bypassed: () => boolean;
  /** In place of one of 64 MiB. */
  readonly tails?: TailRing;
}

export class Traffic implements TrafficView {
  readonly #options: TrafficOptions;
  readonly #counters = new Counters();
  readonly #webSockets: WebSocketLane;
  readonly #http: HttpLane;
  readonly #bypass: BypassLane;
  readonly #server: http.Server;
  readonly #uploads: Uploads;
  readonly #pipelines = new WeakMap<Duplex, Pipeline>();
  /** The same, of connections that are open. */
  readonly #kept = new KeptConnections();
  readonly #newcomers = new Newcomers();
  /** Requests that asked for a protocol which nobody here speaks. */
  readonly #unheeded = new WeakSet<http.IncomingMessage>();
  #ending: AbortController | null = null;
  #context: TrafficContext;

  constructor(options: TrafficOptions) {
    this.#options = options;
    this.#context = contextOf(options.loaded);
    const lane = {
      ...options,
      context: () => this.#context,
      counters: this.#counters,
      onExhausted: () => this.#kept.exhausted(),
    };
    const bypass = new BypassLane(lane);
    this.#bypass = bypass;
    this.#webSockets = new WebSocketLane({
      ...lane,
      unrouted: (incoming, client, head) => bypass.upgrade(incoming, client, head, UNROUTED_NAME),
      bypassed: (incoming, client, head) => this.#bypassUpgrade(incoming, client, head),
    });
    this.#http = new HttpLane({
      ...lane,
      unrouted: (incoming, response) => bypass.web(incoming, response, UNROUTED_NAME),
    });
    this.#server = this.#createServer();
    this.#uploads = new Uploads(
      () => this.#context.limits.stallMs,
      ({ socket }) => {
        this.#turnAway(socket, 'request-timeout');
        // A rest that comes yet must not complete what its client was told has failed, and may send again.
        socket.pause();
      },
    );
  }

  /** WebSockets that are open, with all that is known of each. */
  get sessions(): ReadonlySet<Session> {
    return this.#webSockets.sessions;
  }

  get connecting(): number {
    return this.#webSockets.connecting;
  }

  get draining(): boolean {
    return this.#webSockets.draining;
  }

  /** Bytes that plain HTTP holds, of requests and of answers; each has one limit for all. */
  get heldBytes(): HttpLane['heldBytes'] {
    return this.#http.heldBytes;
  }

  get letGo(): TrafficView['letGo'] {
    return this.#kept.letGo;
  }

  counters(): Iterable<{ route: string; side: Side; counters: Readonly<LaneCounters> }> {
    return this.#counters.entries();
  }

  hasLeg(route: string, side: Side): boolean {
    return this.#counters.hasLeg(route, side);
  }

  serves(route: string, side: Side): boolean {
    return this.#counters.serves(route, side);
  }

  *sessionsOf(route: string): ReturnType<TrafficView['sessionsOf']> {
    for (const { facts, leg, turns } of this.#webSockets.sessions) {
      const { id, subject } = facts;
      // Not always the one that was decided: that may have died.
      if (facts.route.name === route) yield { id, subject, side: leg.side, turns };
    }
    yield* this.#http.streams.of(route);
  }

  /**
   * Listens at the configured address, so that a new version can do the same later and take over
   * (`reusePort`); `beside` is that new version. Resolves to the port in use. Throws
   * `CutoverError('conflict')` if the address can not be had.
   */
  async listen({ beside = false } = {}): Promise<number> {
    const { host, port } = this.#options.loaded.config.listen;
    // A port that the kernel chooses is nobody else's, and must not become so.
    const reusePort = port !== 0 && process.platform === 'linux';
    try {
      // Whoever lets others in is let in by others: two proxies that know nothing of each other would
      // share the clients.
      if (reusePort && !beside) await seeThatItIsFree({ host, port });
      await listening(this.#server, { host, port, reusePort });
    } catch (error) {
      throw listenFailure(error, { field: 'listen', host, port });
    }
    this.#server.on('error', error =>
      this.#options.logger.error({ err: error }, 'the listener failed'),
    );
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** Puts a new configuration in force for what begins from now on. */
  reload(loaded: Loaded): void {
    this.#context = contextOf(loaded);
    this.#server.headersTimeout = loaded.config.limits.headersTimeoutMs;
    this.#server.keepAliveTimeout = loaded.config.limits.keepAliveMs;
    if (loaded.secrets.tls !== undefined && this.#server instanceof https.Server) {
      this.#server.setSecureContext({ ...loaded.secrets.tls, minVersion: 'TLSv1.2' });
    }
  }

  /** What decides has changed: sessions and streams go where the decision says now, and second legs with them. */
  async reconsider(): Promise<void> {
    await Promise.all([this.#webSockets.reconsider(), this.#http.streams.reconsider()]);
  }

  rollBack(routes: RouteScope, { sever = false } = {}): RollbackProgress {
    const run = new RollbackRun(routes, ended => this.#webSockets.rolledBack(ended));
    this.#http.rollBack(run);
    this.#webSockets.rollBack(run);
    if (sever) {
      this.#http.sever(routes);
      this.#bypass.sever(routes);
      this.#webSockets.sever(routes);
      // Second legs of sessions that legacy serves.
      void this.reconsider();
    }
    return run;
  }

  rollbackOutlook(routes: RouteScope): RollbackOutlook {
    let answers = 0;
    for (const { route, side, counters } of this.#counters.entries()) {
      if (side === 'candidate' && routes.has(route)) answers += counters.answersOpen;
    }
    return { ...this.#webSockets.rollbackOutlook(routes), answers };
  }

  endOpen(windowMs: number): number {
    const count = this.#webSockets.sessions.size + this.#http.streams.size;
    this.stopEnding();
    this.#ending = new AbortController();
    const { signal } = this.#ending;
    const lanes = [
      this.#webSockets.endOpen(windowMs, signal),
      this.#http.streams.end(windowMs, signal),
    ];
    for (const lane of lanes) {
      lane.catch(err => this.#options.logger.error({ err }, 'what is open could not be ended'));
    }
    return count;
  }

  stopEnding(): void {
    this.#ending?.abort();
    this.#ending = null;
  }

  /** Stops accepting, ends sessions at a pace that fills `windowMs`, and waits for requests to finish. */
  async drain(windowMs: number): Promise<void> {
    // http's own `close` would cut off clients that were accepted a moment ago and have not spoken yet.
    const closed = new Promise<void>(resolve => {
      net.Server.prototype.close.call(this.#server, () => resolve());
    });
    const closeIdle = () => {
      this.#kept.closeIdle(IDLE_GRACE_MS);
      this.#newcomers.closeSilent(IDLE_GRACE_MS);
    };
    // A request that has come is not cut off.
    const timer = setInterval(() => afterReads(closeIdle), IDLE_GRACE_MS);
    void closed.then(() => clearInterval(timer));
    const lanes = [this.#webSockets, this.#http.streams, this.#bypass];
    const drained = lanes.map(lane => lane.drain(windowMs));
    this.#kept.each(pipeline => pipeline.drain());
    await Promise.all([closed, ...drained]);
    while (this.#http.writesUnderWay + this.#bypass.writesUnderWay > 0)
      await pause(SECOND_WRITE_CHECK_MS);
  }

  /** Cuts off whatever is left. */
  close(): void {
    this.#webSockets.close();
    this.#http.close();
    this.#bypass.close();
    this.#uploads.close();
    this.#kept.close();
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #take(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    serve = () => this.#serve(request, response),
  ): void {
    const { socket } = request;
    if (wasRefused(socket)) return;
    const pipeline = this.#pipelines.get(socket) ?? this.#newPipeline(socket);
    // node:http loses what came in one read with it, and takes the rest of that for a request.
    if (this.#unheeded.has(request)) pipeline.takeLast(response, serve);
    else pipeline.take(response, serve);
  }

  #newPipeline(socket: net.Socket): Pipeline {
    const pipeline = new Pipeline(socket);
    this.#pipelines.set(socket, pipeline);
    this.#kept.add(socket, pipeline);
    this.#newcomers.spoke(socket);
    if (this.draining) pipeline.drain();
    return pipeline;
  }

  #serve(request: http.IncomingMessage, response: http.ServerResponse): void {
    this.#uploads.watch(request);
    if (request.method === 'OPTIONS' && request.url === '*') this.#answerOptions(request, response);
    else if (this.#options.bypassed()) this.#bypassRequest(request, response);
    else void this.#http.serve(request, response);
  }

  #bypassRequest(request: http.IncomingMessage, response: http.ServerResponse): void {
    try {
      this.#bypass.web(request, response, BYPASS_NAME);
    } catch (error) {
      this.#broke(request, error);
      refuseRequest(response, 'internal');
    }
  }

  #bypassUpgrade(request: http.IncomingMessage, socket: net.Socket, head: Buffer): void {
    try {
      this.#bypass.upgrade(request, socket, head, BYPASS_NAME);
    } catch (error) {
      this.#broke(request, error);
      refuseSocket(socket, 'internal');
    }
  }

  /** The emergency lane failed: nobody else's request does. */
  #broke(request: http.IncomingMessage, err: unknown): void {
    this.#options.observer.failed(BYPASS_NAME, 'none', 'internal');
    this.#options.logger.error({ ...idsOf(request), err }, 'a request could not be served');
  }

  /** It is about the proxy itself (RFC 9110 9.3.7), and no way around what every request has to be. */
  #answerOptions(request: http.IncomingMessage, response: http.ServerResponse): void {
    if (!isAmbiguous(request)) return answerOptions(response);
    this.#options.observer.failed('none', 'none', 'bad-request');
    logRefusal(this.#options.logger, 'a request was refused', 'bad-request', idsOf(request));
    refuseRequest(response, 'bad-request');
  }

  #open(request: http.IncomingMessage, socket: net.Socket, head: Buffer): void {
    this.#newcomers.spoke(socket);
    this.#pipelines.get(socket)?.handOver();
    if (wasRefused(socket)) return;
    // No protocol can change while answers in the old one are due (RFC 9110 7.8).
    if (isUnderWay(this.#lastAnswer(socket))) this.#refuseUpgrade(request, socket, 'bad-upgrade');
    else if (this.#heldWebSockets >= this.#context.limits.maxSessions)
      this.#refuseUpgrade(request, socket, 'too-many-sessions');
    else if (this.#options.bypassed()) this.#bypassUpgrade(request, socket, head);
    else void this.#webSockets.open(request, socket, head);
  }

  /** Open or on the way to it, in whichever lane. */
  get #heldWebSockets(): number {
    return this.#webSockets.sessions.size + this.#webSockets.connecting + this.#bypass.webSockets;
  }

  #refuseUpgrade(request: http.IncomingMessage, socket: net.Socket, code: ErrorCode): void {
    logRefusal(this.#options.logger, 'an upgrade was refused', code, idsOf(request));
    this.#turnAway(socket, code);
  }

  /** Refuses what came on a connection and is no request to any lane. */
  #turnAway(socket: Duplex, code: ErrorCode, status?: number): void {
    // Every further read of what can not be read is an error again.
    if (wasRefused(socket)) return;
    this.#options.observer.failed('none', 'none', code);
    refuseBehind(socket, this.#lastAnswer(socket), code, status);
  }

  #lastAnswer(socket: Duplex): http.ServerResponse | null {
    return this.#pipelines.get(socket)?.last ?? null;
  }

  #createServer(): http.Server {
    const { limits } = this.#options.loaded.config;
    const { tls } = this.#options.loaded.secrets;
    const options = {
      maxHeaderSize: limits.maxHeaderBytes,
      headersTimeout: limits.headersTimeoutMs,
      keepAliveTimeout: limits.keepAliveMs,
      // It would answer by itself, and take what comes behind for a request: `isAmbiguous` asks for one.
      requireHostHeader: false,
      // Uploads may take as long as they go on; the service decides.
      requestTimeout: 0,
      connectionsCheckingInterval: SLOW_REQUEST_CHECK_MS,
      noDelay: true,
      // Other upgrades (h2c) are plain requests with a field that does not go on.
      shouldUpgradeCallback: (request: http.IncomingMessage) => {
        if (asksForWebSocket(request.rawHeaders)) return true;
        this.#unheeded.add(request);
        return false;
      },
    };
    const server =
      tls === undefined
        ? http.createServer(options)
        : https.createServer({
            ...{ ...options, ...tls, minVersion: 'TLSv1.2' },
            // Node's own limit is two minutes.
            handshakeTimeout: limits.headersTimeoutMs,
          });
    // http takes its own listener off with an upgrade; between the owners that follow, and while a
    // refusal goes out, there may be none.
    server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: net.Socket) =>
      socket.on('error', ignoreError),
    );
    // A stream may be silent for hours: nothing else tells that its client has gone without a word.
    server.on('connection', watchForDeadPeer);
    // With TLS both the connection and what is spoken on it are new.
    for (const event of ['connection', 'secureConnection'] as const)
      server.on(event, (socket: net.Socket) => this.#newcomers.add(socket));
    server.on('request', (request, response) => this.#take(request, response));
    // The lane says 100 when it reads the body, not before it knows where that goes.
    server.on('checkContinue', (request, response) => this.#take(request, response));
    server.on('checkExpectation', (request, response) =>
      this.#take(request, response, () => {
        this.#options.observer.failed('none', 'none', 'expectation');
        refuseRequest(response, 'expectation');
      }),
    );
    server.on('upgrade', (request, socket, head) =>
      this.#open(request, socket as net.Socket, head),
    );
    // No tunnels here (RFC 9110 9.3.6).
    server.on('connect', (_request, socket) => {
      this.#pipelines.get(socket)?.handOver();
      this.#turnAway(socket, 'method');
    });
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
      const status = CLIENT_ERROR_STATUS[error.code ?? ''];
      const refuse = () => this.#turnAway(socket, 'bad-request', status);
      const pipeline = this.#pipelines.get(socket);
      if (status !== LATE || pipeline === undefined) refuse();
      else pipeline.late(this.#context.limits.headersTimeoutMs, refuse);
    });
    return server;
  }
}

/** Rejects with the system's error if somebody else listens at that address. */
async function seeThatItIsFree(address: net.ListenOptions): Promise<void> {
  const probe = net.createServer();
  await listening(probe, address);
  await new Promise(resolve => probe.close(resolve));
}

async function listening(server: net.Server, options: net.ListenOptions): Promise<void> {
  server.listen(options);
  await once(server, 'listening');
}

function ignoreError(): void {
  // A socket that fails closes next, and that is what its owners go by.
}

/** The status of a head that is. */
const LATE = 408;
/** Parser errors with a status of their own (RFC 9110 15.5.9, RFC 6585 5). */
const CLIENT_ERROR_STATUS: Readonly<Record<string, number>> = {
  ERR_HTTP_REQUEST_TIMEOUT: LATE,
  HPE_HEADER_OVERFLOW: 431,
};
