// What a configuration's shape can not say: fields that contradict each other, and settings that
// are allowed but probably not meant.
import { isIP } from 'node:net';
import { RuleError } from '../rules/compare/check.ts';
import { compileRules } from '../rules/compare/compile.ts';
import { covers, kindOf, RESERVED_NAMES } from '../rules/routes.ts';
import type { Explained } from './explain.ts';
import type { Parts } from './parts.ts';
import type { RouteConfig } from './schema.ts';

/** Contradictions, in whatever of the file could be read. */
export function contradictions(parts: Parts): Explained[] {
  const { listen, admin } = parts;
  const found = routeConflicts(parts.routes);
  for (const [index, route] of parts.routes) {
    const { name, protocol, subject, writes, affinity, compare, isolation } = route;
    found.push(...hidingRules(index, compare));
    if (RESERVED_NAMES.includes(name)) {
      const message = 'must be another one: in counts and logs it stands for what is on no route';
      found.push({ path: ['routes', index, 'name'], message });
    }
    for (const [type, fields] of Object.entries(isolation.provenance)) {
      for (const [at, field] of fields.entries()) {
        if (isolation.routing.includes(field)) continue;
        const path = ['routes', index, 'isolation', 'provenance', type, at];
        const message = `is none of isolation.routing (${isolation.routing.join(', ')}), so it is not looked at anyway`;
        found.push({ path, message });
      }
    }
    if (protocol !== 'websocket') continue;
    const message = 'is for requests with a body, which an upgrade has not';
    if (subject) found.push({ path: ['routes', index, 'subject'], message });
    if (writes === 'both') found.push({ path: ['routes', index, 'writes'], message });
    if (affinity === 'credential') {
      const alone = 'is for http and sse: a WebSocket has a connection of its own';
      found.push({ path: ['routes', index, 'affinity'], message: alone });
    }
  }
  if (listen && admin && listen.port === admin.port && listen.port !== 0) {
    found.push({
      path: ['admin', 'port'],
      message: `must be another port than listen.port (both are ${listen.port})`,
    });
  }
  return found;
}

/** Settings that work, but seldom as somebody wants it. */
export function doubts(parts: Parts): Explained[] {
  const { listen, admin, legacy, candidate, identity, flags } = parts;
  const found: Explained[] = [];
  const doubt = (path: Explained['path'], message: string) => found.push({ path, message });
  if (admin && !isLoopback(admin.host)) {
    doubt(['admin', 'host'], 'is not a loopback address: the admin API is open to the network');
  }
  if (legacy && candidate && new URL(legacy.url).href === new URL(candidate.url).href) {
    doubt(['upstreams', 'candidate', 'url'], 'is the same as that of legacy: nothing can migrate');
  }
  if (flags?.provider === 'unleash') {
    const { protocol, hostname } = new URL(flags.url);
    if (protocol === 'http:' && !isLoopback(hostname)) {
      doubt(['flags', 'url'], 'is http: the token for the flags crosses the network in the clear');
    }
  }
  if (identity && identity.sources.length === 0) {
    doubt(['identity', 'sources'], 'is empty: everybody is anonymous, no share can move anybody');
  }
  const tokens = identity?.sources.some(({ from }) => from !== 'header');
  if (tokens && identity?.verify === 'unverified') {
    doubt(
      ['identity', 'verify'],
      'is unverified: a client can name himself as he likes, which decides who serves him',
    );
  }
  for (const [index, { affinity }] of parts.routes) {
    if (affinity !== 'credential' || identity?.verify !== 'unverified') continue;
    doubt(
      ['routes', index, 'affinity'],
      'does nothing: only verified users share connections, and identity.verify is unverified',
    );
  }
  const header = identity?.sources.findIndex(({ from }) => from === 'header') ?? -1;
  if (header >= 0 && listen?.trustedProxies.length === 0) {
    doubt(['identity', 'sources', header], 'is never believed: listen.trustedProxies is empty');
  }
  return found;
}

/** A comparison that would hide what it is there for. */
function hidingRules(index: number, compare: RouteConfig['compare']): Explained[] {
  try {
    compileRules(compare);
    return [];
  } catch (error) {
    if (!(error instanceof RuleError)) throw error;
    const steps = error.field.split(/[.[\]]+/).filter(step => step !== '');
    const place = steps.map(step => (/^\d+$/.test(step) ? Number(step) : step));
    return [{ path: ['routes', index, 'compare', ...place], message: error.sentence }];
  }
}

function routeConflicts(routes: Parts['routes']): Explained[] {
  return routes.flatMap(([index, route], nth) => {
    const earlier = routes.slice(0, nth);
    const found: Explained[] = [];
    const namesake = earlier.find(([, { name }]) => name === route.name);
    if (namesake) {
      const message = `must be unique; routes[${namesake[0]}] has the name "${route.name}" too`;
      found.push({ path: ['routes', index, 'name'], message });
    }
    const shadow = earlier.find(([, other]) => shadows(other, route));
    if (shadow) {
      const [at, { path }] = shadow;
      const message =
        path === route.path
          ? `must differ from routes[${at}], which has the same path`
          : `is never reached: routes[${at}] covers it with "${path}"; put the narrower route first`;
      found.push({ path: ['routes', index, 'path'], message });
    }
    return found;
  });
}

/** True if whatever `later` would match goes to `earlier`; upgrades and requests are apart. */
function shadows(earlier: RouteConfig, later: RouteConfig): boolean {
  if (kindOf(earlier) !== kindOf(later)) return false;
  if (!later.path.endsWith('*')) return covers(earlier.path, later.path);
  return earlier.path.endsWith('*') && covers(earlier.path, later.path.slice(0, -2) || '/');
}

function isLoopback(host: string): boolean {
  if (isIP(host) === 4) return host.startsWith('127.');
  return host === '::1' || host === '[::1]' || host === 'localhost';
}
