// Why evidence could not be written, from what SQLite and the file system say.
import { accessSync, constants, statfsSync } from 'node:fs';
import type { EvidenceDrop } from '../../rules/evidence-batch.ts';
import { DamagedFile } from './store.ts';

/** Primary result codes (sqlite.org/rescode.html); extended ones hold them in their lowest byte. */
const CAUSES: Readonly<Record<number, EvidenceDrop>> = {
  8: 'read-only',
  11: 'corrupt',
  13: 'disk-full',
  26: 'corrupt',
};
/** A disk with less has no room for a page and its log. */
const LEAST_FREE_BYTES = 64 * 1024;

export function dropCauseOf(error: unknown, folder: string): EvidenceDrop {
  if (error instanceof DamagedFile) return 'corrupt';
  const code = error instanceof Error && 'errcode' in error ? Number(error.errcode) & 0xff : 0;
  return CAUSES[code] ?? causeOfFolder(folder);
}

/** For an input/output error or a file that can not be opened: SQLite does not say why. */
function causeOfFolder(folder: string): EvidenceDrop {
  try {
    const { bavail, bsize } = statfsSync(folder);
    if (bavail * bsize < LEAST_FREE_BYTES) return 'disk-full';
    accessSync(folder, constants.W_OK);
    return 'failed';
  } catch {
    // Whatever the reason: nothing can be written there.
    return 'read-only';
  }
}
