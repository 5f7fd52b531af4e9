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
    bytesToClient: 0,
    bytesToUpstream: 0,
    messagesToClient: 0,
    messagesToUpstream: 0,
    secondLegsOpen: 0,
  };
}
