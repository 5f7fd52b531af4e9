// Legacy's way of answering one socket, past all three routers.
import type { BroadcastEvent } from '../event.ts';
import { type EventSocket, TEXT_FRAME, takesFrames } from '../event-socket.ts';

export function replyTo(socket: EventSocket, event: BroadcastEvent): void {
  // An answer that can not be sent has nobody left to miss it: the socket is closed or drowning.
  if (takesFrames(socket)) socket.send(JSON.stringify(event), TEXT_FRAME, () => undefined);
}
