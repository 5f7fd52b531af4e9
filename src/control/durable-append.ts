// Lines and files that a power cut does not take back.

import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';

const LINE_FEED = 0x0a;

/**
 * Appends a line to a file, which is made for this user alone if it is not there. Resolves once it is on
 * the disk. Rejects with the system's error; what was written of it by then is taken back where that is
 * possible. A line before it that was cut off stays a line of its own.
 */
export async function appendDurably(file: string, line: string): Promise<void> {
  const handle = await open(file, 'a+', 0o600);
  try {
    const { size } = await handle.stat();
    const last = Buffer.alloc(1, LINE_FEED);
    if (size > 0) await handle.read(last, 0, 1, size - 1);
    try {
      await handle.appendFile(`${last[0] === LINE_FEED ? '' : '\n'}${line}\n`);
      await handle.sync();
    } catch (error) {
      // A part of a line is no record; where it can not be cut off, whoever reads the file notices.
      await handle.truncate(size).catch(() => undefined);
      throw error;
    }
    if (size === 0) await syncFolder(dirname(file));
  } finally {
    await handle.close();
  }
}

/**
 * Rejects with the system's error where a line could not be appended to a file now: it can not be opened, or the
 * disk takes no more. The file stays as it is; one that is not there is made.
 */
export async function tryAppending(file: string): Promise<void> {
  const handle = await open(file, 'a', 0o600);
  await handle.close();
  const probe = `${file}.probe`;
  try {
    const trial = await open(probe, 'w', 0o600);
    try {
      // As much as a disk gives at a time.
      await trial.writeFile(Buffer.alloc(4_096));
      await trial.sync();
    } finally {
      await trial.close();
    }
  } finally {
    await rm(probe, { force: true });
  }
}

/**
 * Puts a file in another's place, for this user alone: whoever reads it finds the one or the other, whole.
 * Resolves once it is on the disk. Rejects with the system's error.
 */
export async function replaceDurably(file: string, text: string): Promise<void> {
  const fresh = `${file}.new`;
  const handle = await open(fresh, 'w', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(fresh, file);
  await syncFolder(dirname(file));
}

/** A new file's name is on disk once its folder is. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
