// Keeps events from carrying a foreign address to a user. Routing data is put right, event data is
// left alone: to treat both alike made ordinary messages from one user to another look like leaks.
import { type BroadcastEvent, ENVELOPES, isRecord, ROUTING_FIELDS } from './event.ts';

export interface Sanitised {
  /** The very same object when nothing was wrong. */
  readonly event: BroadcastEvent;
  /** Which fields were put right, as dotted paths, with the value that stood there. */
  readonly rewritten: readonly Rewritten[];
}

export interface Rewritten {
  readonly path: string;
  readonly foreign: unknown;
}

const NOTHING: readonly Rewritten[] = Object.freeze([]);

/**
 * Points every routing field, at the root and in the declared envelopes, at the user who is to
 * receive the event. Compared as strings, exactly; empty, 0, null, false and absent name nobody.
 * Provenance fields are never touched. Copies only what it changes.
 */
export function preventCrossUserContamination(
  event: BroadcastEvent,
  targetUserId: string,
): Sanitised {
  if (!isContaminated(event, targetUserId)) return { event, rewritten: NOTHING };
  const rewritten: Rewritten[] = [];
  let safe = rewrite(event, targetUserId, '', rewritten);
  for (const envelope of ENVELOPES) {
    const inner = event[envelope];
    if (!isRecord(inner)) continue;
    const safeInner = rewrite(inner, targetUserId, `${envelope}.`, rewritten);
    if (safeInner !== inner) safe = { ...safe, [envelope]: safeInner };
  }
  return { event: safe, rewritten };
}

/**
 * Does anything in the event have to be put right? Hardly ever, so this is what every event pays.
 * Fields are written out, since the engine finds a name that it knows far quicker than a variable's.
 */
function isContaminated(event: BroadcastEvent, targetUserId: string): boolean {
  return (
    namesForeigner(event, targetUserId) ||
    namesForeigner(event.data, targetUserId) ||
    namesForeigner(event.payload, targetUserId)
  );
}

function namesForeigner(record: unknown, userId: string): boolean {
  return (
    isRecord(record) &&
    (namesAnother(record.recipient_id, userId) ||
      namesAnother(record.target_user_id, userId) ||
      namesAnother(record.userId, userId))
  );
}

function rewrite<T extends Readonly<Record<string, unknown>>>(
  record: T,
  targetUserId: string,
  prefix: string,
  rewritten: Rewritten[],
): T {
  const foreign = ROUTING_FIELDS.filter(name => namesAnother(record[name], targetUserId));
  if (foreign.length === 0) return record;
  for (const name of foreign) rewritten.push({ path: prefix + name, foreign: record[name] });
  return { ...record, ...Object.fromEntries(foreign.map(name => [name, targetUserId])) };
}

function namesAnother(value: unknown, userId: string): boolean {
  if (!value || value === userId) return false;
  // A list or an object in place of a name addresses somebody else, unless it lists him alone.
  if (Array.isArray(value)) return value.some(each => each !== userId);
  return typeof value === 'object' || String(value) !== userId;
}
