// Lines of a file from its end, a piece at a time, so that the newest records of a long file are found
// without reading all of it at once.
import { type FileHandle, open } from 'node:fs/promises';

const PIECE_BYTES = 65_536;
const LINE_FEED = 0x0a;

/**
 * The lines of a UTF-8 file, last one first; none if it is not there. Of a line that is longer than
 * 64 KiB only the beginning is given.
 */
export async function* lastLines(file: string): AsyncGenerator<string> {
  let handle: FileHandle;
  try {
    handle = await open(file, 'r');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return;
    throw error;
  }
  try {
    let { size: end } = await handle.stat();
    /** Of a line whose beginning lies further ahead in the file. */
    let tail = Buffer.alloc(0);
    while (end > 0) {
      const start = Math.max(0, end - PIECE_BYTES);
      const piece = Buffer.alloc(end - start);
      const { bytesRead } = await handle.read(piece, 0, piece.length, start);
      const text = Buffer.concat([piece.subarray(0, bytesRead), tail]);
      const first = text.indexOf(LINE_FEED);
      tail = text.subarray(0, Math.min(first === -1 ? text.length : first, PIECE_BYTES));
      if (first !== -1)
        yield* text
          .toString('utf8', first + 1)
          .split('\n')
          .reverse();
      end = start;
    }
    if (tail.length > 0) yield tail.toString('utf8');
  } finally {
    await handle.close();
  }
}
