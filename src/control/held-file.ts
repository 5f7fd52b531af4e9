// A small file in the state folder that is replaced as a whole, for as long as this process holds that.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { replaceDurably } from './durable-append.ts';

export interface HeldFileOptions {
  /** Its name in the folder. */
  readonly file: string;
  /** What it is to say, asked for when it is written. */
  readonly text: () => string;
  /** It could not be written; the next change tries again. */
  readonly onFailure: (error: unknown) => void;
}

export class HeldFile {
  readonly #options: HeldFileOptions;
  /** Null while another process holds it. */
  #folder: string | null = null;
  /** One that waits for its turn writes all that there is by then. */
  #writing: Promise<void> | null = null;
  #turn: Promise<void> = Promise.resolve();

  constructor(options: HeldFileOptions) {
    this.#options = options;
  }

  /** From now on it is in that folder. What is there, null if nothing; rejects with the system's error. */
  async keepIn(folder: string): Promise<string | null> {
    try {
      return await readFile(join(folder, this.#options.file), 'utf8');
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null;
      throw error;
    } finally {
      this.#folder = folder;
    }
  }

  /** Another process may write there now. */
  letGo(): void {
    this.#folder = null;
  }

  /** Never rejects; does nothing while another process holds the folder. */
  write(): Promise<void> {
    this.#writing ??= this.#turn.then(async () => {
      this.#writing = null;
      if (this.#folder === null) return;
      const { file, text, onFailure } = this.#options;
      try {
        await replaceDurably(join(this.#folder, file), text());
      } catch (error) {
        onFailure(error);
      }
    });
    this.#turn = this.#writing;
    return this.#writing;
  }
}
