// Which route a request belongs to: decided on the raw path, before anything decodes it.

/** Stand for the route's name in counts and logs: where no route names the path, and in a bypass. */
export const UNROUTED_NAME = 'unrouted';
export const BYPASS_NAME = 'bypass';
/** No route may be called so; `none` is what is counted before a route is known. */
export const RESERVED_NAMES: readonly string[] = [UNROUTED_NAME, BYPASS_NAME, 'none'];

/** Whatever a route is called, by this configuration or one before it. */
export const ALL_ROUTES = { has: (_route: string): boolean => true };

export interface RoutePattern {
  readonly name: string;
  /** `/ws` for exactly that path, `/api/*` for `/api` and everything below. */
  readonly path: string;
  readonly protocol: 'websocket' | 'http' | 'sse';
}

/** What a client asks for: an upgrade, or an answer. */
export type RequestKind = 'websocket' | 'http';

/** The kind of request that a route is for. */
export function kindOf({ protocol }: Pick<RoutePattern, 'protocol'>): RequestKind {
  return protocol === 'websocket' ? 'websocket' : 'http';
}

/** First route for that kind of request whose pattern covers `path`; undefined: unrouted. */
export function matchRoute<R extends RoutePattern>(
  routes: readonly R[],
  path: string,
  kind: RequestKind,
): R | undefined {
  return routes.find(route => kindOf(route) === kind && covers(route.path, path));
}

/** True if `pattern` covers `path`, whole segments at a time. */
export function covers(pattern: string, path: string): boolean {
  if (!pattern.endsWith('*')) return path === pattern;
  const prefix = pattern.slice(0, -2);
  return path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === '/');
}
