// A user who does what people do: logs in, has an agent run, reads its five events, logs out.
import { randomUUID } from 'node:crypto';
import { WebSocket } from 'ws';
import { field, isEvent } from '../broadcast/event.ts';
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
  /** Called as each run begins, but for those of before; only the first one is of what he asked. */
  readonly onRun?: (runId: unknown, isHis: boolean) => void;
  /** Called once the run is complete. */
  readonly onComplete?: () => void;
  /** Called if the visit comes to nothing, with how the service ended it. */
  readonly onBroken?: (how: string) => void;
  /** Logs out when this is aborted, but not before the run is complete. */
  readonly leave: AbortSignal;
}

interface Run {
  /** What a service kept of a visit before this one, and sends now: it ends nothing here. */
  readonly isOfBefore: boolean;
  readonly seen: string[];
}

/** How one visit went. */
export type Visit = 'done' | 'login-failed' | 'broken-off' | 'out-of-order';

/** One visit: login, one agent run, and there until asked to leave. Never rejects. */
export async function visit(options: UserOptions): Promise<Visit> {
  const { id, token, marker, listen, onEvent, onRun, onComplete, onBroken, leave } = options;
  const url = `${listen.replace(/^http/, 'ws')}/ws`;
  const socket = new WebSocket(url, tokenSubprotocols(token), { handshakeTimeout: LOGIN_MS });
  const runs = new Map<unknown, Run>();
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
      onEvent(eventKeyOf(event));
      const id = field(event, 'run_id');
      const known = runs.get(id);
      const run = known ?? { isOfBefore: field(event, 'recovered') === true, seen: [] };
      if (known === undefined && !run.isOfBefore) {
        onRun?.(id, ![...runs.values()].some(each => !each.isOfBefore));
      }
      runs.set(id, run);
      run.seen.push(event.type);
      if (run.isOfBefore || event.type !== 'agent_completed') return;
      result = run.seen.every((type, i) => type === GOLDEN_PATH[i]) ? 'done' : 'out-of-order';
      clearTimeout(timer);
      onComplete?.();
      if (leave.aborted) logOut();
      else leave.addEventListener('abort', logOut, { once: true });
    });
    let refusal: string | null = null;
    // 'close' follows and says how far it got.
    socket.on('error', error => {
      refusal = error.message;
    });
    socket.on('close', (code, reason) => {
      clearTimeout(timer);
      leave.removeEventListener('abort', logOut);
      if (result !== 'done') onBroken?.(refusal ?? `closed with ${code} ${reason}`.trim());
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
