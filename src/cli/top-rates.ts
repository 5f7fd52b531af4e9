// What happens in a running proxy now: two looks at its status, and the difference between them.
import type { LaneStatus, Status, TrafficStatus } from '../control/status.ts';

export interface Look {
  /** When the status came, on a clock that only goes forward. */
  readonly atMs: number;
  readonly status: Status;
}

/** Per second; null until two looks at the same process tell. */
export type Rate = number | null;

export interface LaneRates {
  readonly openSessions: number;
  readonly openStreams: number;
  /** Named users with an open session. */
  readonly users: number;
  /** WebSocket messages to clients. */
  readonly eventsPerS: Rate;
  /** HTTP requests that were answered. */
  readonly requestsPerS: Rate;
  readonly bytesToClientPerS: Rate;
  readonly bytesToUpstreamPerS: Rate;
}

export interface RouteRates {
  readonly name: string;
  readonly stage: string;
  /** Since the start of the proxy. */
  readonly failures: number;
  readonly failuresPerS: Rate;
  readonly legacy: LaneRates;
  readonly candidate: LaneRates;
}

export interface Top {
  readonly version: string;
  readonly uptimeS: number;
  readonly ready: boolean;
  readonly connecting: number;
  readonly draining: boolean;
  readonly bypass: Status['bypass']['engaged'];
  readonly flags: Pick<Status['flags'], 'revision' | 'ageMs' | 'errors'>;
  readonly writes: {
    readonly perS: Rate;
    readonly toBothPerS: Rate;
    readonly inFlight: number;
    /** Since the start of the proxy. */
    readonly splits: number;
  };
  /** Routes as configured, then what came past all routes, if anything did. */
  readonly routes: readonly RouteRates[];
}

export function topOf(before: Look | null, now: Look): Top {
  const { status } = now;
  const old = before?.status.startedAt === status.startedAt ? before : null;
  const elapsedS = old === null ? 0 : (now.atMs - old.atMs) / 1_000;
  const rate = (was: number | undefined, is: number): Rate =>
    was === undefined || elapsedS <= 0 ? null : Math.max(0, is - was) / elapsedS;

  const lane = (was: LaneStatus | undefined, is: LaneStatus): LaneRates => ({
    openSessions: is.openSessions,
    openStreams: is.openStreams,
    users: is.users,
    eventsPerS: rate(was?.messagesToClient, is.messagesToClient),
    requestsPerS: rate(was?.requests, is.requests),
    bytesToClientPerS: rate(was?.bytesToClient, is.bytesToClient),
    bytesToUpstreamPerS: rate(was?.bytesToUpstream, is.bytesToUpstream),
  });
  const row = (name: string, stage: string, was: TrafficStatus | undefined, is: TrafficStatus) => ({
    ...{ name, stage },
    failures: failuresOf(is),
    failuresPerS: rate(was && failuresOf(was), failuresOf(is)),
    legacy: lane(was?.legacy, is.legacy),
    candidate: lane(was?.candidate, is.candidate),
  });
  const { version, uptimeS, ready, connecting, draining, bypass, unrouted, flags } = status;
  const writes = writesOf(status);
  const oldWrites = old === null ? undefined : writesOf(old.status);
  return {
    ...{ version, uptimeS, ready, connecting, draining, bypass: bypass.engaged },
    flags: { revision: flags.revision, ageMs: flags.ageMs, errors: flags.errors },
    writes: {
      perS: rate(oldWrites?.all, writes.all),
      toBothPerS: rate(oldWrites?.both, writes.both),
      inFlight: writes.inFlight,
      splits: writes.splits,
    },
    routes: [
      ...status.routes.map(route => {
        const was = old?.status.routes.find(({ name }) => name === route.name);
        return row(route.name, route.stage.text, was, route);
      }),
      ...(isUsed(unrouted)
        ? [row('(unrouted)', 'legacy alone', old?.status.unrouted, unrouted)]
        : []),
      ...(isUsed(bypass) ? [row('(bypass)', 'legacy alone', old?.status.bypass, bypass)] : []),
    ],
  };
}

function isUsed({ legacy, failures }: TrafficStatus): boolean {
  return legacy.openSessions + legacy.requests > 0 || Object.keys(failures).length > 0;
}

function failuresOf({ failures }: TrafficStatus): number {
  return Object.values(failures).reduce((sum, count) => sum + count, 0);
}

function writesOf({ writes }: Status) {
  const sums = { all: 0, both: 0, inFlight: 0, splits: 0 };
  for (const { primary, both, inFlight, splits } of writes.routes) {
    sums.all += primary + both;
    sums.both += both;
    sums.inFlight += inFlight;
    for (const count of Object.values(splits)) sums.splits += count;
  }
  return sums;
}
