// An SSE response as a connection like any other: one event per `data` line.
import type { ServerResponse } from 'node:http';
import type { EventSocket } from './event-socket.ts';

const OPEN = 1;
const CLOSED = 3;

export function sseSocket(response: ServerResponse): EventSocket {
  response.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  });
  response.flushHeaders();
  return {
    get readyState() {
      return response.writableEnded || response.destroyed ? CLOSED : OPEN;
    },
    get bufferedAmount() {
      return response.writableLength;
    },
    // JSON text has no raw line breaks, so one line always carries the whole event.
    send(frame, _options, done) {
      response.write(`data: ${frame}\n\n`, done);
    },
  };
}
