// What kept findings are grouped by: route, event type, verdict, and within it the kind and the place
// of the difference, so that ten thousand events that differ alike are one line to whoever reads them.
import type { DifferenceKind, Finding, UnjudgedReason, Verdict } from './verdict.ts';

/** Of one finding; an event that differs in more places is fixed by looking at the first ones. */
const MOST_GROUPS_OF_ONE = 16;
/** Of a path; deeper places of one subtree differ for one reason. */
const MOST_SEGMENTS = 12;
/** Stands for an array index, or for a key that is data rather than the name of a field. */
export const ANY = '*';
/** Event type of what finds no room under its own. */
export const OTHER = '(other)';
/** Names of fields as people write them; longer, or with more than three digits, a key is an id. */
const FIELD_NAME = /^(?=.{1,40}$)(?!(?:\D*\d){4})[$_@A-Za-z][\w$.:-]*$/;

/** What noise differs in is in the same few places for every pair; what is longer is not remembered. */
const MOST_REMEMBERED = 1_000;
const MOST_REMEMBERED_LENGTH = 200;

/** Longer ones are cut: nobody names a type so. */
const MOST_TYPE = 100;

export interface EvidenceGroup {
  readonly route: string;
  /** In the form of `generalType`. */
  readonly eventType: string;
  readonly verdict: Verdict;
  /** Of a difference, or why nothing can be said; empty where the verdict says it all. */
  readonly kind: DifferenceKind | UnjudgedReason | '';
  /** JSON pointer with array indexes generalised to `*`; empty for the event as a whole. */
  readonly path: string;
}

/** The groups that a finding belongs to: one for every kind of difference and place, at least one. */
export function groupsOf(finding: Finding): readonly EvidenceGroup[] {
  const { route, verdict, because, differences } = finding;
  const eventType = generalType(finding.eventType);
  const whole = { route, eventType, verdict, kind: because ?? '', path: '' } as const;
  // A finding that is both, such as a duplicate that also differs, is told by its verdict.
  if (verdict !== 'mismatch' && verdict !== 'noise') return [whole];
  const found: EvidenceGroup[] = [];
  for (const { kind, path } of differences) {
    if (found.length >= MOST_GROUPS_OF_ONE) break;
    const place = generalPath(path);
    if (found.some(group => group.kind === kind && group.path === place)) continue;
    found.push({ route, eventType, verdict, kind, path: place });
  }
  return found.length > 0 ? found : [whole];
}

const GENERAL_PATHS = new Map<string, string>();
const GENERAL_TYPES = new Map<string, string>();

// A JSON pointer without what differs from event to event: /items/3/price is /items/*/price.
export function generalPath(pointer: string): string {
  return remembered(GENERAL_PATHS, pointer, generalised);
}

/** An event type without ids that a service puts into it: `chat.user_1001` is `chat.*`. */
export function generalType(type: string): string {
  return remembered(GENERAL_TYPES, type, withoutIds);
}

/** The same few are asked for at every event. */
function remembered(
  known: Map<string, string>,
  text: string,
  generalise: (text: string) => string,
): string {
  const before = known.get(text);
  if (before !== undefined) return before;
  const general = generalise(text);
  if (known.size >= MOST_REMEMBERED) known.clear();
  if (text.length <= MOST_REMEMBERED_LENGTH) known.set(text, general);
  return general;
}

function generalised(pointer: string): string {
  const segments = pointer.split('/').slice(1, 1 + MOST_SEGMENTS);
  return segments.map(segment => `/${FIELD_NAME.test(segment) ? segment : ANY}`).join('');
}

function withoutIds(type: string): string {
  if (type.length <= MOST_TYPE && !/\d[^\d]*\d[^\d]*\d[^\d]*\d/.test(type)) return type;
  return type
    .slice(0, MOST_TYPE)
    .replace(/[\w-]+/g, word => (/(?:\d\D*){4}/.test(word) ? ANY : word));
}
