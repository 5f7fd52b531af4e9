// What can be found out about an event: one verdict each, so that the books add up. An event that
// two services sent is one pair with one verdict, booked on both sides.
import type { Side } from './decide.ts';

/** All verdicts, with what each says. `pending` is not one: after a drain nothing is. */
export const VERDICTS = {
  match: 'both services sent the same',
  noise: 'they differ only in values that a rule or a measured profile excuses',
  'failed-alike': 'both failed in the same way, which proves nothing',
  mismatch: 'they differ',
  missing: 'legacy sent it, the candidate did not',
  extra: 'the candidate sent it, legacy did not',
  duplicate: 'sent once more than the other service did',
  'out-of-order': 'sent by both, but at another place within its lane',
  contaminated: 'data of another user was in it',
  unjudged: 'nothing can be said, for a reason that is counted',
} as const;
export type Verdict = keyof typeof VERDICTS;

/** Why nothing can be said of an event. */
export const UNJUDGED = {
  overload: 'copies were dropped because the judge was behind; ends at the next common event',
  'no-second': 'there was no second leg to compare with, or it was lost',
  unframeable: 'a frame header that can not be followed',
  'too-large': 'longer than what is held for comparing',
  'too-deep': 'nested deeper than what is compared',
  'not-comparable': 'neither JSON nor text of the same kind on both sides',
  'window-overrun': 'more events waited for their pair than are held',
  'judge-restart': 'the judge itself failed at it or beside it, or began anew',
  'session-ended': 'the session ended before the pairing window did',
  'write-left-out': 'the other service was not given a write that may have caused it',
  'beside-write':
    'one service may have been asked before a write of the same user, the other one behind it',
  redacted: 'a rule needs a value that was not kept',
} as const;
export type UnjudgedReason = keyof typeof UNJUDGED;

/** How two values differ at a place; a closed union. `path` is a JSON pointer (RFC 6901). */
export type Difference =
  | {
      readonly kind: 'value' | 'type' | 'order';
      readonly path: string;
      readonly legacy: unknown;
      readonly candidate: unknown;
    }
  /** On legacy only, on the candidate only. */
  | { readonly kind: 'missing'; readonly path: string; readonly legacy: unknown }
  | { readonly kind: 'extra'; readonly path: string; readonly candidate: unknown }
  /** Of arrays: their lengths. */
  | {
      readonly kind: 'length';
      readonly path: string;
      readonly legacy: number;
      readonly candidate: number;
    };
export type DifferenceKind = Difference['kind'];

/** What was found about one event or one pair of events. */
export interface Finding {
  readonly verdict: Verdict;
  /** Only of `unjudged`. */
  readonly because: UnjudgedReason | null;
  readonly route: string;
  /** Legacy's `type`, the candidate's where legacy sent none; for HTTP method and status class. */
  readonly eventType: string;
  /** Event key, `k1:…`; null where none can be formed. */
  readonly key: string | null;
  /** What events of one run have in common, and are not independent in: run, else thread, else session. */
  readonly unit: string;
  /** Which of the lanes' pointers named it: a run and a thread may have one name. Left out: none did. */
  readonly unitLevel?: number | undefined;
  readonly session: string;
  /** The parsed event of each side; null where that side sent none, undefined where it can not be parsed. */
  readonly legacy: unknown;
  readonly candidate: unknown;
  /** Sides on which it is booked: both for a pair. */
  readonly sides: readonly Side[];
  readonly differences: readonly Difference[];
  /** Epoch ms of the later of the two. */
  readonly at: number;
}
