// The lane of HTTP, streams of events included: from a client's request to a service's answer.
//
//   request ─► readable? ─► route ─► who is it? ─► decision ─► one service, or both if it writes
//                 └───────────┴──────────┴────────────┴─────────► a clear refusal
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { RouteConfig } from '../config/schema.ts';
import type { ErrorCode } from '../errors.ts';
import type {
  AnswerSample,
  Decided,
  Decider,
  IsolationWatch,
  RouteScope,
  Tap,
  TrafficObserver,
  TwinSampling,
  WriteLedger,
} from '../ports.ts';
import type { Decision, SecondLeg, Side, Subject } from '../rules/decide.ts';
import { matchRoute } from '../rules/routes.ts';
import { without } from '../wire/headers.ts';
import { isWrite } from '../wire/http-method.ts';
import { type Admission, admit } from './admission.ts';
import { ClientLink, type ConnectionUse, credentialsOf } from './affinity.ts';
import { afterReads } from './after-reads.ts';
import { discardRest, refuseRequest } from './answer.ts';
import { AnswerGuard } from './answer-guard.ts';
import { NOBODY, streaming, throwingAway } from './answer-sample.ts';
import { subjectInBody } from './body-subject.ts';
import { ClientAnswer } from './client-answer.ts';
import type { TrafficContext } from './context.ts';
import type { Counters } from './counters.ts';
import { DoubleWriter } from './double-write.ts';
import { withoutCodings } from './event-stream.ts';
import { type AnswerSink, exchange } from './exchange.ts';
import { HeldBack } from './held-back.ts';
import { HeldBodies, hasBody } from './held-body.ts';
import { HeldRoom } from './held-room.ts';
import { guardFacts, isolationOf, mayBeAnothers } from './isolation-guard.ts';
import { type OpenStream, OpenStreams } from './open-streams.ts';
import { logRefusal, type RefusedRequest } from './refusal-log.ts';
import { idsOf, readRequest } from './request.ts';
import { Roll } from './roll.ts';
import type { RollbackRun } from './rollback-run.ts';
import { SamplePair, SampleRoom } from './sample-pair.ts';
import { SecondWrites } from './second-writes.ts';
import type { ServiceConnection } from './service-connection.ts';
import { ShadowRequests } from './shadow-requests.ts';
import { SharedConnections } from './shared-connections.ts';
import { fieldsToClient } from './shown-side.ts';
import type { RequestFacts } from './upstream.ts';

/** In a rollback the candidate has so long to finish the answers that it has begun: some are its last word on a write. */
const GRACE_MS = 2_000;
/** Whoever has a part in an answer hears of its end: a dozen where it is streamed, guarded, and shown to both. */
const MOST_LISTENERS = 20;
/** Streams of legacy's twin at a time; a sample needs no more. */
const MOST_TWIN_STREAMS = 200;

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

/** One request, with what is known of it. */
interface Call {
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  readonly context: TrafficContext;
  readonly request: RequestFacts;
  readonly route: RouteConfig;
  readonly link: ClientLink;
  /**
   * What judge and guard know it by. Not its `X-Request-Id`: two users may send the same, and one would be judged
   * by what the other was sent.
   */
  readonly id: string;
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
  readonly #shadows: ShadowRequests;
  readonly #bodies = new HeldBodies();
  readonly #secondWrites = new SecondWrites();
  readonly #samples = new SampleRoom();
  readonly #held = new HeldRoom();
  readonly #links = new WeakMap<Socket, ClientLink>();
  /** Connections to services; those who use them know which. */
  readonly #connections = new Roll<ServiceConnection>();
  readonly #shared = new SharedConnections(this.#connections);
  readonly #answers = new Roll<ClientAnswer>();
  /** Of legacy's twin: what ends each, and its route. */
  readonly #twinStreams = new Map<() => void, string>();
  #lastNumber = 0;
  readonly #sweeper: NodeJS.Timeout;

  constructor(options: HttpLaneOptions) {
    this.#options = options;
    this.streams = new OpenStreams(options);
    this.#writer = new DoubleWriter(options);
    this.#shadows = new ShadowRequests(options.observer, this.#connections);
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
    return { requests: this.#bodies.bytes, answers: this.#samples.bytes + this.#held.bytes };
  }

  /** Serves one request. Every end of it is an answer or a cut connection. */
  async serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setMaxListeners(MOST_LISTENERS);
    try {
      await this.#serve(incoming, response);
    } catch (error) {
      if (response.destroyed || (incoming.destroyed && !incoming.complete))
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
    this.#shadows.sever('candidate', routes);
    this.#writer.sever('candidate', routes);
  }

  close(): void {
    clearInterval(this.#sweeper);
    this.streams.close();
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
    const primary = this.#connection(call, proof, decision.primary, 'primary');
    const request = { method: incoming.method ?? 'GET', request: call.request };
    const goesTwice = mayGoTwice && decision.writeTo === 'both';
    const lane = this.#options.counters.of(route.name, decision.primary);
    lane.bytesToUpstream += bytes?.length ?? 0;
    if (writes) {
      const to = goesTwice && held !== null ? 'both' : 'primary';
      this.#options.ledger.begun(route.name, to);
    }
    if (goesTwice || decision.second !== null) this.#hear(call, subject, bytes);
    const open =
      route.protocol === 'sse'
        ? this.streams.open(call.response, {
            ...{ id: call.id, route, subject, answer, isolation: decision.isolation },
          })
        : null;
    const stream = open?.stream ?? null;
    if (goesTwice && held !== null) {
      const second = this.#connection(call, proof, otherSide(decision), 'second');
      const whole = { ...request, body: held.bytes };
      const answers = this.#comparing(call, subject, decision.primary, true);
      const compared = () => answers.isHanded(decision.primary);
      // It may last longer than its client, and the other service's copy has an account of its own.
      const { promise: done, resolve: over } = Promise.withResolvers<void>();
      const sink = this.#guarded(call, {
        subject,
        decision,
        sink: stream ?? answer,
        compared,
        over: done,
      });
      const turns = call.link.secondWrites[second.upstream.side];
      const double = { route: route.name, primary, second, turns, sink, request: whole };
      const secondOver = this.#secondWrites.begin(call.link, subject);
      const written = this.#writer.write({ ...double, answers, over, secondOver });
      stream?.follow(written);
      answer.follow(written);
      return void Promise.all([done, closeOf(call.response)]).then(held.release);
    }
    if (held !== null) call.response.once('close', held.release);
    const body = bytes ?? (hasBody(incoming) ? incoming : null);
    const plan = writes || body !== null ? null : decision.second;
    // Nobody hears it until it is shown to the other service as well.
    let compared = () => false;
    const about = { subject, decision, sink: stream ?? answer, compared: () => compared() };
    const guarded = this.#guarded(call, about);
    // Taken is taken, whatever of its answer is withheld.
    const toClient = goesTwice
      ? this.#writer.tooLarge(route.name, decision.primary, guarded)
      : guarded;
    let seen = toClient;
    if (plan !== null) {
      const shown = this.#show(call, { plan, subject, singleUse, answer: toClient, open });
      seen = shown.answer;
      compared = shown.compared;
    }
    const mayAskTwice =
      !writes && body === null && stream === null && decision.primary === 'legacy' && !singleUse;
    const sink =
      mayAskTwice && this.#options.twins.take(route.name)
        ? this.#askTwice(call, subject, seen)
        : seen;
    const sent = exchange(primary, { ...request, body, onStart, counters: lane }, sink);
    stream?.follow(sent);
    answer.follow(sent);
  }

  /** What the client asks for: both services may say it again, here or on another connection. */
  #hear({ request }: Call, subject: Subject | null, body: Buffer | null): void {
    const { path, query } = request.target;
    const { tap } = this.#options;
    const said = Buffer.from(`${path}${query} `);
    const isLong = body !== null && body.length > MOST_HEARD_BYTES;
    tap.said(subject, body === null || isLong ? said : Buffer.concat([said, body]));
    if (isLong) tap.said(subject, null);
  }

  /** Shows a request to the other service as well. Returns where the primary's answer goes, and if the judge hears it. */
  #show(
    call: Call,
    shown: {
      readonly plan: SecondLeg;
      readonly subject: Subject | null;
      readonly singleUse: boolean;
      readonly answer: AnswerSink;
      /** Where it is a stream of events. */
      readonly open: OpenStream | null;
    },
  ): { readonly answer: AnswerSink; readonly compared: () => boolean } {
    const { incoming, response, context, request, route, link, id } = call;
    const { plan, subject, singleUse, answer, open } = shown;
    const primary: Side = plan.side === 'legacy' ? 'candidate' : 'legacy';
    const pair = this.#comparing(call, subject, primary, false);
    const stream =
      route.protocol === 'sse'
        ? this.#options.tap.stream({
            ...{ route: route.name, id, format: 'sse', subject, primary },
          })
        : null;
    const heldBack = stream === null ? null : new HeldBack(stream);
    // What the client gets is no stream of events, unless it begins as one.
    let isPlain = true;
    let hasLeft = false;
    const watched = (sink: AnswerSink, side: Side, plain: AnswerSink): AnswerSink => {
      if (stream === null) return plain;
      const begun = (sample: AnswerSample): void => {
        if (side === primary) isPlain = false;
        pair.found(side, sample);
        if (hasLeft) leave();
      };
      return streaming(sink, { tap: stream, side, plain, begun, heldBack });
    };
    const leave = (): void => {
      shadow?.abort();
      stream?.close();
      pair.found(plan.side, 'none');
    };
    const lane = this.#options.counters.of(route.name, plan.side);
    // It would overtake a write, and read what that is about to change; a stream goes on, and comes to it.
    const overtakes = this.#secondWrites.isAhead(link, subject);
    const isBusy = overtakes && stream === null;
    if (isBusy) this.#options.observer.secondLegEnded(route.name, plan.side, plan.role, 'busy');
    const shadow = isBusy
      ? null
      : this.#shadows.send({
          ...{ route: route.name, plan, link, singleUse },
          request: plan.side === 'legacy' && subject !== null ? asWhole(request) : request,
          upstream: context.upstreams[plan.side],
          credentials: credentialsOf(request, context),
          method: incoming.method ?? 'GET',
          isStream: stream !== null,
          unwanted: () => pair.found(plan.side, 'none'),
          onOver: () => {
            if (stream !== null) lane.secondLegsOpen -= 1;
            if (hasLeft) stream?.close();
          },
          sink: watched(
            heldBack === null ? NOBODY : throwingAway(heldBack),
            plan.side,
            overtakes ? NOBODY : pair.sampling(NOBODY, plan.side),
          ),
        });
    if (stream !== null) {
      if (!singleUse) this.#standTwinBeside(call, subject);
      if (shadow !== null) lane.secondLegsOpen += 1;
      if (open !== null) open.second = shadow && { side: plan.side, unwanted: shadow.unwanted };
      response.on('drain', () => {
        heldBack?.end();
        shadow?.resume();
      });
      // A stream lasts as long as its client; a plain answer is compared even if nobody waits for it.
      response.once('close', () => {
        heldBack?.end();
        hasLeft = true;
        const isDue = shadow !== null && isPlain && !overtakes && pair.waitsFor(plan.side);
        if (!isDue) leave();
      });
    }
    // A client that leaves takes its answer with it; what was shown of it stands alone.
    response.once('close', () => pair.found(primary, 'none'));
    if (shadow === null && stream === null) {
      this.#options.tap.unpaired(route.name, primary);
      return { answer, compared: () => false };
    }
    const compared = () =>
      stream === null || isPlain ? pair.isHanded(primary) : stream.hears(primary);
    return { answer: watched(answer, primary, pair.sampling(answer, primary)), compared };
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

  /** Where somebody measures how legacy differs from itself, and there is a twin of it: its stream as well. */
  #standTwinBeside(call: Call, subject: Subject | null): void {
    const { incoming, response, context, request, route, link, id } = call;
    const { twins, tap } = this.#options;
    if (context.twin === null || this.#twinStreams.size >= MOST_TWIN_STREAMS) return;
    if (!twins.take(route.name)) return;
    const stream = tap.stream({
      ...{ route: route.name, id, format: 'sse', subject, isTwin: true },
    });
    const sent = this.#shadows.send({
      ...{ route: route.name, link, request, singleUse: false, isStream: true },
      plan: { side: 'legacy', role: 'shadow' },
      upstream: context.twin,
      credentials: credentialsOf(request, context),
      method: incoming.method ?? 'GET',
      unwanted: () => undefined,
      sink: streaming(NOBODY, {
        ...{ tap: stream, side: 'candidate', plain: NOBODY, begun: () => undefined },
      }),
    });
    if (sent === null) return stream.close();
    const leave = (): void => {
      this.#twinStreams.delete(leave);
      response.off('close', leave);
      sent.abort();
      stream.close();
    };
    this.#twinStreams.set(leave, route.name);
    response.once('close', leave);
  }

  /** Asks legacy the same once more, to learn how it differs from itself. Returns where its first answer goes. */
  #askTwice(call: Call, subject: Subject | null, answer: AnswerSink): AnswerSink {
    const { incoming, response, context, request, route, link, id } = call;
    const method = incoming.method ?? 'GET';
    const pair = new SamplePair({
      room: this.#samples,
      search: () => null,
      each: () => false,
      both: samples =>
        this.#options.tap.twins({
          ...{ route: route.name, id, subject, isWrite: false, method },
          ...{ primary: 'legacy', ...samples },
        }),
      // Of a sample nothing is missing.
      alone: () => undefined,
    });
    const sent = this.#shadows.send({
      ...{ route: route.name, link, request, method, singleUse: false, isStream: false },
      plan: { side: 'legacy', role: 'shadow' },
      upstream: context.upstreams.legacy,
      credentials: credentialsOf(request, context),
      unwanted: () => pair.found('candidate', 'none'),
      sink: pair.sampling(NOBODY, 'candidate'),
    });
    if (sent === null) return answer;
    response.once('close', () => pair.found('legacy', 'none'));
    return pair.sampling(answer, 'legacy');
  }

  #comparing(
    { incoming, route, id }: Call,
    subject: Subject | null,
    primary: Side,
    isWrite: boolean,
  ): SamplePair {
    const { tap } = this.#options;
    const facts = {
      ...{ route: route.name, id, subject },
      ...{ method: incoming.method ?? 'GET', primary },
    };
    const isolation = isolationOf(route);
    const handOver = (side: Side, sample: AnswerSample) =>
      subject !== null &&
      mayBeAnothers(isolation, subject, sample) &&
      tap.answered(facts, side, sample);
    return new SamplePair({
      room: this.#samples,
      search: () => tap.markersAt(subject),
      // The client has it: that is not to wait for the other one.
      each: (side, sample) => side === primary && handOver(side, sample),
      both: samples => tap.exchange({ ...facts, isWrite, ...samples }),
      alone: (side, sample) => {
        tap.unpaired(route.name, side);
        if (side !== primary) handOver(side, sample);
      },
    });
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
      this.#options.observer.requestDone(route.name, side, status, durationMs);
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
    for (const [leave, route] of this.#twinStreams) if (!this.#options.twins.isOn(route)) leave();
  }
}

function unpacked(request: RequestFacts): RequestFacts {
  return { ...request, headers: withoutCodings(request.headers) };
}

/** What a client has of an answer is not to keep its service from saying it (RFC 9110 13.1). */
const VALIDATORS: ReadonlySet<string> = new Set(['if-none-match', 'if-modified-since']);

/**
 * Whose data the candidate sends somebody is held against what legacy would: by a 304 legacy would say nothing, and
 * either a leak would stay unseen, or what both send would look like one.
 */
function asWhole(request: RequestFacts): RequestFacts {
  return { ...request, headers: without(request.headers, VALIDATORS) };
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
