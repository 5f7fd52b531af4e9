// Second legacy implementation: a router bound to one user's context, over a second registry.
import type { BroadcastEvent } from '../event.ts';
import { type EventSocket, TEXT_FRAME, takesFrames } from '../event-socket.ts';
import type { UserExecutionContext } from '../user-context.ts';
import { boundToUser } from './entry.ts';

interface ScopedConnection {
  readonly socket: EventSocket;
  readonly context: UserExecutionContext;
  readonly registeredAt: Date;
}

/** Connections by user, each with the context that it was opened with. */
export class UserScopedRegistry {
  readonly #users = new Map<string, Map<string, ScopedConnection>>();

  register(context: UserExecutionContext, connectionId: string, socket: EventSocket): void {
    const own = this.#users.get(context.userId) ?? new Map<string, ScopedConnection>();
    own.set(connectionId, { socket, context, registeredAt: new Date() });
    this.#users.set(context.userId, own);
  }

  unregister(userId: string, connectionId: string): void {
    const own = this.#users.get(userId);
    if (own?.delete(connectionId) && own.size === 0) this.#users.delete(userId);
  }

  connectionsOf(userId: string): readonly ScopedConnection[] {
    return [...(this.#users.get(userId)?.values() ?? [])];
  }
}

export class UserScopedWebSocketEventRouter {
  readonly #context: UserExecutionContext;
  readonly #registry: UserScopedRegistry;

  constructor(context: UserExecutionContext, registry: UserScopedRegistry) {
    this.#context = context;
    this.#registry = registry;
  }

  /** Overwrites `user_id` and `request_id`; returns how many sockets were written. */
  async broadcastToUser(event: BroadcastEvent): Promise<number> {
    const bound = boundToUser(event, this.#context);
    let written = 0;
    for (const { socket } of this.#registry.connectionsOf(this.#context.userId)) {
      if (await sendTo(socket, bound)) written++;
    }
    return written;
  }
}

async function sendTo(socket: EventSocket, event: BroadcastEvent): Promise<boolean> {
  if (!takesFrames(socket)) return false;
  const text = JSON.stringify(event);
  return new Promise(settle => {
    socket.send(text, TEXT_FRAME, error => settle(!error));
  });
}
