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
  /(?:^|_)(?:token|jwt|secret|passw(?:or)?d|pwd|passphrase|passcode|otp|pin|ticket|api_?key|(?:access|secret|private|signing|encryption|session)_key|credential|authorization|auth|cookie|session_?id|sid|csrf|xsrf)s?$/;
const EMAIL = /(?:^|_)e?_?mail(?:_address)?(?:es|s)?$/;
/** Routing fields (who must receive) and provenance fields (who made or owns it) alike. */
const USER = /(?:^|_)(?:user_?id|uid|recipient_id|sender_id|creator_id|owner_id)s?$|^sub$/;

/** Longer, it is no name of a field. */
const MOST_NAME = 100;

/** What a field of that name holds; null if its name says nothing. */
export function namedRedaction(name: string): 'credential' | 'email' | 'user' | null {
  if (name.length > MOST_NAME) return null;
  const words = wordsOf(name);
  if (USER.test(words)) return 'user';
  if (CREDENTIAL.test(words)) return 'credential';
  return EMAIL.test(words) ? 'email' : null;
}

/** `targetUserId`, `Target-User-ID` and `target_user_id` are one name. */
function wordsOf(name: string): string {
  return name
    .replace(/([a-z0-9])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_');
}
