// Since when legacy has not heard of everything, by route: `state/stale.json`, so that neither another stage nor a
// restart forgets it. It begins with stage `complete`, and ends when somebody says that legacy will do.
import type { Logger } from 'pino';
import { isRecord } from '../rules/compare/record.ts';
import { HeldFile } from './held-file.ts';

const FILE = 'stale.json';

export class Staleness {
  readonly #logger: Logger;
  readonly #now: () => Date;
  /** ISO 8601, by route. */
  readonly #since = new Map<string, string>();
  readonly #file: HeldFile;

  constructor(logger: Logger, now: () => Date = () => new Date()) {
    this.#logger = logger;
    this.#now = now;
    this.#file = new HeldFile({
      file: FILE,
      text: () => `${JSON.stringify(Object.fromEntries(this.#since))}\n`,
      onFailure: error =>
        logger.error({ err: error }, 'a restart will not know where legacy is stale'),
    });
  }

  /**
   * From now on it is kept in that folder, where what was known before still counts. Never rejects. A file
   * that can not be read says nothing: doubt must keep nobody from legacy.
   */
  async keepIn(folder: string): Promise<void> {
    try {
      const stale = staleIn((await this.#file.keepIn(folder)) ?? '{}');
      // A process that is taken over from may have been told meanwhile that legacy will do.
      this.#since.clear();
      for (const [route, since] of stale) this.#since.set(route, since);
    } catch (error) {
      this.#logger.error({ err: error, file: FILE }, 'it is not known where legacy is stale');
    }
    await this.#file.write();
  }

  /** Another process may write there now. */
  letGo(): void {
    this.#file.letGo();
  }

  /** ISO 8601; null: legacy has heard of everything. */
  since(route: string): string | null {
    return this.#since.get(route) ?? null;
  }

  begin(route: string): void {
    if (this.#since.has(route)) return;
    this.#since.set(route, this.#now().toISOString());
    void this.#file.write();
  }

  end(route: string): void {
    if (this.#since.delete(route)) void this.#file.write();
  }
}

function staleIn(text: string): [string, string][] {
  const found: unknown = JSON.parse(text);
  if (!isRecord(found)) throw new TypeError(`${FILE} is no object of routes and times`);
  return Object.entries(found).map(([route, since]) => {
    if (typeof since !== 'string' || Number.isNaN(Date.parse(since))) {
      throw new TypeError(`${FILE}: ${JSON.stringify(route)} has no time`);
    }
    return [route, since];
  });
}
