// Whom a change of flags moves: open sessions and streams as the route's `onSwitch` says, and for certain the
// next connection of whoever is connected now.
import type { RouteConfig } from '../config/schema.ts';
import type { Decider, TrafficView } from '../ports.ts';
import type { Stage } from '../rules/stage.ts';

/** A decision takes up to 5 µs; 200 of them hold up clients for no more than a millisecond. */
const SLICE = 200;

const DRAINS =
  'open ones stay where they are until they leave, or limits.leaveMs is over; new ones follow at once';
/** What becomes of answers. */
const ANSWERS = 'answers under way are finished; new requests follow at once';
/** What becomes of open sessions whose side changes. */
const SESSIONS: Readonly<Record<RouteConfig['onSwitch'], string>> = {
  'in-place': 'open ones stay open and move within some seconds; new ones follow at once',
  reconnect: 'open ones are told to reconnect, at a pace; new ones follow at once',
  drain: DRAINS,
};
/** A stream can not be moved: its client comes again. */
const STREAMS_END = 'open ones end behind an event, at a pace; new ones follow at once';

export interface Moves {
  readonly openSessions: number;
  /** Open sessions and streams whose side is another one after the change. */
  readonly wouldMoveToCandidate: number;
  readonly wouldMoveToLegacy: number;
  /** Percent of the users whom the candidate serves; null where the flags name no single share. */
  readonly shareBefore: number | null;
  readonly shareAfter: number | null;
  readonly note: string;
}

/** Counts with `decideNext`, which knows the flags after the change. Gives way to traffic often. */
export async function countMoves(
  route: RouteConfig,
  stages: { readonly before: Stage; readonly after: Stage },
  traffic: TrafficView | null,
  decideNext: Decider,
): Promise<Moves> {
  // A copy: sessions come and go while others are being looked at.
  const sessions = [...(traffic?.sessionsOf(route.name) ?? [])];
  const moving = { candidate: 0, legacy: 0 };
  for (const [index, { subject, side }] of sessions.entries()) {
    if (index % SLICE === SLICE - 1) await new Promise(resolve => setImmediate(resolve));
    const { primary } = decideNext(route, subject).decision;
    if (primary !== side) moving[primary] += 1;
  }
  return {
    openSessions: sessions.length,
    wouldMoveToCandidate: moving.candidate,
    wouldMoveToLegacy: moving.legacy,
    shareBefore: served(stages.before),
    shareAfter: served(stages.after),
    note: noteOf(route, moving.candidate + moving.legacy > 0),
  };
}

function noteOf({ protocol, onSwitch }: RouteConfig, isAnybodyMoved: boolean): string {
  if (protocol === 'http') return ANSWERS;
  if (!isAnybodyMoved) return 'new ones follow at once';
  if (protocol === 'websocket') return SESSIONS[onSwitch];
  return onSwitch === 'drain' ? DRAINS : STREAMS_END;
}

function served({ serve, kill }: Stage): number | null {
  if (kill) return 0;
  return serve === undefined ? null : serve / 10;
}
