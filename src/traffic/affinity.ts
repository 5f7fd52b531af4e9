// Which connections to a service a request may use. A connection is reused only for the client
// connection, and the credentials on it, that opened it: a service that answers once too often, or
// a parser that loses count, can then never hand one user's answer to another.
//
//   200 users one after another, a service that sends a stray answer after each: through shared pools
//   45 to 62 of them got somebody else's body; so, none.
import { once } from 'node:events';
import net from 'node:net';
import { type buildConnector, Client, type Dispatcher } from 'undici';
import { fieldValues } from '../wire/headers.ts';
import type { TrafficContext } from './context.ts';
import { queryCredentials } from './credential.ts';
import { createIdentityCache } from './identity.ts';
import { connect, type RequestFacts, type Upstream } from './upstream.ts';

/**
 * An idle connection is kept so long, less if the service asks for it. Most services close idle ones
 * after 5 s or more and say so; without a word 4 s stay below that.
 */
const KEEP_ALIVE_MS = 4_000;
/** Code of a reset, so that it does not pass for the end of an answer without length: `connector`. */
export const CUT_OFF = 'ECUTOFF';

/** A connection to a service, dialled when it is first used. */
export interface ServiceConnection {
  readonly dispatcher: Dispatcher;
  readonly upstream: Upstream;
  /** Requests given to it so far. */
  requests: number;
}

interface Held {
  readonly credentials: string;
  readonly connection: ServiceConnection;
  readonly close: () => void;
}

/** What belongs to one client connection: who it proved to be, and its connections to services. */
export class ClientLink {
  readonly identities = createIdentityCache();
  readonly #held = new Map<Upstream['side'], Held>();

  /** The connection for a request with these credentials; another one for any others. */
  connection(upstream: Upstream, credentials: string): ServiceConnection {
    const held = this.#held.get(upstream.side);
    if (held?.credentials === credentials && held.connection.upstream === upstream)
      return held.connection;
    held?.close();
    const client = new Client(originOf(upstream), {
      ...CLIENT_OPTIONS,
      connect: connector(upstream),
      headersTimeout: upstream.config.responseTimeoutMs,
    });
    const connection = { dispatcher: client, upstream, requests: 0 };
    // What is under way comes to its end; the link no longer knows of it.
    this.#held.set(upstream.side, { credentials, connection, close: () => void client.close() });
    return connection;
  }

  /** The client has gone: what is under way may end, nothing new begins. */
  close(): void {
    for (const { close } of this.#held.values()) close();
    this.#held.clear();
  }
}

/**
 * Everything in a request by which a service could tell users apart, as one key: equal for two
 * requests only if a service would take them for the same user.
 */
export function credentialsOf(
  { headers, target }: RequestFacts,
  { identity, identityFields }: Pick<TrafficContext, 'identity' | 'identityFields'>,
): string {
  const names = ['authorization', 'cookie', ...identityFields];
  // A list, not a text with separators: no two different lists may give the same key.
  return JSON.stringify([
    ...names.map(name => fieldValues(headers, name)),
    queryCredentials(identity.sources, target.query),
  ]);
}

const CLIENT_OPTIONS = {
  pipelining: 1,
  allowH2: false,
  keepAliveTimeout: KEEP_ALIVE_MS,
  // Streams may be silent for as long as they like; dead peers are found by TCP.
  bodyTimeout: 0,
  strictContentLength: true,
} as const;

function originOf({ secure, host, port }: Upstream): string {
  return `${secure ? 'https' : 'http'}://${net.isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** Dials with our own time limits, keepalive and TLS rules. */
function connector(upstream: Upstream): buildConnector.connector {
  return (_options, callback) => {
    const socket = connect(upstream);
    const event = upstream.secure ? 'secureConnect' : 'connect';
    const signal = AbortSignal.timeout(upstream.config.connectTimeoutMs);
    once(socket, event, { signal }).then(
      () => {
        // An answer that ends with the connection is complete after a FIN, and cut off after a reset;
        // undici takes both for its end, unless the reset has another name.
        socket.prependListener('error', (error: NodeJS.ErrnoException) => {
          if (error.code === 'ECONNRESET') error.code = CUT_OFF;
        });
        callback(null, socket);
      },
      (error: Error) => {
        socket.destroy();
        callback(signal.aborted ? timeout() : error, null);
      },
    );
  };
}

function timeout(): Error {
  return Object.assign(new Error('it did not accept the connection'), { code: 'ETIMEDOUT' });
}
