// The flags as an operator lists them: what each is for, and whom it reaches.
import type { RouteConfig } from '../config/schema.ts';
import type { FeatureLike } from '../rules/flag-shape.ts';
import { isBase, isKilled, shareOf } from '../rules/flag-shape.ts';
import { flagNames } from './flags/evaluation.ts';

const ROLES = ['serve', 'shadow', 'kill', 'isolation'] as const;

export interface ListedFlag {
  readonly name: string;
  readonly enabled: boolean;
  /** The routes that read the flag, and as what; none and null for flags of somebody else. */
  readonly routes: readonly string[];
  readonly role: (typeof ROLES)[number] | null;
  /** Percent of the users: whom the candidate serves, who is shadowed, who is killed. */
  readonly percent: number | null;
  /** Strategies that single users out. */
  readonly pins: number;
  readonly description: string;
}

/** Flags of routes first, in the order of the routes and roles; then the rest as they stand. */
export function listFlags(
  features: readonly FeatureLike[],
  routes: readonly RouteConfig[],
): ListedFlag[] {
  const uses = new Map<string, { routes: string[]; role: (typeof ROLES)[number] }>();
  for (const route of routes) {
    const names = flagNames(route);
    for (const role of ROLES) {
      const use = uses.get(names[role]) ?? { routes: [], role };
      use.routes.push(route.name);
      uses.set(names[role], use);
    }
  }
  const order = [...uses.keys()];
  const rank = ({ name }: ListedFlag) => (uses.has(name) ? order.indexOf(name) : order.length);
  return features
    .map((feature): ListedFlag => {
      const use = uses.get(feature.name);
      return {
        name: feature.name,
        enabled: feature.enabled,
        routes: use?.routes ?? [],
        role: use?.role ?? null,
        percent: percentOf(feature, use?.role),
        pins: feature.strategies.filter(strategy => !isBase(strategy)).length,
        description: feature.description ?? '',
      };
    })
    .sort((a, b) => rank(a) - rank(b));
}

function percentOf(feature: FeatureLike, role: (typeof ROLES)[number] | undefined): number | null {
  if (role === 'kill') return isKilled(feature) ? 100 : 0;
  if (role !== 'serve' && role !== 'shadow') return null;
  const share = shareOf(feature, role === 'serve' ? 'candidate' : 'on');
  return share === undefined ? null : share / 10;
}
