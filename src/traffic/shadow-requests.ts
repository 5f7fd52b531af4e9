// Requests that the other service is shown too: its answers are compared and thrown away, and nobody
// waits for them.
import type { RouteScope, TrafficObserver } from '../ports.ts';
import type { SecondLeg as Plan, Side } from '../rules/decide.ts';
import type { SecondLegEnd } from '../rules/second-leg-end.ts';
import { ClientLink } from './affinity.ts';
import { isEventStream } from './answer-sample.ts';
import { Breaker } from './breaker.ts';
import { type AnswerSink, type Exchange, exchange } from './exchange.ts';
import { Flood } from './flood.ts';
import { Patience } from './patience.ts';
import { type Member, Roll } from './roll.ts';
import type { ServiceConnection } from './service-connection.ts';
import type { RequestFacts, Upstream } from './upstream.ts';

/**
 * Under way in the process. Beyond 500 a slow service loses its copies of requests; streams last as long
 * as their clients, so each client's has a place; a standby loses none while memory lasts.
 */
const MOST_UNDER_WAY = { request: 500, stream: 10_000, standby: 10_000 };
type Kind = keyof typeof MOST_UNDER_WAY;
/** More of a shadow's answer is not read: it is not compared anyway (`sample-pair.ts`). */
const MOST_ANSWER_BYTES = 16 * 1_048_576;
/** HTTP shadows are marked, so that a service can tell them from a client's own (its statistics, its mails). */
const MARK = ['X-Cutover-Role', 'shadow'] as const;

export interface ShadowRequest {
  readonly route: string;
  readonly plan: Plan;
  readonly upstream: Upstream;
  /** What the client's own connection to the proxy stands for; its shadows share no other's. */
  readonly link: ClientLink;
  readonly credentials: string;
  readonly method: string;
  readonly request: RequestFacts;
  readonly singleUse: boolean;
  /** A stream of events is due, which lasts as long as its client, at any length; another answer does not. */
  readonly isStream: boolean;
  /** Bytes that the client's own stream has brought so far: a shadow's are held against them. None of an answer. */
  readonly primaryBytes?: () => number;
  readonly sink: AnswerSink;
  /** Told where it is given up since that side is shown nothing any more; the sink of a request hears nothing then. */
  readonly unwanted: () => void;
  /** Told once it is under way no more, however that came. */
  readonly onOver?: () => void;
}

/** One that is under way: `abort` gives it up with its client, and the sink hears nothing. */
export interface SentShadow extends Exchange {
  /** That side is shown nothing any more. */
  unwanted(): void;
}

/** A client connection's own connection for shadows, used for one at a time. */
interface Lane {
  readonly link: ClientLink;
  busy: boolean;
}

interface Sent extends Member {
  readonly route: string;
  readonly side: Side;
  readonly unwanted: () => void;
  readonly sweep: () => void;
}

export class ShadowRequests {
  /** Of shadows alone: a standby is asked whether or not it has failed before. */
  readonly #breakers: Readonly<Record<Side, Breaker>> = {
    legacy: new Breaker(),
    candidate: new Breaker(),
  };
  readonly #lanes = new WeakMap<ClientLink, Lane>();
  readonly #observer: TrafficObserver;
  readonly #roll: Roll<ServiceConnection>;
  readonly #underWay: Record<Kind, number> = { request: 0, stream: 0, standby: 0 };
  readonly #sent = new Roll<Sent>();

  constructor(observer: TrafficObserver, roll: Roll<ServiceConnection>) {
    this.#observer = observer;
    this.#roll = roll;
  }

  /** Nothing of those routes goes to that side any more: what is under way is given up. */
  sever(side: Side, routes: RouteScope): void {
    const those: Sent[] = [];
    this.#sent.each(sent => {
      if (sent.side === side && routes.has(sent.route)) those.push(sent);
    });
    for (const { unwanted } of those) unwanted();
  }

  /** To be called once a second: streams of a shadow that floods are broken off. */
  sweep(): void {
    this.#sent.each(({ sweep }) => sweep());
  }

  /** Sends it, or counts why not and returns null. */
  send(shadow: ShadowRequest): SentShadow | null {
    const { route, plan, upstream, method, request, singleUse } = shadow;
    const isShadow = plan.role === 'shadow';
    const kind = isShadow ? (shadow.isStream ? 'stream' : 'request') : 'standby';
    const breaker = isShadow ? this.#breakers[plan.side] : null;
    const left = (why: SecondLegEnd): null => {
      this.#observer.secondLegEnded(route, plan.side, plan.role, why);
      return null;
    };
    if (singleUse) return left('single-use');
    if (this.#underWay[kind] >= MOST_UNDER_WAY[kind]) return left('busy');
    if (breaker?.mayTry() === false) return left('broken');
    const { connection, done } = this.#connection(shadow.link, upstream, shadow.credentials);
    this.#underWay[kind] += 1;
    const mine: Sent = {
      ...{ place: -1, route, side: plan.side },
      unwanted: () => {
        if (over) return;
        finish('unwanted');
        sent.abort();
        shadow.unwanted();
        // A stream whose other side goes on must know that nothing follows here.
        if (shadow.isStream) sink.left?.();
      },
      sweep: () => {
        if (isPlain || !isShadow || flood === null) return;
        if (flood.look(bytes, shadow.primaryBytes?.() ?? 0)) leave('flooding');
      },
    };
    this.#sent.add(mine);
    let over = false;
    let bytes = 0;
    const flood = shadow.isStream ? new Flood() : null;
    let isPlain = !shadow.isStream;
    const finish = (why: SecondLegEnd): void => {
      if (over) return;
      over = true;
      patience.end();
      this.#underWay[kind] -= 1;
      this.#sent.delete(mine);
      done();
      this.#observer.secondLegEnded(route, plan.side, plan.role, why);
      shadow.onOver?.();
    };
    const { sink } = shadow;
    // That it is not read to its end is not the service's fault, nor a difference.
    const leave = (why: 'slow' | 'flooding'): void => {
      finish(why);
      sent.abort();
      sink.left?.();
    };
    // The client's answer has long gone out: whoever says nothing for so long holds a place for nothing.
    const patience = new Patience(upstream.config.responseTimeoutMs);
    const bePatient = (): void =>
      patience.begin(() => {
        breaker?.failed();
        finish('slow');
        sent.abort();
        sink.fail('upstream-timeout', 'it says nothing more');
      });
    if (isPlain) bePatient();
    const sent = exchange(
      connection,
      { method, request, body: null, extra: MARK },
      {
        interim: sink.interim,
        head(status, reason, headers) {
          breaker?.succeeded();
          if (!isPlain && !isEventStream(status, headers)) {
            isPlain = true;
            bePatient();
          }
          sink.head(status, reason, headers);
        },
        data(chunk) {
          bytes += chunk.length;
          if (!isPlain) return sink.data(chunk);
          const isTooLong = !patience.goesOn();
          const isTooMuch = isShadow && bytes > MOST_ANSWER_BYTES;
          if (!isTooMuch && !isTooLong) return sink.data(chunk);
          leave(isTooMuch ? 'flooding' : 'slow');
          return true;
        },
        end(trailers) {
          finish('ended');
          sink.end(trailers);
        },
        fail(code, detail) {
          breaker?.failed();
          finish('failed');
          sink.fail(code, detail);
        },
      },
    );
    return {
      resume: () => sent.resume(),
      abort: () => {
        finish('ended');
        sent.abort();
      },
      unwanted: mine.unwanted,
    };
  }

  /** The client connection's lane for shadows if it is free, else a connection for this one alone. */
  #connection(
    link: ClientLink,
    upstream: Upstream,
    credentials: string,
  ): { connection: ServiceConnection; done: () => void } {
    let lane = this.#lanes.get(link);
    if (lane === undefined) {
      const fresh = { link: new ClientLink(this.#roll), busy: false };
      this.#lanes.set(link, fresh);
      link.onClose(() => fresh.link.close());
      lane = fresh;
    }
    const free = lane;
    if (free.busy) {
      const alone = new ClientLink(this.#roll);
      return { connection: alone.connection(upstream, credentials), done: () => alone.close() };
    }
    free.busy = true;
    return {
      connection: free.link.connection(upstream, credentials),
      done: () => {
        free.busy = false;
      },
    };
  }
}
