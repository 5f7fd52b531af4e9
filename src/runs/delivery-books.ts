// What was due to each user against what the user read, by event key.
import { createHistogram, type RecordableHistogram } from 'node:perf_hooks';
import type { Side } from '../rules/decide.ts';

/** An event is given up as lost, and forgotten, so long after it was due or came. */
const SETTLE_AFTER_MS = 5_000;
/**
 * What clients had is remembered for so many events, 11 minutes of 150 users: a service that was left
 * before it had sent an event keeps that, and sends it when its user comes to it again. It was due once.
 */
const MOST_HAD = 50_000;

export interface DeliveryReport {
  readonly eventsSent: number;
  readonly eventsDelivered: number;
  readonly lost: number;
  readonly duplicated: number;
  /** Delivered events by the side that wrote them. */
  readonly perSide: Readonly<Record<Side, number>>;
  /** From the service's write to the client's read. */
  readonly latencyMs: Latency;
}

/** Milliseconds. */
export interface Latency {
  readonly p50: number;
  readonly p99: number;
}

interface Entry {
  /** Who wrote it first; null for what a client read and no service wrote. */
  side: Side | null;
  readonly firstAt: number;
  delivered: number;
}

/** Entries are settled in the order in which they came in, so that memory stays bounded. */
export class DeliveryBooks {
  readonly #entries = new Map<string, Entry>();
  /** Delivered and settled, oldest first, with how often a service has sent it again. */
  readonly #had = new Map<string, number>();
  readonly #latencyUs = createHistogram();
  readonly #recentUs = createHistogram();
  readonly #perSide: Record<Side, number> = { legacy: 0, candidate: 0 };
  #sent = 0;
  #delivered = 0;
  #lost = 0;
  #duplicated = 0;

  /** A service wrote an event that is due to a user. Both services may: it is due once. */
  due(user: string, eventKey: string, side: Side, atMs: number): void {
    const key = keyOf(user, eventKey);
    const again = this.#had.get(key);
    if (again !== undefined) return void this.#had.set(key, again + 1);
    const entry = this.#entry(key, atMs);
    if (entry.side !== null) return;
    entry.side = side;
    this.#sent += 1;
  }

  /** A user's client read an event. */
  read(user: string, eventKey: string, atMs: number): void {
    const key = keyOf(user, eventKey);
    const again = this.#had.get(key) ?? 0;
    if (again > 0) return void this.#had.set(key, again - 1);
    const entry = this.#entry(key, atMs);
    entry.delivered += 1;
    if (entry.delivered > 1 || entry.side === null) return;
    this.#delivered += 1;
    this.#perSide[entry.side] += 1;
    const us = Math.max(1, Math.round((atMs - entry.firstAt) * 1000));
    this.#latencyUs.record(us);
    this.#recentUs.record(us);
  }

  /** Closes the books on what is old enough; on everything with `atMs` infinite. */
  settle(atMs: number): void {
    for (const [key, { side, firstAt, delivered }] of this.#entries) {
      if (atMs - firstAt < SETTLE_AFTER_MS) return;
      this.#entries.delete(key);
      if (delivered === 0) this.#lost += 1;
      else if (side !== null) this.#remember(key);
      // Whatever no service wrote for this user is as wrong as what comes twice.
      if (delivered > 0) this.#duplicated += delivered - (side === null ? 0 : 1);
    }
  }

  /** Latency since the last call of this. */
  recentLatency(): Latency {
    const latency = latencyOf(this.#recentUs);
    this.#recentUs.reset();
    return latency;
  }

  report(): DeliveryReport {
    return {
      eventsSent: this.#sent,
      eventsDelivered: this.#delivered,
      lost: this.#lost,
      duplicated: this.#duplicated,
      perSide: { ...this.#perSide },
      latencyMs: latencyOf(this.#latencyUs),
    };
  }

  #remember(key: string): void {
    this.#had.set(key, 0);
    if (this.#had.size <= MOST_HAD) return;
    const [oldest] = this.#had.keys();
    if (oldest !== undefined) this.#had.delete(oldest);
  }

  #entry(key: string, atMs: number): Entry {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { side: null, firstAt: atMs, delivered: 0 };
      this.#entries.set(key, entry);
    }
    return entry;
  }
}

/** A JSON list: no user and key can be read as another pair. */
function keyOf(user: string, eventKey: string): string {
  return JSON.stringify([user, eventKey]);
}

function latencyOf(us: RecordableHistogram): Latency {
  if (us.count === 0) return { p50: 0, p99: 0 };
  return { p50: us.percentile(50) / 1000, p99: us.percentile(99) / 1000 };
}
