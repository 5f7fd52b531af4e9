// Who changed what, when and why: `state/audit.jsonl`. What can not be put on record is not done, except
// for what goes to legacy.
import type { Logger } from 'pino';
import { CutoverError } from '../errors.ts';
import { inTime, NO_ANSWER, unread } from './disk-deadline.ts';
import { HeldJournal } from './held-journal.ts';
import type { Entry, Journal, Repair, Verified } from './journal.ts';

const FILE = 'audit.jsonl';

export interface AuditRecord {
  /** ISO 8601. The order is by `seq`: clocks jump. */
  readonly at: string;
  /** `operator`, with the name that he gave himself; `guardrail …`; `signal …`; `cutover` itself. */
  readonly by: string;
  readonly action: string;
  readonly reason: string | null;
  readonly details: Readonly<Record<string, unknown>>;
}

export type AuditEntry = Entry<AuditRecord>;

export type Act = Omit<AuditRecord, 'at'>;

export class Audit {
  readonly #logger: Logger;
  readonly #now: () => Date;
  readonly #journal: HeldJournal<AuditRecord>;
  #trouble: { readonly message: string; readonly since: string } | null = null;
  /** What was done all the same and is not on record. */
  unkept = 0;

  constructor(logger: Logger, now: () => Date = () => new Date()) {
    this.#logger = logger;
    this.#now = now;
    this.#journal = new HeldJournal<AuditRecord>({
      ...{ file: FILE, now },
      onOpen: async (journal, repair) => {
        if (repair !== null) await this.#tellRepair(journal, repair);
      },
      anew: before => {
        this.#logger.warn(before, 'the audit trail was taken away, and begins anew');
        return {
          ...{ at: this.#now().toISOString(), by: 'cutover', action: 'audit-begun-anew' },
          ...{ reason: 'its file was taken away', details: { ...before } },
        };
      },
    });
  }

  /** Why the last record could not be kept, and since when none can; null if all is well. */
  get trouble(): { readonly message: string; readonly since: string } | null {
    return this.#trouble;
  }

  /** From now on records are kept in that folder. Never rejects: `record` does. */
  async keepIn(folder: string): Promise<void> {
    await this.#journal.keepIn(folder).catch(error => this.#failed(error));
  }

  /** Another process may write there now. */
  letGo(): void {
    this.#journal.letGo();
  }

  /** Resolves once it is on record. Throws `CutoverError('conflict')`: it must not be done then. */
  async record(act: Act): Promise<AuditEntry> {
    const appending = this.#append(act);
    try {
      const entry = await inTime(appending, null);
      if (entry !== null) return entry;
      // It may get there yet, and then so does that it was not done.
      void appending.then(({ seq }) => this.#undone(act, seq, 'conflict')).catch(() => undefined);
      throw new Error(NO_ANSWER);
    } catch (cause) {
      const message = `nothing was changed, because it can not be put on record: ${this.#failed(cause)}. A rollback and the bypass need no record`;
      throw new CutoverError('conflict', message, { cause });
    }
  }

  /** As `record`, for what is done in any case. False: it is not on record, or not yet. */
  async note(act: Act): Promise<boolean> {
    const appending = this.#append(act).then(
      () => true,
      (error: unknown) => {
        this.unkept += 1;
        this.#failed(error);
        return false;
      },
    );
    const kept = await inTime(appending, null);
    if (kept === null) this.#failed(new Error(NO_ANSWER));
    return kept ?? false;
  }

  /** On record before it is done; if it fails, or `isDone` says that it was not done after all, that is noted as well. */
  async doing<T>(
    act: Act,
    does: () => Promise<T>,
    isDone: (result: T) => boolean = () => true,
  ): Promise<T> {
    const { seq } = await this.record(act);
    try {
      const result = await does();
      if (!isDone(result)) await this.#undone(act, seq, 'conflict');
      return result;
    } catch (error) {
      await this.#undone(act, seq, error instanceof CutoverError ? error.code : 'internal');
      throw error;
    }
  }

  #undone({ by, action, reason }: Act, seq: number, code: string): Promise<boolean> {
    return this.note({ by, action: `${action}-failed`, reason, details: { seq, code } });
  }

  /** The last `most` entries, newest first. Rejects as `HeldJournal.last` does. */
  last(most: number): Promise<AuditEntry[]> {
    return this.#journal.last(most);
  }

  /**
   * As long as the disk answers it may take its time. Rejects with the system's error; throws
   * `CutoverError('conflict')` where the file can not be opened, or the disk answers no more.
   */
  async verify(): Promise<Verified> {
    let [records, before] = [0, 0];
    const opening = this.#journal.opened().catch(cause => {
      throw new CutoverError('conflict', this.#notOpen(), { cause });
    });
    const verifying = opening.then(journal =>
      journal.verify(() => {
        records += 1;
      }),
    );
    for (;;) {
      const verified = await inTime(verifying, null);
      if (verified !== null) return verified;
      if (records === before) throw unread(FILE);
      before = records;
    }
  }

  async #append(act: Act): Promise<AuditEntry> {
    const entry = await this.#journal.append({ at: this.#now().toISOString(), ...act });
    this.#trouble = null;
    return entry;
  }

  async #tellRepair(journal: Journal<AuditRecord>, { bytes, keptIn }: Repair): Promise<void> {
    this.#logger.warn(
      { bytes, keptIn },
      'the end of the audit trail was no record, and is kept beside it',
    );
    await journal.append({
      ...{ at: this.#now().toISOString(), by: 'cutover', action: 'audit-repaired' },
      ...{ reason: 'its end was no whole record', details: { bytes, keptIn } },
    });
  }

  #failed(error: unknown): string {
    const message = this.#journal.isHeld ? sentence(error) : this.#notOpen();
    this.#trouble ??= { message, since: this.#now().toISOString() };
    this.#logger.error({ err: error }, 'the audit trail could not be written');
    return message;
  }

  #notOpen(): string {
    return this.#journal.isHeld
      ? `${FILE} in the state folder can not be opened`
      : 'another process holds the state folder';
  }
}

function sentence(error: unknown): string {
  const isLate = error instanceof Error && error.message === NO_ANSWER;
  const code = error instanceof Error && 'code' in error ? ` (${error.code})` : '';
  return `${FILE} in the state folder can not be written${isLate ? ` (${NO_ANSWER})` : code}`;
}
