// Running totals per route and side. Plain numbers: they are touched for every read.

import type { LaneCounters } from '../ports.ts';
import type { Side } from '../rules/decide.ts';

export class Counters {
  readonly #byRoute = new Map<string, Record<Side, LaneCounters>>();

  of(route: string, side: Side): LaneCounters {
    let both = this.#byRoute.get(route);
    if (both === undefined) {
      both = { legacy: none(), candidate: none() };
      this.#byRoute.set(route, both);
    }
    return both[side];
  }

  /** True while a session or stream is open that has a leg there. */
  hasLeg(route: string, side: Side): boolean {
    const lane = this.#byRoute.get(route)?.[side];
    return lane !== undefined && lane.sessionsOpen + lane.streamsOpen + lane.secondLegsOpen > 0;
  }

  /** True while a session is open, or an answer under way, that comes from there. */
  serves(route: string, side: Side): boolean {
    const lane = this.#byRoute.get(route)?.[side];
    return lane !== undefined && lane.sessionsOpen + lane.answersOpen > 0;
  }

  *entries(): Iterable<{ route: string; side: Side; counters: LaneCounters }> {
    for (const [route, both] of this.#byRoute) {
      yield { route, side: 'legacy', counters: both.legacy };
      yield { route, side: 'candidate', counters: both.candidate };
    }
  }
}

function none(): LaneCounters {
  return {
    sessionsOpen: 0,
    answersOpen: 0,
    streamsOpen: 0,
    requests: 0,
    bytesToClient: 0,
    bytesToUpstream: 0,
    messagesToClient: 0,
    messagesToUpstream: 0,
    secondLegsOpen: 0,
  };
}
