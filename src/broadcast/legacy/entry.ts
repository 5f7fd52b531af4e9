// The three ways into the legacy broadcaster, and what all of them agree on.
import type { BroadcastEvent } from '../event.ts';
import type { EventSocket } from '../event-socket.ts';
import type { UserExecutionContext } from '../user-context.ts';

export const LEGACY_ENTRIES = ['singleton', 'scoped', 'convenience'] as const;
export type LegacyEntry = (typeof LEGACY_ENTRIES)[number];

/** What callers of the legacy broadcaster use; each returns how many sockets were written. */
export interface LegacyEntryPoints {
  connect(context: UserExecutionContext, connectionId: string, socket: EventSocket): void;
  disconnect(userId: string, connectionId: string, socket: EventSocket): void;
  /** The singleton: passes events through as they are. */
  readonly router: { broadcastToUser(userId: string, event: BroadcastEvent): Promise<number> };
  /** A router bound to one user: overwrites `user_id` and `request_id`. */
  scopedRouter(context: UserExecutionContext): {
    broadcastToUser(event: BroadcastEvent): Promise<number>;
  };
  /** The convenience function: overwrites `thread_id` too. */
  broadcastUserEvent(event: BroadcastEvent, context: UserExecutionContext): Promise<number>;
}

/** What a router bound to a user makes of an event. */
export function boundToUser(event: BroadcastEvent, context: UserExecutionContext): BroadcastEvent {
  return { ...event, user_id: context.userId, request_id: context.requestId };
}

/** What the convenience function makes of an event before it is bound. */
export function boundToThread(
  event: BroadcastEvent,
  context: UserExecutionContext,
): BroadcastEvent {
  return { ...event, thread_id: context.threadId };
}
