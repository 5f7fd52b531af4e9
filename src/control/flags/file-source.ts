// Flags from a folder of files: read whole, swapped whole, the last good set kept.
import type { Logger } from 'pino';
import { CutoverError } from '../../errors.ts';
import type { FlagProblem } from '../../rules/flag-problem.ts';
import type { FeatureLike } from '../../rules/flag-shape.ts';
import {
  type FolderContent,
  type FolderRefusal,
  type FolderStamp,
  readFlagFolder,
  sameStamp,
  stampFolder,
} from './flag-folder.ts';
import type { FlagSet } from './flag-set.ts';
import { documentText, writeFlagFiles } from './flag-write.ts';
import { watchFolder } from './folder-watch.ts';
import type { EditResult, FlagEdits, FlagSource } from './source.ts';

/** Editors move a file away before they put the new one in its place. */
const VANISHED_GRACE_MS = 1_000;
/** An edit that meets somebody else's begins again, so often. */
const EDIT_ATTEMPTS = 3;

export interface FileSourceOptions {
  readonly dir: string;
  readonly logger: Logger;
  /** Epoch ms. */
  readonly now?: () => number;
}

/**
 * Reads the folder and follows it. Neither bad files nor a folder that is not there throw: nothing is
 * known until they are mended, or it is.
 */
export async function openFileSource(options: FileSourceOptions): Promise<FlagSource> {
  const source = new FileSource(options);
  await source.start();
  return source;
}

class FileSource implements FlagSource {
  readonly kind = 'file';
  readonly remote = null;
  readonly #dir: string;
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #listeners = new Set<(set: FlagSet, before: FlagSet | null) => void>();
  #content: FolderContent | null = null;
  #problems: readonly FlagProblem[] = [];
  /** What was read last, taken or refused. */
  #stamp: FolderStamp | null = null;
  #vanishedAt: number | null = null;
  #vanishedTimer: NodeJS.Timeout | null = null;
  #watchFailed = false;
  #unwatch: (() => void) | null = null;
  #closed = false;
  /** Reads and edits run one after another. */
  #last: Promise<unknown> = Promise.resolve();
  #reloadWaits = false;

  constructor({ dir, logger, now = Date.now }: FileSourceOptions) {
    this.#dir = dir;
    this.#logger = logger;
    this.#now = now;
  }

  get current(): FlagSet | null {
    return this.#content?.set ?? null;
  }

  get problems(): readonly FlagProblem[] {
    return this.#problems;
  }

  async start(): Promise<void> {
    await this.#reload();
    this.#unwatch = watchFolder({
      dir: this.#dir,
      changed: () => void this.#reload(),
      sweep: () => void this.#sweep(),
      failed: error => {
        if (!this.#watchFailed) {
          const message = 'flags folder can not be watched; it is looked at every two seconds';
          this.#logger.warn({ err: error }, message);
        }
        this.#watchFailed = true;
      },
    });
  }

  onSwap(listener: (set: FlagSet, before: FlagSet | null) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#unwatch?.();
    if (this.#vanishedTimer !== null) clearTimeout(this.#vanishedTimer);
    this.#listeners.clear();
    await this.#last;
  }

  edit(plan: (set: FlagSet) => FlagEdits): Promise<EditResult> {
    return this.#queue(async () => {
      for (let attempt = 1; attempt <= EDIT_ATTEMPTS; attempt++) {
        const before = await this.#readForEdit();
        const { features, newFile } = plan(before.set);
        if (features.length === 0) return { set: before.set, files: [] };
        const files = groupByFile(features, before.set, newFile);
        const writes = [...files].map(([file, edited]) => ({
          file,
          text: documentText(before.documents.get(file), edited),
        }));
        const unchanged = async () => sameStamp(before.stamp, await stampFolder(this.#dir));
        if (!(await writeFlagFiles(this.#dir, writes, unchanged))) continue;
        const after = await this.#readForEdit();
        return { set: after.set, files: [...files.keys()] };
      }
      throw new CutoverError('conflict', 'somebody else keeps changing the flag files; try again');
    });
  }

  async #readForEdit(): Promise<FolderContent> {
    const read = await readFlagFolder(this.#dir, this.#now);
    if ('problems' in read) this.#refuse(read);
    // A flag whose file is being replaced at this moment must not be created a second time.
    else if (this.#vanished(read.content)) {
      throw new CutoverError('conflict', 'a flag file has just vanished; try again in a second');
    } else this.#take(read.content);
    if (this.#problems.length > 0 || this.#content === null) {
      const [problem] = this.#problems;
      const where = problem?.file === undefined ? '' : `${problem.file}: `;
      throw new CutoverError('conflict', `the flags are not valid: ${where}${problem?.message}`);
    }
    return this.#content;
  }

  #queue<T>(job: () => Promise<T>): Promise<T> {
    const result = this.#last.then(job);
    // Its caller hears of a failure; the next job does not depend on it.
    this.#last = result.catch(() => undefined);
    return result;
  }

  #reload(): Promise<void> {
    if (this.#reloadWaits || this.#closed) return Promise.resolve();
    this.#reloadWaits = true;
    return this.#queue(async () => {
      this.#reloadWaits = false;
      const read = await readFlagFolder(this.#dir, this.#now);
      if (this.#closed) return;
      if ('problems' in read) this.#refuse(read);
      else if (!this.#vanished(read.content)) this.#take(read.content);
    });
  }

  async #sweep(): Promise<void> {
    if (this.#reloadWaits || this.#closed) return;
    const stamp = await stampFolder(this.#dir).catch(() => null);
    // A folder that can not be listed is read too: that tells what is wrong.
    if (stamp === null || !sameStamp(this.#stamp, stamp)) await this.#reload();
  }

  /** Is a file gone that was there, so short a time that its replacement may be on its way? */
  #vanished({ documents }: FolderContent): boolean {
    const gone = [...(this.#content?.documents.keys() ?? [])].some(file => !documents.has(file));
    const at = performance.now();
    if (!gone) {
      this.#vanishedAt = null;
      return false;
    }
    this.#vanishedAt ??= at;
    const leftMs = this.#vanishedAt + VANISHED_GRACE_MS - at;
    if (leftMs <= 0) return false;
    if (this.#vanishedTimer !== null) clearTimeout(this.#vanishedTimer);
    this.#vanishedTimer = setTimeout(() => void this.#reload(), leftMs + 1).unref();
    return true;
  }

  #take(content: FolderContent): void {
    const before = this.current;
    if (content.set.features.length === 0 && (before?.features.length ?? 0) > 0) {
      this.#refuse({ problems: [EMPTIED], stamp: content.stamp });
      return;
    }
    this.#content = content;
    this.#stamp = content.stamp;
    this.#problems = [];
    this.#vanishedAt = null;
    if (before?.revision === content.set.revision) return;
    const { revision, features } = content.set;
    this.#logger.info({ revision, flags: features.length }, 'flags loaded');
    for (const listener of this.#listeners) {
      try {
        listener(content.set, before);
      } catch (error) {
        this.#logger.error({ err: error }, 'a listener for flag changes failed');
      }
    }
  }

  #refuse({ problems, stamp }: FolderRefusal): void {
    const known = JSON.stringify(problems) === JSON.stringify(this.#problems);
    this.#problems = problems;
    this.#stamp = stamp;
    if (known) return;
    const revision = this.current?.revision ?? 'none';
    this.#logger.error({ problems, revision }, 'flags refused; what was known before stays');
  }
}

const EMPTIED: FlagProblem = {
  level: 'error',
  flag: null,
  path: '/features',
  rule: 'emptied',
  message: 'the folder holds no flag any more; an empty set never replaces a full one',
  fix: 'put the flags back, or disable them one by one',
};

/** A file takes the place of its last edit, so that no edit becomes visible before it may. */
function groupByFile(
  features: readonly FeatureLike[],
  { fileOf }: FlagSet,
  newFile: string,
): Map<string, FeatureLike[]> {
  const files = new Map<string, FeatureLike[]>();
  for (const feature of features) {
    const file = fileOf.get(feature.name) ?? newFile;
    const edited = files.get(file) ?? [];
    files.delete(file);
    files.set(file, [...edited, feature]);
  }
  return files;
}
