// All that may differ between the two services' streams for the same input. A comparison excuses
// what stands here and nothing else; a test holds both services to it, in both directions.
import type { LegacyEntry } from './legacy/entry.ts';

export type DifferenceKind =
  /** The same instant's kind, other form and value: float epoch seconds against ISO 8601. */
  | 'time-format'
  /** Made up by each service for itself. */
  | 'generated-id'
  /** Null on legacy, absent on the candidate. */
  | 'null-or-absent'
  /** Null or absent on legacy, set by the candidate. */
  | 'candidate-adds'
  /** Set or overwritten by legacy, from the context it is bound to. */
  | 'legacy-overwrites'
  /** At `path` on legacy, at `candidatePath` on the candidate. */
  | 'moved'
  /** Only the candidate keeps what nobody could take, and sends it later with this mark. */
  | 'replay';

export interface Difference {
  /** Event types; `*` means all. */
  readonly types: readonly string[];
  /** JSON pointer (RFC 6901); of legacy's event for `moved`, else of both after the moves. */
  readonly path: string;
  readonly candidatePath?: string;
  readonly kind: DifferenceKind;
  /** Legacy's entry points by which it occurs. */
  readonly entries: readonly LegacyEntry[];
  readonly why: string;
}

const ALL: readonly LegacyEntry[] = ['singleton', 'scoped', 'convenience'];
const BOUND: readonly LegacyEntry[] = ['scoped', 'convenience'];
const ANY = ['*'];
const FLAT = ['agent_thinking', 'tool_executing'];
const NESTED = ['agent_started', 'tool_completed', 'agent_completed'];
const SERVER_MESSAGES = ['connection_established', 'heartbeat', 'pong'];

export const DIFFERENCES: readonly Difference[] = [
  {
    types: ANY,
    path: '/timestamp',
    kind: 'time-format',
    entries: ALL,
    why: 'each service stamps at send time; legacy in epoch seconds, the candidate in ISO 8601',
  },
  {
    types: ['ack'],
    path: '/payload',
    candidatePath: '/data',
    kind: 'moved',
    entries: ALL,
    why: 'legacy acknowledges in a payload envelope',
  },
  {
    types: ['agent_thinking'],
    path: '/step_number',
    candidatePath: '/data/step_number',
    kind: 'moved',
    entries: ALL,
    why: 'legacy sends its reasoning flat',
  },
  {
    types: ['tool_executing'],
    path: '/status',
    candidatePath: '/data/status',
    kind: 'moved',
    entries: ALL,
    why: 'legacy sends tool calls flat',
  },
  {
    types: NESTED,
    path: '/event_id',
    kind: 'generated-id',
    entries: ALL,
    why: 'every service numbers its own events',
  },
  {
    types: FLAT,
    path: '/event_id',
    kind: 'candidate-adds',
    entries: ALL,
    why: "legacy's flat events have no id",
  },
  {
    types: ['connection_established'],
    path: '/data/connection_id',
    kind: 'generated-id',
    entries: ALL,
    why: 'a connection is named by the service that holds it',
  },
  {
    types: ['ack'],
    path: '/data/message_id',
    kind: 'generated-id',
    entries: ALL,
    why: 'an acknowledgement names itself',
  },
  {
    types: SERVER_MESSAGES,
    path: '/server_id',
    kind: 'null-or-absent',
    entries: ALL,
    why: "legacy's message class writes fields that it never fills",
  },
  {
    types: SERVER_MESSAGES,
    path: '/correlation_id',
    kind: 'null-or-absent',
    entries: ALL,
    why: "legacy's message class writes fields that it never fills",
  },
  {
    types: FLAT,
    path: '/attempt',
    kind: 'null-or-absent',
    entries: ALL,
    why: "legacy's retry counter is only set on a retry",
  },
  {
    types: FLAT,
    path: '/user_id',
    kind: 'candidate-adds',
    entries: ['singleton'],
    why: "legacy's flat events leave the user to the router, and the singleton fills in nothing",
  },
  {
    types: [...NESTED, ...FLAT],
    path: '/request_id',
    kind: 'candidate-adds',
    entries: ['singleton'],
    why: "only the candidate's agent bridge names the request",
  },
  {
    types: ANY,
    path: '/user_id',
    kind: 'legacy-overwrites',
    entries: BOUND,
    why: 'a router bound to a user writes his id over whatever the event said',
  },
  {
    types: ANY,
    path: '/request_id',
    kind: 'legacy-overwrites',
    entries: BOUND,
    why: 'a router bound to a user writes its request id over whatever the event said',
  },
  {
    types: ANY,
    path: '/thread_id',
    kind: 'legacy-overwrites',
    entries: ['convenience'],
    why: 'the convenience function writes the thread of its context as well',
  },
  {
    types: ANY,
    path: '/recovered',
    kind: 'replay',
    entries: ALL,
    why: 'legacy drops what nobody is there to take; the candidate keeps 50 and replays them',
  },
];
