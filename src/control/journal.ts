// A file of records that can be added to, and not changed without a trace: JSON lines in RFC 8785's form,
// each with the SHA-256 hash of the line before it. One format for the audit trail and for proofs.
//
//   {"action":"stage",…,"prev":"00…00","seq":1}
//   {"action":"rollback",…,"prev":"<SHA-256 of line 1>","seq":2}
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rename, stat } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { canonical } from '../rules/compare/canonical.ts';
import { isRecord } from '../rules/compare/record.ts';
import { appendDurably } from './durable-append.ts';
import { lastLines } from './last-lines.ts';

/** `prev` of the first record. */
const NOTHING_BEFORE = '0'.repeat(64);
const START: ChainEnd = { seq: 0, head: NOTHING_BEFORE };
/** As much as is looked through for the last whole record; no record is half as long. */
const MOST_TAIL_BYTES = 65_536;
const MOST_LINE_BYTES = 32_768;

/** `seq` counts from 1: the order is by it, and never by a clock. */
export type Entry<T> = T & { readonly seq: number; readonly prev: string };

/** What was wrong with the end of the file when it was opened, and where it is kept now. */
export interface Repair {
  readonly bytes: number;
  readonly keptIn: string;
}

/** Where a chain was: the number of its last record, and the hash of that line. */
export interface ChainEnd {
  readonly seq: number;
  readonly head: string;
}

export interface JournalOptions<T> {
  readonly now?: () => Date;
  /**
   * The first record of the chain that begins where the file was moved away, or emptied, since this process opened
   * it; `before` is the end of the one in the old file. Without it the next record is the first.
   */
  readonly anew?: (before: ChainEnd) => T;
}

export interface Verified {
  /** Whole records up to the first fault. */
  readonly entries: number;
  /** SHA-256 of the last of them: whoever keeps it elsewhere can tell if the file is made anew. */
  readonly head: string;
  readonly fault: { readonly line: number; readonly why: string } | null;
}

export class Journal<T extends object> {
  readonly #file: string;
  readonly #anew: JournalOptions<T>['anew'];
  #end: ChainEnd;
  /** Ends when everybody before has done with the file. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(file: string, end: ChainEnd, anew: JournalOptions<T>['anew']) {
    this.#file = file;
    this.#end = end;
    this.#anew = anew;
  }

  /**
   * Opens the file, which need not be there. A tail that is no record (the process or the machine died
   * while it was written) is moved into a file beside it. Rejects with the system's error.
   */
  static async open<T extends object>(
    file: string,
    { now = () => new Date(), anew }: JournalOptions<T> = {},
  ): Promise<{ readonly journal: Journal<T>; readonly repair: Repair | null }> {
    const { size, tail } = await readTail(file);
    const { end, line } = lastWhole(tail);
    const repair =
      end === tail.length ? null : await setAside(file, size - tail.length + end, tail, end, now);
    const last =
      line === null
        ? START
        : { seq: (JSON.parse(line) as { seq: number }).seq, head: hashOf(line) };
    return { journal: new Journal<T>(file, last, anew), repair };
  }

  /** Resolves once the record is on the disk. Rejects with the system's error; nothing is added then. */
  append(record: T): Promise<Entry<T>> {
    return this.#inTurn(async () => {
      if (this.#end.seq === 0 || !(await isEmpty(this.#file))) return this.#add(record, this.#end);
      if (this.#anew === undefined) return this.#add(record, START);
      await this.#add(this.#anew(this.#end), START);
      return this.#add(record, this.#end);
    });
  }

  async #add(record: T, { seq, head }: ChainEnd): Promise<Entry<T>> {
    const entry: Entry<T> = { ...record, seq: seq + 1, prev: head };
    // Without what JSON does not have, so that it reads as it was written.
    const line = canonical(JSON.parse(JSON.stringify(entry)));
    if (Buffer.byteLength(line) > MOST_LINE_BYTES) {
      throw new RangeError(`a record has ${MOST_LINE_BYTES} bytes at most`);
    }
    await appendDurably(this.#file, line);
    this.#end = { seq: entry.seq, head: hashOf(line) };
    return entry;
  }

  /** Newest first; whoever takes no more of them ends the reading. Lines that are no records are left out. */
  async *newest(): AsyncGenerator<Entry<T>> {
    await this.#turn;
    for await (const line of lastLines(this.#file)) {
      const entry = recordOf(line);
      if (entry !== null) yield entry as Entry<T>;
    }
  }

  /** `onRecord` is told of each. */
  verify(onRecord: () => void): Promise<Verified> {
    return this.#inTurn(() => verifyJournal(this.#file, onRecord));
  }

  #inTurn<R>(act: () => Promise<R>): Promise<R> {
    const done = this.#turn.then(act);
    this.#turn = done.catch(() => undefined);
    return done;
  }
}

/**
 * Reads all of a file and says where the chain breaks first: a record that was changed, taken out, put in
 * or moved. Records cut off at the end, and a file that was made anew as a whole, only show by `head`.
 * A file that is not there has no entries. Rejects with the system's error.
 */
export async function verifyJournal(
  file: string,
  onRecord: () => void = () => undefined,
): Promise<Verified> {
  const verified = { entries: 0, head: NOTHING_BEFORE };
  const lines = createInterface({ input: createReadStream(file), crlfDelay: 0 });
  try {
    for await (const line of lines) {
      const why = faultOf(line, verified.entries + 1, verified.head);
      if (why !== null) return { ...verified, fault: { line: verified.entries + 1, why } };
      verified.entries += 1;
      verified.head = hashOf(line);
      onRecord();
    }
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error;
  } finally {
    lines.close();
  }
  return { ...verified, fault: null };
}

function faultOf(line: string, seq: number, head: string): string | null {
  const entry = recordOf(line);
  if (entry === null) return 'it is no record: cut off, or changed';
  if (entry.seq !== seq) return `it has the number ${entry.seq} where ${seq} belongs`;
  if (entry.prev !== head) return 'the record before it is not the one that it followed';
  return canonical(entry) === line ? null : 'it is not in the form in which it was written';
}

function recordOf(line: string): (Readonly<Record<string, unknown>> & Entry<object>) | null {
  try {
    const found: unknown = JSON.parse(line);
    if (isRecord(found) && Number.isSafeInteger(found.seq) && typeof found.prev === 'string') {
      return found as Readonly<Record<string, unknown>> & Entry<object>;
    }
  } catch {
    // No JSON: no record, as whoever asked is told.
  }
  return null;
}

/** Also where it is not there. */
async function isEmpty(file: string): Promise<boolean> {
  try {
    return (await stat(file)).size === 0;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return true;
    throw error;
  }
}

async function readTail(file: string): Promise<{ size: number; tail: Buffer }> {
  const handle = await open(file, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (handle === null) return { size: 0, tail: Buffer.alloc(0) };
  try {
    const { size } = await handle.stat();
    const tail = Buffer.alloc(Math.min(size, MOST_TAIL_BYTES));
    const { bytesRead } = await handle.read(tail, 0, tail.length, size - tail.length);
    return { size, tail: tail.subarray(0, bytesRead) };
  } finally {
    await handle.close();
  }
}

/** The last line that is a record, and where it ends in the tail; null and 0 if there is none. */
function lastWhole(tail: Buffer): { end: number; line: string | null } {
  for (let feed = tail.lastIndexOf('\n'); feed !== -1; ) {
    const before = feed === 0 ? -1 : tail.lastIndexOf('\n', feed - 1);
    const line = tail.toString('utf8', before + 1, feed);
    if (recordOf(line) !== null) return { end: feed + 1, line };
    feed = before;
  }
  return { end: 0, line: null };
}

/** Where not even one whole record is in sight, all of the file goes, and begins anew. */
async function setAside(
  file: string,
  from: number,
  tail: Buffer,
  end: number,
  now: () => Date,
): Promise<Repair> {
  const keptIn = `${file}.torn-${now().toISOString().replaceAll(':', '')}`;
  if (end === 0) {
    await rename(file, keptIn);
    return { bytes: from + tail.length, keptIn };
  }
  const torn = tail.subarray(end);
  const kept = await open(keptIn, 'wx', 0o600);
  try {
    await kept.writeFile(torn);
    await kept.sync();
  } finally {
    await kept.close();
  }
  const handle = await open(file, 'r+');
  try {
    await handle.truncate(from);
    await handle.sync();
  } finally {
    await handle.close();
  }
  return { bytes: torn.length, keptIn };
}

function hashOf(line: string): string {
  return createHash('sha256').update(line).digest('hex');
}
