// The WebSocket transport of a reference service: handshake, reading, pings, end.
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { type WebSocket, WebSocketServer } from 'ws';
import { AgentWebSocketBridge } from './agent-bridge.ts';
import { ClientMessages } from './client-messages.ts';
import { acceptedSubprotocol, userOfHandshake } from './credentials.ts';
import { errorMessage, goingAway } from './envelopes.ts';
import { nowMs } from './event.ts';
import type { Endpoints } from './http-endpoints.ts';
import { Liveness, type LivenessTimes } from './liveness.ts';

export const SOCKET_PATHS = ['/ws', '/ws/factory', '/ws/isolated', '/api/v1/websocket'];
/** What the real services take, whatever they advertise. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;
/** Time that clients get to answer the closing handshake. */
const CLOSE_MS = 1_000;
/** RFC 6455 7.4.1. */
const GOING_AWAY = 1001;
const UNSUPPORTED_DATA = 1003;
const POLICY_VIOLATION = 1008;

export interface SocketOptions {
  readonly agentDelayMs: number;
  /** `close`: accept, say why, close 1008. `refuse`: HTTP 403 before the upgrade. */
  readonly authFailure: 'close' | 'refuse';
  readonly liveness: LivenessTimes;
}

export class SocketServer {
  readonly #endpoints: Endpoints;
  readonly #refuse: boolean;
  readonly #bridge: AgentWebSocketBridge;
  readonly #liveness: Liveness;
  readonly #stopped = new AbortController();
  readonly #open = new Set<WebSocket>();
  #broken = 0;
  readonly #server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: MAX_MESSAGE_BYTES,
    // Offered, as by the real services; without context takeover, which costs 300 kB a socket.
    perMessageDeflate: { serverNoContextTakeover: true, clientNoContextTakeover: true },
    handleProtocols: acceptedSubprotocol,
  });

  constructor(endpoints: Endpoints, options: SocketOptions) {
    const { hub } = endpoints;
    this.#endpoints = endpoints;
    this.#refuse = options.authFailure === 'refuse';
    this.#liveness = new Liveness(options.liveness);
    this.#bridge = new AgentWebSocketBridge(
      hub.side.envelopes,
      (context, event) => hub.broadcastAs(context, event),
      options.agentDelayMs,
    );
  }

  /** Sockets dropped for their silence, and those that broke the protocol. */
  get counts(): { readonly silent: number; readonly broken: number } {
    return { silent: this.#liveness.dropped, broken: this.#broken };
  }

  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    // Until the handshake is done nobody else listens, and a reset would end the process.
    const onError = () => socket.destroy();
    socket.on('error', onError);
    this.#handshake(request, socket, head, onError).catch(() => socket.destroy());
  }

  async #handshake(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    onError: () => void,
  ): Promise<void> {
    const { hub, verify, tickets } = this.#endpoints;
    const target = URL.parse(request.url ?? '/', 'http://broadcaster');
    if (target === null) return refuse(socket, '400 Bad Request');
    const { pathname, searchParams } = target;
    if (!SOCKET_PATHS.includes(pathname)) return refuse(socket, '404 Not Found');
    const userId = await userOfHandshake(request, searchParams, verify, tickets);
    // Behind that: who would be welcomed after all others were told goodbye, or torn down, would stay for ever.
    if (hub.isClosing) return refuse(socket, '503 Service Unavailable');
    if (this.#stopped.signal.aborted) return void socket.destroy();
    if (userId === undefined && this.#refuse) return refuse(socket, '403 Forbidden');
    socket.off('error', onError);
    this.#server.handleUpgrade(request, socket, head, ws => {
      // `ws` closes with the right code by itself; what is left to do is to count.
      ws.on('error', () => {
        this.#broken++;
      });
      this.#open.add(ws);
      ws.once('close', () => this.#open.delete(ws));
      if (userId === undefined) this.#turnAway(ws);
      else this.#welcome(userId, ws);
    });
  }

  #turnAway(ws: WebSocket): void {
    const { side } = this.#endpoints.hub;
    const sentence = 'Authentication failed.';
    side.reply(ws, errorMessage(side.envelopes, 'AUTH_FAILED', sentence, nowMs()));
    ws.close(POLICY_VIOLATION, sentence);
  }

  #welcome(userId: string, ws: WebSocket): void {
    const { hub } = this.#endpoints;
    this.#liveness.watch(ws);
    const connection = hub.join(userId, ws);
    const messages = new ClientMessages(hub.side, this.#bridge, connection, this.#stopped.signal);
    ws.on('message', (data, isBinary) => {
      if (isBinary) ws.close(UNSUPPORTED_DATA, 'Only text is understood.');
      else messages.read(data.toString());
    });
    ws.once('close', () => hub.leave(connection));
  }

  terminate(): void {
    this.#stopped.abort();
    this.#liveness.stop();
    for (const ws of this.#open) ws.terminate();
  }

  async close(): Promise<void> {
    const { side } = this.#endpoints.hub;
    this.#stopped.abort();
    const deadline = setTimeout(() => this.terminate(), CLOSE_MS);
    await Promise.all(
      [...this.#open].map(ws => {
        side.reply(ws, goingAway(side.envelopes, nowMs()));
        ws.close(GOING_AWAY, 'The service is going away.');
        return ws.readyState === ws.CLOSED
          ? undefined
          : new Promise(settle => ws.once('close', settle));
      }),
    );
    clearTimeout(deadline);
    this.#liveness.stop();
  }
}

/** A client that leaves its half open is left as well: the service ends once all sockets have. */
function refuse(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  const deadline = setTimeout(() => socket.destroy(), CLOSE_MS);
  socket.once('close', () => clearTimeout(deadline));
}
