// Idle connections to services that one verified user's client connections share, where a route says
// `affinity: credential`: for balancers that spread a user's requests over connections of their own,
// on which those of other users lie between.
//
// A connection goes to one request at a time, and only to requests with exactly the credentials that
// it was dialled with. What a service sends astray then reaches the user whom it belongs to.
import type { Roll } from './roll.ts';
import { ServiceConnection, type ServiceConnectionOptions } from './service-connection.ts';
import type { Upstream } from './upstream.ts';

/** As many as a browser opens to one host; what one user can make us keep. */
const MOST_IDLE_OF_ONE = 6;
/** Each is a socket here and a client of the service's; beyond that the oldest idle one goes. */
const MOST_IDLE = 1_000;

export class SharedConnections {
  readonly #roll: Roll<ServiceConnection>;
  readonly #mostIdle: number;
  /** By key, the one that was used last at the end. */
  readonly #byKey = new Map<string, SharedConnection[]>();
  readonly #oldestFirst = new Set<SharedConnection>();
  #closed = false;

  /** `roll`: where connections stand while they are open. */
  constructor(roll: Roll<ServiceConnection>, mostIdle = MOST_IDLE) {
    this.#roll = roll;
    this.#mostIdle = mostIdle;
  }

  /** Connections that wait for the next request of their user. */
  get idle(): number {
    return this.#oldestFirst.size;
  }

  /**
   * A connection for one request, nobody else's until that is over. `proof` is the token that was
   * verified, `credentials` all that a service could tell users apart by.
   */
  take(upstream: Upstream, proof: string, credentials: string): ServiceConnection {
    const key = JSON.stringify([upstream.side, proof, credentials]);
    for (;;) {
      const idle = this.#byKey.get(key)?.at(-1);
      if (idle === undefined) return this.#open(key, upstream);
      this.#remove(idle);
      if (idle.upstream === upstream) return idle;
      // A reload put another service there.
      idle.close();
    }
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#oldestFirst) connection.close();
    this.#oldestFirst.clear();
    this.#byKey.clear();
  }

  #open(key: string, upstream: Upstream): SharedConnection {
    const connection: SharedConnection = new SharedConnection(key, {
      upstream,
      roll: this.#roll,
      onFree: () => this.#back(connection),
      onGone: () => this.#gone(connection),
    });
    return connection;
  }

  #back(connection: SharedConnection): void {
    const others = this.#byKey.get(connection.key) ?? [];
    if (this.#closed || !connection.isOpen || others.length >= MOST_IDLE_OF_ONE) {
      connection.close();
      return;
    }
    this.#byKey.set(connection.key, [...others, connection]);
    this.#oldestFirst.add(connection);
    const [oldest] = this.#oldestFirst;
    if (oldest === undefined || this.#oldestFirst.size <= this.#mostIdle) return;
    this.#remove(oldest);
    oldest.close();
  }

  /** Closed by the service, by its time limit, or for an answer that nobody asked for. */
  #gone(connection: SharedConnection): void {
    if (!this.#oldestFirst.has(connection)) return;
    this.#remove(connection);
    connection.close();
  }

  #remove(connection: SharedConnection): void {
    this.#oldestFirst.delete(connection);
    const left = this.#byKey.get(connection.key)?.filter(other => other !== connection) ?? [];
    if (left.length > 0) this.#byKey.set(connection.key, left);
    else this.#byKey.delete(connection.key);
  }
}

class SharedConnection extends ServiceConnection {
  readonly key: string;

  constructor(key: string, options: ServiceConnectionOptions) {
    super(options);
    this.key = key;
  }
}
