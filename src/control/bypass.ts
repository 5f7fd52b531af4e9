// The bypass: while it is engaged, everything new goes straight to legacy. Kept in the state folder,
// so that a restart in the middle of an emergency does not end it.
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CutoverError } from '../errors.ts';
import { inTime, NO_ANSWER } from './disk-deadline.ts';
import { replaceDurably } from './durable-append.ts';

const FILE = 'bypass.json';

export interface Engaged {
  readonly reason: string;
  /** ISO 8601. */
  readonly at: string;
}

export class Bypass {
  readonly #file: string;
  readonly #now: () => Date;
  #engaged: Engaged | null;
  #kept = true;
  #onChange: () => void = () => undefined;
  /** So many are ending it; it is still on. */
  #endings = 0;
  /** Ends when everybody before has done with the file. */
  #turn: Promise<void> = Promise.resolve();

  private constructor(file: string, engaged: Engaged | null, now: () => Date) {
    this.#file = file;
    this.#engaged = engaged;
    this.#now = now;
  }

  /** As it was left. A file that can not be read as one counts as engaged: legacy is the safe side. */
  static async open(folder: string, now: () => Date = () => new Date()): Promise<Bypass> {
    const file = join(folder, FILE);
    return new Bypass(file, await readEngaged(file, now), now);
  }

  /** Why and since when; null while it is off. */
  get engaged(): Engaged | null {
    return this.#engaged;
  }

  /** False: the disk refused to keep it, so that it holds until the process ends. */
  get kept(): boolean {
    return this.#kept;
  }

  /** Called when it is engaged, and when it has ended: somebody else decides then. */
  onChange(listener: () => void): void {
    this.#onChange = listener;
  }

  /**
   * Engages it, at once; going to legacy needs no disk. What is on already keeps its reason and time, unless
   * somebody is ending it; it is kept on the disk again.
   */
  async engage(reason: string): Promise<void> {
    const before = this.#engaged;
    // Another object, whoever is ending the one before.
    const engaged = {
      reason: before === null || this.#endings > 0 ? reason : before.reason,
      at: before?.at ?? this.#now().toISOString(),
    };
    this.#set(engaged);
    const writing = this.#inTurn(async () => {
      try {
        await replaceDurably(this.#file, `${JSON.stringify(engaged)}\n`);
        this.#kept = true;
      } catch {
        // Told by `kept` to whoever asked.
        this.#kept = false;
      }
    });
    if ((await inTime(writing, 'late')) === 'late') this.#kept = false;
  }

  /** Ends it. Throws `CutoverError('conflict')`, and it stays, if a restart would bring it back. */
  async release(): Promise<void> {
    const ending = this.#engaged;
    const removing = this.#inTurn(async () => {
      try {
        await rm(this.#file, { force: true });
      } catch (cause) {
        throw stays('', cause);
      }
      this.#kept = true;
      // Whoever engaged it meanwhile has the last word; his file comes next.
      if (this.#engaged === ending) this.#set(null);
    });
    this.#endings += 1;
    const isLate = await inTime(removing, 'late')
      .then(how => how === 'late')
      .finally(() => {
        this.#endings -= 1;
      });
    if (!isLate || this.#engaged === null) return;
    // It may be removed yet, and is there again after that.
    void this.engage(this.#engaged.reason);
    throw stays(` (${NO_ANSWER})`);
  }

  /** Takes what the file says, for a process that does not hold the folder: another one decides. */
  async follow(): Promise<void> {
    await this.#inTurn(async () => {
      const before = this.#engaged;
      const found = await readEngaged(this.#file, this.#now);
      if (this.#kept && this.#engaged === before) this.#set(found);
    });
  }

  #set(engaged: Engaged | null): void {
    const changed = (this.#engaged === null) !== (engaged === null);
    this.#engaged = engaged;
    if (changed) this.#onChange();
  }

  #inTurn(act: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(act);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

function stays(why: string, cause?: unknown): CutoverError {
  const message = `the bypass stays: ${FILE} in the state folder can not be removed${why}`;
  return new CutoverError('conflict', message, { cause });
}

async function readEngaged(file: string, now: () => Date): Promise<Engaged | null> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
    return {
      reason: 'the file that says whether it is engaged can not be read',
      at: now().toISOString(),
    };
  }
  try {
    const { reason, at } = JSON.parse(text) as Partial<Engaged>;
    if (typeof reason === 'string' && typeof at === 'string') return { reason, at };
  } catch {
    // Torn: somebody was engaging it when the power went.
  }
  return { reason: 'the file that says whether it is engaged is damaged', at: now().toISOString() };
}
