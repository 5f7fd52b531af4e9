// The folder for everything that outlives the process. One process writes there at a time.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CutoverError } from '../errors.ts';
import { ensureAdminToken } from './admin-token.ts';
import { ensurePseudonymKey } from './pseudonym-key.ts';
import { takeLock } from './state-lock.ts';

export interface StateDir {
  readonly path: string;
  /** Reads the admin token, or makes it at first. Throws `CutoverError('conflict')`. */
  adminToken(): Promise<string>;
  /** Reads the key for pseudonyms, or makes it at first. */
  pseudonymKey(): Promise<Buffer>;
  /** True once this process has let go and another one holds the folder. */
  isHeldByAnother(): Promise<boolean>;
  /** Gives up the folder; further calls do nothing. */
  release(): Promise<void>;
}

export interface StateDirOptions {
  /** Gets sentences that an operator should see. */
  readonly warn?: (message: string) => void;
  /** The holder is to be ended, and this one asks until it is. */
  readonly takeOver?: boolean;
}

/**
 * Opens the folder, makes it if it is not there, and locks it until `release` or the end of the
 * process. Throws `CutoverError`: `state-locked` names the holder, `conflict` says why the folder
 * can not be written.
 */
export async function openStateDir(dir: string, options: StateDirOptions = {}): Promise<StateDir> {
  const { warn = () => undefined, takeOver = false } = options;
  await makeFolder(dir);
  const held = takeLock(join(dir, 'lock.sqlite'));
  if (held === undefined)
    throw new CutoverError('state-locked', await lockedSentence(dir, takeOver));
  const holder = join(dir, 'holder.json');
  try {
    const self = { pid: process.pid, startedAt: startedAt() };
    await writeFile(holder, `${JSON.stringify(self)}\n`, { mode: 0o600 });
  } catch (cause) {
    held.release();
    throw unwritable(dir, cause);
  }
  let released = false;
  return {
    path: dir,
    adminToken: () => ensureAdminToken(dir, warn),
    pseudonymKey: () => ensurePseudonymKey(dir, warn),
    isHeldByAnother: async () => released && (await readHolder(dir)) !== null,
    async release() {
      if (released) return;
      released = true;
      try {
        // Before the lock goes: afterwards the file may be the next holder's.
        await rm(holder, { force: true });
      } finally {
        held.release();
      }
    },
  };
}

async function makeFolder(dir: string): Promise<void> {
  try {
    await mkdir(dir, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw unwritable(dir, cause);
  }
}

function unwritable(dir: string, cause: unknown): CutoverError {
  const code = cause instanceof Error && 'code' in cause ? ` (${cause.code})` : '';
  return new CutoverError(
    'conflict',
    `${dir} can not be written${code}: make it a folder that this user may write, or set stateDir`,
    { cause, field: 'stateDir' },
  );
}

async function lockedSentence(dir: string, takeOver: boolean): Promise<string> {
  const way = takeOver
    ? 'send it SIGTERM'
    : 'stop it first, let cutover start --take-over replace it, or give this one another stateDir';
  return `${dir} is held by ${await holderOf(dir)}; ${way}`;
}

async function holderOf(dir: string): Promise<string> {
  const holder = await readHolder(dir);
  return holder === null
    ? 'another process'
    : `process ${holder.pid}, which started at ${holder.startedAt}`;
}

/** Who holds the folder by its own word: the lock decides, the file may for an instant be outdated. */
async function readHolder(dir: string): Promise<{ pid: number; startedAt: string } | null> {
  try {
    const found: unknown = JSON.parse(await readFile(join(dir, 'holder.json'), 'utf8'));
    if (typeof found === 'object' && found !== null && 'pid' in found && 'startedAt' in found) {
      return { pid: Number(found.pid), startedAt: String(found.startedAt).slice(0, 24) };
    }
  } catch {
    // Not there, or just being written: nobody is known.
  }
  return null;
}

function startedAt(): string {
  return new Date(performance.timeOrigin).toISOString();
}
