// What an answer of HTTP is held against: what the other service says to the same request, or legacy once more.
import type { AnswerSample, RouteScope, Tap, TrafficObserver, TwinSampling } from '../ports.ts';
import type { SecondLeg, Side, Subject } from '../rules/decide.ts';
import { fieldValues, without } from '../wire/headers.ts';
import { credentialsOf } from './affinity.ts';
import { NOBODY, streaming, throwingAway } from './answer-sample.ts';
import type { Call } from './call.ts';
import type { Counters } from './counters.ts';
import type { AnswerSink } from './exchange.ts';
import { HeldBack } from './held-back.ts';
import { isolationOf, mayBeAnothers } from './isolation-guard.ts';
import type { OpenStream } from './open-streams.ts';
import { ReadingOn } from './reading-on.ts';
import type { Roll } from './roll.ts';
import { SamplePair, SampleRoom } from './sample-pair.ts';
import type { ServiceConnection } from './service-connection.ts';
import { type SentShadow, type ShadowRequest, ShadowRequests } from './shadow-requests.ts';
import type { RequestFacts, Upstream } from './upstream.ts';
import type { Reading } from './writes-under-way.ts';

/** Of answers that are heard and not compared, which must not take the room of those that are. */
const MOST_OVERHEARD_BYTES = 16 * 1_048_576;
/** Streams of legacy's twin at a time; a sample needs no more. */
const MOST_TWIN_STREAMS = 200;

export interface ShownAnswersOptions {
  readonly tap: Tap;
  readonly twins: TwinSampling;
  readonly observer: TrafficObserver;
  readonly counters: Counters;
}

export interface Shown {
  readonly plan: SecondLeg;
  readonly subject: Subject | null;
  readonly singleUse: boolean;
  /** Where the primary's answer goes. */
  readonly answer: AnswerSink;
  /** Beside his writes: one service may be answered before what the other one has, or is about to have. */
  readonly reading: Reading;
}

/** Where the primary's answer goes now, and whether the judge has a copy of it, as of now. */
export interface Seen {
  readonly answer: AnswerSink;
  readonly compared: () => boolean;
}

export class ShownAnswers {
  readonly #options: ShownAnswersOptions;
  readonly #shadows: ShadowRequests;
  readonly #samples = new SampleRoom();
  readonly #overheard = new SampleRoom(MOST_OVERHEARD_BYTES);
  /** Second streams whose client has left, or has had its own to the end. */
  readonly #readingOn = new ReadingOn();
  /** Of legacy's twin: what ends each, and its route. */
  readonly #twinStreams = new Map<() => void, string>();

  /** `connections` has those to services, whoever opens them. */
  constructor(options: ShownAnswersOptions, connections: Roll<ServiceConnection>) {
    this.#options = options;
    this.#shadows = new ShadowRequests(options.observer, connections);
  }

  /** Of answers that wait to be compared, or to be heard to their end. */
  get heldBytes(): number {
    return this.#samples.bytes + this.#overheard.bytes;
  }

  /** Those routes show the candidate nothing any more. */
  sever(routes: RouteScope): void {
    this.#readingOn.sever('candidate', routes);
    this.#shadows.sever('candidate', routes);
  }

  /** Nobody is heard any more without a client. */
  close(): void {
    this.#readingOn.end();
  }

  sweep(): void {
    this.#shadows.sweep();
    this.#readingOn.sweep(performance.now());
    for (const [leave, route] of this.#twinStreams) if (!this.#options.twins.isOn(route)) leave();
  }

  /** Both answers to one request, whoever asks for them. `reading`: null for a write. */
  pair(
    { incoming, request, route, id }: Call,
    subject: Subject | null,
    primary: Side,
    reading: Reading | null,
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
      both: samples => {
        const asksForLess = LESS.some(name => fieldValues(request.headers, name).length > 0);
        const isBesideWrite = reading?.isBesideWrite === true;
        const how = { isWrite: reading === null, asksForLess, isBesideWrite };
        tap.exchange({ ...facts, ...how, ...samples });
      },
      alone: (side, sample) => {
        tap.unpaired(route.name, side);
        if (side !== primary) handOver(side, sample);
      },
      over: () => reading?.over(),
    });
  }

  /** Shows a request to the other service as well. */
  show(call: Call, shown: Shown): Seen {
    const { response, route } = call;
    const { plan, subject, answer, reading } = shown;
    const { tap } = this.#options;
    const primary = otherSide(plan.side);
    const pair = this.pair(call, subject, primary, reading);
    const shadow = this.#sendSecond(call, shown, {
      isStream: false,
      unwanted: () => pair.found(plan.side, 'none'),
      sink: pair.sampling(NOBODY, plan.side),
    });
    if (shadow === null) {
      reading.over();
      tap.unpaired(route.name, primary);
      return primary === 'legacy'
        ? this.overhear(call, subject, answer)
        : { answer, compared: () => false };
    }
    // A client that leaves takes its answer with it; what was shown of it stands alone.
    response.once('close', () => pair.found(primary, 'none'));
    return { answer: pair.sampling(answer, primary), compared: () => pair.isHanded(primary) };
  }

  /**
   * As `show`, of a request for a stream of events, which lasts as long as its client and is heard until nothing of
   * his waits for it; any other answer is compared as all are, even if nobody waits for it.
   */
  showStream(call: Call, shown: Shown, open: OpenStream): Seen {
    const { response, route, id } = call;
    const { plan, subject, singleUse, answer, reading } = shown;
    const { tap, counters } = this.#options;
    const primary = otherSide(plan.side);
    const pair = this.pair(call, subject, primary, reading);
    const stream = tap.stream({ route: route.name, id, format: 'sse', subject, primary });
    const heldBack = new HeldBack(stream);
    const lane = counters.of(route.name, plan.side);
    // What the client gets is no stream of events, unless it begins as one.
    let isPlain = true;
    let hasLeft = false;
    let isSecondHeard = false;
    let primaryBytes = 0;
    const leave = (): void => {
      shadow?.abort();
      stream.close();
      pair.found(plan.side, 'none');
    };
    const lone = { route: route.name, side: plan.side, leave, sweepLone: () => undefined };
    const watched = (sink: AnswerSink, side: Side, plain: AnswerSink): AnswerSink => {
      const begun = (sample: AnswerSample): void => {
        if (side === primary) isPlain = false;
        else isSecondHeard = true;
        pair.found(side, sample);
        if (hasLeft) leave();
      };
      const onBytes = (bytes: number): void => {
        if (side === primary) primaryBytes += bytes;
      };
      return streaming(sink, { tap: stream, side, plain, begun, onBytes, heldBack });
    };
    const plain = pair.sampling(NOBODY, plan.side);
    const shadow = this.#sendSecond(call, shown, {
      isStream: true,
      unwanted: () => pair.found(plan.side, 'none'),
      onOver: () => {
        lane.secondLegsOpen -= 1;
        isSecondHeard = false;
        this.#readingOn.delete(lone);
        // How it ended is told in this turn.
        if (hasLeft) queueMicrotask(() => stream.close());
      },
      primaryBytes: () => primaryBytes,
      sink: watched(throwingAway(heldBack), plan.side, plain),
    });
    if (!singleUse) this.#standTwinBeside(call, subject, () => primaryBytes);
    if (shadow !== null) {
      lane.secondLegsOpen += 1;
      open.second = { side: plan.side, unwanted: shadow.unwanted };
    }
    response.on('drain', () => {
      heldBack.end();
      shadow?.resume();
    });
    response.once('close', () => {
      heldBack.end();
      hasLeft = true;
      stream.legClosed(primary, 'left');
      if (!isPlain && isSecondHeard && this.#readingOn.add(lone)) {
        shadow?.resume();
        stream.onceSettled(leave);
        return pair.found(primary, 'none');
      }
      const isDue = shadow !== null && isPlain && pair.waitsFor(plan.side);
      if (!isDue) leave();
      pair.found(primary, 'none');
    });
    return {
      answer: watched(answer, primary, pair.sampling(answer, primary)),
      compared: () => (isPlain ? pair.isHanded(primary) : stream.hears(primary)),
    };
  }

  /** Legacy's answer to somebody of whom nothing is compared says whose data is whose. */
  overhear(call: Call, subject: Subject | null, answer: AnswerSink): Seen {
    if (subject === null) return { answer, compared: () => false };
    const { incoming, response, route, id } = call;
    const { tap } = this.#options;
    const method = incoming.method ?? 'GET';
    const facts = { ...{ route: route.name, id, subject, method }, primary: 'legacy' as const };
    const pair = new SamplePair({
      room: this.#overheard,
      search: () => tap.markersAt(subject),
      each: (_side, sample) => tap.overhearAnswer(facts, sample),
      both: () => undefined,
      alone: () => undefined,
      over: () => undefined,
    });
    pair.found('candidate', 'none');
    response.once('close', () => pair.found('legacy', 'none'));
    return { answer: pair.sampling(answer, 'legacy'), compared: () => pair.isHanded('legacy') };
  }

  /** The same of an event stream, or of whatever else comes in its place. */
  overhearStream(call: Call, subject: Subject | null, answer: AnswerSink, open: OpenStream): Seen {
    const { response, route, id } = call;
    const facts = { route: route.name, id, format: 'sse', subject, primary: 'legacy' } as const;
    const ear = this.#options.tap.overhear(facts);
    if (ear === null) return { answer, compared: () => false };
    open.ear = ear;
    const plain = this.overhear(call, subject, answer);
    let isPlain = true;
    response.once('close', () => ear.close());
    const begun = (): void => {
      isPlain = false;
    };
    return {
      answer: streaming(answer, {
        ...{ tap: ear, side: 'legacy', plain: plain.answer },
        ...{ begun, onBytes: () => undefined },
      }),
      compared: () => (isPlain ? plain.compared() : ear.hears('legacy')),
    };
  }

  /** Asks legacy the same once more, to learn how it differs from itself. Returns where its first answer goes. */
  askTwice(call: Call, subject: Subject | null, answer: AnswerSink, reading: Reading): AnswerSink {
    const { incoming, response, context, request, route, id } = call;
    const method = incoming.method ?? 'GET';
    const pair = new SamplePair({
      room: this.#samples,
      search: () => null,
      each: () => false,
      both: samples => {
        // What a write changes in between is no noise.
        if (reading.isBesideWrite) return;
        this.#options.tap.twins({
          ...{ route: route.name, id, subject, isWrite: false, method },
          ...{ primary: 'legacy', ...samples },
        });
      },
      // Of a sample nothing is missing.
      alone: () => undefined,
      over: reading.over,
    });
    const sent = this.#send(call, request, context.upstreams.legacy, {
      ...{ plan: OF_LEGACY, singleUse: false, isStream: false },
      unwanted: () => pair.found('candidate', 'none'),
      sink: pair.sampling(NOBODY, 'candidate'),
    });
    if (sent === null) {
      reading.over();
      return answer;
    }
    response.once('close', () => pair.found('legacy', 'none'));
    return pair.sampling(answer, 'legacy');
  }

  /** Where somebody measures how legacy differs from itself, and there is a twin of it: its stream as well. */
  #standTwinBeside(call: Call, subject: Subject | null, primaryBytes: () => number): void {
    const { response, context, request, route, id } = call;
    const { twins, tap } = this.#options;
    if (context.twin === null || this.#twinStreams.size >= MOST_TWIN_STREAMS) return;
    if (!twins.take(route.name)) return;
    const stream = tap.stream({
      ...{ route: route.name, id, format: 'sse', subject, isTwin: true },
    });
    const sent = this.#send(call, request, context.twin, {
      ...{ plan: OF_LEGACY, singleUse: false, isStream: true, primaryBytes },
      unwanted: () => undefined,
      sink: streaming(NOBODY, {
        ...{ tap: stream, side: 'candidate', plain: NOBODY },
        ...{ begun: () => undefined, onBytes: () => undefined },
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

  #sendSecond(
    call: Call,
    { plan, subject, singleUse }: Shown,
    how: Pick<ShadowRequest, 'isStream' | 'unwanted' | 'onOver' | 'primaryBytes' | 'sink'>,
  ): SentShadow | null {
    const { request, context } = call;
    const asked = plan.side === 'legacy' && subject !== null ? asWhole(request) : request;
    return this.#send(call, asked, context.upstreams[plan.side], { plan, singleUse, ...how });
  }

  #send(
    { incoming, context, route, link, request: own }: Call,
    request: RequestFacts,
    upstream: Upstream,
    how: Omit<ShadowRequest, 'route' | 'link' | 'request' | 'upstream' | 'credentials' | 'method'>,
  ): SentShadow | null {
    return this.#shadows.send({
      ...{ route: route.name, link, request, upstream },
      credentials: credentialsOf(own, context),
      method: incoming.method ?? 'GET',
      ...how,
    });
  }
}

const OF_LEGACY: SecondLeg = { side: 'legacy', role: 'shadow' };

function otherSide(side: Side): Side {
  return side === 'legacy' ? 'candidate' : 'legacy';
}

/** What a client has of an answer is not to keep its service from saying it (RFC 9110 13.1). */
const VALIDATORS: ReadonlySet<string> = new Set(['if-none-match', 'if-modified-since']);
/** By these a client asks for less than all. */
const LESS = [...VALIDATORS, 'range', 'if-range'];

/**
 * Whose data the candidate sends somebody is held against what legacy would: by a 304 legacy would say nothing, and
 * either a leak would stay unseen, or what both send would look like one.
 */
function asWhole(request: RequestFacts): RequestFacts {
  return { ...request, headers: without(request.headers, VALIDATORS) };
}
