// Keeps events from carrying a foreign address to a user. Routing data is put right, event data is
// left alone: to treat both alike made ordinary messages from one user to another look like leaks.
import { type BroadcastEvent, ENVELOPES, isRecord, ROUTING_FIELDS } from './event.ts';

export interface Sanitised {
  /** The very same object when nothing was wrong. */
  readonly event: BroadcastEvent;
  /** Which fields were put right, as dotted paths, with the value that stood there. */
  readonly rewritten: readonly { readonly path: string; readonly foreign: unknown }[];
}

const NOTHING: Sanitised['rewritten'] = Object.freeze([]);

/**
 * Points every routing field, at the root and in the declared envelopes, at the user who is to
 * receive the event. Compared as strings, exactly; empty, 0, null, false and absent name nobody.
 * Provenance fields are never touched. Copies only what it changes.
 */
export function preventCrossUserContamination(
  event: BroadcastEvent,
  targetUserId: string,
): Sanitised {
  let rewritten: { path: string; foreign: unknown }[] | undefined;
  let safe: Record<string, unknown> & BroadcastEvent = event;
  for (const name of ROUTING_FIELDS) {
    const foreign = event[name];
    if (!namesAnother(foreign, targetUserId)) continue;
    if (safe === event) safe = { ...event };
    safe[name] = targetUserId;
    rewritten ??= [];
    rewritten.push({ path: name, foreign });
  }
  for (const envelope of ENVELOPES) {
    const inner = event[envelope];
    if (!isRecord(inner)) continue;
    let safeInner: Record<string, unknown> | undefined;
    for (const name of ROUTING_FIELDS) {
      const foreign = inner[name];
      if (!namesAnother(foreign, targetUserId)) continue;
      safeInner ??= { ...inner };
      safeInner[name] = targetUserId;
      rewritten ??= [];
      rewritten.push({ path: `${envelope}.${name}`, foreign });
    }
    if (safeInner === undefined) continue;
    if (safe === event) safe = { ...event };
    safe[envelope] = safeInner;
  }
  return { event: safe, rewritten: rewritten ?? NOTHING };
}

function namesAnother(value: unknown, userId: string): boolean {
  if (!value || value === userId) return false;
  // A list or an object in place of a name addresses somebody else, unless it lists him alone.
  if (Array.isArray(value)) return value.some(each => each !== userId);
  return typeof value === 'object' || String(value) !== userId;
}
