// What is put on record when data of one user was on its way to another.
import type { Side } from '../decide.ts';

/** What told that an event was another user's, with what each says. */
export const ISOLATION_RULES = {
  routing: 'a routing field names somebody who is not the session’s user',
  ledger: 'it carries an identifier that legacy knows as another user’s',
  fingerprint: 'its content is unique to another user’s stream on legacy',
  marker: 'it carries a string that was planted for another user',
} as const;
export type IsolationRule = keyof typeof ISOLATION_RULES;

/** As it was found. Names users: for the process's own memory alone. */
export interface Contamination {
  readonly rule: IsolationRule;
  readonly route: string;
  readonly session: string;
  /** Which service sent it. */
  readonly side: Side;
  /** Whether its client was sent it; null of a WebSocket, whose sides change places: see who served it. */
  readonly isShown: boolean | null;
  /** JSON pointer to what told, of names from the configuration; empty where it is the event as a whole. */
  readonly path: string;
  readonly eventType: string;
  /** Legacy sent the same to the same user, and the candidate too: reported apart, no reason to roll back. */
  readonly onBoth: boolean;
  /** It may be legacy's as well, which was not heard: it proves nothing. */
  readonly inDoubt?: true;
  /** It was told of as in doubt, and is no more: legacy has had its say since. */
  readonly wasInDoubt?: true;
  /** To whom it came; whose it is by all that is known, null where nobody is. */
  readonly user: string;
  readonly owner: string | null;
  /** Of all users whom it is known to concern, under all of their names: those that stand in its type or session. */
  readonly names?: readonly string[];
  /** Epoch ms of the event's last byte. */
  readonly at: number;
}

/** What became of the event. */
export const OUTCOMES = {
  delivered: 'it reached the client',
  sanitized: 'it reached the client, with his own name in place of the other',
  blocked: 'it was withheld',
  'not-shown': 'it came on a second leg, which no client sees',
  unknown: 'the session was over before that could be told',
  unasked: 'nobody looked: there were too many in that minute',
} as const;
export type Outcome = keyof typeof OUTCOMES;
