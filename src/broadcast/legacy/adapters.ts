// The legacy entry points over the SSOT service: callers keep calling what they always called and
// get the same counts and the same overwritten fields, but nothing leaves unsanitised.
import type { WebSocketBroadcastService } from '../broadcast-service.ts';
import type { ConnectionManager } from '../connection-manager.ts';
import { preventCrossUserContamination } from '../contamination.ts';
import type { BroadcastEvent } from '../event.ts';
import type { EventSocket } from '../event-socket.ts';
import type { UserExecutionContext } from '../user-context.ts';
import { boundToThread, boundToUser, type LegacyEntryPoints } from './entry.ts';

export class LegacyAdapters implements LegacyEntryPoints {
  readonly router = {
    broadcastToUser: (userId: string, event: BroadcastEvent) => this.#delegate(userId, event),
  };
  readonly #service: WebSocketBroadcastService;
  readonly #connections: ConnectionManager;
  #fallbacks = 0;

  /** `connections` is the service's own registry; the adapters add none. */
  constructor(service: WebSocketBroadcastService, connections: ConnectionManager) {
    this.#service = service;
    this.#connections = connections;
  }

  /** How often the service refused an event and the fallback delivered it. */
  get fallbacks(): number {
    return this.#fallbacks;
  }

  connect(context: UserExecutionContext, _connectionId: string, socket: EventSocket): void {
    this.#service.connect(context.userId, socket);
  }

  disconnect(userId: string, _connectionId: string, socket: EventSocket): void {
    this.#service.disconnect(userId, socket);
  }

  scopedRouter(context: UserExecutionContext) {
    return {
      broadcastToUser: (event: BroadcastEvent) =>
        this.#delegate(context.userId, boundToUser(event, context)),
    };
  }

  broadcastUserEvent(event: BroadcastEvent, context: UserExecutionContext): Promise<number> {
    return this.#delegate(context.userId, boundToUser(boundToThread(event, context), context));
  }

  async #delegate(userId: string, event: BroadcastEvent): Promise<number> {
    try {
      return (await this.#service.broadcastToUser(userId, event)).successful_sends;
    } catch {
      // The service refuses some events under the format gate. The caller's event still goes out,
      // and its address is put right here as it would have been there.
      this.#fallbacks++;
      const { event: safe } = preventCrossUserContamination(event, userId);
      return (await this.#connections.deliver(userId, safe)).taken;
    }
  }
}
