// What the server needs of a broadcaster, and how each of the two gives it.
import { createBroadcastService, type ServiceOptions } from './broadcast-service.ts';
import { ConnectionManager } from './connection-manager.ts';
import { type Envelopes, legacyEnvelopes, ssotEnvelopes } from './envelopes.ts';
import { type BroadcastEvent, nowMs } from './event.ts';
import { type EventSocket, takesFrames } from './event-socket.ts';
import type { LegacyEntry } from './legacy/entry.ts';
import { LegacyBroadcaster } from './legacy/legacy-broadcaster.ts';
import { replyTo } from './legacy/reply.ts';
import { createUserExecutionContext, type UserExecutionContext } from './user-context.ts';

export type BroadcasterKind = 'legacy' | 'ssot';

/** A connection as the server knows it. */
export interface Connection {
  readonly id: string;
  readonly userId: string;
  readonly socket: EventSocket;
}

export interface BroadcasterSide {
  readonly kind: BroadcasterKind;
  readonly envelopes: Envelopes;
  /** Registers the connection; the greeting is sent before anything else. */
  connect(connection: Connection): void;
  disconnect(connection: Connection): void;
  /** To one socket, registered or not. */
  reply(socket: EventSocket, event: BroadcastEvent): void;
  /** To all sockets of the context's user; answers as `POST /broadcast` does. */
  broadcast(context: UserExecutionContext, event: BroadcastEvent): Promise<object>;
  isReachable(userId: string): boolean;
  stats(): object;
}

export function ssotSide(options: ServiceOptions): BroadcasterSide {
  const connections = new ConnectionManager();
  const service = createBroadcastService(connections, options);
  return {
    kind: 'ssot',
    envelopes: ssotEnvelopes,
    connect(connection) {
      void connections.reply(connection.socket, greeting(ssotEnvelopes, connection));
      service.connect(connection.userId, connection.socket);
    },
    disconnect: connection => service.disconnect(connection.userId, connection.socket),
    reply: (socket, event) => void connections.reply(socket, event),
    broadcast: (context, event) => service.broadcastToUser(context.userId, event),
    isReachable: userId => connections.isReachable(userId),
    stats: () => service.getStats(),
  };
}

export function legacySide(entry: LegacyEntry): BroadcasterSide {
  const legacy = new LegacyBroadcaster();
  let framesWritten = 0;
  const send = (context: UserExecutionContext, event: BroadcastEvent): Promise<number> => {
    switch (entry) {
      case 'singleton':
        return legacy.router.broadcastToUser(context.userId, event);
      case 'scoped':
        return legacy.scopedRouter(context).broadcastToUser(event);
      case 'convenience':
        return legacy.broadcastUserEvent(event, context);
    }
  };
  return {
    kind: 'legacy',
    envelopes: legacyEnvelopes,
    connect(connection) {
      replyTo(connection.socket, greeting(legacyEnvelopes, connection));
      const context = createUserExecutionContext(connection.userId, {});
      legacy.connect(context, connection.id, connection.socket);
    },
    disconnect: ({ userId, id }) => legacy.disconnect(userId, id),
    reply: replyTo,
    async broadcast(context, event) {
      const sent = await send(context, event);
      framesWritten += sent;
      return { sent };
    },
    isReachable: userId => legacy.socketsOf(userId).some(takesFrames),
    stats: () => ({ ...legacy.router.getStats(), entry, frames_written: framesWritten }),
  };
}

function greeting(envelopes: Envelopes, { id, userId }: Connection): BroadcastEvent {
  return envelopes.reply(
    'connection_established',
    { connection_id: id, user_id: userId, status: 'connected' },
    nowMs(),
  );
}
