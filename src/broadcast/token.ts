// Credentials for demo users and tests.
import { SignJWT } from 'jose';

/** An HS256 token whose `sub` is the user; valid for an hour unless told otherwise. */
export async function mintToken(
  secret: string | Uint8Array,
  userId: string,
  { expiresInS = 3600 }: { expiresInS?: number } = {},
): Promise<string> {
  const key = typeof secret === 'string' ? new TextEncoder().encode(secret) : secret;
  const nowS = Math.floor(Date.now() / 1000);
  return new SignJWT({})
    .setProtectedHeader({ alg: 'HS256', typ: 'JWT' })
    .setSubject(userId)
    .setIssuedAt(nowS)
    .setExpirationTime(nowS + expiresInS)
    .sign(key);
}

/** What a browser offers as WebSocket subprotocols, in the order in which it offers them. */
export function tokenSubprotocols(token: string): [string, string] {
  return ['jwt-auth', `jwt.${Buffer.from(token).toString('base64url')}`];
}
