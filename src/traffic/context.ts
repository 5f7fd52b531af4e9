// What one configuration means for traffic. Replaced as a whole by a reload; whoever began with one
// keeps it to the end, but for the services that a WebSocket has still to be connected with, or a copy of a write has
// still to be sent to.
import type { Loaded } from '../config/load.ts';
import type { IdentityConfig, LimitsConfig, RouteConfig } from '../config/schema.ts';
import type { Side } from '../rules/decide.ts';
import { createIdentifier, type Identifier } from './identity.ts';
import { peerList } from './peers.ts';
import { type Upstream, upstreamOf } from './upstream.ts';

export interface TrafficContext {
  readonly routes: readonly RouteConfig[];
  readonly upstreams: Readonly<Record<Side, Upstream>>;
  /** Another instance of legacy; null where there is none. */
  readonly twin: Upstream | null;
  readonly identity: IdentityConfig;
  readonly identifier: Identifier;
  readonly limits: LimitsConfig;
  /** Fields that name the user outright, in lower case: believed and passed on from trusted peers only. */
  readonly identityFields: ReadonlySet<string>;
  /** Clients are told who served them. */
  readonly showSide: boolean;
  /** True for addresses of the operator's own proxies. */
  readonly isTrusted: (address: string) => boolean;
}

export function contextOf(loaded: Loaded): TrafficContext {
  const { config, secrets } = loaded;
  const { trustedProxies } = config.listen;
  return {
    routes: config.routes,
    upstreams: {
      legacy: upstreamOf('legacy', config.upstreams.legacy, secrets.ca.legacy),
      candidate: upstreamOf('candidate', config.upstreams.candidate, secrets.ca.candidate),
    },
    twin:
      config.upstreams.legacyTwin === undefined
        ? null
        : upstreamOf('legacy', config.upstreams.legacyTwin, secrets.ca.legacyTwin),
    identity: config.identity,
    identifier: createIdentifier(config.identity, secrets, trustedProxies),
    limits: config.limits,
    identityFields: new Set(
      config.identity.sources.flatMap(s => (s.from === 'header' ? [s.name.toLowerCase()] : [])),
    ),
    showSide: config.listen.showSide,
    isTrusted: peerList(trustedProxies),
  };
}
