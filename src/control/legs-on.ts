// Where something open of a route has a leg, as the decision asks before it leaves a side out of writes.
import { flagName, type RouteConfig } from '../config/schema.ts';
import type { TrafficView } from '../ports.ts';
import { SIDES, type Side } from '../rules/decide.ts';
import { BYPASS_NAME } from '../rules/routes.ts';

type Together = ReadonlyMap<string, readonly string[]>;

/** By the routes of a configuration, which are frozen: every write asks, and looking through 200 took 5 µs. */
const known = new WeakMap<readonly RouteConfig[], Together>();

/**
 * Routes with one serve flag move together: what a backend posts to one of them is read by the sessions
 * of another. Whatever came in through the bypass is on legacy, and may be of any route.
 */
export function legsOn(
  route: RouteConfig,
  routes: readonly RouteConfig[],
  traffic: Pick<TrafficView, 'hasLeg'> | null,
): readonly Side[] {
  if (route.writes !== 'both' || traffic === null) return [];
  const together = known.get(routes) ?? togetherBy(routes);
  const names = [...(together.get(flagName(route, 'serve')) ?? []), BYPASS_NAME];
  return SIDES.filter(side => names.some(name => traffic.hasLeg(name, side)));
}

/** Names of routes by their serve flag. */
function togetherBy(routes: readonly RouteConfig[]): Together {
  const byFlag = Map.groupBy(routes, route => flagName(route, 'serve'));
  const together = new Map([...byFlag].map(([flag, of]) => [flag, of.map(({ name }) => name)]));
  known.set(routes, together);
  return together;
}
