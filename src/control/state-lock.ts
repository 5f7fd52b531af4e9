// The lock that makes one process the only writer of a state folder.
import { DatabaseSync } from 'node:sqlite';
import { CutoverError } from '../errors.ts';

/** SQLite result codes (sqlite.org/rescode.html). */
const SQLITE_BUSY = 5;

/** Keeps held locks reachable: a collected database would close itself, and the lock with it. */
const HELD = new Set<DatabaseSync>();

export interface StateLock {
  release(): void;
}

/**
 * Takes the lock at `path`; undefined if somebody holds it, in this process or another. The kernel
 * gives it up when its holder dies, however that happens: an exclusive SQLite transaction is a
 * record lock on the file, which Node has no other way to ask for. Nothing else may open the file:
 * closing any other descriptor on it would drop a POSIX lock. Throws `CutoverError('conflict')` if
 * the file can not be made or is no database.
 */
export function takeLock(path: string): StateLock | undefined {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(path);
    // Nothing is ever stored, so there is nothing to roll back: no journal beside the lock.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (cause) {
    database?.close();
    const code = cause instanceof Error && 'errcode' in cause ? cause.errcode : undefined;
    if (code === SQLITE_BUSY) return undefined;
    throw new CutoverError(
      'conflict',
      `${path} can not be locked: make its folder writable for this user, on a local disk`,
      { cause },
    );
  }
  const held = database;
  HELD.add(held);
  return {
    release() {
      // Closing ends the transaction, and with it the lock.
      if (HELD.delete(held)) held.close();
    },
  };
}
