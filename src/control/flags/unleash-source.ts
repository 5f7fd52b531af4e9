// Flags from an Unleash server: asked all the time, swapped whole, the last good set kept, in memory
// and in a file. What the server says is believed only when it is a whole set of valid flags.
import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import { CutoverError } from '../../errors.ts';
import type { FlagProblem } from '../../rules/flag-problem.ts';
import type { FeatureLike } from '../../rules/flag-shape.ts';
import { type Backup, readBackup, writeBackup } from './flag-backup.ts';
import { type FlagDocument, parseFlagFile, SERVER_ANSWER } from './flag-file.ts';
import { type FlagSet, flagSet } from './flag-set.ts';
import { pollDelayMs } from './poll-delay.ts';
import type { EditResult, FetchReport, FlagEdits, FlagSource, RemoteFlags } from './source.ts';
import type { UnleashAdmin } from './unleash-admin.ts';
import { unleashAdvice } from './unleash-advice.ts';
import {
  FETCH_OUTCOMES,
  type FetchOutcome,
  type FetchPlace,
  type FetchRefusal,
  fetchFlags,
  refusal,
} from './unleash-fetch.ts';

/** After a hook or an edit the server's own cache may be a second behind what it was told. */
const WATCHFUL_MS = 3_000;
const WATCHFUL_POLL_MS = 250;
/** A change must be visible by then; a healthy server takes one second. */
const EDIT_SEEN_MS = 8_000;

export interface UnleashSourceOptions {
  readonly url: string;
  /** Asked before each request, so that a token can be replaced while we run. */
  readonly token: () => string;
  readonly appName: string;
  readonly project?: string | undefined;
  readonly pollMs: number;
  readonly timeoutMs: number;
  readonly maxBytes: number;
  /** Where the last good flags are kept. */
  readonly backupFile: string;
  /** Null: flags are changed by people, in Unleash. */
  readonly admin: UnleashAdmin | null;
  readonly logger: Logger;
  /** 0 to 1. */
  readonly random?: () => number;
}

/**
 * Asks the server once, for at most `timeoutMs`, and follows it from then on. Never throws for what
 * the server does: without an answer the backup counts, without a backup nothing is known.
 */
export async function openUnleashSource(options: UnleashSourceOptions): Promise<FlagSource> {
  const source = new UnleashSource(options);
  await source.start();
  return source;
}

class UnleashSource implements FlagSource, RemoteFlags {
  readonly kind = 'unleash';
  readonly fetches: Record<FetchOutcome, number> = Object.fromEntries(
    FETCH_OUTCOMES.map(outcome => [outcome, 0]),
  ) as Record<FetchOutcome, number>;
  readonly #options: UnleashSourceOptions;
  readonly #logger: Logger;
  readonly #identity = { instanceId: `cutover-${process.pid}`, connectionId: randomUUID() };
  readonly #listeners = new Set<(set: FlagSet, before: FlagSet | null) => void>();
  #set: FlagSet | null = null;
  /** Of the set in force; a set that was refused must come again in full. */
  #etag: string | null = null;
  #refused: readonly FlagProblem[] = [];
  #backupProblem: FlagProblem | null = null;
  /** While it starts: what was in force before. */
  #backup: FlagSet | null = null;
  #lastFetch: FetchReport | null = null;
  #confirmedAt: number | null = null;
  #failures = 0;
  #watchfulUntil = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | null = null;
  readonly #closing = new AbortController();
  /** The look under way, and the one that begins when it has ended. */
  #running: Promise<FetchReport> | null = null;
  #waiting: Promise<FetchReport> | null = null;
  /** Edits run one after another. */
  #lastEdit: Promise<unknown> = Promise.resolve();
  /** The newest set that is not yet on disk, and the write under way. */
  #unsaved: Backup | null = null;
  #saving: Promise<void> | null = null;

  constructor(options: UnleashSourceOptions) {
    this.#options = options;
    this.#logger = options.logger;
  }

  get current(): FlagSet | null {
    return this.#set;
  }

  get problems(): readonly FlagProblem[] {
    return this.#backupProblem === null ? this.#refused : [...this.#refused, this.#backupProblem];
  }

  get remote(): RemoteFlags {
    return this;
  }

  get lastFetch(): FetchReport | null {
    return this.#lastFetch;
  }

  get confirmedAt(): number | null {
    return this.#confirmedAt;
  }

  async start(): Promise<void> {
    // Before the first look: what was in force is what an empty answer must not replace.
    this.#backup = await this.#restored();
    await this.#look();
    if (this.#set === null && this.#backup !== null) this.#swap(this.#backup);
    this.#backup = null;
  }

  refetch(): Promise<FetchReport> {
    this.#watchfulUntil = performance.now() + WATCHFUL_MS;
    return this.#look();
  }

  onSwap(listener: (set: FlagSet, before: FlagSet | null) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  edit(plan: (set: FlagSet) => FlagEdits): Promise<EditResult> {
    const result = this.#lastEdit.then(() => this.#edit(plan));
    // Its caller hears of a failure; the next edit does not depend on it.
    this.#lastEdit = result.catch(() => undefined);
    return result;
  }

  async close(): Promise<void> {
    this.#closing.abort();
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#listeners.clear();
    // Half an edit is worse than a moment's wait, and a server that hangs is not waited for.
    const { timeoutMs } = this.#options;
    const patience = pause(timeoutMs, undefined, { ref: false });
    await Promise.all([
      this.#running,
      this.#waiting,
      this.#saving,
      Promise.race([this.#lastEdit, patience]),
    ]);
  }

  /** One request at a time; whoever asks during one wants an answer that begins after his question. */
  #look(): Promise<FetchReport> {
    if (this.#waiting !== null) return this.#waiting;
    if (this.#running === null) return this.#begin();
    this.#waiting = this.#running.then(() => {
      this.#waiting = null;
      return this.#begin();
    });
    return this.#waiting;
  }

  #begin(): Promise<FetchReport> {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#running = this.#round().finally(() => {
      this.#running = null;
      this.#schedule();
    });
    return this.#running;
  }

  async #round(): Promise<FetchReport> {
    const { token, ...place } = this.#options;
    const now: FetchPlace = { ...place, token: token() };
    const fetched = await fetchFlags(now, this.#identity, this.#etag, this.#closing.signal).catch(
      (error: unknown) => {
        this.#logger.error({ err: error }, 'fetching flags failed');
        return refusal('invalid', 'fetching flags failed; see the log', 'report this');
      },
    );
    if (this.#closing.signal.aborted) return report('unreachable', 'closed');
    const outcome =
      fetched.outcome === 'changed'
        ? this.#offer(fetched.document, fetched.text, fetched.etag)
        : fetched;
    this.fetches[outcome.outcome] += 1;
    if ('problems' in outcome) {
      this.#refuse(outcome);
      this.#lastFetch = report(outcome.outcome, outcome.problems[0]?.message ?? outcome.outcome);
    } else {
      this.#confirm();
      this.#lastFetch = report(outcome.outcome, null);
    }
    return this.#lastFetch;
  }

  #schedule(): void {
    if (this.#closing.signal.aborted || this.#waiting !== null) return;
    const { pollMs, random = Math.random } = this.#options;
    const usual = pollDelayMs(this.#failures, pollMs, random());
    const watchful = this.#failures === 0 && performance.now() < this.#watchfulUntil;
    const delayMs = watchful ? Math.min(usual, WATCHFUL_POLL_MS) : usual;
    this.#timer = setTimeout(() => void this.#look(), delayMs).unref();
  }

  /** An answer that can be read: is it a set to go by? */
  #offer(
    document: FlagDocument,
    text: string,
    etag: string | null,
  ): { readonly outcome: 'changed' | 'unchanged' } | FetchRefusal {
    const before = this.#set ?? this.#backup;
    if (document.features.length === 0 && (before?.features.length ?? 0) > 0) {
      const message = 'the server has no flag any more; an empty set never replaces a full one';
      const fix = "see that the token's project and environment are the ones meant";
      return refusal('emptied', message, fix);
    }
    const set = setOf(document, Date.now());
    this.#etag = etag;
    if (this.#set?.revision === set.revision) return { outcome: 'unchanged' };
    this.#swap(set);
    this.#keep({ from: this.#origin(), fetchedAt: set.loadedAt, text });
    return { outcome: 'changed' };
  }

  #swap(set: FlagSet): void {
    const before = this.#set;
    this.#set = set;
    const { revision, features } = set;
    this.#logger.info({ revision, flags: features.length }, 'flags loaded');
    for (const listener of this.#listeners) {
      try {
        listener(set, before);
      } catch (error) {
        this.#logger.error({ err: error }, 'a listener for flag changes failed');
      }
    }
  }

  #confirm(): void {
    if (this.#failures > 0) {
      this.#logger.info({ failures: this.#failures }, 'the flag server is back');
    }
    this.#failures = 0;
    this.#refused = [];
    this.#confirmedAt = Date.now();
  }

  #refuse({ outcome, problems }: FetchRefusal): void {
    const known = JSON.stringify(problems) === JSON.stringify(this.#refused);
    this.#failures += 1;
    this.#refused = problems;
    if (known) return;
    const revision = this.#set?.revision ?? 'none';
    this.#logger.error(
      { problems, outcome, revision },
      'no flags from the server; what was known before stays',
    );
  }

  /** The set of the last life, if there is one to go by. */
  async #restored(): Promise<FlagSet | null> {
    const { backupFile, maxBytes } = this.#options;
    const read = await readBackup(backupFile, this.#origin(), maxBytes);
    if ('nothing' in read) return null;
    if ('refused' in read) {
      this.#backupFailed(`the backup of flags is not used: ${read.refused}`);
      return null;
    }
    const { text, fetchedAt } = read.backup;
    const parsed = await parseFlagFile(text, undefined, SERVER_ANSWER);
    if ('problems' in parsed) {
      this.#backupFailed('the backup of flags is not used: it holds no valid flags');
      return null;
    }
    return setOf(parsed.document, fetchedAt);
  }

  /** Writes the newest set; sets in between are skipped. */
  #keep(backup: Backup): void {
    this.#unsaved = backup;
    this.#saving ??= this.#save().finally(() => {
      this.#saving = null;
    });
  }

  async #save(): Promise<void> {
    for (let next = this.#unsaved; next !== null; next = this.#unsaved) {
      this.#unsaved = null;
      try {
        await writeBackup(this.#options.backupFile, next);
        this.#backupProblem = null;
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? ` (${error.code})` : '';
        this.#backupFailed(`the flags could not be kept for a start without the server${code}`);
      }
    }
  }

  #backupFailed(message: string): void {
    const fix = `see that ${this.#options.backupFile} is ours and can be written`;
    const problem = {
      level: 'warning',
      flag: null,
      path: '',
      rule: 'backup',
      message,
      fix,
    } as const;
    if (this.#backupProblem?.message !== message) this.#logger.warn({ fix }, message);
    this.#backupProblem = problem;
  }

  /** Server, project, and the part of a token in front of its secret: `project:environment`. */
  #origin(): string {
    const { url, project = '*', token } = this.#options;
    const scope = /^([^.]*:[^.]*)\../.exec(token())?.[1] ?? '';
    return JSON.stringify([url, project, scope]);
  }

  async #edit(plan: (set: FlagSet) => FlagEdits): Promise<EditResult> {
    const { error } = await this.refetch();
    const set = this.#set;
    if (error !== null || set === null) {
      throw new CutoverError('conflict', `the flags in Unleash are not known: ${error}`);
    }
    const { features, holds } = plan(set);
    if (features.length === 0) return { set, files: [] };
    const { admin } = this.#options;
    const before = (name: string) => set.features.find(feature => feature.name === name);
    if (admin === null) throw new CutoverError('conflict', unleashAdvice(features, before));
    // One by one, in their order: each may be seen by others before the next is written.
    for (const [done, feature] of features.entries()) {
      await admin.put(feature, before(feature.name)).catch((error: unknown) => {
        throw afterSome(features.slice(0, done), feature, error);
      });
    }
    const after = await this.#seen(holds);
    return { set: after, files: features.map(({ name }) => `unleash:${name}`) };
  }

  /** Waits until the server shows what it was told: only then is the answer true. */
  async #seen(holds: (set: FlagSet) => boolean): Promise<FlagSet> {
    const end = performance.now() + EDIT_SEEN_MS;
    while (!this.#closing.signal.aborted) {
      await this.refetch();
      if (this.#set !== null && holds(this.#set)) return this.#set;
      if (performance.now() > end) break;
      await pause(WATCHFUL_POLL_MS, undefined, { ref: false });
    }
    const message = `Unleash took the change, and ${EDIT_SEEN_MS / 1_000} s later does not show it to this proxy: are flags.admin.environment and project those of the client token?`;
    throw new CutoverError('conflict', message);
  }
}

/** Flags are written one by one; if one can not be, the answer says how far it got. */
function afterSome(done: readonly FeatureLike[], feature: FeatureLike, error: unknown): unknown {
  if (done.length === 0 || !(error instanceof CutoverError)) return error;
  const changed = done.map(({ name }) => name).join(', ');
  const message = `${changed} changed in Unleash, ${feature.name} did not: ${error.message}`;
  return new CutoverError(error.code, message, { cause: error });
}

function setOf({ features, segments = [] }: FlagDocument, loadedAt: number): FlagSet {
  return flagSet('unleash', { features, segments, fileOf: new Map() }, loadedAt);
}

function report(outcome: FetchOutcome, error: string | null): FetchReport {
  return { at: Date.now(), ok: error === null, outcome, error };
}
