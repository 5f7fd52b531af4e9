// Writes that one service took and the other did not: counted, and kept as lines of JSON in the state
// folder, oldest dropped first.
import { appendFile, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type { SplitCause, WriteLedger, WriteSplit } from '../ports.ts';

const FILE = 'write-splits.jsonl';
/** The file before the present one; together they hold the last 40,000 records or so. */
const OLDER_FILE = 'write-splits.1.jsonl';
const MOST_FILE_BYTES = 8 * 1024 * 1024;
/** Records that wait to be written. Beyond that the disk is too slow, and the loss is counted. */
const MOST_WAITING = 10_000;

export interface KeptSplit extends WriteSplit {
  /** ISO 8601. */
  readonly at: string;
}

/** Running totals of one route. */
export interface WriteCounts {
  /** Double writes that both services took, or neither. */
  agreed: number;
  readonly splits: Partial<Record<SplitCause, number>>;
}

export class WriteSplits implements WriteLedger {
  readonly #logger: Logger;
  readonly #now: () => Date;
  readonly #counts = new Map<string, WriteCounts>();
  /** Null until the state folder is held: two processes must not write one file. */
  #folder: string | null = null;
  #waiting: string[] = [];
  #writing: Promise<void> | null = null;
  /** Records that could not be kept: no room to wait, or the disk refused. They are counted above. */
  unkept = 0;

  constructor(logger: Logger, now: () => Date = () => new Date()) {
    this.#logger = logger;
    this.#now = now;
  }

  /** From now on records are kept in that folder, those before included. */
  keepIn(folder: string): void {
    this.#folder = folder;
    // A line that a crash cut off must not swallow the next record.
    this.#waiting.unshift('\n');
    this.#write();
  }

  agreed(route: string): void {
    this.#of(route).agreed += 1;
  }

  split(split: WriteSplit): void {
    const { splits } = this.#of(split.route);
    splits[split.cause] = (splits[split.cause] ?? 0) + 1;
    const kept: KeptSplit = { at: this.#now().toISOString(), ...split };
    if (this.#waiting.length >= MOST_WAITING) this.unkept += 1;
    else this.#waiting.push(`${JSON.stringify(kept)}\n`);
    this.#write();
  }

  counts(): ReadonlyMap<string, Readonly<WriteCounts>> {
    return this.#counts;
  }

  /** The last `most` records, newest first. */
  async last(most: number): Promise<KeptSplit[]> {
    await this.flush();
    if (this.#folder === null) return [];
    const found: KeptSplit[] = [];
    for (const name of [FILE, OLDER_FILE]) {
      const lines = (await readIfThere(join(this.#folder, name))).split('\n').reverse();
      for (const line of lines) {
        if (found.length >= most) return found;
        const record = parsed(line);
        if (record !== null) found.push(record);
      }
    }
    return found;
  }

  /** Waits until what was recorded so far is written, or refused by the disk. */
  async flush(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
  }

  #of(route: string): WriteCounts {
    let counts = this.#counts.get(route);
    if (counts === undefined) {
      counts = { agreed: 0, splits: {} };
      this.#counts.set(route, counts);
    }
    return counts;
  }

  #write(): void {
    if (this.#writing !== null || this.#folder === null || this.#waiting.length === 0) return;
    const batch = this.#waiting;
    this.#waiting = [];
    this.#writing = append(this.#folder, batch.join(''))
      .catch(error => {
        this.unkept += batch.length;
        this.#logger.error({ err: error, records: batch.length }, 'write-splits could not be kept');
      })
      .finally(() => {
        this.#writing = null;
        this.#write();
      });
  }
}

async function append(folder: string, text: string): Promise<void> {
  const file = join(folder, FILE);
  const size = await stat(file).then(
    ({ size }) => size,
    () => 0,
  );
  if (size > MOST_FILE_BYTES) await rename(file, join(folder, OLDER_FILE));
  await appendFile(file, text, { mode: 0o600 });
}

async function readIfThere(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  }
}

/** Null for what is no record: the empty end, or a line that a crash cut off. */
function parsed(line: string): KeptSplit | null {
  try {
    const record: unknown = JSON.parse(line);
    return typeof record === 'object' && record !== null ? (record as KeptSplit) : null;
  } catch {
    return null;
  }
}
