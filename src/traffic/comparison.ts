// What one session is compared with: its second leg, the client's messages that this gets, and the ear
// of the judge in both streams.
import type { RouteConfig } from '../config/schema.ts';
import type { LaneCounters, SecondLegEnd, StreamTap, TrafficObserver } from '../ports.ts';
import type { SecondLeg as Plan, Side } from '../rules/decide.ts';
import type { FrameTracker, StopAt } from '../wire/frames.ts';
import type { Breaker } from './breaker.ts';
import { ClientMessages } from './client-messages.ts';
import type { LegRequest } from './leg.ts';
import { SecondLeg } from './second-leg.ts';

/** A standby is the way back: it is dialled again, at first after a second, at last every half minute. */
const FIRST_REDIAL_MS = 1_000;
const LAST_REDIAL_MS = 30_000;

export interface ComparisonOptions {
  readonly route: RouteConfig;
  readonly tap: StreamTap;
  readonly plan: Plan;
  /** The client's credential is good for one service only: nobody else can be dialled with it. */
  readonly singleUse: boolean;
  readonly breakers: Readonly<Record<Side, Breaker>>;
  /** The client's own handshake, as the service of that side gets it. */
  readonly request: (plan: Plan) => LegRequest;
  readonly counters: (side: Side) => LaneCounters;
  readonly observer: TrafficObserver;
}

export class Comparison {
  readonly #options: ComparisonOptions;
  readonly #messages: ClientMessages;
  #plan: Plan | null;
  #second: SecondLeg | null = null;
  #redialMs = FIRST_REDIAL_MS;
  #redialAt = Number.POSITIVE_INFINITY;
  #primaryBytes = 0;
  #ended = false;

  /** Dials the second leg at once. */
  constructor(options: ComparisonOptions) {
    this.#options = options;
    this.#plan = options.plan;
    this.#messages = new ClientMessages(options.route, ({ opcode, payload }) =>
      this.#second?.send(opcode, payload),
    );
    this.#dial(options.plan, []);
  }

  /** The side that is compared with, and as what; null while nothing is. */
  get plan(): Plan | null {
    return this.#plan;
  }

  /** The primary's stream from here on; `tracker` is where it stands. */
  primaryOpened(side: Side, tracker: FrameTracker): void {
    this.#options.tap.legOpened(side, tracker);
  }

  primaryClosed(side: Side): void {
    this.#options.tap.legClosed(side);
  }

  /** The primary's bytes, followed and copied; see `StreamTap.follow`. */
  fromPrimary(side: Side, view: Buffer, tracker: FrameTracker, stop: StopAt): number {
    this.#primaryBytes += view.length;
    return this.#options.tap.follow(side, view, tracker, stop);
  }

  fromClient(chunk: Buffer): void {
    this.#messages.push(chunk);
  }

  /** What the decision says now: another second leg, or none. */
  change(plan: Plan | null): void {
    if (plan?.side === this.#plan?.side && plan?.role === this.#plan?.role) return;
    this.#plan = plan;
    this.#second?.leave('unwanted');
    this.#second = null;
    if (plan !== null) this.#dial(plan, this.#messages.preamble);
  }

  /** Called about once a second. */
  sweep(nowMs: number): void {
    this.#second?.sweep(this.#primaryBytes);
    this.#primaryBytes = 0;
    if (nowMs < this.#redialAt || this.#plan === null || this.#ended) return;
    this.#redialAt = Number.POSITIVE_INFINITY;
    this.#dial(this.#plan, this.#messages.preamble);
  }

  /** The session is over, or never began. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    const { tap } = this.#options;
    if (this.#second === null) tap.close();
    else this.#second.leave('ended');
  }

  #dial(plan: Plan, preamble: ClientMessages['preamble']): void {
    const { singleUse, breakers, tap, route, request, counters, observer } = this.#options;
    const { side, role } = plan;
    const breaker = breakers[side];
    if (singleUse) return observer.secondLegEnded(route.name, side, role, 'single-use');
    if (!breaker.mayTry()) return this.#onEnd(plan, null, 'broken');
    let opened = false;
    const second: SecondLeg = new SecondLeg({
      role,
      request: request(plan),
      tap,
      onOpen: () => {
        opened = true;
        breaker.succeeded();
        counters(side).secondLegsOpen += 1;
        this.#redialMs = FIRST_REDIAL_MS;
      },
      onEnd: end => {
        if (opened) counters(side).secondLegsOpen -= 1;
        else if (end === 'refused' || end === 'failed') breaker.failed();
        this.#onEnd(plan, second, end);
      },
    });
    this.#second = second;
    for (const { opcode, payload } of preamble) second.send(opcode, payload);
  }

  #onEnd(plan: Plan, second: SecondLeg | null, end: SecondLegEnd): void {
    const { tap, route, observer } = this.#options;
    observer.secondLegEnded(route.name, plan.side, plan.role, end);
    // Another one may have taken its place.
    if (this.#second !== second) return;
    this.#second = null;
    if (this.#ended) return tap.close();
    if (plan.role !== 'standby') return;
    this.#redialAt = performance.now() + this.#redialMs;
    this.#redialMs = Math.min(this.#redialMs * 2, LAST_REDIAL_MS);
  }
}
