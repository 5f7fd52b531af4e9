// The last good flags of a server, kept for a start without it. Who can write this file decides who
// serves whom, so it is ours alone, and one that somebody else could have put there is refused.
import { createHash } from 'node:crypto';
import { constants, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

const OTHERS_MAY_WRITE = 0o022;
const MODE = 0o600;
/** Of the first line, which holds what follows below. */
const MAX_HEAD_BYTES = 4_096;

export interface Backup {
  /** Which flags these are; flags of another server or environment are not a stand-in. */
  readonly from: string;
  /** Epoch ms. */
  readonly fetchedAt: number;
  /** The server's answer, as it came. */
  readonly text: string;
}

/** `refused` is a sentence for the operator. */
export type BackupRead =
  | { readonly backup: Backup }
  | { readonly refused: string }
  | { readonly nothing: true };

/** Writes it under another name first: a crash leaves the old one. */
export async function writeBackup(file: string, backup: Backup): Promise<void> {
  const { from, fetchedAt, text } = backup;
  const head = JSON.stringify({ from, fetchedAt, sha256: digest(text) });
  await mkdir(dirname(file), { recursive: true, mode: 0o700 });
  // With the process id: while one process takes over from another, both may be at it.
  const draft = `${file}.${process.pid}.new`;
  // A draft of an earlier crash may be anybody's by now.
  await rm(draft, { force: true });
  const handle = await open(draft, 'wx', MODE);
  try {
    await handle.writeFile(`${head}\n${text}`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(draft, file);
}

/** Reads it if it is ours, whole, and of the same origin. Never throws for what is in it. */
export async function readBackup(
  file: string,
  from: string,
  maxBytes: number,
): Promise<BackupRead> {
  let bytes: Buffer;
  try {
    // No link is followed, and a pipe is not waited for.
    const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
    const handle = await open(file, flags);
    try {
      const stats = await handle.stat();
      if (!stats.isFile()) return { refused: 'it is no regular file' };
      if (stats.uid !== process.getuid?.()) return { refused: 'it belongs to another user' };
      if ((stats.mode & OTHERS_MAY_WRITE) !== 0) return { refused: 'other users may write it' };
      if (stats.size > maxBytes + MAX_HEAD_BYTES) return { refused: 'it is too large' };
      bytes = await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    if (code === 'ENOENT') return { nothing: true };
    return { refused: code === 'ELOOP' ? 'it is a symbolic link' : `it can not be read (${code})` };
  }
  return parse(bytes, from);
}

function parse(bytes: Buffer, from: string): BackupRead {
  const end = bytes.subarray(0, MAX_HEAD_BYTES).indexOf(0x0a);
  const head = end === -1 ? undefined : headOf(bytes.toString('utf8', 0, end));
  if (head === undefined) return { refused: 'it is no backup of flags' };
  const text = bytes.toString('utf8', end + 1);
  if (digest(text) !== head.sha256) return { refused: 'it is damaged' };
  if (head.from !== from) return { refused: 'it is from another server, project or environment' };
  return { backup: { from, fetchedAt: head.fetchedAt, text } };
}

function headOf(line: string): { from: string; fetchedAt: number; sha256: string } | undefined {
  try {
    const head: unknown = JSON.parse(line);
    if (typeof head !== 'object' || head === null) return undefined;
    const { from, fetchedAt, sha256 } = Object.assign(
      { from: undefined, fetchedAt: undefined, sha256: undefined },
      head,
    ) as Record<string, unknown>;
    if (typeof from !== 'string' || typeof sha256 !== 'string') return undefined;
    return Number.isSafeInteger(fetchedAt)
      ? { from, fetchedAt: Number(fetchedAt), sha256 }
      : undefined;
  } catch {
    // Torn or foreign: the caller says so.
    return undefined;
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
