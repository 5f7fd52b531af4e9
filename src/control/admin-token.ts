// The secret that opens the admin API: made at first start, kept in the state folder.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CutoverError } from '../errors.ts';
import { closeToOthers, writeSecret } from './secret-file.ts';

/** 256 bits: nobody guesses it, so nothing has to count attempts. */
const TOKEN_BYTES = 32;
/** An operator may put another one there; it has to fit into a header and be no password. */
const TOKEN = /^[A-Za-z0-9_-]{32,256}$/;

/** The token of a running proxy. Throws `CutoverError('conflict')` if there is none to be read. */
export async function readAdminToken(stateDir: string): Promise<string> {
  const token = await read(tokenPath(stateDir));
  if (token === undefined) {
    throw new CutoverError(
      'conflict',
      `there is no ${tokenPath(stateDir)}: the proxy makes it when it starts for the first time`,
    );
  }
  return token;
}

/** The token, made if there is none. The caller holds the folder's lock. `warn` gets a sentence. */
export async function ensureAdminToken(
  stateDir: string,
  warn: (message: string) => void,
): Promise<string> {
  const path = tokenPath(stateDir);
  const there = await read(path);
  if (there === undefined) return create(path);
  if (await closeToOthers(path)) {
    warn(
      `${path} could be read by other users of this machine, which is now put right; if one of them may have read it, delete it and restart`,
    );
  }
  return there;
}

function tokenPath(stateDir: string): string {
  return join(stateDir, 'admin.token');
}

async function read(path: string): Promise<string | undefined> {
  let text: string;
  try {
    text = (await readFile(path, 'utf8')).trim();
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw new CutoverError('conflict', `${path} can not be read by this user`, { cause });
  }
  if (!TOKEN.test(text)) {
    throw new CutoverError(
      'conflict',
      `${path} holds no token: 32 to 256 letters, digits, - and _ are needed; delete it to have one made`,
    );
  }
  return text;
}

async function create(path: string): Promise<string> {
  const token = randomBytes(TOKEN_BYTES).toString('base64url');
  await writeSecret(path, `${token}\n`);
  return token;
}
