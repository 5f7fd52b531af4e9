// Where something open of a route has a leg, as the decision asks before it leaves a side out of writes.
import { flagName, type RouteConfig } from '../config/schema.ts';
import type { TrafficView } from '../ports.ts';
import { SIDES, type Side } from '../rules/decide.ts';
import { BYPASS_NAME } from '../rules/routes.ts';

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
  const serve = flagName(route, 'serve');
  const together = routes.filter(other => flagName(other, 'serve') === serve);
  const names = [...together.map(({ name }) => name), BYPASS_NAME];
  return SIDES.filter(side => names.some(name => traffic.hasLeg(name, side)));
}
