// Writes flag files so that whoever reads them sees an old or a new file, never a part of one.
import { randomBytes } from 'node:crypto';
import { chmod, lstat, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CutoverError } from '../../errors.ts';
import type { FeatureLike } from '../../rules/flag-shape.ts';
import type { FlagDocument } from './flag-file.ts';

const NEW_FILE_MODE = 0o644;

/** A file of the folder and what it is to hold. */
export interface FlagWrite {
  readonly file: string;
  readonly text: string;
}

/** A new file beside the one whose place it takes, and what was there (null: nothing). */
interface Staged {
  readonly path: string;
  readonly temp: string;
  readonly old: { readonly bytes: Buffer; readonly mode: number } | null;
}

/** The document with these features in place of those of the same names, or at its end. */
export function documentText(
  document: FlagDocument | undefined,
  features: readonly FeatureLike[],
): string {
  const fresh = new Map(features.map(feature => [feature.name, feature]));
  const kept = (document?.features ?? []).map(feature => {
    const edited = fresh.get(feature.name);
    fresh.delete(feature.name);
    return edited ?? feature;
  });
  const all = [...kept, ...fresh.values()];
  return `${JSON.stringify({ ...(document ?? { version: 2 }), features: all }, null, 2)}\n`;
}

/**
 * Puts all the files in place, in their order, or none. `stillValid` is asked last, when only the
 * renames are left; on false nothing is written and the answer is false. Throws
 * `CutoverError('conflict')` naming the file that can not be written.
 */
export async function writeFlagFiles(
  dir: string,
  writes: readonly FlagWrite[],
  stillValid: () => Promise<boolean>,
): Promise<boolean> {
  const staged: Staged[] = [];
  let placed = 0;
  try {
    for (const { file, text } of writes) {
      const path = join(dir, file);
      const mode = await modeOf(path, file);
      const old = mode === null ? null : { bytes: await readFile(path), mode };
      const temp = join(dir, `.${file}.${randomBytes(6).toString('hex')}.tmp`);
      staged.push({ path, temp, old });
      await writeDurably(temp, text, mode ?? NEW_FILE_MODE);
    }
    if (!(await stillValid())) return false;
    for (const { path, temp } of staged) {
      await rename(temp, path);
      placed += 1;
    }
    await syncFolder(dir);
    return true;
  } catch (error) {
    for (const done of staged.slice(0, placed).reverse()) await restore(done);
    throw asConflict(error, dir);
  } finally {
    await Promise.all(staged.slice(placed).map(({ temp }) => rm(temp, { force: true })));
  }
}

/** Permission bits of the file, null if there is none. Links lead to files that are not ours. */
async function modeOf(path: string, file: string): Promise<number | null> {
  const stats = await lstat(path).catch(error => {
    if (isCode(error, 'ENOENT')) return null;
    throw error;
  });
  if (stats === null) return null;
  if (stats.isFile()) return stats.mode & 0o777;
  const why = stats.isSymbolicLink()
    ? `${file} is a symbolic link (a mounted ConfigMap?); change it where it comes from`
    : `${file} is not a regular file`;
  throw new CutoverError('conflict', why);
}

async function writeDurably(path: string, data: string | Buffer, mode: number): Promise<void> {
  const handle = await open(path, 'wx', mode);
  try {
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
  // The umask took part when the file was made.
  await chmod(path, mode);
}

async function restore({ path, old }: Staged): Promise<void> {
  if (old === null) {
    await rm(path, { force: true });
    return;
  }
  const temp = join(dirname(path), `.restore.${randomBytes(6).toString('hex')}.tmp`);
  await writeDurably(temp, old.bytes, old.mode);
  await rename(temp, path);
}

async function syncFolder(dir: string): Promise<void> {
  const handle = await open(dir);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function asConflict(error: unknown, dir: string): unknown {
  // Failures of the file system carry a code; anything else is a fault of ours.
  if (error instanceof CutoverError || !(error instanceof Error && 'code' in error)) return error;
  const message = `the flags in ${dir} can not be written: ${error.message}`;
  return new CutoverError('conflict', message, { cause: error });
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
