// A connection to a service for plain requests: dialled when it is first used, one request at a time.
import { once } from 'node:events';
import net from 'node:net';
import { type buildConnector, Client, type Dispatcher } from 'undici';
import { connect, type Upstream } from './upstream.ts';

/**
 * An idle connection is kept so long, less if the service asks for it. Most services close idle ones
 * after 5 s or more and say so; without a word 4 s stay below that.
 */
const KEEP_ALIVE_MS = 4_000;
/** Code of a reset, so that it does not pass for the end of an answer without length: `connector`. */
export const CUT_OFF = 'ECUTOFF';

export interface ServiceConnection {
  readonly dispatcher: Dispatcher;
  readonly upstream: Upstream;
  /** Requests given to it so far. */
  requests: number;
  /** Called when a request given to it is over, however it ended. */
  readonly free: () => void;
}

/** The client library's end of a new connection. */
export function serviceClient(upstream: Upstream): Client {
  return new Client(originOf(upstream), {
    ...CLIENT_OPTIONS,
    connect: connector(upstream),
    headersTimeout: upstream.config.responseTimeoutMs,
  });
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
