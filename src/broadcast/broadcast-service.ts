// The SSOT (single source of truth) broadcast service: every event to a user goes through here.
import type { ConnectionManager, Delivery } from './connection-manager.ts';
import { preventCrossUserContamination, type Rewritten } from './contamination.ts';
import { type BroadcastEvent, isoMicros, isoNow, nowMs } from './event.ts';
import type { EventSocket } from './event-socket.ts';
import { assertGatedForm, overwriteUserIdSuffix, type Quirk } from './quirks.ts';
import { Undelivered } from './undelivered.ts';

export { preventCrossUserContamination } from './contamination.ts';

/** What became of one broadcast, in the names of the wire. */
export interface BroadcastResult {
  readonly user_id: string;
  readonly connections_attempted: number;
  /** Sockets that took the frame, and no others. */
  readonly successful_sends: number;
  readonly event_type: string;
  /** When the broadcast began: ISO 8601, to the millisecond. */
  readonly timestamp: string;
  /** Sentences; they never hold the id of another user. */
  readonly errors: readonly string[];
  /** 0–100. */
  readonly success_rate: number;
  /** At least one socket took the frame. */
  readonly is_successful: boolean;
}

/** Per instance, in memory. None of them chooses between legacy and SSOT. */
export interface ServiceFlags {
  enable_contamination_detection: boolean;
  /** Mean and longest time until the sockets took an event, of every 16th broadcast. */
  enable_performance_monitoring: boolean;
  /** A line for every broadcast; contamination prevented is always logged. */
  enable_comprehensive_logging: boolean;
}

export interface ServiceOptions {
  readonly flags?: Partial<ServiceFlags>;
  readonly quirks?: ReadonlySet<Quirk>;
  /** Called with lines that hold no ids. */
  readonly log?: (line: Readonly<Record<string, unknown>>) => void;
  /** An event that was kept is now being written to its user. */
  readonly onReplay?: (userId: string, event: BroadcastEvent) => void;
}

/** Broadcasts per timed one. Two more clock reads for each would cost more than sanitising does. */
const TIMED_EVERY = 16;
const NO_ERRORS: readonly string[] = Object.freeze([]);

export function createBroadcastService(
  connections: ConnectionManager,
  options: ServiceOptions = {},
): WebSocketBroadcastService {
  return new WebSocketBroadcastService(connections, options);
}

export class WebSocketBroadcastService {
  readonly flags: ServiceFlags;
  readonly #connections: ConnectionManager;
  readonly #gatesForms: boolean;
  readonly #pretends: boolean;
  readonly #leaksIds: boolean;
  readonly #overwritesSuffix: boolean;
  readonly #options: ServiceOptions;
  readonly #undelivered = new Undelivered();
  readonly #startedMs = nowMs();
  #broadcasts = 0;
  #successful = 0;
  #queued = 0;
  #replayed = 0;
  #timed = 0;
  #totalMs = 0;
  #longestMs = 0;
  #eventsSanitised = 0;
  #fieldsRewritten = 0;

  constructor(connections: ConnectionManager, options: ServiceOptions) {
    this.#connections = connections;
    this.#options = options;
    const has = (quirk: Quirk) => options.quirks?.has(quirk) ?? false;
    this.#gatesForms = has('format-gate');
    this.#pretends = has('false-success');
    this.#leaksIds = has('leak-ids');
    this.#overwritesSuffix = has('overwrite-user-id-suffix');
    this.flags = {
      enable_contamination_detection: true,
      enable_performance_monitoring: true,
      enable_comprehensive_logging: false,
      ...options.flags,
    };
  }

  /** From now on the socket gets its user's events, those that were kept for him first. */
  connect(userId: string, socket: EventSocket): void {
    this.#connections.add(userId, socket);
    for (const event of this.#undelivered.take(userId)) {
      this.#options.onReplay?.(userId, event);
      const replayed = this.#connections.reply(socket, { ...event, recovered: true });
      void replayed.then(taken => {
        if (taken) this.#replayed++;
        else this.#undelivered.keep(userId, event);
      });
    }
  }

  disconnect(userId: string, socket: EventSocket): void {
    this.#connections.remove(userId, socket);
  }

  /**
   * Sends an event to all sockets of a user; kept for later when none took it. An event without a
   * `timestamp` gets one. Rejects only under the quirk `format-gate` (`RangeError`).
   */
  async broadcastToUser(userId: string, event: BroadcastEvent): Promise<BroadcastResult> {
    if (this.#gatesForms) assertGatedForm(userId);
    const isTimed =
      this.flags.enable_performance_monitoring && this.#broadcasts % TIMED_EVERY === 0;
    const startedMs = isTimed ? nowMs() : 0;
    const timestamp = isoNow();
    this.#broadcasts++;
    let safe = event.timestamp === undefined ? { ...event, timestamp: isoMicros(nowMs()) } : event;
    let errors = NO_ERRORS;
    if (this.flags.enable_contamination_detection) {
      const sanitised = preventCrossUserContamination(safe, userId);
      safe = sanitised.event;
      if (sanitised.rewritten.length > 0) errors = this.#report(event.type, sanitised.rewritten);
    }
    if (this.#overwritesSuffix) safe = overwriteUserIdSuffix(safe, userId);

    const delivery = await this.#connections.deliver(userId, safe);

    if (delivery.taken > 0) this.#successful++;
    else {
      this.#queued++;
      this.#undelivered.keep(userId, safe);
    }
    if (isTimed) this.#time(nowMs() - startedMs);
    const result = this.#resultOf(userId, event.type, timestamp, delivery, errors);
    if (this.flags.enable_comprehensive_logging) {
      const { attempted, taken } = delivery;
      this.#options.log?.({ msg: 'broadcast', event_type: event.type, attempted, taken });
    }
    return result;
  }

  getStats() {
    const { users, connections, framesTaken, framesFailed } = this.#connections.counts;
    const waiting = this.#undelivered.counts;
    return {
      service_info: {
        name: 'WebSocketBroadcastService',
        uptime_seconds: Math.round(nowMs() - this.#startedMs) / 1000,
        users,
        connections,
      },
      broadcast_stats: {
        total_broadcasts: this.#broadcasts,
        successful_broadcasts: this.#successful,
        success_rate: rate(this.#successful, this.#broadcasts),
        frames_written: framesTaken,
        frames_failed: framesFailed,
        messages_queued: this.#queued,
        messages_replayed: this.#replayed,
        messages_dropped: waiting.dropped,
        users_waiting: waiting.users,
      },
      performance_metrics: {
        broadcasts_timed: this.#timed,
        mean_ms: this.#timed === 0 ? 0 : this.#totalMs / this.#timed,
        max_ms: this.#longestMs,
      },
      security_metrics: {
        contaminated_events: this.#eventsSanitised,
        routing_fields_rewritten: this.#fieldsRewritten,
      },
      feature_flags: { ...this.flags },
    };
  }

  #report(eventType: string, rewritten: readonly Rewritten[]): readonly string[] {
    this.#eventsSanitised++;
    this.#fieldsRewritten += rewritten.length;
    const fields = rewritten.map(({ path }) => path);
    this.#options.log?.({ msg: 'contamination prevented', event_type: eventType, fields });
    return rewritten.map(({ path, foreign }) =>
      this.#leaksIds
        ? `${path} named ${String(foreign)} and was set to the target user`
        : `${path} named another user and was set to the target user`,
    );
  }

  #resultOf(
    userId: string,
    eventType: string,
    timestamp: string,
    delivery: Delivery,
    errors: readonly string[],
  ): BroadcastResult {
    const pretend = this.#pretends;
    const taken = pretend ? delivery.attempted : delivery.taken;
    return {
      user_id: userId,
      connections_attempted: delivery.attempted,
      successful_sends: taken,
      event_type: eventType,
      timestamp,
      errors:
        delivery.taken === 0 && !pretend
          ? [...errors, 'no connection took the event; it is kept for replay']
          : errors,
      success_rate: pretend ? 100 : rate(taken, delivery.attempted),
      is_successful: pretend || taken > 0,
    };
  }

  #time(tookMs: number): void {
    this.#timed++;
    this.#totalMs += tookMs;
    if (tookMs > this.#longestMs) this.#longestMs = tookMs;
  }
}

function rate(part: number, whole: number): number {
  return whole === 0 ? 0 : (100 * part) / whole;
}
