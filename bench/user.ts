// Users of the benchmarks, with the credentials that Cutover verifies.
import { mintToken } from '../src/broadcast/token.ts';

/** Key of HS256: at least 32 bytes (RFC 7518 3.2). */
export const SECRET = 'known to the benchmark and to nobody else';

/** `Authorization` field of a user. */
export async function bearerOf(userId: string): Promise<string> {
  return `Bearer ${await mintToken(SECRET, userId)}`;
}
