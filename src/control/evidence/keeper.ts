// Keeps evidence come what may: what can not be written is counted by cause, and tried again with the
// next batch. Nobody but this thread waits for the disk.
import { renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { CarriedCounts } from '../../rules/carried-counts.ts';
import {
  EVIDENCE_DROPS,
  type EvidenceBatch,
  type EvidenceDrop,
} from '../../rules/evidence-batch.ts';
import { redactedBatch } from '../../rules/redacted-batch.ts';
import type { Redactor } from '../../rules/redaction.ts';
import { dropCauseOf } from './drop-cause.ts';
import type { EvidenceLimits, EvidenceReport, EvidenceTrouble } from './kept.ts';
import { type EvidenceQueries, evidenceQueries } from './queries.ts';
import { NewerSchema } from './schema.ts';
import { EvidenceStore } from './store.ts';

/** A file that could not be opened is tried again after this; opening looks through all of it. */
const REOPEN_MS = 5_000;

export interface KeeperOptions {
  readonly file: string;
  readonly limits: EvidenceLimits;
  readonly redactorOf: (route: string) => Redactor;
}

interface Opened {
  readonly store: EvidenceStore;
  readonly queries: EvidenceQueries;
}
type Outcome<T> = { readonly value: T } | { readonly trouble: EvidenceTrouble };

export class EvidenceKeeper {
  readonly #options: KeeperOptions;
  readonly #carried = new CarriedCounts();
  readonly #dropped = noDrops();
  #limits: EvidenceLimits;
  #opened: Opened | null = null;
  /** Of the last attempt to open the file, on the monotonic clock. */
  #refused: { readonly trouble: EvidenceTrouble; readonly until: number } | null = null;
  #kept = 0;
  #trouble: EvidenceTrouble | null = null;
  #setAside: EvidenceReport['setAside'] = null;

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#limits = options.limits;
    this.#note(this.#with(() => undefined));
  }

  limit(limits: EvidenceLimits): void {
    this.#limits = limits;
    this.#opened?.store.limit(limits);
  }

  /** Throws only what is a fault of this program; the batch is counted then. */
  keep(batch: EvidenceBatch): void {
    for (const [cause, count] of Object.entries(batch.dropped)) {
      this.#dropped[cause as EvidenceDrop] += count;
    }
    const redacted = this.#redacted(batch);
    const outcome = this.#with(({ store }) => store.keep(this.#carried.with(redacted)));
    this.#note(outcome);
    if ('value' in outcome) {
      this.#kept += outcome.value;
      this.#carried.clear();
    } else {
      this.#dropped[outcome.trouble.cause] += redacted.examples.length;
      this.#carried.add(redacted);
    }
  }

  /** Drops what is older than `maxAgeDays`. */
  retain(nowMs: number): void {
    const outcome = this.#with(({ store }) => store.retain(nowMs));
    // That there was nothing to drop says nothing of the disk.
    if ('trouble' in outcome) this.#note(outcome);
  }

  /** Answers a question, or throws a sentence. */
  ask<K extends keyof EvidenceQueries>(
    name: K,
    ...question: Parameters<EvidenceQueries[K]>
  ): ReturnType<EvidenceQueries[K]> {
    const outcome = this.#with(({ queries }) => {
      const query = queries[name] as (...question: unknown[]) => ReturnType<EvidenceQueries[K]>;
      return query(...question);
    });
    if ('value' in outcome) return outcome.value;
    throw new Error(outcome.trouble.message);
  }

  /** As the question of that name; with what could not be written yet. */
  restart(of: Parameters<EvidenceQueries['restart']>[0]): ReturnType<EvidenceQueries['restart']> {
    const counted = this.ask('restart', of);
    this.#carried.forgetUnits(of.route ?? null);
    return counted;
  }

  report(): EvidenceReport {
    const use = this.#with(({ store }) => store.use());
    return {
      kept: this.#kept,
      dropped: { ...this.#dropped },
      use: 'value' in use ? use.value : null,
      trouble: this.#trouble,
      setAside: this.#setAside,
    };
  }

  close(): void {
    const opened = this.#opened;
    this.#opened = null;
    opened?.store.close();
  }

  #redacted(batch: EvidenceBatch): EvidenceBatch {
    try {
      return redactedBatch(batch, this.#options.redactorOf);
    } catch (error) {
      // Nothing of it may be written, not even its groups.
      this.#dropped.failed += batch.examples.length;
      throw error;
    }
  }

  /** What is shown as trouble goes when something could be written again. */
  #note(outcome: Outcome<unknown>): void {
    if ('value' in outcome) this.#trouble = null;
    else if (this.#trouble?.cause !== outcome.trouble.cause) this.#trouble = outcome.trouble;
  }

  #with<T>(use: (opened: Opened) => T): Outcome<T> {
    const outcome = this.#once(use);
    if ('value' in outcome || outcome.trouble.cause !== 'corrupt') return outcome;
    return this.#replace('damaged') ? this.#once(use) : outcome;
  }

  #once<T>(use: (opened: Opened) => T): Outcome<T> {
    if (this.#refused !== null && performance.now() < this.#refused.until) return this.#refused;
    try {
      this.#opened ??= this.#open();
      this.#refused = null;
      return { value: use(this.#opened) };
    } catch (error) {
      const trouble = this.#troubleOf(error);
      // A full disk leaves the file as it was; after anything else it is opened anew.
      if (this.#opened === null || trouble.cause !== 'disk-full') {
        this.close();
        this.#refused = { trouble, until: performance.now() + REOPEN_MS };
      }
      return { trouble };
    }
  }

  #open(): Opened {
    try {
      return this.#openOnce();
    } catch (error) {
      // Left as it is for the version that made it.
      if (!(error instanceof NewerSchema) || !this.#replace('newer')) throw error;
      return this.#openOnce();
    }
  }

  #openOnce(): Opened {
    const store = new EvidenceStore(this.#options.file, this.#limits);
    return { store, queries: evidenceQueries(store.database) };
  }

  /** Puts the file aside under another name, in place of an earlier one; false if it can not be moved. */
  #replace(why: 'damaged' | 'newer'): boolean {
    const { file } = this.#options;
    this.close();
    try {
      for (const part of ['-wal', '-shm']) rmSync(`${file}${part}`, { force: true });
      renameSync(file, `${file}.${why}`);
    } catch {
      // What kept the file from being opened is shown; nothing can be moved on that disk either.
      return false;
    }
    this.#refused = null;
    this.#setAside = { file: `${file}.${why}`, at: Date.now() };
    return true;
  }

  #troubleOf(error: unknown): EvidenceTrouble {
    const cause = dropCauseOf(error, dirname(this.#options.file));
    const said = error instanceof Error && 'errstr' in error ? ` (${error.errstr})` : '';
    return { cause, message: `${EVIDENCE_DROPS[cause]}${said}`, since: Date.now() };
  }
}

function noDrops(): Record<EvidenceDrop, number> {
  const causes = Object.keys(EVIDENCE_DROPS).map(cause => [cause, 0]);
  return Object.fromEntries(causes) as Record<EvidenceDrop, number>;
}
