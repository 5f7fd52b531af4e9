// Which fields hold something personal or secret, told by their names alone.

/** Why a value was redacted. */
export const REDACTIONS = {
  credential: 'a token, password or key, by the name of its field or by its shape',
  email: 'an e-mail address',
  user: 'the id of a user',
  configured: 'a path of the configuration',
  long: 'longer than what is kept of a text',
  deep: 'nested deeper than what is kept',
  binary: 'bytes that are no text',
} as const;
export type Redaction = keyof typeof REDACTIONS;

/** In the form of `wordsOf`; as the last words of a name, in the singular or plural. */
const CREDENTIAL =
  /(?:^|_)(?:token|jwt|secret|passw(?:or)?d|pwd|pass|passphrase|passcode|passw(?:or)?d_(?:hash|digest|salt)|otp|pin|bearer|signature|sig|(?:verification|confirmation|activation|reset|auth|access|security|login)_code|session|ticket|api_?key|(?:access|secret|private|signing|encryption|session)_key|credential|authorization|auth|cookie|session_?id|sid|csrf|xsrf)s?$/;
const EMAIL = /(?:^|_)e?_?mail(?:_address)?(?:es|s)?$/;
/** Routing fields (who must receive) and provenance fields (who made or owns it) alike. */
const USER =
  /(?:^|_)(?:uid|(?:user|recipient|sender|creator|owner|customer|member|participant|account|patient|author|assignee)_?id)s?$|^sub$/;
/**
 * The same without saying that it is an id. What is below them is theirs too; small numbers are counts of them,
 * or ends of a range.
 */
const PEOPLE =
  /(?:^|_)(?:user|user_?name|recipient|sender|creator|owner|customer|member|participant|author|assignee)s?$|^(?:from|to|cc|bcc)$/;

/** Longer, it is no name of a field. */
const MOST_NAME = 100;

/** What a field of that name holds; null if its name says nothing. */
export function namedRedaction(name: string): 'credential' | 'email' | 'user' | null {
  if (name.length > MOST_NAME) return null;
  const words = wordsOf(name);
  if (USER.test(words) || PEOPLE.test(words)) return 'user';
  if (CREDENTIAL.test(words)) return 'credential';
  return EMAIL.test(words) ? 'email' : null;
}

/** Whether it may as well hold a count: `users: 3`. */
export function isCountable(name: string): boolean {
  const words = wordsOf(name.slice(0, MOST_NAME));
  return name.endsWith('s') ? !/ids$/.test(words) : PEOPLE.test(words);
}

/** `targetUserId`, `Target-User-ID` and `target_user_id` are one name. */
function wordsOf(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_');
}
