// A disk that hangs answers nothing, not even that it refuses: what goes to legacy waits for none.
import { CutoverError } from '../errors.ts';

/**
 * A busy disk may take a second or two. A rollback waits twice, and once for whom it concerns; the scripts' curl gives
 * up after 70 s.
 */
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

/**
 * Reads of one file, one after another: each that hangs keeps a thread from whatever else needs one, as looking up a
 * service's name does.
 */
export class DiskReads {
  readonly #file: string;
  #turn: Promise<unknown> = Promise.resolve();
  /** One is under way whose time is over. */
  #isLate = false;

  constructor(file: string) {
    this.#file = file;
  }

  /**
   * What `act` reads. Rejects as that does; throws `CutoverError('conflict')` where the disk has not answered by then,
   * and at once where it has still to answer an earlier one.
   */
  async read<T>(act: () => Promise<T>): Promise<T> {
    if (this.#isLate) throw unread(this.#file);
    let isOver = false;
    const reading = this.#turn.then(act).then(found => ({ found }));
    const over = () => {
      isOver = true;
      this.#isLate = false;
    };
    this.#turn = reading.then(over, over);
    const answer = await inTime(reading, null);
    if (answer !== null) return answer.found;
    this.#isLate = !isOver;
    throw unread(this.#file);
  }
}

/** Of a file in the state folder. */
export function unread(file: string): CutoverError {
  const message = `${file} in the state folder can not be read (${NO_ANSWER})`;
  return new CutoverError('conflict', message);
}
