// The legacy broadcaster as it stood: three implementations side by side, each with its registry,
// every connection entered into all three.
import type { BroadcastEvent } from '../event.ts';
import type { EventSocket } from '../event-socket.ts';
import type { UserExecutionContext } from '../user-context.ts';
import { broadcastUserEvent, ManagedConnections } from './broadcast-user-event.ts';
import type { LegacyEntryPoints } from './entry.ts';
import { getWebSocketEventRouter, type WebSocketEventRouter } from './event-router.ts';
import { UserScopedRegistry, UserScopedWebSocketEventRouter } from './user-scoped-router.ts';

export class LegacyBroadcaster implements LegacyEntryPoints {
  readonly router: WebSocketEventRouter;
  readonly #scoped = new UserScopedRegistry();
  readonly #managed = new ManagedConnections();

  constructor() {
    this.router = getWebSocketEventRouter(this);
  }

  connect(context: UserExecutionContext, connectionId: string, socket: EventSocket): void {
    this.router.registerConnection(context.userId, connectionId, context.threadId, socket);
    this.#scoped.register(context, connectionId, socket);
    this.#managed.add(context.userId, connectionId, socket);
  }

  disconnect(userId: string, connectionId: string): void {
    this.router.unregisterConnection(connectionId);
    this.#scoped.unregister(userId, connectionId);
    this.#managed.remove(userId, connectionId);
  }

  socketsOf(userId: string): readonly EventSocket[] {
    return this.#scoped.connectionsOf(userId).map(({ socket }) => socket);
  }

  scopedRouter(context: UserExecutionContext): UserScopedWebSocketEventRouter {
    return new UserScopedWebSocketEventRouter(context, this.#scoped);
  }

  broadcastUserEvent(event: BroadcastEvent, context: UserExecutionContext): Promise<number> {
    return broadcastUserEvent(event, context, this.#managed);
  }
}
