// What happens to clients and requests, counted for Prometheus: the eyes and ears of traffic.
import { Counter, Histogram, type Registry } from 'prom-client';
import type { KeptDespite, SecondLegsEnded, TrafficObserver } from '../ports.ts';
import { REASONS, type Side } from '../rules/decide.ts';

/** From a handshake on loopback to one that meets the default time-out of 10 s. */
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export interface TrafficMeter {
  readonly observer: TrafficObserver;
  /** Failures so far: by route, then by code of the error table. */
  failures(): Promise<ReadonlyMap<string, Readonly<Record<string, number>>>>;
  secondLegsEnded(): Promise<readonly SecondLegsEnded[]>;
  sessionsKept(): Promise<readonly SecondLegsEnded[]>;
}

export function trafficMeter(registry: Registry): TrafficMeter {
  const registers = [registry];
  const opened = new Counter({
    name: 'cutover_sessions_opened_total',
    help: 'WebSocket sessions that were opened, by the reason of the decision.',
    labelNames: ['route', 'side', 'reason'],
    registers,
  });
  const handshake = new Histogram({
    name: 'cutover_handshake_seconds',
    help: "From a client's upgrade request to the answer that reached it.",
    labelNames: ['route', 'side'],
    buckets: SECONDS,
    registers,
  });
  const closed = new Counter({
    name: 'cutover_sessions_closed_total',
    help: 'WebSocket sessions that ended, by what ended them and close code (RFC 6455 7.4).',
    labelNames: ['route', 'side', 'cause', 'code'],
    registers,
  });
  const refused = new Counter({
    name: 'cutover_handshakes_refused_total',
    help: 'Handshakes that the service itself refused, by HTTP status.',
    labelNames: ['route', 'side', 'status'],
    registers,
  });
  const failed = new Counter({
    name: 'cutover_failures_total',
    help: 'Connections and requests that were turned away or failed, by code of the error table.',
    labelNames: ['route', 'side', 'code'],
    registers,
  });
  const secondLegs = new Counter({
    name: 'cutover_second_legs_ended_total',
    help: 'Second legs of sessions that could not be had or are over, by side, role and cause.',
    labelNames: ['route', 'side', 'role', 'cause'],
    registers,
  });
  const kept = new Counter({
    name: 'cutover_sessions_kept_total',
    help: 'Sessions that their service kept, or (sooner) kept longer, though the other one refused, failed or ended its leg, by the side of that leg and cause; let-in: whom their service refused (401, 403), and that one did not.',
    labelNames: ['route', 'side', 'cause'],
    registers,
  });
  const moves = new Map<
    string,
    { readonly labels: Record<'route' | 'side' | 'how', string>; count: number }
  >();
  new Counter({
    name: 'cutover_sessions_moved_total',
    help: 'Live sessions that went to another side and stayed open, by where to and how.',
    labelNames: ['route', 'side', 'how'],
    registers,
    collect() {
      this.reset();
      for (const { labels, count } of moves.values()) this.inc(labels, count);
    },
  });
  const doubts = new Counter({
    name: 'cutover_handover_doubts_total',
    help: 'What handovers could not do for certain: messages not replayed, events unknown or missing.',
    labelNames: ['kind'],
    registers,
  });
  const requests = new Counter({
    name: 'cutover_requests_total',
    help: 'Plain HTTP requests that were answered, by class of the status.',
    labelNames: ['route', 'side', 'status'],
    registers,
  });
  const duration = new Histogram({
    name: 'cutover_request_seconds',
    help: "From a plain HTTP request to its answer's last byte.",
    labelNames: ['route', 'side'],
    buckets: SECONDS,
    registers,
  });

  return {
    async failures() {
      const { values } = await failed.get();
      const byRoute = new Map<string, Record<string, number>>();
      for (const { labels, value } of values) {
        const route = String(labels.route);
        const codes = byRoute.get(route) ?? {};
        codes[String(labels.code)] = (codes[String(labels.code)] ?? 0) + value;
        byRoute.set(route, codes);
      }
      return byRoute;
    },
    secondLegsEnded: () => endsIn(secondLegs),
    sessionsKept: () => endsIn(kept),
    observer: {
      sessionOpened(route, side, reason, handshakeMs) {
        opened.inc({ route, side, reason: Object.hasOwn(REASONS, reason) ? reason : 'other' });
        handshake.observe({ route, side }, handshakeMs / 1_000);
      },
      sessionClosed(route, side, cause, code) {
        closed.inc({ route, side, cause, code: closeCodeClass(code) });
      },
      handshakeRefused(route, side, status) {
        refused.inc({ route, side, status: status >= 100 && status < 600 ? status : 'other' });
      },
      failed(route, side, code) {
        failed.inc({ route, side, code });
      },
      sessionMoved(route, side, how) {
        // Thousands in a rollback: labels are put together when they are asked for.
        const key = `${side} ${how} ${route}`;
        const known = moves.get(key);
        if (known === undefined) moves.set(key, { labels: { route, side, how }, count: 1 });
        else known.count += 1;
      },
      handoverCounted({ unreplayed, unknown, missing }) {
        if (unreplayed > 0) doubts.inc({ kind: 'unreplayed' }, unreplayed);
        if (unknown > 0) doubts.inc({ kind: 'unknown' }, unknown);
        if (missing > 0) doubts.inc({ kind: 'missing' }, missing);
      },
      secondLegEnded(route, side, role, cause) {
        secondLegs.inc({ route, side, role, cause });
      },
      sessionKept(route, side, cause) {
        kept.inc({ route, side, cause });
      },
      requestDone(route, side, status, durationMs) {
        requests.inc({ route, side, status: statusClass(status) });
        duration.observe({ route, side }, durationMs / 1_000);
      },
    },
  };
}

async function endsIn(counter: Counter): Promise<readonly SecondLegsEnded[]> {
  const { values } = await counter.get();
  return values.map(({ labels, value }) => ({
    route: String(labels.route),
    side: labels.side as Side,
    cause: labels.cause as KeptDespite,
    count: value,
  }));
}

/** Registered codes as they are; those that applications choose freely by their range. */
export function closeCodeClass(code: number): string {
  if (code >= 1000 && code <= 1015) return String(code);
  if (code >= 3000 && code <= 3999) return '3xxx';
  if (code >= 4000 && code <= 4999) return '4xxx';
  return 'other';
}

function statusClass(status: number): string {
  return status >= 100 && status < 600 ? `${Math.floor(status / 100)}xx` : 'other';
}
