// How a service dresses what it says. Four shapes live side by side on the wire; each service uses
// its own mixture, and `differences.ts` lists what that changes for a reader.
import { randomUUID } from 'node:crypto';
import type { RunStep } from './agent-run.ts';
import { type BroadcastEvent, epochSeconds, isoMicros } from './event.ts';
import type { UserExecutionContext } from './user-context.ts';

export type ReplyType = 'connection_established' | 'heartbeat' | 'pong' | 'ack';
type Body = Readonly<Record<string, unknown>>;

export interface Envelopes {
  timestamp(atMs: number): number | string;
  step(context: UserExecutionContext, step: RunStep, atMs: number): BroadcastEvent;
  reply(type: ReplyType, body: Body, atMs: number): BroadcastEvent;
}

export const ssotEnvelopes: Envelopes = {
  timestamp: isoMicros,
  step: (context, step, atMs) => ({
    type: step.type,
    run_id: context.runId,
    user_id: context.userId,
    thread_id: context.threadId,
    request_id: context.requestId,
    agent_name: step.agentName,
    event_id: randomUUID(),
    timestamp: isoMicros(atMs),
    ...step.fields,
    data: step.detail,
  }),
  reply: (type, body, atMs) => ({
    type,
    data: body,
    timestamp: isoMicros(atMs),
    ...(type === 'ack' ? { critical: false } : {}),
  }),
};

export const legacyEnvelopes: Envelopes = {
  timestamp: epochSeconds,
  step: (context, step, atMs) =>
    step.type === 'agent_thinking' || step.type === 'tool_executing'
      ? {
          timestamp: epochSeconds(atMs),
          attempt: null,
          type: step.type,
          ...step.fields,
          user_id: null,
          thread_id: context.threadId,
          agent_name: step.agentName,
          run_id: context.runId,
          ...step.detail,
        }
      : {
          type: step.type,
          run_id: context.runId,
          user_id: context.userId,
          thread_id: context.threadId,
          agent_name: step.agentName,
          event_id: randomUUID(),
          timestamp: epochSeconds(atMs),
          ...step.fields,
          data: step.detail,
        },
  reply: (type, body, atMs) =>
    type === 'ack'
      ? { type, payload: body, timestamp: epochSeconds(atMs), critical: false }
      : {
          type,
          data: body,
          timestamp: epochSeconds(atMs),
          server_id: null,
          correlation_id: null,
        },
};

/** The same on both services but for the timestamp's form. */
export function errorMessage(
  envelopes: Envelopes,
  code: string,
  message: string,
  atMs: number,
): BroadcastEvent {
  return {
    type: 'error_message',
    error_code: code,
    message,
    timestamp: envelopes.timestamp(atMs),
  };
}

/** Said to every socket before the service goes away. */
export function goingAway(envelopes: Envelopes, atMs: number): BroadcastEvent {
  return {
    type: 'connection_error',
    payload: { error_code: 'SERVICE_SHUTDOWN', message: 'The service is going away.' },
    timestamp: envelopes.timestamp(atMs),
    critical: true,
  };
}
