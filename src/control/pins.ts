// Pins as an operator asks for them and lists them. Routes may share a serve flag, and a pin is one of
// its constraints: it holds for all of them.
import type { RouteConfig } from '../config/schema.ts';
import { CutoverError } from '../errors.ts';
import { REASONS, type Reason, type Side } from '../rules/decide.ts';
import { isBase } from '../rules/flag-shape.ts';
import { isOver, type Pin, pinsOf } from '../rules/pin.ts';
import { flagNames } from './flags/evaluation.ts';
import type { FlagProvider, PinChange } from './flags/provider.ts';
import type { ProxyView } from './proxy-view.ts';
import { routesOf } from './stage-change.ts';

export interface PinRequest {
  readonly user: string;
  readonly side: Side;
  readonly forS: number;
  /** All routes without one. */
  readonly route?: string | undefined;
}

export interface PinnedFlag extends PinChange {
  readonly routes: readonly string[];
  /** What the flags in force now decide for the user. */
  readonly decisions: readonly {
    readonly route: string;
    readonly primary: Side;
    readonly reason: Reason;
    readonly sentence: string;
  }[];
}

export interface Pinned {
  readonly user: string;
  readonly side: Side;
  /** ISO 8601. */
  readonly until: string;
  readonly flags: readonly PinnedFlag[];
}

export interface Unpinned {
  readonly user: string;
  readonly flags: readonly PinnedFlag[];
}

export interface ListedPins {
  readonly flag: string;
  readonly routes: readonly string[];
  readonly pins: readonly {
    readonly users: readonly string[];
    readonly side: Side;
    /** ISO 8601; null for one that somebody wrote without an end. */
    readonly until: string | null;
    readonly over: boolean;
  }[];
  /** Strategies with other constraints, which may single users out as well. */
  readonly others: number;
}

type Proxy = Pick<ProxyView, 'flags' | 'decide' | 'loaded'>;

/** Throws `CutoverError`: `no-such-route`, `conflict`. */
export async function pinUser(proxy: Proxy, request: PinRequest): Promise<Pinned> {
  const { user, side, forS, route } = request;
  // Whole seconds are easier to read.
  const untilMs = Math.ceil(Date.now() / 1_000 + forS) * 1_000;
  const change = (at: RouteConfig) => proxy.flags.pin(at, { user, side, untilMs });
  const flags = await changeEach(proxy, route, user, change);
  return { user, side, until: new Date(untilMs).toISOString(), flags };
}

/** Throws as `pinUser` does. A user without pins is no failure. */
export async function unpinUser(
  proxy: Proxy,
  { user, route }: { readonly user: string; readonly route?: string | undefined },
): Promise<Unpinned> {
  const flags = await changeEach(proxy, route, user, at => proxy.flags.unpin(at, user));
  return { user, flags };
}

export function listPins(proxy: Proxy, route: string | undefined): ListedPins[] {
  const nowMs = Date.now();
  return [...byServeFlag(proxy, route)].map(([flag, routes]) => {
    const feature = featureOf(proxy.flags, flag);
    const pins = pinsOf(feature);
    const constrained = feature?.strategies.filter(strategy => !isBase(strategy)).length ?? 0;
    return {
      flag,
      routes: routes.map(({ name }) => name),
      pins: pins.map(pin => ({
        users: pin.users,
        side: pin.side,
        until: untilOf(pin),
        over: isOver(pin, nowMs),
      })),
      others: constrained - pins.length,
    };
  });
}

export function untilOf({ untilMs }: Pin): string | null {
  return untilMs === null ? null : new Date(untilMs).toISOString();
}

export function featureOf(flags: Pick<FlagProvider, 'features'>, name: string) {
  return flags.features().find(feature => feature.name === name);
}

async function changeEach(
  proxy: Proxy,
  name: string | undefined,
  user: string,
  change: (route: RouteConfig) => Promise<PinChange>,
): Promise<PinnedFlag[]> {
  const done: PinnedFlag[] = [];
  for (const [flag, routes] of byServeFlag(proxy, name)) {
    try {
      // One edit is enough for all routes that read the flag.
      const changed = await change(routes[0] as RouteConfig);
      const decisions = routes.map(route => {
        const { primary, reason } = proxy.decide(route, { id: user, aliases: [] }).decision;
        return { route: route.name, primary, reason, sentence: REASONS[reason] };
      });
      done.push({ ...changed, routes: routes.map(route => route.name), decisions });
    } catch (error) {
      if (done.length === 0 || !(error instanceof CutoverError)) throw error;
      const so = done.map(before => before.flag).join(', ');
      const message = `${so} changed, ${flag} and those after it did not: ${error.message}`;
      throw new CutoverError(error.code, message, { cause: error });
    }
  }
  return done;
}

/** All routes that read the serve flag of those that are asked for. */
function byServeFlag(proxy: Proxy, name: string | undefined): Map<string, RouteConfig[]> {
  const flags = new Set(routesOf(proxy, name).map(route => flagNames(route).serve));
  const all = proxy.loaded().config.routes;
  return new Map(
    [...flags].map(flag => [flag, all.filter(route => flagNames(route).serve === flag)]),
  );
}
