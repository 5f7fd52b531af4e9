// What a client may say on its WebSocket, and what it gets for it.
import { randomUUID } from 'node:crypto';
import type { AgentWebSocketBridge } from './agent-bridge.ts';
import { errorMessage } from './envelopes.ts';
import { type BroadcastEvent, field, isEvent, isRecord, nowMs } from './event.ts';
import type { BroadcasterSide, Connection } from './side.ts';
import { createUserExecutionContext } from './user-context.ts';

/** Runs at once per socket. A person starts one; a client that starts more is told to wait. */
const MAX_RUNS = 32;

const ACKNOWLEDGED: ReadonlySet<string> = new Set(['user_message', 'chat', 'confirmation']);
const STARTS_RUN: ReadonlySet<string> = new Set([
  'user_message',
  'chat',
  'start_agent',
  'agent_request',
]);

/** Reads the messages of one connection. Its runs go on when the socket closes, as real ones do. */
export class ClientMessages {
  readonly #side: BroadcasterSide;
  readonly #bridge: AgentWebSocketBridge;
  readonly #connection: Connection;
  readonly #signal: AbortSignal;
  #runs = 0;

  constructor(
    side: BroadcasterSide,
    bridge: AgentWebSocketBridge,
    connection: Connection,
    signal: AbortSignal,
  ) {
    this.#side = side;
    this.#bridge = bridge;
    this.#connection = connection;
    this.#signal = signal;
  }

  read(text: string): void {
    let message: unknown;
    try {
      message = JSON.parse(text);
    } catch {
      this.#refuse('JSON_PARSE_ERROR', 'The message is not JSON.');
      return;
    }
    if (!isEvent(message)) {
      const what = isRecord(message) ? 'The message has no type.' : 'The message is no object.';
      this.#refuse('INVALID_MESSAGE', what);
      return;
    }
    this.#obey(message);
  }

  #obey(message: BroadcastEvent): void {
    const body = { in_reply_to: field(message, 'message_id') ?? null };
    if (message.type === 'ping') this.#reply('pong', body);
    else if (message.type === 'heartbeat') this.#reply('heartbeat', body);
    else if (!ACKNOWLEDGED.has(message.type) && !STARTS_RUN.has(message.type)) {
      this.#refuse('UNKNOWN_MESSAGE_TYPE', 'Messages of this type are not understood.');
      return;
    }
    if (ACKNOWLEDGED.has(message.type)) {
      this.#reply('ack', { ...body, message_id: `msg_${randomUUID()}` });
    }
    if (STARTS_RUN.has(message.type)) void this.#start(message);
  }

  async #start(message: BroadcastEvent): Promise<void> {
    if (this.#runs >= MAX_RUNS) {
      this.#refuse('AGENT_BUSY', `At most ${MAX_RUNS} runs at a time.`);
      return;
    }
    this.#runs++;
    try {
      const context = createUserExecutionContext(this.#connection.userId, message);
      await this.#bridge.run(context, this.#signal);
    } catch {
      // Only the format gate fails a broadcast; its text would repeat nothing useful to the user.
      this.#refuse('BROADCAST_FAILED', 'The run could not be reported.');
    } finally {
      this.#runs--;
    }
  }

  #reply(type: 'pong' | 'heartbeat' | 'ack', body: Readonly<Record<string, unknown>>): void {
    this.#side.reply(this.#connection.socket, this.#side.envelopes.reply(type, body, nowMs()));
  }

  #refuse(code: string, message: string): void {
    const event = errorMessage(this.#side.envelopes, code, message, nowMs());
    this.#side.reply(this.#connection.socket, event);
  }
}
