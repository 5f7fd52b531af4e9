// What every rollback did, and when: told while it runs, kept for good when it is over.
import type { Logger } from 'pino';
import { CutoverError } from '../errors.ts';
import type { AnswerTally, RollbackProgress, SessionTally } from '../ports.ts';
import type { LatchEntry } from '../rules/latch.ts';
import { inTime } from './disk-deadline.ts';
import { HeldJournal } from './held-journal.ts';
import type { Journal, Repair } from './journal.ts';

const FILE = 'proofs.jsonl';
/** In memory; older ones are in the file. */
const MOST_REMEMBERED = 100;
/** So many of the last proofs have a number that is not given again: some 40 kB. */
const MOST_COUNTED = 1_000;
/** Beside what its pace takes, a rollback is watched for so long: a dial and a handshake that hang, and some. */
const PATIENCE_MS = 15_000;

export interface Instant {
  /** ISO 8601, by the clock on the wall at the command and the time that has passed since. */
  readonly at: string;
  /** ms of the machine's monotonic clock, which all its processes share. */
  readonly monotonicMs: number;
}

export interface Proof {
  /** The latch's epoch; `12.2` where a rollback that holds was asked for again and found something left. */
  readonly id: string;
  readonly scope: string;
  readonly reason: string;
  readonly by: string;
  readonly sever: boolean;
  /** `partly`: something is left on the candidate. */
  readonly state: 'running' | 'complete' | 'partly';
  readonly command: Instant;
  /** The last one that was handed to a client's socket after the command; null: none was. */
  readonly lastCandidateByte: (Instant & { readonly afterMs: number }) | null;
  /** Bytes that waited in the proxy at that time; what the kernel had taken for a client is not among them. */
  readonly queuedBytes: number;
  readonly sessions: SessionTally;
  /** Of those that failed, whom legacy has refused, though it has let in nobody of late; absent in older ones. */
  readonly refused?: number;
  readonly answers: AnswerTally;
  /** From the command to the end of the last session or answer; null while it runs. */
  readonly tookMs: number | null;
  /** Sessions and answers that the candidate serves on these routes; at the end counted afresh. */
  readonly stillOnCandidate: number;
}

/** When a rollback was asked for, by both clocks. */
export interface Command extends Instant {
  /** ms of `performance.now()`. */
  readonly performanceMs: number;
}

export function commandNow(now: Date): Command {
  const monotonicMs = Number(process.hrtime.bigint()) / 1e6;
  return { at: now.toISOString(), monotonicMs, performanceMs: performance.now() };
}

export interface Watched {
  readonly entry: LatchEntry;
  readonly command: Command;
  readonly progress: RollbackProgress;
  /** Asked once all are found: to reckon it takes milliseconds, and nobody waits for it. */
  readonly paceMs: () => number;
  readonly leftOnCandidate: () => number;
}

interface Remembered extends Watched {
  readonly id: string;
  /** Null while it runs. */
  over: Proof | null;
}

/** Gives up on what a rollback waits for, once that takes too long. */
export function endInTime(progress: RollbackProgress, paceMs: () => number): void {
  void inTime(progress.found, null).then(() => {
    const patience = setTimeout(() => progress.end(), paceMs() + PATIENCE_MS).unref();
    void progress.done.then(() => clearTimeout(patience));
  });
}

export class Proofs {
  readonly #logger: Logger;
  readonly #remembered = new Map<string, Remembered>();
  /** How many proofs there are of each epoch, the file's included; those that were proven last come last. */
  readonly #counts = new Map<number, number>();
  readonly #journal: HeldJournal<Proof>;
  #onOver: (proof: Proof) => void = () => undefined;
  /** Rollbacks whose proof could not be written. */
  unkept = 0;
  /** Of the last rollback that is over. */
  lastMs: number | null = null;

  constructor(logger: Logger) {
    this.#logger = logger;
    this.#journal = new HeldJournal<Proof>({
      file: FILE,
      onOpen: (journal, repair) => this.#readIds(journal, repair),
    });
  }

  /** From now on they are kept in that folder. Never rejects; the next one that is over tries again. */
  async keepIn(folder: string): Promise<void> {
    try {
      await this.#journal.keepIn(folder);
    } catch (error) {
      this.#logger.error({ err: error }, 'proofs of rollbacks can not be kept');
    }
  }

  letGo(): void {
    this.#journal.letGo();
  }

  /** Watches a rollback to its end, or until it takes too long. */
  watch(watched: Watched): Proof {
    const { epoch } = watched.entry;
    const before = this.#counts.get(epoch) ?? 0;
    const id = before === 0 ? String(epoch) : `${epoch}.${before + 1}`;
    this.#count(id);
    const remembered: Remembered = { ...watched, id, over: null };
    this.#remembered.set(id, remembered);
    for (const oldest of this.#remembered.keys()) {
      if (this.#remembered.size <= MOST_REMEMBERED) break;
      this.#remembered.delete(oldest);
    }
    const { progress, paceMs } = watched;
    endInTime(progress, paceMs);
    // Told here: what is pending at the end is no longer so afterwards.
    void progress.done.then(() => void this.#finish(remembered));
    return proofOf(remembered, null);
  }

  /** As it is once all that it concerns are found, or as far as they are where that takes seconds. */
  async onceFound(proof: Proof): Promise<Proof> {
    const known = this.#remembered.get(proof.id);
    if (known === undefined) return proof;
    await inTime(known.progress.found, null);
    return known.over ?? proofOf(known, null);
  }

  async #readIds(journal: Journal<Proof>, repair: Repair | null): Promise<void> {
    const newest: string[] = [];
    for await (const { id } of journal.newest()) {
      if (newest.push(id) >= MOST_COUNTED) break;
    }
    for (const id of newest.reverse()) this.#count(id);
    // Where the file could not be opened before, these came after.
    for (const id of this.#remembered.keys()) this.#count(id);
    if (repair !== null)
      this.#logger.warn(repair, 'the end of the proofs was none, and is kept beside');
  }

  #count(id: string): void {
    const [epoch = 0, repeat = 1] = id.split('.').map(Number);
    const before = this.#counts.get(epoch) ?? 0;
    this.#counts.delete(epoch);
    this.#counts.set(epoch, Math.max(before, repeat));
    for (const oldest of this.#counts.keys()) {
      if (this.#counts.size <= MOST_COUNTED) break;
      this.#counts.delete(oldest);
    }
  }

  /** Told of every rollback that is over. */
  onOver(listener: (proof: Proof) => void): void {
    this.#onOver = listener;
  }

  /** The last rollback by that entry. */
  ofEpoch(epoch: number): Proof | null {
    const those = [...this.#remembered.values()].filter(({ entry }) => entry.epoch === epoch);
    const last = those.at(-1);
    return last === undefined ? null : (last.over ?? proofOf(last, null));
  }

  /** Rejects as `HeldJournal.last` does, but not for one of this process. */
  async find(id: string): Promise<Proof | null> {
    const known = this.#remembered.get(id);
    if (known !== undefined) return known.over ?? proofOf(known, null);
    const [kept] = await this.#journal.last(1, proof => proof.id === id);
    return kept === undefined ? null : plain(kept);
  }

  /**
   * The last `most`, newest first. Rejects with the system's error. `unread` is why none are among them that only the
   * file has, null where that was read, or not needed.
   */
  async last(most: number): Promise<{ proofs: readonly Proof[]; unread: string | null }> {
    const running = [...this.#remembered.values()].reverse().slice(0, most);
    const proofs = running.map(known => known.over ?? proofOf(known, null));
    if (proofs.length >= most) return { proofs, unread: null };
    const ids = new Set(proofs.map(({ id }) => id));
    try {
      const kept = await this.#journal.last(most - proofs.length, ({ id }) => !ids.has(id));
      return { proofs: [...proofs, ...kept.map(plain)], unread: null };
    } catch (error) {
      // What this process has done it knows, whatever the disk does.
      if (!(error instanceof CutoverError)) throw error;
      return { proofs, unread: error.message };
    }
  }

  async #finish(known: Remembered): Promise<void> {
    const tookMs = performance.now() - known.command.performanceMs;
    const proof = proofOf(known, tookMs);
    known.over = proof;
    this.#onOver(proof);
    this.lastMs = tookMs;
    const { id, state, sessions, refused, answers, lastCandidateByte } = proof;
    this.#logger.warn(
      { proof: id, state, sessions, refused, answers, tookMs, lastCandidateByte },
      'a rollback is over',
    );
    try {
      await this.#journal.append(proof);
    } catch (error) {
      this.unkept += 1;
      this.#logger.error({ err: error, proof: id }, 'the proof of a rollback could not be kept');
    }
  }
}

function proofOf(known: Remembered, tookMs: number | null): Proof {
  const { id, entry, command, progress, leftOnCandidate } = known;
  const { sessions, refused, answers, queuedBytes, lastCandidateByteAt } = progress;
  const waiting = sessions.failed + sessions.pending + answers.pending;
  // Looking at every session takes a millisecond: not for each question meanwhile.
  const left = tookMs === null ? waiting : leftOnCandidate();
  const isAll = waiting + left === 0;
  const { at, monotonicMs } = command;
  return {
    ...{ id, scope: entry.scope, reason: entry.reason, by: entry.by },
    sever: entry.state === 'severed',
    state: tookMs === null ? 'running' : isAll ? 'complete' : 'partly',
    command: { at, monotonicMs },
    lastCandidateByte:
      lastCandidateByteAt === null
        ? null
        : later(command, lastCandidateByteAt - command.performanceMs),
    ...{ queuedBytes, sessions, refused, answers, tookMs },
    stillOnCandidate: left,
  };
}

function later(
  { at, monotonicMs }: Instant,
  afterMs: number,
): Instant & { readonly afterMs: number } {
  const wall = new Date(Date.parse(at) + afterMs).toISOString();
  return { at: wall, monotonicMs: monotonicMs + afterMs, afterMs };
}

/** Without what it has as a record of a journal. */
function plain({ seq: _, prev: __, ...proof }: Proof & { seq: number; prev: string }): Proof {
  return proof;
}
