// What travels: one event, the envelopes it may come in, and the clock that stamps it.
export { PROVENANCE_FIELDS, ROUTING_FIELDS } from '../rules/compare/rules.ts';

/** Sent by every agent run, in this order. */
export const CRITICAL_EVENTS = [
  'agent_started',
  'agent_thinking',
  'tool_executing',
  'tool_completed',
  'agent_completed',
] as const;
export type CriticalEvent = (typeof CRITICAL_EVENTS)[number];

/** Answers to one socket. Everything else is due to a user, on all of his sockets. */
export const REPLY_TYPES: ReadonlySet<string> = new Set([
  'connection_established',
  'heartbeat',
  'pong',
  'ack',
  'error_message',
  'connection_error',
]);

/** Objects inside an event whose keys count as the event's own; one level deep, never deeper. */
export const ENVELOPES = ['data', 'payload'] as const;
/** The one invariant of the wire: a JSON object with a string `type`. */
export interface BroadcastEvent {
  readonly type: string;
  readonly [key: string]: unknown;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function isEvent(value: unknown): value is BroadcastEvent {
  return isRecord(value) && typeof value.type === 'string' && value.type !== '';
}

/** A field at the root, else in an envelope; `undefined` where it is null or absent everywhere. */
export function field(event: Readonly<Record<string, unknown>>, name: string): unknown {
  if (event[name] !== undefined && event[name] !== null) return event[name];
  for (const envelope of ENVELOPES) {
    const inner = event[envelope];
    if (isRecord(inner) && inner[name] !== undefined && inner[name] !== null) return inner[name];
  }
  return undefined;
}

// Read once: the getter costs as much as the clock.
const { timeOrigin } = performance;

/** Milliseconds since the epoch with a fraction: `Date.now()` is too coarse for latencies. */
export function nowMs(): number {
  return timeOrigin + performance.now();
}

/** Legacy's form: float seconds since the epoch, six decimals. */
export function epochSeconds(atMs: number): number {
  return Math.round(atMs * 1000) / 1e6;
}

// Formatting a date costs more than the rest of a stamp, and most events share their second.
let formattedSecond = Number.NaN;
let formattedPrefix = '';

/** The SSOT service's form: ISO 8601 in UTC, six decimals. */
export function isoMicros(atMs: number): string {
  const micros = Math.round(atMs * 1000);
  const second = Math.floor(micros / 1e6);
  if (second !== formattedSecond) {
    formattedSecond = second;
    formattedPrefix = new Date(second * 1000).toISOString().slice(0, 19);
  }
  return `${formattedPrefix}.${String(micros - second * 1e6).padStart(6, '0')}+00:00`;
}

let renderedMs = Number.NaN;
let rendered = '';

/** The present millisecond in ISO 8601; made once for all who ask within it. */
export function isoNow(): string {
  const now = Date.now();
  if (now !== renderedMs) {
    renderedMs = now;
    rendered = new Date(now).toISOString();
  }
  return rendered;
}

/**
 * When an event was sent, in milliseconds since the epoch (fraction: microseconds), from either
 * form of `timestamp`. `undefined` without a readable one.
 */
export function sentAtMs(event: BroadcastEvent): number | undefined {
  const { timestamp } = event;
  if (typeof timestamp === 'number') return timestamp * 1000;
  if (typeof timestamp !== 'string') return undefined;
  // Date.parse stops at milliseconds; the digits after those are added by hand.
  const atMs = Date.parse(timestamp);
  const finer = /\.\d{3}(\d{1,3})/.exec(timestamp)?.[1];
  if (Number.isNaN(atMs)) return undefined;
  return finer === undefined ? atMs : atMs + Number(finer.padEnd(3, '0')) / 1000;
}
