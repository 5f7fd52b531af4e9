// A user who does what people do: logs in, has an agent run, reads its five events, logs out.
import { randomUUID } from 'node:crypto';
import { WebSocket } from 'ws';
import { isEvent } from '../broadcast/event.ts';
import { eventKeyOf } from '../broadcast/event-key.ts';
import { tokenSubprotocols } from '../broadcast/token.ts';

/** The golden path, in order. */
const GOLDEN_PATH: readonly string[] = [
  'agent_started',
  'agent_thinking',
  'tool_executing',
  'tool_completed',
  'agent_completed',
];
const LOGIN_MS = 15_000;
const RUN_MS = 15_000;

export interface UserOptions {
  readonly id: string;
  readonly token: string;
  /** What nobody else may ever be sent; part of what he asks. */
  readonly marker?: string | undefined;
  /** Where the proxy listens, as `http://host:port`. */
  readonly listen: string;
  /** Called with the key of every golden-path event that was read. */
  readonly onEvent: (eventKey: string) => void;
  /** Called once the run is complete. */
  readonly onComplete?: () => void;
  /** Logs out when this is aborted, but not before the run is complete. */
  readonly leave: AbortSignal;
}

/** How one visit went. */
export type Visit = 'done' | 'login-failed' | 'broken-off' | 'out-of-order';

/** One visit: login, one agent run, and there until asked to leave. Never rejects. */
export async function visit(options: UserOptions): Promise<Visit> {
  const { id, token, marker, listen, onEvent, onComplete, leave } = options;
  const url = `${listen.replace(/^http/, 'ws')}/ws`;
  const socket = new WebSocket(url, tokenSubprotocols(token), { handshakeTimeout: LOGIN_MS });
  const seen: string[] = [];
  const logOut = () => socket.close(1000);
  return new Promise<Visit>(resolve => {
    let result: Visit = 'login-failed';
    const timer = setTimeout(() => socket.terminate(), LOGIN_MS + RUN_MS);
    socket.on('open', () => {
      result = 'broken-off';
      const start = {
        type: 'start_agent',
        message_id: randomUUID(),
        message: [`A question of ${id}`, marker].filter(Boolean).join(' '),
      };
      socket.send(JSON.stringify(start));
    });
    socket.on('message', data => {
      const event = readEvent(String(data));
      if (!isEvent(event) || !GOLDEN_PATH.includes(event.type)) return;
      seen.push(event.type);
      onEvent(eventKeyOf(event));
      if (event.type !== 'agent_completed') return;
      result = seen.every((type, i) => type === GOLDEN_PATH[i]) ? 'done' : 'out-of-order';
      clearTimeout(timer);
      onComplete?.();
      if (leave.aborted) logOut();
      else leave.addEventListener('abort', logOut, { once: true });
    });
    // 'close' follows and says how far it got.
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      leave.removeEventListener('abort', logOut);
      resolve(result);
    });
  });
}

/** A service may say anything; what is no JSON is no event of the path, and the judge compares it as text. */
function readEvent(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
