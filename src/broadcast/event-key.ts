// What makes an event "the same one", on either service and in any envelope.
import { hash } from 'node:crypto';
import { type BroadcastEvent, ENVELOPES, field, isRecord, ROUTING_FIELDS } from './event.ts';

/** Tell events of one type within one run apart; the first that an event carries counts. */
const DISCRIMINATORS = ['step_number', 'seq', 'message_id', 'in_reply_to', 'tool_name'] as const;

/** A service may add or rewrite these, so they can not be part of what an event is. */
const CHANGEABLE: ReadonlySet<string> = new Set([
  ...ROUTING_FIELDS,
  'timestamp',
  'event_id',
  'recovered',
  'user_id',
  'request_id',
  'thread_id',
]);

/**
 * `["type","run_id","step"]` as JSON, read through the envelopes. The step is the first of
 * `step_number`, `seq`, `message_id`, `in_reply_to`, `tool_name`. An event with neither run nor
 * step is known by a digest of its content, less what services may change.
 */
export function eventKeyOf(event: BroadcastEvent): string {
  const runId = field(event, 'run_id');
  let step: unknown;
  for (const name of DISCRIMINATORS) {
    step = field(event, name);
    if (step !== undefined) break;
  }
  if (runId === undefined && step === undefined) step = contentDigest(event);
  return JSON.stringify([event.type, runId ?? null, step ?? null]);
}

function contentDigest(event: BroadcastEvent): string {
  const kept: Record<string, unknown> = lessChangeable(event);
  for (const envelope of ENVELOPES) {
    const inner = kept[envelope];
    if (isRecord(inner)) kept[envelope] = lessChangeable(inner);
  }
  return hash('sha256', JSON.stringify(kept)).slice(0, 24);
}

function lessChangeable(from: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(from).filter(([key]) => !CHANGEABLE.has(key)));
}
