// The folder of flag files at one moment: listed, read within bounds, checked, merged.
import { open, readdir, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { FlagProblem } from '../../rules/flag-problem.ts';
import type { FeatureLike, SegmentLike } from '../../rules/flag-shape.ts';
import { type FlagDocument, type ParsedFlagFile, parseFlagFile } from './flag-file.ts';
import { type FlagSet, flagSet } from './flag-set.ts';

/** An Unleash answer of 5,000 flags is about 5 MB; nobody's real flags are near these limits. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;
const MAX_FILES = 1_000;
/** All files together: what parsing may hold in memory at once. */
const MAX_TOTAL_BYTES = 64 * 1024 * 1024;

/** A swap in the middle of reading would mix two sets; then everything is read again. */
const READ_ATTEMPTS = 3;

/** Which content each file has, as far as its metadata tell: file name to stamp. */
export type FolderStamp = ReadonlyMap<string, string>;

export interface FolderContent {
  readonly stamp: FolderStamp;
  readonly set: FlagSet;
  readonly documents: ReadonlyMap<string, FlagDocument>;
}

export type FolderRead = { readonly content: FolderContent } | FolderRefusal;

/** `stamp` is what was refused; null when the folder could not even be listed. */
export interface FolderRefusal {
  readonly problems: readonly FlagProblem[];
  readonly stamp: FolderStamp | null;
}

/** What is wrong with one file or, without `file`, the folder; turned into problems in one place. */
class FolderFault extends Error {
  readonly rule: string;
  readonly fix: string;
  readonly file: string | undefined;

  constructor(rule: string, message: string, fix: string, file?: string, cause?: unknown) {
    super(message, { cause });
    this.rule = rule;
    this.fix = fix;
    this.file = file;
  }
}

/** Reads all `*.json` of a folder, by name. Any problem refuses the whole; it never throws. */
export async function readFlagFolder(dir: string, now: () => number): Promise<FolderRead> {
  let stamp: FolderStamp | null = null;
  try {
    for (let attempt = 1; attempt <= READ_ATTEMPTS; attempt++) {
      stamp = await stampFolder(dir);
      const read = await readStamped(dir, stamp, now);
      if (sameStamp(stamp, await stampFolder(dir))) return read;
    }
    const message = 'files changed again and again while they were read';
    throw new FolderFault('unsteady', message, 'none needed once the changes end');
  } catch (error) {
    return { problems: [problemOf(error, dir)], stamp };
  }
}

export function sameStamp(a: FolderStamp | null, b: FolderStamp): boolean {
  return a !== null && a.size === b.size && [...b].every(([file, stamp]) => a.get(file) === stamp);
}

/**
 * Metadata of every flag file: they differ when content does. Links are followed, and where they
 * lead belongs to the stamp (a ConfigMap swaps a link two levels up).
 */
export async function stampFolder(dir: string): Promise<FolderStamp> {
  // Names with a leading dot are editors' own: locks, swap files, our unfinished writes.
  const names = (await readdir(dir).catch(error => Promise.reject(unlisted(error, dir))))
    .filter(name => name.endsWith('.json') && !name.startsWith('.'))
    .sort();
  if (names.length > MAX_FILES) {
    const message = `${names.length} flag files; at most ${MAX_FILES} are read`;
    throw new FolderFault('too-many-files', message, 'put flags of one kind into one file');
  }
  const stamps = await Promise.all(names.map(name => stampFile(dir, name)));
  return new Map(names.map((name, i) => [name, stamps[i] ?? '']));
}

function unlisted(error: NodeJS.ErrnoException, dir: string): unknown {
  const message =
    error.code === 'ENOENT'
      ? `the flags folder ${dir} is not there`
      : error.code === 'ENOTDIR'
        ? `${dir} is no folder`
        : undefined;
  if (message === undefined) return error;
  return new FolderFault('unreadable', message, 'put the folder there', undefined, error);
}

/** ctime too: a copy may keep size and modification time of what it replaces. */
async function stampFile(dir: string, file: string): Promise<string> {
  const path = join(dir, file);
  try {
    const [link, { dev, ino, size, mtimeNs, ctimeNs }] = await Promise.all([
      realpath(path),
      stat(path, { bigint: true }),
    ]);
    return [link, dev, ino, size, mtimeNs, ctimeNs].join(' ');
  } catch (error) {
    throw new FolderFault('unreadable', reasonOf(error), 'make it a readable file', file, error);
  }
}

async function readStamped(
  dir: string,
  stamp: FolderStamp,
  now: () => number,
): Promise<FolderRead> {
  const documents = new Map<string, FlagDocument>();
  const problems: FlagProblem[] = [];
  let budget = MAX_TOTAL_BYTES;
  for (const file of stamp.keys()) {
    const bytes = await readBounded(dir, file, budget);
    budget -= bytes.length;
    const parsed = await parse(decode(bytes, file), file);
    if ('document' in parsed) documents.set(file, parsed.document);
    else problems.push(...parsed.problems);
  }
  return problems.length > 0 ? { problems, stamp } : merge(stamp, documents, now());
}

async function readBounded(dir: string, file: string, budget: number): Promise<Buffer> {
  const limit = Math.min(MAX_FILE_BYTES, budget);
  const path = join(dir, file);
  // Opening a pipe would wait for a writer, so what it is comes first.
  if (!(await stat(path)).isFile()) {
    throw new FolderFault('unreadable', 'not a regular file', 'remove it from the folder', file);
  }
  const handle = await open(path);
  try {
    const { size } = await handle.stat();
    if (size > limit) {
      const message = `${size} bytes; ${limit} are left of what is read`;
      throw new FolderFault('too-large', message, 'split or shorten it', file);
    }
    // A file that grows while it is read is cut here, and read again when its watch reports it.
    const buffer = Buffer.alloc(size);
    let filled = 0;
    while (filled < size) {
      const { bytesRead } = await handle.read(buffer, filled, size - filled, filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return buffer.subarray(0, filled);
  } finally {
    await handle.close();
  }
}

function decode(bytes: Buffer, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new FolderFault('encoding', 'not UTF-8', 'save the file as UTF-8', file, error);
  }
}

async function parse(text: string, file: string): Promise<ParsedFlagFile> {
  try {
    return await parseFlagFile(text, file);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const message = 'nested too deep to be looked through';
    throw new FolderFault('unreadable', message, 'flags need no such depth', file, error);
  }
}

function merge(
  stamp: FolderStamp,
  documents: ReadonlyMap<string, FlagDocument>,
  loadedAt: number,
): FolderRead {
  const fileOf = new Map<string, string>();
  const segmentFile = new Map<number, string>();
  const features: FeatureLike[] = [];
  const segments: SegmentLike[] = [];
  const problems: FlagProblem[] = [];
  for (const [file, document] of documents) {
    document.features.forEach((feature, i) => {
      const first = fileOf.get(feature.name);
      if (first !== undefined) {
        problems.push(twice(`flag ${feature.name}`, feature.name, first, file, `/features/${i}`));
      }
      fileOf.set(feature.name, file);
      features.push(feature);
    });
    document.segments?.forEach((segment, i) => {
      const first = segmentFile.get(segment.id);
      if (first !== undefined) {
        problems.push(twice(`segment ${segment.id}`, null, first, file, `/segments/${i}`));
      }
      segmentFile.set(segment.id, file);
      segments.push(segment);
    });
  }
  if (problems.length > 0) return { problems, stamp };
  const set = flagSet('file', { features, segments, fileOf }, loadedAt);
  return { content: { stamp, set, documents } };
}

function twice(
  what: string,
  flag: string | null,
  first: string,
  file: string,
  path: string,
): FlagProblem {
  const message = `${what} is defined twice: in ${first} and in ${file}`;
  const fix = 'keep one of the two';
  return { level: 'error', flag, file, path, rule: 'duplicate', message, fix };
}

function problemOf(error: unknown, dir: string): FlagProblem {
  const fault =
    error instanceof FolderFault
      ? error
      : new FolderFault('unreadable', `${dir}: ${reasonOf(error)}`, 'make the folder readable');
  const { file, rule, message, fix } = fault;
  return {
    level: 'error',
    flag: null,
    ...(file === undefined ? {} : { file }),
    path: '',
    rule,
    message,
    fix,
  };
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
