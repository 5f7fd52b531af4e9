// Since when legacy has not heard of everything, by route: `state/stale.json`, so that neither another stage nor a
// restart forgets it. It begins with stage `complete`, and ends when somebody says that legacy will do.
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { isRecord } from '../rules/compare/record.ts';
import { replaceDurably } from './durable-append.ts';

const FILE = 'stale.json';

export class Staleness {
  readonly #logger: Logger;
  readonly #now: () => Date;
  /** ISO 8601, by route. */
  readonly #since = new Map<string, string>();
  #folder: string | null = null;
  /** One that waits for its turn writes all that there is by then. */
  #writing: Promise<void> | null = null;
  #turn: Promise<void> = Promise.resolve();

  constructor(logger: Logger, now: () => Date = () => new Date()) {
    this.#logger = logger;
    this.#now = now;
  }

  /**
   * From now on it is kept in that folder, where what was known before still counts. Never rejects. A file
   * that can not be read says nothing: doubt must keep nobody from legacy.
   */
  async keepIn(folder: string): Promise<void> {
    const file = join(folder, FILE);
    try {
      const stale = await readStale(file);
      // A process that is taken over from may have been told meanwhile that legacy will do.
      this.#since.clear();
      for (const [route, since] of stale) this.#since.set(route, since);
    } catch (error) {
      this.#logger.error({ err: error, file }, 'it is not known where legacy is stale');
    }
    this.#folder = folder;
    await this.#write();
  }

  /** Another process may write there now. */
  letGo(): void {
    this.#folder = null;
  }

  /** ISO 8601; null: legacy has heard of everything. */
  since(route: string): string | null {
    return this.#since.get(route) ?? null;
  }

  begin(route: string): void {
    if (this.#since.has(route)) return;
    this.#since.set(route, this.#now().toISOString());
    void this.#write();
  }

  end(route: string): void {
    if (this.#since.delete(route)) void this.#write();
  }

  #write(): Promise<void> {
    this.#writing ??= this.#turn.then(async () => {
      this.#writing = null;
      if (this.#folder === null) return;
      const text = `${JSON.stringify(Object.fromEntries(this.#since))}\n`;
      try {
        await replaceDurably(join(this.#folder, FILE), text);
      } catch (error) {
        this.#logger.error({ err: error }, 'a restart will not know where legacy is stale');
      }
    });
    this.#turn = this.#writing;
    return this.#writing;
  }
}

async function readStale(file: string): Promise<[string, string][]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
  const found: unknown = JSON.parse(text);
  if (!isRecord(found)) throw new TypeError(`${FILE} is no object of routes and times`);
  return Object.entries(found).map(([route, since]) => {
    if (typeof since !== 'string' || Number.isNaN(Date.parse(since))) {
      throw new TypeError(`${FILE}: ${JSON.stringify(route)} has no time`);
    }
    return [route, since];
  });
}
