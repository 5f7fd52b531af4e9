// What became of writes: counted, and where only one service took one, kept as a line of JSON in the
// state folder, oldest dropped first.
import { appendFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { z } from 'zod';
import { SPLIT_CAUSES, type SplitCause, type WriteLedger, type WriteSplit } from '../ports.ts';
import { type Decision, SIDES } from '../rules/decide.ts';
import { lastLines } from './last-lines.ts';

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
  /** Writes to the service alone that served the user. */
  primary: number;
  /** Writes to both services. */
  both: number;
  /** Of those, the ones that both services took, or neither. */
  agreed: number;
  readonly splits: Partial<Record<SplitCause, number>>;
}

/** Writes to both services whose end is not known yet. */
export function inFlight({ both, agreed, splits }: Readonly<WriteCounts>): number {
  // What was too large went to one service only.
  const parted = SPLIT_CAUSES.filter(cause => cause !== 'too-large');
  return both - agreed - parted.reduce((sum, cause) => sum + (splits[cause] ?? 0), 0);
}

export interface LastSplits {
  /** Newest first. */
  readonly splits: readonly KeptSplit[];
  /** Lines on the way there that are no records: cut off by a crash, or edited. */
  readonly unreadable: number;
}

export class WriteSplits implements WriteLedger {
  readonly #logger: Logger;
  readonly #now: () => Date;
  readonly #counts = new Map<string, WriteCounts>();
  /** Null until the state folder is held: two processes must not write one file. */
  #folder: string | null = null;
  #isLetGo = false;
  /** The file may end in a line that a crash cut off, which must not swallow the next record. */
  #atLineStart = false;
  #waiting: string[] = [];
  #writing: Promise<void> | null = null;
  /** Records that could not be kept: no room to wait, or the disk refused. They are counted above. */
  unkept = 0;

  constructor(logger: Logger, now: () => Date = () => new Date()) {
    this.#logger = logger;
    this.#now = now;
  }

  /** From now on the folder is another's. Records that come later are counted, and not kept. */
  async letGo(): Promise<void> {
    this.#isLetGo = true;
    await this.flush();
  }

  /** From now on records are kept in that folder, those before included. */
  keepIn(folder: string): void {
    this.#folder = folder;
    this.#write();
  }

  begun(route: string, to: Decision['writeTo']): void {
    this.#of(route)[to] += 1;
  }

  agreed(route: string): void {
    this.#of(route).agreed += 1;
  }

  split(split: WriteSplit): void {
    const { splits } = this.#of(split.route);
    splits[split.cause] = (splits[split.cause] ?? 0) + 1;
    const kept: KeptSplit = { at: this.#now().toISOString(), ...split };
    if (this.#isLetGo || this.#waiting.length >= MOST_WAITING) this.unkept += 1;
    else this.#waiting.push(`${JSON.stringify(kept)}\n`);
    this.#write();
  }

  counts(): ReadonlyMap<string, Readonly<WriteCounts>> {
    return this.#counts;
  }

  /** The last `most` records, of one route or all. */
  async last(most: number, route?: string): Promise<LastSplits> {
    await this.flush();
    const splits: KeptSplit[] = [];
    let unreadable = 0;
    for (const name of this.#folder === null ? [] : [FILE, OLDER_FILE]) {
      for await (const line of lastLines(join(this.#folder ?? '', name))) {
        if (splits.length >= most) return { splits, unreadable };
        if (line === '') continue;
        const record = parsed(line);
        if (record === null) unreadable += 1;
        else if (route === undefined || record.route === route) splits.push(record);
      }
    }
    return { splits, unreadable };
  }

  /** Waits until what was recorded so far is written, or refused by the disk. */
  async flush(): Promise<void> {
    while (this.#writing !== null) await this.#writing;
  }

  #of(route: string): WriteCounts {
    let counts = this.#counts.get(route);
    if (counts === undefined) {
      counts = { primary: 0, both: 0, agreed: 0, splits: {} };
      this.#counts.set(route, counts);
    }
    return counts;
  }

  #write(): void {
    if (this.#writing !== null || this.#folder === null || this.#waiting.length === 0) return;
    const batch = this.#waiting;
    this.#waiting = [];
    this.#writing = append(this.#folder, `${this.#atLineStart ? '' : '\n'}${batch.join('')}`)
      .then(() => {
        this.#atLineStart = true;
      })
      .catch(error => {
        this.#atLineStart = false;
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

const Outcome = z.union([z.number(), z.string()]);
const Side = z.enum(SIDES);
const Kept = z.object({
  at: z.string(),
  route: z.string(),
  cause: z.enum(SPLIT_CAUSES),
  key: z.string().nullable(),
  digest: z.string().nullable(),
  bytes: z.number().nullable(),
  primary: z.object({ side: Side, outcome: Outcome }),
  second: z.object({ side: Side, outcome: Outcome }).nullable(),
});

/** Null for what is no record. */
function parsed(line: string): KeptSplit | null {
  try {
    // Outcomes are told as they were written: a version after this one may know more of them.
    return Kept.parse(JSON.parse(line)) as KeptSplit;
  } catch {
    return null;
  }
}
