// What guardrails need to know of traffic, as running totals by route and side.
import type { EndCause, MoveKind, TrafficObserver } from '../ports.ts';
import { SIDES, type Side, type Subject } from '../rules/decide.ts';
import type { ReadonlySigns, Signs } from '../rules/guardrails.ts';
import { addLatency, noLatencies } from '../rules/latency.ts';
import { saysServiceFails } from '../wire/handshake.ts';

/**
 * Close codes (RFC 6455 7.4.1) by which a service says that it failed, or lets a client go that did
 * nothing wrong: 1002, 1003 and 1007 refuse what the other service takes. 1001 and 1012 are a restart as
 * it should be, and what applications choose themselves (3000 to 4999) is their own business.
 */
const FAILED_CODES: ReadonlySet<number> = new Set([1002, 1003, 1006, 1007, 1011, 1013, 1014]);
/** Those of them that are about what the client sent. */
const OF_WHAT_WAS_SENT: ReadonlySet<number> = new Set([1002, 1003, 1007]);
const LOST: ReadonlySet<EndCause> = new Set<EndCause>(['upstream-lost', 'upstream-stalled']);

export class VitalSigns implements TrafficObserver {
  readonly #routes = new Map<string, Record<Side, Signs>>();
  /** By route, the user who was refused last. */
  readonly #refused = { legacy: new Map<string, string>(), candidate: new Map<string, string>() };
  /** ... and the one who was broken off last. */
  readonly #broken = { legacy: new Map<string, string>(), candidate: new Map<string, string>() };

  /** Nothing yet of a route without traffic. */
  of(route: string): Readonly<Record<Side, Signs>> {
    let signs = this.#routes.get(route);
    if (signs === undefined) {
      signs = { legacy: noSigns(), candidate: noSigns() };
      this.#routes.set(route, signs);
    }
    return signs;
  }

  sessionOpened(route: string, side: Side, _reason: string, handshakeMs: number): void {
    const signs = this.of(route)[side];
    signs.opened += 1;
    addLatency(signs.latency, handshakeMs);
  }

  sessionClosed(
    route: string,
    side: Side,
    cause: EndCause,
    code: number,
    subject: Subject | null,
  ): void {
    const signs = this.of(route)[side];
    signs.closes += 1;
    const isLost = LOST.has(cause);
    if (!isLost && !(cause === 'closed-by-upstream' && FAILED_CODES.has(code))) return;
    signs.abnormal += 1;
    if (isLost || !OF_WHAT_WAS_SENT.has(code)) this.#brokenOff(route, side, subject);
  }

  /**
   * One user alone may know what to send so that the service breaks him off, and one without a name may be anybody
   * again and again.
   */
  #brokenOff(route: string, side: Side, subject: Subject | null): void {
    const last = this.#broken[side];
    if (subject === null || last.get(route) === subject.id) return;
    last.set(route, subject.id);
    this.of(route)[side].broken += 1;
  }

  /** Who is not let in is his own matter: by trying again and again one user could have all others taken back. */
  handshakeRefused(route: string, side: Side, status: number, subject: Subject | null): void {
    const signs = this.of(route)[side];
    if (saysServiceFails(status)) signs.failing += 1;
    else if (subject !== null) {
      if (this.#refused[side].get(route) === subject.id) return;
      this.#refused[side].set(route, subject.id);
    }
    signs.refused += 1;
  }

  failed(route: string, side: Side | 'none', code: string): void {
    // What else is refused was refused by the proxy, or is the client's doing.
    if (side === 'none' || !code.startsWith('upstream-')) return;
    const signs = this.of(route)[side];
    signs.failures += 1;
    if (code === 'upstream-timeout') signs.timeouts += 1;
  }

  sessionMoved(route: string, to: Side, how: MoveKind, subject: Subject | null): void {
    if (how !== 'failover') return;
    const from = to === 'legacy' ? 'candidate' : 'legacy';
    const lost = this.of(route)[from];
    lost.closes += 1;
    lost.abnormal += 1;
    this.#brokenOff(route, from, subject);
  }

  requestDone(
    route: string,
    side: Side,
    status: number,
    durationMs: number,
    by: 'service' | 'proxy',
  ): void {
    // That says nothing of the service.
    if (by === 'proxy') return;
    const signs = this.of(route)[side];
    signs.requests += 1;
    if (status >= 500) signs.errors += 1;
    addLatency(signs.latency, durationMs);
  }

  handoverCounted(): void {
    // Doubts of a handover are no sign of how the candidate is.
  }

  secondLegEnded(): void {
    // Nobody is served by it; what it leaves unanswered is divergence.
  }

  sessionKept(): void {
    // Nor is that a sign of how those are served who are.
  }
}

/** Tells both. */
export function bothObservers(one: TrafficObserver, other: TrafficObserver): TrafficObserver {
  return {
    sessionOpened(...said) {
      one.sessionOpened(...said);
      other.sessionOpened(...said);
    },
    sessionClosed(...said) {
      one.sessionClosed(...said);
      other.sessionClosed(...said);
    },
    handshakeRefused(...said) {
      one.handshakeRefused(...said);
      other.handshakeRefused(...said);
    },
    failed(...said) {
      one.failed(...said);
      other.failed(...said);
    },
    sessionMoved(...said) {
      one.sessionMoved(...said);
      other.sessionMoved(...said);
    },
    handoverCounted(...said) {
      one.handoverCounted(...said);
      other.handoverCounted(...said);
    },
    secondLegEnded(...said) {
      one.secondLegEnded(...said);
      other.secondLegEnded(...said);
    },
    sessionKept(...said) {
      one.sessionKept(...said);
      other.sessionKept(...said);
    },
    requestDone(...said) {
      one.requestDone(...said);
      other.requestDone(...said);
    },
  };
}

/**
 * A copy that later counts do not change. What took how long it shares with the copy `before` where nothing came to it:
 * copies are kept for minutes, and most of one is that.
 */
export function signsNow(
  signs: Readonly<Record<Side, Signs>>,
  before?: Readonly<Record<Side, ReadonlySigns>>,
): Record<Side, ReadonlySigns> {
  const copied = SIDES.map(side => {
    const { latency } = signs[side];
    const known = before?.[side].latency ?? [];
    const isSame = latency.every((count, bucket) => count === known[bucket]);
    return [side, { ...signs[side], latency: isSame ? known : [...latency] }];
  });
  return Object.fromEntries(copied) as Record<Side, ReadonlySigns>;
}

function noSigns(): Signs {
  return {
    ...{ opened: 0, refused: 0, failures: 0, failing: 0, timeouts: 0 },
    ...{ requests: 0, errors: 0, closes: 0, abnormal: 0, broken: 0, latency: noLatencies() },
  };
}
