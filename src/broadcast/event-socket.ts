// What a service needs of a connection. A `ws` WebSocket is one as it is; an SSE response is made
// one by `sse.ts`.

/**
 * A reader who is so far behind is not waited for: 4 MiB is some 8,000 events, and 1,000 such
 * readers are as much as a service may cost.
 */
const MAX_BUFFERED_BYTES = 4 * 1024 * 1024;
const OPEN = 1;
/** Says that bytes are a text message; `ws` would send them as a binary one. */
export const TEXT_FRAME = Object.freeze({ binary: false });

/** JSON text, or its bytes in UTF-8. */
export type Frame = string | Buffer;
export type Done = (error?: Error | null) => void;

export interface EventSocket {
  /** As in the WebSocket API: 1 is open. */
  readonly readyState: number;
  readonly bufferedAmount: number;
  /** `done` is called once: without an error when the operating system took the frame. */
  send(frame: Frame, options: typeof TEXT_FRAME, done: Done): void;
}

/** Is the socket open, and its reader keeping up? */
export function takesFrames(socket: EventSocket): boolean {
  return socket.readyState === OPEN && socket.bufferedAmount < MAX_BUFFERED_BYTES;
}
