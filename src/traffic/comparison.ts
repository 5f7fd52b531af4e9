// What one session is compared with: its second leg, and the ear of the judge in both streams.
import type { RouteConfig } from '../config/schema.ts';
import type { EndCause, KeptDespite, LaneCounters, StreamTap, TrafficObserver } from '../ports.ts';
import type { SecondLeg as Plan, Side } from '../rules/decide.ts';
import { type LegEnd, otherSide } from '../rules/pairing/legs.ts';
import type { SecondLegEnd } from '../rules/second-leg-end.ts';
import { type FrameTracker, OPCODE, type StopAt } from '../wire/frames.ts';
import { saysServiceFails } from '../wire/handshake.ts';
import type { Breaker } from './breaker.ts';
import type { ClientMessage } from './client-messages.ts';
import { HeldBack } from './held-back.ts';
import type { Leg, LegRequest } from './leg.ts';
import type { Lone, ReadingOn } from './reading-on.ts';
import { endingOf, SecondLeg, type SecondLegOptions } from './second-leg.ts';
import type { TailRing } from './tail-ring.ts';

/**
 * When a leg is dialled again, each time at twice the distance, and how long one lasts that is taken for well: after it
 * that begins anew. A standby is the way back; a shadow is only missed, and its service gets time to recover. Those
 * that are lost by the thousand, when their service restarts, come back at the pace of `DialQueue`.
 */
const REDIAL_MS = {
  standby: { first: 1_000, last: 30_000, lasted: 10_000 },
  shadow: { first: 5_000, last: 300_000, lasted: 60_000 },
} as const;

/** What both services do to a session within so long, they may do alike: it is the window in which events are paired. */
const ALIKE_MS = 5_000;
const BY_SERVICE: ReadonlySet<EndCause> = new Set<EndCause>([
  ...(['closed-by-upstream', 'upstream-lost', 'upstream-stalled'] as const),
]);

/** A leg that has spoken is at least so old to the judge: not one of two that were dialled together. */
const USED_MS = 1_000;

export interface ComparisonOptions {
  readonly route: RouteConfig;
  readonly tap: StreamTap;
  readonly tails: TailRing;
  readonly plan: Plan;
  /** The client's credential is good for one service only: nobody else can be dialled with it. */
  readonly singleUse: boolean;
  readonly breakers: Readonly<Record<Side, Breaker>>;
  /** The client's own handshake, as the service of that side gets it. */
  readonly request: (plan: Plan) => LegRequest;
  /** Where its second leg goes when the client has left. */
  readonly readingOn: ReadingOn;
  /** Null for a session that is only being opened; see `primaryOpened`. */
  readonly listener: SecondLegListener | null;
  readonly counters: (side: Side) => LaneCounters;
  readonly observer: TrafficObserver;
}

/** Whom a session's second leg reports to. */
export interface SecondLegListener {
  /** One is to be dialled when it is its turn (`dialNow`). Told about once a second, until it is. */
  secondWanted(plan: Plan): void;
  secondOpened(side: Side): void;
  /** `refusesClient`: its service would say the same to another leg. */
  secondLost(side: Side, refusesClient: boolean): void;
  /** Bytes of it have come: told before they are read, and again once they lie in its tail. */
  secondSpeaks(): void;
  /** What every new leg is sent first. */
  preamble(): readonly ClientMessage[];
}

/** A second leg that was not ended with its session, nor by us. */
interface Parting {
  readonly side: Side;
  readonly end: SecondLegEnd;
  readonly atMs: number;
  /** Messages of the primary's, since its birth, with which that has said no more than it had. */
  readonly saidBoth: number;
}

export class Comparison implements Lone {
  /** Told if the second leg opens and stays, though the session never began. */
  #letIn: (() => void) | null = null;
  readonly #options: ComparisonOptions;
  readonly #heldBack: HeldBack;
  #plan: Plan | null;
  #second: SecondLeg | null = null;
  #listener: SecondLegListener | null;
  /** How often it was dialled again since it was well. */
  #redials = 0;
  /** From when on a second leg is to be dialled (ms of `performance.now()`). */
  #wantedFrom = Number.POSITIVE_INFINITY;
  /** Since the second leg came. */
  #primaryBytes = 0;
  /** The second leg has been told something by the client: whoever comes in its place has not. */
  #hasTold = false;
  /** The primary has been told something by the client that the second leg was not. */
  #hasToldAlone = false;
  #ended = false;
  #primary: Leg | null = null;
  /** Messages that the primary had begun when the second leg came: what both say is counted from there. */
  #saidBefore = 0;
  /** The first one of each cause. */
  #partings: Parting[] = [];

  /** The second leg is dialled at once where the session is only being opened, else in its turn. */
  constructor(options: ComparisonOptions) {
    this.#options = options;
    this.#heldBack = new HeldBack(options.tap);
    this.#plan = options.plan;
    this.#listener = options.listener;
    this.#want(options.plan);
  }

  get route(): string {
    return this.#options.route.name;
  }

  /** Of the second leg. */
  get side(): Side {
    return (this.#plan ?? this.#options.plan).side;
  }

  get tap(): StreamTap {
    return this.#options.tap;
  }

  /** The second leg, once it is open and for as long as it can be had. */
  get leg(): Leg | null {
    return this.#second?.leg ?? null;
  }

  get plan(): Plan | null {
    return this.#plan;
  }

  /** The primary's stream from here on. */
  primaryOpened(leg: Leg, listener: SecondLegListener): void {
    const { side, tracker, openedAt } = leg;
    this.#listener = listener;
    this.#primary = leg;
    const agoMs = performance.now() - openedAt;
    // However young: what it has said was not said to both.
    const isUsed = tracker.messages > 0;
    const knownMs = isUsed ? Math.max(agoMs, USED_MS) : agoMs;
    this.#options.tap.legOpened(side, tracker, knownMs, true);
    if (this.leg !== null) listener.secondOpened(this.leg.side);
  }

  primaryClosed(side: Side, how: LegEnd): void {
    this.#options.tap.legClosed(side, how);
  }

  /** The primary's bytes, followed and copied; see `StreamTap.follow`. */
  fromPrimary(side: Side, view: Buffer, tracker: FrameTracker, stop: StopAt): number {
    this.#primaryBytes += view.length;
    return this.#options.tap.follow(side, view, tracker, stop);
  }

  /** A message of the client, whoever gets it; null for one that is too long to be read. */
  said(message: ClientMessage | null): void {
    if (message !== null) this.#options.tap.said(message.payload);
    // Strings stand in most binary data as they are; it is read as far as that, and no farther.
    if (message?.opcode !== OPCODE.text) this.#options.tap.said(null);
  }

  /** The client has told the primary something that the second leg does not get. `isMeant`: though it was to. */
  saidAlone(isMeant: boolean): void {
    this.#hasToldAlone = true;
    // Also while no second leg is wanted: that was of the other side once.
    const unheardBy = this.#primary === null ? this.side : otherSide(this.#primary.side);
    this.#options.tap.saidAlone(unheardBy, isMeant);
  }

  /** The client does not read: what would have come to it waits, and so does what is compared with that. */
  holdBack(): void {
    this.leg?.socket.pause();
    this.#heldBack.begin();
  }

  /** The client reads again, or nobody waits for it any more. */
  goOn(): void {
    this.leg?.readOn();
    this.#heldBack.end();
  }

  /** A message of the client that the second leg is to get, with `flush`. False: there is none. */
  mirror({ opcode, payload }: ClientMessage): boolean {
    const isSent = this.#second?.send(opcode, payload) ?? false;
    if (isSent) this.#hasTold = true;
    return isSent;
  }

  /** The second leg gets what was mirrored. */
  flush(): void {
    this.#second?.flush();
  }

  /** What the decision says now: another second leg, or none. */
  change(plan: Plan | null): void {
    if (plan?.side === this.#plan?.side && plan?.role === this.#plan?.role) return;
    const before = this.#plan;
    this.#plan = plan;
    const { shadowMark } = this.#options.route;
    if (this.#second !== null && plan?.side === this.#second.side && !shadowMark) {
      // The same connection, unless its service is to be told what it is.
      this.#second.role = plan.role;
      return;
    }
    this.#wantedFrom = Number.POSITIVE_INFINITY;
    const second = this.#second;
    this.#second = null;
    second?.leave('unwanted');
    // Its end is not heard of any more: nobody may count on it.
    if (second !== null && before !== null) this.#lost(before.side, false);
    if (plan !== null) this.#want(plan);
  }

  /** It is its turn. True if a dial is under way then: its end is told to the listener. */
  dialNow(): boolean {
    if (this.#plan === null || this.#ended) return false;
    if (this.#second === null) this.#dial(this.#plan);
    return this.#second !== null && this.leg === null;
  }

  /**
   * The second leg becomes the primary: gives it away, and takes the old one in its place; null where
   * that was lost, or is not wanted beside the new one.
   */
  exchange(old: Leg | null, plan: Plan | null): Leg | null {
    const second = this.#second;
    const leg = second?.release() ?? null;
    if (second === null || leg === null) return null;
    this.#options.counters(leg.side).secondLegsOpen -= 1;
    this.#primary = leg;
    // It is the other service's session from now on.
    this.#partings = [];
    this.#redials = 0;
    this.#plan = plan;
    this.#second = null;
    if (old !== null && plan !== null) {
      // The same moment, seen from the other side; unless one has said more since, as who greets alone.
      const more = leg.tracker.messages - old.tracker.messages;
      this.#saidBefore = Math.max(-this.#saidBefore, more);
      this.#adopt(old, plan);
    } else {
      // The one that is lost had heard it as well; another one of its service has not.
      if (plan !== null && this.#hasTold) this.#options.tap.saidAlone(plan.side, true);
      this.#hasTold = false;
      if (plan !== null) this.#redialSoon(plan.role);
    }
    return leg;
  }

  /**
   * Which ends of its second legs the session has outlasted that is over since `atMs` for that cause, and on which
   * side. Where its service has ended it as well, and had said no more until then, its client has had the same of
   * both. What it said more nobody has compared: it may have been a heartbeat, or the end of a run.
   */
  outlasted(cause: EndCause, code: number, atMs: number): ReadonlyMap<KeptDespite, Side> {
    const outlasted = new Map<KeptDespite, Side>();
    const said = this.#primary?.tracker.messages ?? 0;
    for (const { side, end, ...parting } of this.#partings) {
      if (parting.atMs >= atMs) continue;
      if (!BY_SERVICE.has(cause) || atMs - parting.atMs >= ALIKE_MS) outlasted.set(end, side);
      else if (said > parting.saidBoth)
        outlasted.set(end === endingOf(code) ? 'sooner' : end, side);
    }
    return outlasted;
  }

  /** Called about once a second. */
  sweep(nowMs: number): void {
    this.#second?.sweep(this.#primaryBytes);
    if (nowMs < this.#wantedFrom || this.#plan === null || this.#ended) return;
    this.#listener?.secondWanted(this.#plan);
  }

  /** Its primary's service has not let the client in, by what both were told: `letIn` is told if the second one does. */
  endRefused(letIn: () => void): void {
    if (this.#ended) return;
    const isLookedAt =
      this.#second !== null && !this.#hasToldAlone && this.#options.readingOn.addRefused(this);
    if (!isLookedAt) return this.end();
    this.#letIn = letIn;
    this.#over();
  }

  /** The session is over, or never began. */
  end(): void {
    if (this.#ended) return;
    this.#over();
    const { tap, readingOn } = this.#options;
    if (this.#second === null) return tap.close();
    // Without a leg there is nothing to be heard; one that is still dialled has nothing to add.
    if (this.leg === null || !readingOn.add(this)) return this.leave();
    tap.onceSettled(() => {
      readingOn.delete(this);
      this.leave();
    });
  }

  #over(): void {
    this.#ended = true;
    this.#listener = null;
    this.goOn();
  }

  leave(): void {
    this.#tellLetIn();
    this.#second?.leave('ended');
  }

  sweepLone(): void {
    this.#second?.sweep(this.#primaryBytes);
  }

  #want(plan: Plan): void {
    if (this.#listener === null) return this.#dial(plan);
    this.#wantedFrom = performance.now();
    this.#listener.secondWanted(plan);
  }

  #dial(plan: Plan): void {
    this.#wantedFrom = Number.POSITIVE_INFINITY;
    const { singleUse, breakers, request, counters } = this.#options;
    const { side, role } = plan;
    this.#saidBefore = this.#primary?.tracker.messages ?? 0;
    const breaker = breakers[side];
    if (singleUse) return this.#tellEnd(side, 'single-use');
    // A standby is the way back, however often it failed.
    if (role === 'shadow' && !breaker.mayTry()) return this.#onEnd(plan, null, 'broken', 0);
    let openedAt = Number.POSITIVE_INFINITY;
    const withSession = this.#listener === null;
    this.#primaryBytes = 0;
    const second: SecondLeg = SecondLeg.dial(
      request(plan),
      this.#secondOptions(plan, {
        onOpen: () => {
          openedAt = performance.now();
          if (!withSession) this.#saidBefore = this.#primary?.tracker.messages ?? 0;
          else if (this.leg !== null) this.leg.tailedSince = Number.NEGATIVE_INFINITY;
          breaker.succeeded();
          counters(side).secondLegsOpen += 1;
          if (this.#heldBack.isHeld) this.leg?.socket.pause();
          this.#listener?.secondOpened(side);
        },
        // Who is not let in is his own matter: by such refusals one user could keep all others from being compared.
        onRefused: status => (saysServiceFails(status) ? breaker.failed() : breaker.succeeded()),
        onEnd: end => {
          if (openedAt < Number.POSITIVE_INFINITY) counters(side).secondLegsOpen -= 1;
          else if (end === 'failed') breaker.failed();
          this.#onEnd(plan, second, end, performance.now() - openedAt);
        },
      }),
    );
    this.#second = second;
    for (const { opcode, payload } of this.#listener?.preamble() ?? [])
      second.send(opcode, payload);
  }

  /** Another one that is dialled has not heard what this one has, and what it began may be over with it. */
  #lost(side: Side, refusesClient: boolean): void {
    if (this.#hasTold) this.#options.tap.saidAlone(side, true);
    this.#hasTold = false;
    this.#listener?.secondLost(side, refusesClient);
  }

  #adopt(leg: Leg, plan: Plan): void {
    const counters = this.#options.counters(leg.side);
    counters.secondLegsOpen += 1;
    this.#hasTold = true;
    const { tap, tails } = this.#options;
    this.#primaryBytes = 0;
    const second: SecondLeg = SecondLeg.of(leg, {
      side: plan.side,
      role: plan.role,
      tap,
      tails,
      onSpeaks: this.#onSpeaks,
      onOpen: untold,
      onRefused: untold,
      onEnd: end => {
        counters.secondLegsOpen -= 1;
        this.#onEnd(plan, second, end, performance.now() - leg.openedAt);
      },
    });
    this.#second = second;
  }

  #secondOptions(
    { side, role }: Plan,
    told: Pick<SecondLegOptions, 'onOpen' | 'onRefused' | 'onEnd'>,
  ): SecondLegOptions {
    const { tap, tails } = this.#options;
    return { side, role, tap, tails, onSpeaks: this.#onSpeaks, ...told };
  }

  readonly #onSpeaks = (): void => this.#listener?.secondSpeaks();

  #onEnd(
    { side, ...plan }: Plan,
    second: SecondLeg | null,
    end: SecondLegEnd,
    lastedMs: number,
  ): void {
    const { tap } = this.#options;
    const role = second?.role ?? plan.role;
    // However quickly it was accepted: one that is ended at once would be dialled again once a second for ever.
    if (lastedMs >= REDIAL_MS[role].lasted) this.#redials = 0;
    this.#tellEnd(side, end, second?.messages);
    // Another one may have taken its place.
    if (this.#second !== second) return;
    this.#tellLetIn();
    this.#second = null;
    if (this.#ended) {
      this.#options.readingOn.delete(this);
      return tap.close();
    }
    this.#lost(side, second?.refusesClient === true);
    this.#redialSoon(role);
  }

  /** Of the second leg of who was refused, however it ends. */
  #tellLetIn(): void {
    if (this.#second?.letsIn === true) this.#letIn?.();
    this.#letIn = null;
  }

  /** A leg that a move has dialled is kept as the way back is, and is that only where it is legacy's. */
  #tellEnd(side: Side, end: SecondLegEnd, messages = 0): void {
    const { route, observer } = this.#options;
    observer.secondLegEnded(route.name, side, side === 'legacy' ? 'standby' : 'shadow', end);
    if (this.#ended || end === 'ended' || end === 'unwanted') return;
    if (this.#partings.some(parting => parting.end === end)) return;
    const saidBoth = this.#saidBefore + messages;
    this.#partings.push({ side, end, atMs: performance.now(), saidBoth });
  }

  #redialSoon(role: Plan['role']): void {
    const { first, last } = REDIAL_MS[role];
    // What is lost in one moment does not come back in one.
    const waitMs = first * 2 ** this.#redials * (1 + Math.random() / 2);
    this.#wantedFrom = performance.now() + Math.min(waitMs, last);
    this.#redials += 1;
  }
}

function untold(): void {
  // A leg that was the primary is open, and was not refused.
}
