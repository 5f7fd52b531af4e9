// A journal in the state folder, for as long as this process holds that. One that can not be opened, because the disk
// is full or refuses at the start, is opened by whoever needs it next.
import { join } from 'node:path';
import { DiskReads } from './disk-deadline.ts';
import { type Entry, Journal, type JournalOptions, type Repair } from './journal.ts';

export interface HeldJournalOptions<T extends object> extends JournalOptions<T> {
  /** Its name in the folder. */
  readonly file: string;
  /** Done before anything is added; a rejection leaves it unopened. `repair` is null where its end was whole. */
  readonly onOpen: (journal: Journal<T>, repair: Repair | null) => Promise<void> | void;
}

export class HeldJournal<T extends object> {
  readonly #options: HeldJournalOptions<T>;
  readonly #reads: DiskReads;
  /** Null while another process holds it. */
  #folder: string | null = null;
  #journal: Journal<T> | null = null;
  /** While it is being opened: two journals of one file would both go on from its last record. */
  #opening: Promise<Journal<T>> | null = null;

  constructor(options: HeldJournalOptions<T>) {
    this.#options = options;
    this.#reads = new DiskReads(options.file);
  }

  get isHeld(): boolean {
    return this.#folder !== null;
  }

  /** From now on it is in that folder. Rejects with the system's error, and is then tried again. */
  async keepIn(folder: string): Promise<void> {
    this.#folder = folder;
    await this.opened();
  }

  /** Another process may write there now. */
  letGo(): void {
    this.#folder = null;
    this.#journal = null;
  }

  /** As `Journal.append`; also rejects where the file can not be opened, or another process holds the folder. */
  async append(record: T): Promise<Entry<T>> {
    return (await this.opened()).append(record);
  }

  /**
   * The last `most` that are wanted, newest first; none where the file can not be opened, which whoever adds to it is
   * told. Rejects with the system's error; throws `CutoverError('conflict')` where the disk does not answer in time.
   */
  last(most: number, isWanted: (entry: Entry<T>) => boolean = () => true): Promise<Entry<T>[]> {
    return this.#reads.read(async () => {
      const found: Entry<T>[] = [];
      const journal = await this.opened().catch(() => null);
      if (journal === null) return found;
      for await (const entry of journal.newest()) {
        if (isWanted(entry) && found.push(entry) >= most) break;
      }
      return found;
    });
  }

  /** The file, opened. Rejects as `append` does. */
  async opened(): Promise<Journal<T>> {
    if (this.#journal !== null) return this.#journal;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = null;
    });
    return this.#opening;
  }

  async #open(): Promise<Journal<T>> {
    const folder = this.#folder;
    if (folder === null) throw new Error('another process holds the state folder');
    const { file, onOpen } = this.#options;
    const { journal, repair } = await Journal.open<T>(join(folder, file), this.#options);
    this.#refuseGivenUp(folder);
    await onOpen(journal, repair);
    this.#refuseGivenUp(folder);
    this.#journal = journal;
    return journal;
  }

  #refuseGivenUp(folder: string): void {
    if (this.#folder !== folder) throw new Error('the state folder was given up meanwhile');
  }
}
