// The latch of this process, kept in the state folder: in force at once, on disk before it is
// acknowledged, and there again after a restart.
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CutoverError } from '../errors.ts';
import { canonical } from '../rules/compare/canonical.ts';
import {
  bookOf,
  distrust,
  type Held,
  heldEntries,
  heldOf,
  type LatchBook,
  type LatchEntry,
  latchOn,
  NO_LATCH,
  withEntry,
} from '../rules/latch.ts';
import { inTime, NO_ANSWER } from './disk-deadline.ts';
import { appendDurably, replaceDurably, tryAppending } from './durable-append.ts';

const FILE = 'latch.jsonl';
/** Some 200 kB, or a rollback and its release a day for more than a year. */
const MOST_LINES = 1_000;

export interface Saying {
  readonly scope: string;
  readonly reason: string;
  readonly by: string;
}

/** `changed` is false where it was so already; `entry` is then what was said before, if anything was. */
export interface Said<E = LatchEntry> {
  readonly entry: E;
  readonly changed: boolean;
}

export class Latch {
  readonly #file: string;
  readonly #now: () => Date;
  #book: LatchBook;
  #byRoute = new Map<string, Held | null>();
  /** In force and not on disk: the disk refused. */
  #unwritten: LatchEntry[] = [];
  /** Lines of the file that are no entries; everything is held for them until it is released. */
  #damaged: number;
  /** The last epoch that was given out here. */
  #issued = 0;
  /** Counts what was asked for, also what held already. */
  #asked = 0;
  readonly #lastHold = new Map<string, number>();
  /** Scopes whose release is being written, and its epoch. */
  readonly #releasing = new Map<string, number>();
  #onFollowed: (before: LatchBook) => void = () => undefined;
  /** Ends when everybody before has done with the file. */
  #turn: Promise<unknown> = Promise.resolve();
  /** One that waits for its turn: whoever asks meanwhile is answered by it. */
  #flushing: Promise<boolean> | null = null;

  private constructor(file: string, read: Read, now: () => Date) {
    this.#file = file;
    this.#now = now;
    this.#book = read.book;
    this.#damaged = read.damaged;
  }

  /**
   * As it was left. What can not be read as a latch counts as a rollback of everything. With `shared`
   * another process may be writing its last line at this moment.
   */
  static async open(
    folder: string,
    { shared = false, now = () => new Date() }: { shared?: boolean; now?: () => Date } = {},
  ): Promise<Latch> {
    const file = join(folder, FILE);
    return new Latch(file, await readLatch(file, shared, now), now);
  }

  get book(): LatchBook {
    return this.#book;
  }

  /** What holds, in the order in which it was said. */
  get held(): readonly LatchEntry[] {
    return heldEntries(this.#book);
  }

  get epoch(): number {
    return this.#book.epoch;
  }

  /** False: the disk refused what is in force, so that it holds until this process ends. */
  get kept(): boolean {
    return this.#unwritten.length === 0;
  }

  get damaged(): number {
    return this.#damaged;
  }

  /** Asked for every decision. */
  on(route: string): Held | null {
    let held = this.#byRoute.get(route);
    if (held === undefined) {
      held = latchOn(this.#book, route);
      this.#byRoute.set(route, held);
    }
    return held;
  }

  /** Now, in the order of what is asked for; see `release`. */
  moment(): number {
    return this.#asked;
  }

  /** Told when another process's file changed what holds. */
  onFollowed(listener: (before: LatchBook) => void): void {
    this.#onFollowed = listener;
  }

  /**
   * Holds a scope on legacy, in force when this returns; going to legacy needs no disk. What holds as
   * much already stays as it was said. `written` settles once the disk has taken it, or refused, or left
   * the question open for seconds.
   */
  hold(state: Held, { scope, reason, by }: Saying): Said & { readonly written: Promise<boolean> } {
    this.#asked += 1;
    this.#lastHold.set(scope, this.#asked);
    const before = heldOf(this.#book, scope);
    const isHeld = before !== null && (before.state === state || before.state === 'severed');
    // One that is being released at this moment is said anew: the last word counts.
    if (isHeld && before.epoch > (this.#releasing.get(scope) ?? 0)) {
      return { entry: before, changed: false, written: inTime(this.flush(), false) };
    }
    const entry = this.#entry(state, { scope, reason, by });
    this.#hear(entry);
    this.#unwritten.push(entry);
    return { entry, changed: true, written: inTime(this.flush(), false) };
  }

  /**
   * Releases a scope and no other: after `*` the routes' own hold on. Throws `CutoverError('conflict')`,
   * and it holds, if that can not be written, or not within seconds: a restart would bring it back. Whoever
   * has rolled back since `asOf` (`moment`), be it what held already, has the last word.
   */
  async release(
    { scope, reason, by }: Saying,
    asOf = this.moment(),
  ): Promise<Said<LatchEntry | null>> {
    const unchanged = () => ({ entry: this.#book.last.get(scope) ?? null, changed: false });
    if (heldOf(this.#book, scope) === null) return unchanged();
    // Numbered now: whoever rolls back while it waits has the last word.
    const entry = this.#entry('released', { scope, reason, by });
    const releasing = this.#inTurn(async () => {
      const before = heldOf(this.#book, scope);
      const isOvertaken = (this.#lastHold.get(scope) ?? 0) > asOf;
      if (before === null || before.epoch > entry.epoch || isOvertaken) return unchanged();
      this.#releasing.set(scope, entry.epoch);
      try {
        await this.#write();
        await appendDurably(this.#file, canonical(entry));
      } catch (cause) {
        throw stays(codeOf(cause), cause);
      } finally {
        this.#releasing.delete(scope);
      }
      this.#hear(entry);
      return { entry, changed: true };
    });
    const said = await inTime(releasing, null);
    if (said !== null) return said;
    // Whatever of it gets there yet, what holds is said after it.
    const still = heldOf(this.#book, scope);
    if (still !== null) this.hold(still.state, still);
    throw stays(` (${NO_ANSWER})`);
  }

  /** Why a rollback could not be kept now, a code of the system's or a sentence; null if it could. */
  unkeepable(): Promise<string | null> {
    const tried = this.#inTurn(async () => {
      try {
        await tryAppending(this.#file);
        return null;
      } catch (error) {
        return error instanceof Error && 'code' in error ? String(error.code) : String(error);
      }
    });
    return inTime(tried, NO_ANSWER);
  }

  /** Tries to write what the disk refused; true if all is on disk now. */
  flush(): Promise<boolean> {
    this.#flushing ??= this.#inTurn(async () => {
      this.#flushing = null;
      try {
        await this.#write();
      } catch {
        // Told by `kept`, and tried again.
      }
      return this.kept;
    });
    return this.#flushing;
  }

  /**
   * Hears what is in the file, of a process that holds the folder, or held it before. With `shared` it
   * may be writing its last line at this moment.
   */
  async follow({ shared = true } = {}): Promise<void> {
    await this.#inTurn(async () => {
      const before = this.#book;
      const { book, damaged } = await readLatch(this.#file, shared, this.#now);
      this.#damaged = damaged;
      for (const entry of book.last.values()) this.#hear(entry);
      if (this.#book !== before) this.#onFollowed(before);
    });
  }

  /**
   * Leaves the last word on each scope alone, once the file has grown long; a damaged one is kept beside it. For
   * the process that holds the folder. Never rejects: a file that can not be replaced only stays long.
   */
  async compact(): Promise<void> {
    await this.#inTurn(async () => {
      try {
        const text = await readFile(this.#file, 'utf8');
        if (text.split('\n').length <= MOST_LINES) return;
        if (this.#damaged > 0) await copyFile(this.#file, `${this.#file}.damaged`);
        await this.#write();
        const entries = [...this.#book.last.values()].sort((a, b) => a.epoch - b.epoch);
        await replaceDurably(this.#file, entries.map(entry => `${canonical(entry)}\n`).join(''));
        this.#damaged = 0;
      } catch {
        // What is said next says whether the disk takes it (`kept`).
      }
    });
  }

  async #write(): Promise<void> {
    for (let entry = this.#unwritten[0]; entry !== undefined; entry = this.#unwritten[0]) {
      await appendDurably(this.#file, canonical(entry));
      this.#unwritten.shift();
    }
  }

  #entry(state: LatchEntry['state'], { scope, reason, by }: Saying): LatchEntry {
    this.#issued = Math.max(this.#issued, this.#book.epoch) + 1;
    return { epoch: this.#issued, scope, state, reason, by, at: this.#now().toISOString() };
  }

  #hear(entry: LatchEntry): void {
    this.#book = withEntry(this.#book, entry);
    this.#byRoute = new Map();
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(act);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

interface Read {
  readonly book: LatchBook;
  readonly damaged: number;
}

async function readLatch(file: string, shared: boolean, now: () => Date): Promise<Read> {
  const at = now().toISOString();
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    const code = codeOf(error);
    if (code === ' (ENOENT)') return { book: NO_LATCH, damaged: 0 };
    const reason = `${FILE} can not be read${code}, so nobody knows what was rolled back`;
    return { book: withEntry(NO_LATCH, distrust(NO_LATCH, { reason, at })), damaged: 1 };
  }
  const lines = text.split('\n');
  // A line that is not ended yet is one that is being written, or one that never will be.
  const last = lines.pop() ?? '';
  const reason = `${FILE} is damaged, so nobody knows what was rolled back`;
  return bookOf(shared ? lines : [...lines, last], { reason, at });
}

function stays(why: string, cause?: unknown): CutoverError {
  const message = `the latch stays: ${FILE} in the state folder can not be written${why}`;
  return new CutoverError('conflict', message, { cause });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? ` (${error.code})` : '';
}
