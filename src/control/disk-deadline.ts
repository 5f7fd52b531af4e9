// A disk that hangs answers nothing, not even that it refuses: what goes to legacy waits for none.

/** A busy disk may take a second or two. A rollback waits twice, and the scripts' curl gives up after 70 s. */
const DISK_MS = 3_000;

/** Why something was refused, for an operator. */
export const NO_ANSWER = 'the disk does not answer';

/**
 * What a write comes to, or `late` where the disk has not answered by then; the write goes on. Rejects as
 * the write does.
 */
export async function inTime<T, L>(write: Promise<T>, late: L): Promise<T | L> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<L>(resolve => {
    timer = setTimeout(resolve, DISK_MS, late);
  });
  try {
    return await Promise.race([write, deadline]);
  } finally {
    clearTimeout(timer);
  }
}
