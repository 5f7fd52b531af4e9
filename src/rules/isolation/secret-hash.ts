// Hashes that say nothing about what they are of to whoever has not the secret.
import { hash } from 'node:crypto';
import type { Hash64 } from './ownership.ts';

export const SECRET_BYTES = 32;
/** The longest text that is looked at: a longer one is no identifier. */
const MOST_CHARACTERS = 1_024;

/** Of a text in a class of texts: the same text in another class has another hash. */
export type SecretHash = (kind: string, text: string) => Hash64;

/**
 * The first 64 bits of SHA-256 over 32 secret bytes and both texts, each with its length before it, so
 * that no two pairs are written the same.
 */
export function secretHash(secret: Uint8Array): SecretHash {
  if (secret.length !== SECRET_BYTES) throw new RangeError(`a secret has ${SECRET_BYTES} bytes`);
  const buffer = Buffer.alloc(SECRET_BYTES + 8 + 2 * 2 * MOST_CHARACTERS);
  buffer.set(secret);
  return (kind, text) => {
    let at = SECRET_BYTES;
    for (const part of [kind, text]) {
      const written = buffer.write(part.slice(0, MOST_CHARACTERS), at + 4, 'utf16le');
      buffer.writeUInt32BE(written, at);
      at += 4 + written;
    }
    const digest = hash('sha256', buffer.subarray(0, at), 'buffer');
    const low = digest.readUInt32BE(4);
    return { high: digest.readUInt32BE(0), low: low === 0 ? 1 : low };
  };
}
