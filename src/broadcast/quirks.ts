// What the first version of the SSOT service got wrong. Off by default; there so that a comparison
// can be shown to find it.
import type { BroadcastEvent } from './event.ts';

export const QUIRKS = {
  'false-success': 'a broadcast that reached no socket, or not all, is reported as a full success',
  'format-gate': 'only user ids of certain forms are served; others are refused with an error',
  'leak-ids': 'error entries carry the foreign id that was removed',
  'overwrite-user-id-suffix':
    'any top-level field that ends in _user_id is overwritten with the target, unreported',
} as const;
export type Quirk = keyof typeof QUIRKS;

export function isQuirk(name: string): name is Quirk {
  return Object.hasOwn(QUIRKS, name);
}

const GATED_FORMS = [
  /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i,
  /^user_\d+$/,
  /^\d{15,21}$/,
];

/** Throws `RangeError` for a user id that the format gate does not let pass. */
export function assertGatedForm(userId: string): void {
  if (!GATED_FORMS.some(form => form.test(userId))) throw new RangeError('Invalid user id format');
}

/** Overwrites provenance such as `source_user_id` along with everything else of that ending. */
export function overwriteUserIdSuffix(event: BroadcastEvent, targetUserId: string): BroadcastEvent {
  const keys = Object.keys(event).filter(key => key.endsWith('_user_id'));
  if (keys.length === 0) return event;
  return { ...event, ...Object.fromEntries(keys.map(key => [key, targetUserId])) };
}
