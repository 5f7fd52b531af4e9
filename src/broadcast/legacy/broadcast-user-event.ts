// Third legacy implementation: a convenience function over a third registry.
import type { BroadcastEvent } from '../event.ts';
import { type EventSocket, TEXT_FRAME, takesFrames } from '../event-socket.ts';
import type { UserExecutionContext } from '../user-context.ts';
import { boundToThread, boundToUser } from './entry.ts';

interface ManagedConnection {
  readonly connectionId: string;
  readonly userId: string;
  readonly socket: EventSocket;
  readonly connectedAt: Date;
}

/** Connections by their own id, and each user's ids. */
export class ManagedConnections {
  readonly #connections = new Map<string, ManagedConnection>();
  readonly #idsByUser = new Map<string, Set<string>>();

  add(userId: string, connectionId: string, socket: EventSocket): void {
    this.#connections.set(connectionId, { connectionId, userId, socket, connectedAt: new Date() });
    const ids = this.#idsByUser.get(userId) ?? new Set<string>();
    ids.add(connectionId);
    this.#idsByUser.set(userId, ids);
  }

  remove(userId: string, connectionId: string): void {
    this.#connections.delete(connectionId);
    const ids = this.#idsByUser.get(userId);
    if (ids?.delete(connectionId) && ids.size === 0) this.#idsByUser.delete(userId);
  }

  async sendTo(userId: string, event: BroadcastEvent): Promise<number> {
    let written = 0;
    for (const connectionId of [...(this.#idsByUser.get(userId) ?? [])]) {
      const socket = this.#connections.get(connectionId)?.socket;
      if (socket === undefined || !takesFrames(socket)) continue;
      const text = JSON.stringify(event);
      const taken = await new Promise<boolean>(settle => {
        socket.send(text, TEXT_FRAME, error => settle(!error));
      });
      if (taken) written++;
    }
    return written;
  }
}

/** Overwrites `thread_id`, `user_id` and `request_id`; returns how many sockets were written. */
export async function broadcastUserEvent(
  event: BroadcastEvent,
  context: UserExecutionContext,
  connections: ManagedConnections,
): Promise<number> {
  return connections.sendTo(context.userId, boundToUser(boundToThread(event, context), context));
}
