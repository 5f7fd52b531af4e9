// Where a broadcaster's transports meet: every connection joins here, every event passes here on its
// way to the side that delivers it, and is counted as due.
import { randomUUID } from 'node:crypto';
import { type BroadcastEvent, nowMs } from './event.ts';
import { eventKeyOf } from './event-key.ts';
import type { EventSocket } from './event-socket.ts';
import type { FaultPlanter } from './fault-planter.ts';
import { LateSocket } from './late-socket.ts';
import type { BroadcasterSide, Connection } from './side.ts';
import { createUserExecutionContext, type UserExecutionContext } from './user-context.ts';

/**
 * Told of every event that is due to a user who is there, before any fault; and of a kept event
 * when it is replayed. Answers to one socket (greetings, pongs, acks, errors) are not among them.
 */
export type OnWritten = (userId: string, eventKey: string, event: BroadcastEvent) => void;

export interface HubOptions {
  readonly side: BroadcasterSide;
  readonly planter: FaultPlanter | undefined;
  /** What frames may take on their way to a socket. */
  readonly jitterMs: number;
  readonly onWritten: OnWritten;
  readonly socketPaths: readonly string[];
}

export class BroadcastHub {
  readonly side: BroadcasterSide;
  readonly socketPaths: readonly string[];
  isClosing = false;
  readonly #planter: FaultPlanter | undefined;
  readonly #jitterMs: number;
  readonly #onWritten: OnWritten;

  constructor({ side, planter, jitterMs, onWritten, socketPaths }: HubOptions) {
    this.side = side;
    this.socketPaths = socketPaths;
    this.#planter = planter;
    this.#jitterMs = jitterMs;
    this.#onWritten = onWritten;
  }

  /** Greets the socket and gives it its user's events from now on. */
  join(userId: string, socket: EventSocket): Connection {
    const way = this.#jitterMs > 0 ? new LateSocket(socket, this.#jitterMs) : socket;
    const connection: Connection = {
      id: `conn_${randomUUID()}`,
      userId,
      socket: this.#planter?.wrap(userId, way) ?? way,
    };
    this.side.connect(connection);
    return connection;
  }

  leave(connection: Connection): void {
    this.side.disconnect(connection);
    this.#planter?.release(connection.userId, connection.socket);
  }

  /** An event that a backend posted. Answers as the side's `POST /broadcast` does. */
  broadcast(userId: string, posted: BroadcastEvent): Promise<object> {
    return this.broadcastAs(createUserExecutionContext(userId, posted), posted);
  }

  broadcastAs(context: UserExecutionContext, event: BroadcastEvent): Promise<object> {
    // Stamped here, once, so that what is counted as due is what is sent.
    const stamped =
      event.timestamp === undefined
        ? { ...event, timestamp: this.side.envelopes.timestamp(nowMs()) }
        : event;
    if (this.side.isReachable(context.userId)) {
      this.#onWritten(context.userId, eventKeyOf(stamped), stamped);
    }
    return this.side.broadcast(context, stamped);
  }
}
