// Strings that synthetic users put into what they send, each his own: whatever of them turns up at another
// user has come from the one to the other.
import { randomBytes } from 'node:crypto';
import type { Marker } from '../rules/isolation/marker.ts';

/** Letters and digits alone, which no encoder writes in another way; the run's part, then the user's. */
const WORD = 'cutovermarker';
const RUN_BYTES = 6;
const USER_BYTES = 12;

/** One for each token, in order; null where nobody is named in it by `claim`. */
export function markersFor(tokens: readonly string[], claim: string): (Marker | null)[] {
  const run = randomBytes(RUN_BYTES).toString('hex');
  return tokens.map(token => {
    const user = subjectOf(token, claim);
    if (user === null) return null;
    return { text: `${WORD}${run}${randomBytes(USER_BYTES).toString('hex')}`, user };
  });
}

/** Read as the proxy reads it where tokens are not verified. */
function subjectOf(token: string, claim: string): string | null {
  try {
    const [, claims = ''] = token.split('.');
    const found: unknown = JSON.parse(Buffer.from(claims, 'base64url').toString('utf8'))[claim];
    const name = Number.isSafeInteger(found) ? String(found) : found;
    return typeof name === 'string' && name !== '' ? name : null;
  } catch {
    // No JWT: who he is only the services know.
    return null;
  }
}
