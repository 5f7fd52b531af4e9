// The lane of HTTP, streams of events included: from a client's request to a service's answer.
//
//   request ─► readable? ─► route ─► who is it? ─► decision ─► one service, or both if it writes
//                 └───────────┴──────────┴────────────┴─────────► a clear refusal
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { ErrorCode } from '../errors.ts';
import type {
  Decided,
  Decider,
  IsolationWatch,
  RouteScope,
  Tap,
  TrafficObserver,
  TwinSampling,
  WriteLedger,
} from '../ports.ts';
import type { Decision, Side, Subject } from '../rules/decide.ts';
import { matchRoute } from '../rules/routes.ts';
import { isWrite } from '../wire/http-method.ts';
import { type Admission, admit } from './admission.ts';
import { ClientLink, type ConnectionUse, credentialsOf } from './affinity.ts';
import { afterReads } from './after-reads.ts';
import { answeredBy, discardRest, refuseRequest } from './answer.ts';
import { AnswerGuard } from './answer-guard.ts';
import { subjectInBody } from './body-subject.ts';
import type { Call } from './call.ts';
import { ClientAnswer } from './client-answer.ts';
import type { TrafficContext } from './context.ts';
import type { Counters } from './counters.ts';
import { DoubleWriter } from './double-write.ts';
import { withoutCodings } from './event-stream.ts';
import { type AnswerSink, type Exchange, exchange } from './exchange.ts';
import { BrokenOff, HeldBodies, type HeldBody, hasBody } from './held-body.ts';
import { HeldRoom } from './held-room.ts';
import { guardFacts } from './isolation-guard.ts';
import { type OpenStream, OpenStreams } from './open-streams.ts';
import { logRefusal, type RefusedRequest } from './refusal-log.ts';
import { idsOf, readRequest } from './request.ts';
import { Roll } from './roll.ts';
import type { RollbackRun } from './rollback-run.ts';
import type { ServiceConnection } from './service-connection.ts';
import { SharedConnections } from './shared-connections.ts';
import { ShownAnswers } from './shown-answers.ts';
import { fieldsToClient } from './shown-side.ts';
import type { RequestFacts } from './upstream.ts';
import { WritesUnderWay } from './writes-under-way.ts';

/** In a rollback the candidate has so long to finish the answers that it has begun: some are its last word on a write. */
const GRACE_MS = 2_000;
/** Whoever has a part in an answer hears of its end: a dozen where it is streamed, guarded, and shown to both. */
const MOST_LISTENERS = 20;
/** A longer body is not heard by the judge (`judge/tap.ts`), and need not be copied for that. */
const MOST_HEARD_BYTES = 65_536;
/** Clients are looked at for progress so often. */
const SWEEP_MS = 1_000;

export interface HttpLaneOptions {
  readonly context: () => TrafficContext;
  readonly decider: Decider;
  readonly observer: TrafficObserver;
  readonly isolation: IsolationWatch;
  readonly counters: Counters;
  readonly ledger: WriteLedger;
  readonly tap: Tap;
  readonly twins: TwinSampling;
  readonly logger: Logger;
  /** A connection to a service could not be had: nothing is left to make it of. */
  readonly onExhausted: () => void;
  /** Takes what no route names. */
  readonly unrouted: (incoming: IncomingMessage, response: ServerResponse) => void;
}

/** What was found out, and decided, about a request. */
interface Asked {
  readonly subject: Subject | null;
  readonly decision: Decision;
  readonly proof: string | null;
  readonly singleUse: boolean;
  readonly answer: ClientAnswer;
  /** Where it is for a stream of events. */
  readonly open: OpenStream | null;
}

interface Guarded {
  readonly subject: Subject | null;
  readonly decision: Decision;
  readonly sink: AnswerSink;
  /** The judge has a copy, as of now. */
  readonly compared: () => boolean;
  /** Nothing more comes of that answer; by default that is so once its client has left. */
  readonly over?: Promise<void>;
}

export class HttpLane {
  /** Streams of events that are open. */
  readonly streams: OpenStreams;
  readonly #options: HttpLaneOptions;
  readonly #writer: DoubleWriter;
  readonly #shown: ShownAnswers;
  readonly #bodies = new HeldBodies();
  readonly #writes = new WritesUnderWay();
  readonly #held = new HeldRoom();
  readonly #links = new WeakMap<Socket, ClientLink>();
  /** Connections to services; those who use them know which. */
  readonly #connections = new Roll<ServiceConnection>();
  readonly #shared = new SharedConnections(this.#connections);
  readonly #answers = new Roll<ClientAnswer>();
  #lastNumber = 0;
  readonly #sweeper: NodeJS.Timeout;

  constructor(options: HttpLaneOptions) {
    this.#options = options;
    this.streams = new OpenStreams(options);
    this.#writer = new DoubleWriter(options);
    this.#shown = new ShownAnswers(options, this.#connections);
    // Where the process itself stood still, what came meanwhile has not been read yet.
    this.#sweeper = setInterval(() => afterReads(() => this.#sweep(performance.now())), SWEEP_MS);
    this.#sweeper.unref();
  }

  /** Second writes that have no answer yet; a shutdown waits for them. */
  get writesUnderWay(): number {
    return this.#writer.underWay;
  }

  /** Bytes that are held: of requests whole, of answers to be compared. */
  get heldBytes(): { readonly requests: number; readonly answers: number } {
    return { requests: this.#bodies.bytes, answers: this.#shown.heldBytes + this.#held.bytes };
  }

  /** Serves one request. Every end of it is an answer or a cut connection. */
  async serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setMaxListeners(MOST_LISTENERS);
    try {
      await this.#serve(incoming, response);
    } catch (error) {
      if (error instanceof BrokenOff || (incoming.destroyed && !incoming.complete))
        return void response.destroy();
      const ids = idsOf(incoming);
      this.#options.logger.error({ ...ids, err: error }, 'a request could not be served');
      this.#refuse(response, 'internal', ids);
    }
  }

  /** What the candidate answers on those routes ends: streams behind an event, others have a time of grace. */
  rollBack(run: RollbackRun): void {
    const answers: ClientAnswer[] = [];
    this.#answers.each(answer => {
      if (answer.side === 'candidate' && run.routes.has(answer.route)) answers.push(answer);
    });
    for (const answer of answers) run.joinAnswer(answer);
    this.streams.rollBack(run);
    if (answers.some(answer => !answer.isCutShort)) {
      setTimeout(() => {
        for (const answer of answers)
          if (!answer.isCutShort && answer.rollbacks.includes(run)) answer.cutShort();
      }, GRACE_MS).unref();
    }
  }

  /** Those routes show the candidate nothing any more, copies of writes included. */
  sever(routes: RouteScope): void {
    this.#shown.sever(routes);
    this.#writer.sever('candidate', routes);
  }

  close(): void {
    clearInterval(this.#sweeper);
    this.streams.close();
    this.#shown.close();
    this.#shared.close();
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const context = this.#options.context();
    const request = readRequest(incoming, context);
    if (typeof request === 'string') return this.#refuse(response, request, idsOf(incoming));

    const route = matchRoute(context.routes, request.target.path, 'http');
    if (route === undefined) return this.#options.unrouted(incoming, response);
    this.#lastNumber += 1;
    const call = {
      incoming,
      response,
      context,
      request: route.protocol === 'sse' ? unpacked(request) : request,
      route,
      link: this.#linkOf(incoming.socket),
      // No X-Request-Id has a #. The rest leads from evidence to log.
      id: `${request.requestId}#${this.#lastNumber}`,
    };
    const admitted = await admit(context, request, incoming.url ?? '', call.link.identities);
    if (!admitted.ok) return this.#refuse(response, 'unauthorized', knownOf(call));
    await this.#dispatch(call, admitted);
  }

  /** Decides and sends. The body is held only where it is needed whole: to name the user, to go twice. */
  async #dispatch(
    call: Call,
    { subject: caller, proof, singleUse }: Extract<Admission, { ok: true }>,
  ): Promise<void> {
    const { incoming, route } = call;
    const writes = isWrite(incoming.method ?? '');
    const mayGoTwice = writes && route.writes === 'both';
    // Without a body it is about whoever sends it, and nothing is held.
    const pointer = hasBody(incoming) ? route.subject?.bodyPointer : undefined;
    const onStart = bodyAsker(call);
    const held =
      mayGoTwice || pointer !== undefined ? await this.#bodies.hold(incoming, onStart) : null;
    if (typeof held === 'string') return this.#refuse(call.response, held, knownOf(call));
    // A client that left meanwhile has told its end: nothing that began now would hear of it.
    if (call.response.destroyed) return held?.release();
    const bytes = held?.bytes ?? null;
    const subject: Subject | null = pointer === undefined ? caller : subjectInBody(bytes, pointer);
    // Asked once: whatever the flags do from here on, this request keeps its side.
    const decided = this.#options.decider(route, subject);
    const { decision } = decided;
    const answer = this.#answerTo(call, decided);
    const goesTwice = mayGoTwice && decision.writeTo === 'both';
    this.#options.counters.of(route.name, decision.primary).bytesToUpstream += bytes?.length ?? 0;
    if (writes) {
      const to = goesTwice && held !== null ? 'both' : 'primary';
      this.#options.ledger.begun(route.name, to);
    }
    const isShown = goesTwice || decision.second !== null;
    if (isShown || decision.overhear) this.#hear(call, subject, bytes, !isShown);
    const open =
      route.protocol === 'sse'
        ? this.streams.open(call.response, {
            ...{ id: call.id, route, subject, answer, isolation: decision.isolation },
          })
        : null;
    const asked = { subject, decision, proof, singleUse, answer, open };
    const sent =
      goesTwice && held !== null
        ? this.#writeTwice(call, asked, held, pointer === undefined ? null : subject)
        : this.#ask(call, asked, { held, onStart, isTooLarge: goesTwice });
    open?.stream.follow(sent);
    answer.follow(sent);
  }

  /** A write for both services, whose body is there. `about`: whom that names. Whoever sends it may do so for anybody. */
  #writeTwice(
    call: Call,
    { subject, decision, proof, answer, open }: Asked,
    held: HeldBody,
    about: Subject | null,
  ): Exchange {
    const { incoming, route, link } = call;
    const primary = this.#connection(call, proof, decision.primary, 'primary');
    const second = otherSide(decision);
    const answers = this.#shown.pair(call, subject, decision.primary, null);
    const compared = () => answers.isHanded(decision.primary);
    // It may last longer than its client, and the other service's copy has an account of its own.
    const { promise: done, resolve: over } = Promise.withResolvers<void>();
    const guarded = { subject, decision, sink: open?.stream ?? answer, compared, over: done };
    const sink = this.#guarded(call, guarded);
    void Promise.all([done, closeOf(call.response)]).then(held.release);
    void done.then(this.#writes.begin(link, subject));
    return this.#writer.write({
      ...{ route: route.name, primary, sink, answers, over },
      second: {
        side: second,
        connection: () =>
          this.#connection({ ...call, context: this.#options.context() }, proof, second, 'second'),
      },
      request: { method: incoming.method ?? 'GET', request: call.request, body: held.bytes },
      about,
      turns: link.secondWrites[second],
      secondOver: this.#writes.begin(link, subject),
    });
  }

  /** What one service answers; the other one may be shown it, but for a write. */
  #ask(
    call: Call,
    { subject, decision, proof, singleUse, answer, open }: Asked,
    {
      held,
      onStart,
      isTooLarge,
    }: {
      readonly held: HeldBody | null;
      readonly onStart: () => void;
      /** A write that was to go to both. */
      readonly isTooLarge: boolean;
    },
  ): Exchange {
    const { incoming, response, route, link } = call;
    const { primary } = decision;
    const connection = this.#connection(call, proof, primary, 'primary');
    if (held !== null) response.once('close', held.release);
    const body = held?.bytes ?? (hasBody(incoming) ? incoming : null);
    const isSafe = !isWrite(incoming.method ?? '') && body === null;
    // Nobody hears it until it is shown to the other service as well.
    let compared = () => false;
    const about = { subject, decision, sink: open?.stream ?? answer, compared: () => compared() };
    let sink = this.#guarded(call, about);
    // Taken is taken, whatever of its answer is withheld.
    const alone = isTooLarge ? this.#writer.tooLarge(route.name, primary, sink) : null;
    if (alone !== null) {
      response.once('close', alone.left);
      sink = alone.sink;
    }
    if (isSafe && decision.second !== null) {
      const reading = this.#writes.read(link, subject);
      const shown = { plan: decision.second, subject, singleUse, answer: sink, reading };
      const seen =
        open === null ? this.#shown.show(call, shown) : this.#shown.showStream(call, shown, open);
      sink = seen.answer;
      compared = seen.compared;
    } else if (isSafe && decision.overhear) {
      const seen =
        open === null
          ? this.#shown.overhear(call, subject, sink)
          : this.#shown.overhearStream(call, subject, sink, open);
      sink = seen.answer;
      compared = seen.compared;
    }
    const mayAskTwice = isSafe && open === null && primary === 'legacy' && !singleUse;
    if (mayAskTwice && this.#options.twins.take(route.name)) {
      sink = this.#shown.askTwice(call, subject, sink, this.#writes.read(link, subject));
    }
    const counters = this.#options.counters.of(route.name, primary);
    const request = { method: incoming.method ?? 'GET', request: call.request };
    const onBytes = (bytes: number): void => {
      counters.bytesToUpstream += bytes;
      alone?.onBytes(bytes);
    };
    const told = { onStart, onBytes, onSent: () => alone?.onSent() };
    return exchange(connection, { ...request, body, ...told }, sink);
  }

  /** What the client asks for: whoever is told may say it again, here or on another connection. */
  #hear(
    { request }: Call,
    subject: Subject | null,
    body: Buffer | null,
    isOverheard: boolean,
  ): void {
    const { path, query } = request.target;
    const { tap } = this.#options;
    const said = Buffer.from(`${path}${query} `);
    const isLong = body !== null && body.length > MOST_HEARD_BYTES;
    const text = body === null || isLong ? said : Buffer.concat([said, body]);
    tap.said(subject, text, isOverheard);
    if (isLong) tap.said(subject, null, isOverheard);
  }

  /** `sink`, with nobody else's data in it where the decision says so. */
  #guarded(
    { incoming, response, route, id }: Call,
    { subject, decision, sink, compared, over }: Guarded,
  ): AnswerSink {
    const about = { id, route, subject };
    const told = { watch: this.#options.isolation, compared };
    const facts = guardFacts(about, decision.primary, decision.isolation, told);
    if (facts === null) return sink;
    const guard = new AnswerGuard(sink, incoming.method ?? 'GET', facts, this.#held);
    if (over === undefined) response.once('close', () => guard.close());
    else void over.then(() => guard.close());
    return guard;
  }

  #connection(
    { context, request, route, link }: Call,
    proof: string | null,
    side: Side,
    use: ConnectionUse,
  ): ServiceConnection {
    const upstream = context.upstreams[side];
    const credentials = credentialsOf(request, context);
    // Without proof two people could show the same bytes: a cookie for a language, or nothing at all.
    return route.affinity === 'credential' && proof !== null
      ? this.#shared.take(upstream, proof, credentials)
      : link.connection(upstream, credentials, use);
  }

  #answerTo({ incoming, response, route, request, context }: Call, decided: Decided): ClientAnswer {
    const startedAt = performance.now();
    const { primary: side, reason } = decided.decision;
    const { requestId, traceparent } = request;
    const log = {
      ...{ requestId, traceparent, route: route.name, side, reason },
      flags: decided.revision,
    };
    const lane = this.#options.counters.of(route.name, side);
    const answer = new ClientAnswer({
      ...{ route: route.name, side },
      response,
      counters: lane,
      fields: (status, headers) => fieldsToClient({ status, headers }, context, side),
      onFailure: (code, detail) => {
        this.#refuse(response, code, { ...log, detail });
      },
      onBrokenOff: (code, detail) => {
        this.#options.logger.warn({ ...log, code, detail }, 'an answer broke off');
        this.#options.observer.failed(route.name, side, code);
      },
    });
    this.#answers.add(answer);
    discardRest(incoming, response);
    lane.answersOpen += 1;
    if (route.protocol === 'sse') lane.streamsOpen += 1;
    response.on('close', () => {
      this.#answers.delete(answer);
      lane.answersOpen -= 1;
      if (route.protocol === 'sse') lane.streamsOpen -= 1;
      const durationMs = performance.now() - startedAt;
      // A client may leave before there is an answer.
      const status = response.headersSent ? response.statusCode : null;
      this.#options.logger.debug({ ...log, status, durationMs }, 'request ended');
      if (status === null) return;
      lane.requests += 1;
      const by = answeredBy(response);
      this.#options.observer.requestDone(route.name, side, status, durationMs, by);
    });
    return answer;
  }

  #linkOf(socket: Socket): ClientLink {
    let link = this.#links.get(socket);
    if (link === undefined) {
      const fresh = new ClientLink(this.#connections);
      this.#links.set(socket, fresh);
      socket.once('close', () => fresh.close());
      link = fresh;
    }
    return link;
  }

  #refuse(response: ServerResponse, code: ErrorCode, about: RefusedRequest): void {
    this.#options.observer.failed(about.route ?? 'none', about.side ?? 'none', code);
    logRefusal(this.#options.logger, 'a request was refused', code, about);
    if (code === 'exhausted') this.#options.onExhausted();
    refuseRequest(response, code);
  }

  #sweep(nowMs: number): void {
    const { stallMs } = this.#options.context().limits;
    this.#answers.each(answer => answer.sweep(nowMs, stallMs));
    this.streams.sweep(nowMs);
    this.#connections.each(connection => connection.sweep(nowMs));
    this.#shown.sweep();
  }
}

function unpacked(request: RequestFacts): RequestFacts {
  return { ...request, headers: withoutCodings(request.headers) };
}

/** Of a request for which nothing is decided yet. */
function knownOf({ request: { requestId, traceparent }, route }: Call): RefusedRequest {
  return { requestId, traceparent, route: route.name };
}

function otherSide({ primary }: Decision): Side {
  return primary === 'legacy' ? 'candidate' : 'legacy';
}

function closeOf(response: ServerResponse): Promise<void> {
  return new Promise(resolve => response.once('close', resolve));
}

/**
 * Says 100, once, when the body is about to be read (RFC 9110 10.1.1): where it streams, that is when
 * the service has taken the connection; where it is held, at once.
 */
function bodyAsker({ incoming, response }: Call): () => void {
  let isDue = incoming.headers.expect !== undefined && incoming.httpVersion === '1.1';
  return () => {
    if (isDue) response.writeContinue();
    isDue = false;
  };
}
