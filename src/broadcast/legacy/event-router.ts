// First legacy implementation: the singleton router, with a registry of its own.
import type { BroadcastEvent } from '../event.ts';
import { type EventSocket, TEXT_FRAME, takesFrames } from '../event-socket.ts';

interface ConnectionInfo {
  readonly connectionId: string;
  readonly userId: string;
  readonly threadId: string;
  readonly connectedAt: Date;
  lastActivity: Date;
  isActive: boolean;
  readonly socket: EventSocket;
}

const routers = new WeakMap<object, WebSocketEventRouter>();

/** The one router of a process, or of `owner` where several services share a process. */
export function getWebSocketEventRouter(owner: object = globalThis): WebSocketEventRouter {
  let router = routers.get(owner);
  if (router === undefined) {
    router = new WebSocketEventRouter();
    routers.set(owner, router);
  }
  return router;
}

export class WebSocketEventRouter {
  readonly #pool = new Map<string, ConnectionInfo[]>();
  readonly #connectionToUser = new Map<string, string>();

  registerConnection(
    userId: string,
    connectionId: string,
    threadId: string,
    socket: EventSocket,
  ): void {
    const now = new Date();
    const pool = this.#pool.get(userId) ?? [];
    pool.push({
      connectionId,
      userId,
      threadId,
      connectedAt: now,
      lastActivity: now,
      isActive: true,
      socket,
    });
    this.#pool.set(userId, pool);
    this.#connectionToUser.set(connectionId, userId);
  }

  unregisterConnection(connectionId: string): void {
    const userId = this.#connectionToUser.get(connectionId);
    if (userId === undefined) return;
    this.#connectionToUser.delete(connectionId);
    const left = (this.#pool.get(userId) ?? []).filter(each => each.connectionId !== connectionId);
    if (left.length === 0) this.#pool.delete(userId);
    else this.#pool.set(userId, left);
  }

  /** Sends to the user's connections one after another; returns how many were written. */
  async broadcastToUser(userId: string, event: BroadcastEvent): Promise<number> {
    const active = (this.#pool.get(userId) ?? []).filter(each => each.isActive);
    let written = 0;
    for (const { connectionId } of active) {
      if (await this.routeEvent(userId, connectionId, event)) written++;
    }
    return written;
  }

  /** Sends to one connection, if it is this user's. */
  async routeEvent(userId: string, connectionId: string, event: BroadcastEvent): Promise<boolean> {
    if (this.#connectionToUser.get(connectionId) !== userId) return false;
    const info = this.#pool.get(userId)?.find(each => each.connectionId === connectionId);
    if (info === undefined || !takesFrames(info.socket)) return false;
    const text = JSON.stringify(event);
    const written = await new Promise<boolean>(settle => {
      info.socket.send(text, TEXT_FRAME, error => settle(!error));
    });
    info.lastActivity = new Date();
    return written;
  }

  getStats(): { users: number; connections: number } {
    return { users: this.#pool.size, connections: this.#connectionToUser.size };
  }
}
