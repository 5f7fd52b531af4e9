// The latch of this process, kept in the state folder: in force at once, on disk before it is
// acknowledged, and there again after a restart.
import { copyFile, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CutoverError } from '../errors.ts';
import { canonical } from '../rules/compare/canonical.ts';
import {
  bookOf,
  distrust,
  type Held,
  heldEntries,
  heldOf,
  isHeldAs,
  type LatchBook,
  type LatchEntry,
  latchOn,
  NO_LATCH,
  withEntry,
  withoutEntry,
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
  #book: LatchBook = NO_LATCH;
  #byRoute = new Map<string, Held | null>();
  /** In force and not on disk: the disk refused, or what it had was taken away. */
  #unwritten: LatchEntry[] = [];
  /** Lines of the file that are no entries; everything is held for them until it is released. */
  #damaged = 0;
  /** Holds everything as long as the file can not be read; null while it can. */
  #distrust: LatchEntry | null = null;
  /** Of which state the file was when it was read last; null before that. */
  #seen: string | null = null;
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
  #following: Promise<boolean> | null = null;

  private constructor(file: string, now: () => Date) {
    this.#file = file;
    this.#now = now;
  }

  /**
   * As it was left. What can not be read as a latch counts as a rollback of everything; a file that can not be
   * read at all, for as long as that is so. With `shared` another process may be writing its last line at
   * this moment.
   */
  static async open(
    folder: string,
    { shared = false, now = () => new Date() }: { shared?: boolean; now?: () => Date } = {},
  ): Promise<Latch> {
    const latch = new Latch(join(folder, FILE), now);
    await latch.#read(shared);
    return latch;
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
    // One that is being released at this moment is said anew: the last word counts.
    // So is what holds only for as long as the file can not be read.
    const isSaid = before !== null && before !== this.#distrust;
    const isToStay = isSaid && before.epoch > (this.#releasing.get(scope) ?? 0);
    if (isToStay && isHeldAs(this.#book, scope, state)) {
      return { entry: before, changed: false, written: inTime(this.follow(), false) };
    }
    const entry = this.#entry(state, { scope, reason, by });
    this.#hear(entry);
    this.#unwritten.push(entry);
    return { entry, changed: true, written: inTime(this.follow(), false) };
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

  /**
   * Hears what another process has written, and writes what the file lacks of what is in force: because the disk
   * refused it, or somebody took it away. True: all of it is on disk. Call it several times a second: every process
   * that shares the folder may roll back, whoever holds it.
   */
  follow(): Promise<boolean> {
    this.#following ??= this.#inTurn(async () => {
      this.#following = null;
      // One look that fails says nothing about what holds, but not that the file has it either.
      const looked = await this.#look(true).then(
        () => true,
        () => false,
      );
      try {
        await this.#write();
      } catch {
        // Told by `kept`, and tried again.
      }
      return looked && this.kept;
    });
    return this.#following;
  }

  /** Hears what the process that held the folder before has left, of whom nobody writes there any more. */
  async take(): Promise<void> {
    await this.#inTurn(() => this.#read(false));
  }

  /**
   * Leaves the last word on each scope alone, once the file has grown long; a damaged one is kept beside it. For
   * the process that holds the folder. Never rejects: a file that can not be replaced only stays long.
   */
  async compact(): Promise<void> {
    await this.#inTurn(async () => {
      try {
        const { length } = (await readFile(this.#file, 'utf8')).split('\n');
        if (length <= MOST_LINES) return;
        if (this.#damaged > 0) await copyFile(this.#file, `${this.#file}.damaged`);
        await this.#write();
        const text = inOrder(this.#book).map(entry => `${canonical(entry)}\n`);
        await replaceDurably(this.#file, text.join(''));
        this.#damaged = 0;
      } catch {
        // What is said next says whether the disk takes it (`kept`).
      }
    });
  }

  async #read(shared: boolean): Promise<void> {
    try {
      await this.#look(shared);
    } catch (error) {
      const reason = `${FILE} can not be read${codeOf(error)}, so nobody knows what was rolled back`;
      const before = this.#book;
      this.#book = withoutEntry(before, this.#distrust);
      this.#distrust = distrust(this.#book, { reason, at: this.#now().toISOString() });
      this.#damaged = 1;
      this.#hear(this.#distrust);
      this.#tellFollowed(before);
    }
  }

  /** Hears the file, unless it is as it was, and knows then what it lacks. Rejects with the system's error. */
  async #look(shared: boolean): Promise<void> {
    const state = await stateOf(this.#file);
    if (shared && state === this.#seen) return;
    const { book, damaged } = await readLatch(this.#file, shared, this.#now);
    // Written, or replaced, while it was read.
    if ((await stateOf(this.#file)) !== state) return this.#look(shared);
    const before = this.#book;
    this.#seen = state;
    this.#damaged = damaged;
    this.#book = withoutEntry(before, this.#distrust);
    this.#byRoute = new Map();
    this.#distrust = null;
    for (const entry of book.last.values()) this.#hear(entry);
    this.#unwritten = inOrder(this.#book).filter(entry => withEntry(book, entry) !== book);
    if (this.#book !== before) this.#tellFollowed(before);
  }

  /** By itself: what goes wrong with whoever is told is no fault of the file's. */
  #tellFollowed(before: LatchBook): void {
    queueMicrotask(() => this.#onFollowed(before));
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

/** Its identity, length and time: an entry more, or another file in its place, is another state. */
async function stateOf(file: string): Promise<string> {
  try {
    const found = await stat(file, { bigint: true });
    // A device has no end to read to.
    if (found.isCharacterDevice()) throw new Error(`${FILE} is a device`);
    return [found.dev, found.ino, found.size, found.mtimeNs].join();
  } catch (error) {
    if (codeOf(error) === ' (ENOENT)') return 'none';
    throw error;
  }
}

async function readLatch(
  file: string,
  shared: boolean,
  now: () => Date,
): Promise<ReturnType<typeof bookOf>> {
  const text = await readFile(file, 'utf8').catch(error => {
    if (codeOf(error) === ' (ENOENT)') return '';
    throw error;
  });
  const lines = text.split('\n');
  // A line that is not ended yet is one that is being written, or one that never will be.
  const last = lines.pop() ?? '';
  const reason = `${FILE} is damaged, so nobody knows what was rolled back`;
  const at = now().toISOString();
  return bookOf(shared ? lines : [...lines, last], { reason, at });
}

/** The last word on each scope, in the order in which it was said. */
function inOrder({ last }: LatchBook): LatchEntry[] {
  return [...last.values()].sort((a, b) => a.epoch - b.epoch);
}

function stays(why: string, cause?: unknown): CutoverError {
  const message = `the latch stays: ${FILE} in the state folder can not be written${why}`;
  return new CutoverError('conflict', message, { cause });
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? ` (${error.code})` : '';
}
