// The key by which users and secrets are turned into pseudonyms: made at first start, kept in the state
// folder, so that the same user has the same one after a restart.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HASH_KEY_BYTES } from '../rules/keyed-hash.ts';
import { closeToOthers, writeSecret } from './secret-file.ts';

const HEX = new RegExp(`^[0-9a-f]{${2 * HASH_KEY_BYTES}}$`);

/**
 * The key, made if there is none. The caller holds the folder's lock. A key that can not be kept is
 * good for this process: pseudonyms of before and after it are then not comparable, and `warn` gets a
 * sentence about it. Never throws: evidence is worth less than a start.
 */
export async function ensurePseudonymKey(
  stateDir: string,
  warn: (message: string) => void,
): Promise<Buffer> {
  const path = join(stateDir, 'pseudonym.key');
  const consequence = 'evidence of before and after this start can not be compared user by user';
  try {
    const text = (await readFile(path, 'utf8')).trim();
    if (await closeToOthers(path)) {
      warn(
        `${path} could be read by other users of this machine, which is now put right; with it and the evidence one can find out which users it is about by trying`,
      );
    }
    if (HEX.test(text)) return Buffer.from(text, 'hex');
    warn(`${path} holds no key and is made anew: ${consequence}`);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') {
      warn(`${path} can not be read (${codeOf(error)}): ${consequence}`);
      return randomBytes(HASH_KEY_BYTES);
    }
  }
  const key = randomBytes(HASH_KEY_BYTES);
  try {
    await writeSecret(path, `${key.toString('hex')}\n`);
  } catch (error) {
    warn(`${path} can not be written (${codeOf(error)}): ${consequence}`);
  }
  return key;
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
}
