// The service behind a soak: WebSockets that echo, flood or are refused, streams of events, uploads and
// small answers.
import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';

/** What a reader who is slow has to read. */
export const FLOOD_BYTES = 4 * 1_048_576;
const FLOOD_PIECE = Buffer.alloc(65_536, 'f');
/** Between two events of a stream. */
const EVENT_MS = 50;
const REFUSAL = JSON.stringify({ error: 'not you' });

export async function startService(): Promise<{ port: number; close(): void }> {
  const server = http.createServer(answer);
  const webSockets = new WebSocketServer({ noServer: true });
  server.on('upgrade', (request, socket, head) => {
    if (request.url?.includes('refused')) refuse(socket);
    else webSockets.handleUpgrade(request, socket, head, open => serve(open, request.url ?? ''));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: (server.address() as net.AddressInfo).port,
    close: () => {
      for (const socket of webSockets.clients) socket.terminate();
      server.close();
      server.closeAllConnections();
    },
  };
}

function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
  if (request.url?.startsWith('/events')) return stream(response);
  if (request.url?.startsWith('/api/large')) {
    // Ended at once: the sockets' buffers hold it back, and whoever reads slowly holds them.
    response.end(Buffer.alloc(FLOOD_BYTES, 'l'));
    return;
  }
  let bytes = 0;
  request.on('data', chunk => {
    bytes += chunk.length;
  });
  request.on('end', () => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ bytes, padding: 'p'.repeat(200) }));
  });
}

function stream(response: http.ServerResponse): void {
  let id = 0;
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const timer = setInterval(() => {
    id += 1;
    response.write(`id: ${id}\ndata: ${JSON.stringify({ type: 'tick', event_id: id })}\n\n`);
  }, EVENT_MS);
  response.on('close', () => clearInterval(timer));
}

function serve(socket: WebSocket, url: string): void {
  // A client that resets is what a soak is about; 'close' follows.
  socket.on('error', () => undefined);
  socket.on('message', (data, binary) => socket.send(data, { binary }));
  if (!url.includes('flood')) return;
  for (let sent = 0; sent < FLOOD_BYTES; sent += FLOOD_PIECE.length) socket.send(FLOOD_PIECE);
}

function refuse(socket: Duplex): void {
  socket.on('error', () => undefined);
  socket.end(
    `HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: ${REFUSAL.length}\r\nConnection: close\r\n\r\n${REFUSAL}`,
  );
}
