// The canonical module: whoever broadcasts imports from here. The same objects are still found in
// the modules they were born in.
export { AgentWebSocketBridge } from './agent-bridge.ts';
export {
  type BroadcastResult,
  createBroadcastService,
  preventCrossUserContamination,
  WebSocketBroadcastService,
} from './broadcast-service.ts';
export { ConnectionManager } from './connection-manager.ts';
export { LegacyAdapters } from './legacy/adapters.ts';
export { broadcastUserEvent } from './legacy/broadcast-user-event.ts';
export { getWebSocketEventRouter, WebSocketEventRouter } from './legacy/event-router.ts';
export { UserScopedWebSocketEventRouter } from './legacy/user-scoped-router.ts';
export { createUserExecutionContext, type UserExecutionContext } from './user-context.ts';
