// A journal in the state folder, for as long as this process holds that. One that can not be opened, because the disk
// is full or refuses at the start, is opened by whoever needs it next.
import { join } from 'node:path';
import { type Entry, Journal, type JournalOptions, type Repair } from './journal.ts';

export interface HeldJournalOptions<T extends object> extends JournalOptions<T> {
  /** Its name in the folder. */
  readonly file: string;
  /** Done before anything is added; a rejection leaves it unopened. `repair` is null where its end was whole. */
  readonly onOpen: (journal: Journal<T>, repair: Repair | null) => Promise<void> | void;
}

export class HeldJournal<T extends object> {
  readonly #options: HeldJournalOptions<T>;
  /** Null while another process holds it. */
  #folder: string | null = null;
  #journal: Journal<T> | null = null;
  /** While it is being opened: two journals of one file would both go on from its last record. */
  #opening: Promise<Journal<T>> | null = null;

  constructor(options: HeldJournalOptions<T>) {
    this.#options = options;
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

  /** As `Journal.newest`; nothing where the file can not be opened, which whoever adds to it is told. */
  async *newest(): AsyncGenerator<Entry<T>> {
    const journal = await this.opened().catch(() => null);
    if (journal !== null) yield* journal.newest();
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
