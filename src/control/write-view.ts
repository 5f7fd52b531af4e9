// Where writes go and what became of them, route by route.
import { SPLIT_CAUSES, type SplitCause } from '../ports.ts';
import type { Decision } from '../rules/decide.ts';
import { BYPASS_NAME, kindOf } from '../rules/routes.ts';
import type { ProxyView } from './proxy-view.ts';
import { inFlight, type WriteCounts } from './write-splits.ts';

/** Counts are since the start. */
export interface RouteWrites {
  /** Or `bypass` and `unrouted`: what went to legacy past all routes. */
  readonly route: string;
  /** As configured; null for what is no route. */
  readonly mode: Decision['writeTo'] | null;
  /** Where a write goes now: `both` in the stages from which there is a way back. */
  readonly writeTo: Decision['writeTo'];
  /** Writes to the one service that served the user. */
  readonly primary: number;
  readonly both: number;
  /** Of `both`: not known yet to have reached both; taken by both or by neither. */
  readonly inFlight: number;
  readonly agreed: number;
  readonly splits: Readonly<Record<SplitCause, number>>;
}

export interface WritesView {
  readonly routes: readonly RouteWrites[];
  /** Splits that are counted and could not be written to the state folder. */
  readonly unkept: number;
}

const NONE: Readonly<WriteCounts> = { primary: 0, both: 0, agreed: 0, splits: {} };

export function writesView(proxy: Pick<ProxyView, 'writes' | 'loaded' | 'decide'>): WritesView {
  const counts = proxy.writes.counts();
  const routes = proxy.loaded().config.routes.filter(route => kindOf(route) === 'http');
  const names = new Set(routes.map(({ name }) => name));
  // Of what is open on the candidate still, past all routes as well.
  const isBypassedToBoth = routes.some(route => {
    const { reason, writeTo } = proxy.decide(route, null).decision;
    return reason === 'bypass' && writeTo === 'both';
  });
  const others = [...counts.keys()].filter(name => !names.has(name));
  return {
    routes: [
      ...routes.map(route => ({
        ...{ route: route.name, mode: route.writes },
        writeTo: proxy.decide(route, null).decision.writeTo,
        ...totals(counts.get(route.name)),
      })),
      ...others.map(name => ({
        ...{ route: name, mode: null },
        writeTo:
          name === BYPASS_NAME && isBypassedToBoth ? ('both' as const) : ('primary' as const),
        ...totals(counts.get(name)),
      })),
    ],
    unkept: proxy.writes.unkept,
  };
}

function totals(counts: Readonly<WriteCounts> = NONE) {
  const { primary, both, agreed, splits } = counts;
  const byCause = Object.fromEntries(SPLIT_CAUSES.map(cause => [cause, splits[cause] ?? 0]));
  return {
    ...{ primary, both, agreed, inFlight: inFlight(counts) },
    splits: byCause as Record<SplitCause, number>,
  };
}
