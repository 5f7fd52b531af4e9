// Which connections to a service a request may use. A connection is reused only for the client
// connection, and the credentials on it, that opened it: a service that answers once too often, or
// a parser that loses count, can then never hand one user's answer to another.
//
//   200 users one after another, a service that sends a stray answer after each: through shared pools
//   45 to 62 of them got somebody else's body; so, none. What one verified user may share with himself,
//   where a route asks for it, is in `shared-connections.ts`.
import type { Side } from '../rules/decide.ts';
import { fieldValues } from '../wire/headers.ts';
import type { TrafficContext } from './context.ts';
import { queryCredentials } from './credential.ts';
import { createIdentityCache } from './identity.ts';
import type { Roll } from './roll.ts';
import { ServiceConnection } from './service-connection.ts';
import { Turns } from './turns.ts';
import type { RequestFacts, Upstream } from './upstream.ts';

/** A second write must not stand in the way of an answer: each has a connection of its own. */
export type ConnectionUse = 'primary' | 'second';

interface Held {
  readonly credentials: string;
  readonly connection: ServiceConnection;
}

/** What belongs to one client connection: who it proved to be, and its connections to services. */
export class ClientLink {
  readonly identities = createIdentityCache();
  /** Its second writes at each service. */
  readonly secondWrites: Readonly<Record<Side, Turns>> = {
    legacy: new Turns(),
    candidate: new Turns(),
  };
  readonly #roll: Roll<ServiceConnection>;
  readonly #held = new Map<`${Side} ${ConnectionUse}`, Held>();
  #onClose: (() => void) | null = null;

  /** `roll`: where its connections stand while they are open. */
  constructor(roll: Roll<ServiceConnection>) {
    this.#roll = roll;
  }

  /** Called once, when the client has gone. */
  onClose(listener: () => void): void {
    this.#onClose = listener;
  }

  /** The connection for a request with these credentials; another one for any others. */
  connection(
    upstream: Upstream,
    credentials: string,
    use: ConnectionUse = 'primary',
  ): ServiceConnection {
    const key = `${upstream.side} ${use}` as const;
    const held = this.#held.get(key);
    if (held?.credentials === credentials && held.connection.upstream === upstream)
      return held.connection;
    // What is under way comes to its end; the link no longer knows of it.
    held?.connection.close();
    const connection = new ServiceConnection({ upstream, roll: this.#roll });
    this.#held.set(key, { credentials, connection });
    return connection;
  }

  /** The client has gone: what is under way may end. Copies that wait still share one more, until that is idle. */
  close(): void {
    for (const { connection } of this.#held.values()) connection.close();
    this.#held.clear();
    this.#onClose?.();
  }
}

/** By which services tell users apart, whatever the configuration says of it. */
const CREDENTIAL_FIELDS = [
  ...['authorization', 'cookie', 'sec-websocket-protocol'],
  ...['x-api-key', 'api-key', 'x-auth-token', 'x-access-token'],
];

/**
 * Everything in a request by which a service could tell users apart, as one key: equal for two
 * requests only if a service would take them for the same user.
 */
export function credentialsOf(
  { headers, target }: RequestFacts,
  { identity, identityFields }: Pick<TrafficContext, 'identity' | 'identityFields'>,
): string {
  const names = [...CREDENTIAL_FIELDS, ...identityFields];
  // A list, not a text with separators: no two different lists may give the same key.
  return JSON.stringify([
    ...names.map(name => fieldValues(headers, name)),
    queryCredentials(identity.sources, target.query),
  ]);
}
