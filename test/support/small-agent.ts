// The least service that a comparison run can be about: it lets everybody in, greets him, and runs an agent of
// five events for whoever starts one. What it does otherwise is the test's.
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';

const STEPS = [
  ...['agent_started', 'agent_thinking', 'tool_executing', 'tool_completed', 'agent_completed'],
] as const;
const STEP_MS = 10;

export interface Oddities {
  /** Done to every socket in place of the greeting. */
  readonly greet?: (socket: WebSocket) => void;
  /** Told what a client says. */
  readonly heard?: (socket: WebSocket, message: Readonly<Record<string, unknown>>) => void;
  /** Done after each event of a run. */
  readonly after?: (socket: WebSocket, type: string) => void;
  /** Connections with a request that is no handshake are closed without a word. */
  readonly socketsAlone?: boolean;
  /** Any free one unless it is named. */
  readonly port?: number;
}

export interface SmallAgent {
  readonly url: string;
  close(): Promise<void>;
}

export async function smallAgent(oddities: Oddities = {}): Promise<SmallAgent> {
  const { greet = hello, heard, after, socketsAlone = false, port = 0 } = oddities;
  const server = http.createServer((request, response) =>
    socketsAlone ? request.socket.destroy() : response.end('ok'),
  );
  const sockets = new WebSocketServer({
    server,
    handleProtocols: offered => [...offered].find(each => each.startsWith('jwt.')) ?? false,
  });
  sockets.on('connection', socket => {
    socket.on('error', () => undefined);
    greet(socket);
    socket.on('message', data => {
      const message = JSON.parse(String(data));
      const { type, message_id } = message;
      heard?.(socket, message);
      if (type === 'start_agent') run(socket, `run_${message_id}`, after);
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      await new Promise(resolve => server.close(resolve));
    },
  };
}

function hello(socket: WebSocket): void {
  const timestamp = new Date().toISOString();
  socket.send(JSON.stringify({ type: 'connection_established', timestamp, data: {} }));
}

function run(socket: WebSocket, run_id: string, after: Oddities['after']): void {
  let step = 0;
  const timer = setInterval(() => {
    const type = STEPS[step];
    if (type === undefined || socket.readyState !== socket.OPEN) return clearInterval(timer);
    const timestamp = new Date().toISOString();
    socket.send(JSON.stringify({ type, run_id, timestamp, data: { step } }));
    step += 1;
    after?.(socket, type);
  }, STEP_MS);
}
