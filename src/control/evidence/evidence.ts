// Evidence as the rest of the program has it: a thread of its own that keeps what the judge found, and
// that is asked about it. Whatever becomes of that thread, nobody else waits or fails.
import { extname, join } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { Config } from '../../config/schema.ts';
import { CutoverError } from '../../errors.ts';
import type { EvidenceCounts, EvidenceHand, EvidenceSink } from '../../ports.ts';
import { EVIDENCE_DROPS, type EvidenceDrop } from '../../rules/evidence-batch.ts';
import type { EvidenceReport } from './kept.ts';
import type { EvidenceSettings, EvidenceThreadData, FromEvidence, ToEvidence } from './messages.ts';
import type { EvidenceQueries } from './queries.ts';

/** Built, the thread's file has the same ending as this one. */
const THREAD = new URL(`./thread${extname(import.meta.filename)}`, import.meta.url);
const FILE = 'evidence.sqlite';
/**
 * A batch of 4 MB, its redacted copy and a page of answers, several times over. The young generation is three semi-spaces
 * of 1 MB: most of the time next to nothing is kept, and larger ones fill up with that over many minutes.
 */
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 192, maxYoungGenerationSizeMb: 3 } as const;
/** A page of answers takes milliseconds; more is a disk that hangs. */
const ANSWER_MS = 5_000;
/** The last batch is written, and the log carried over, in that time, or it is left. */
const CLOSE_MS = 2_000;
/** After its thread has failed; doubled up to the second one. */
const RESTART_MS = 1_000;
const LONGEST_RESTART_MS = 60_000;

interface Asked {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export interface EvidenceState extends EvidenceReport {
  /** `waiting`: for the state folder, or to begin anew after a failure. */
  readonly thread: 'running' | 'waiting' | 'closed';
  readonly restarts: number;
}

export class Evidence implements EvidenceSink {
  readonly #logger: Logger;
  readonly #hands = new Set<EvidenceHand>();
  readonly #asked = new Map<number, Asked>();
  #settings: EvidenceSettings;
  #data: Omit<EvidenceThreadData, 'settings'> | null = null;
  #worker: Worker | null = null;
  #restarting: NodeJS.Timeout | undefined;
  #restarts = 0;
  #closed = false;
  #nextId = 1;
  /** Of threads that are gone, and of the present one. */
  #before: EvidenceCounts = { kept: 0, dropped: noDrops() };
  #report: EvidenceReport = {
    ...{ kept: 0, dropped: noDrops(), use: null, trouble: null, setAside: null },
  };

  constructor(config: Config, logger: Logger) {
    this.#settings = settingsOf(config);
    this.#logger = logger;
  }

  /** From now on findings are kept in that folder, which this process holds. */
  keepIn(folder: string, key: Uint8Array): void {
    this.#data = { file: join(folder, FILE), key };
    this.#start();
  }

  reload(config: Config): void {
    const { limits, redact } = this.#settings;
    const { examples } = limits;
    const settings = settingsOf(config);
    // A route that is gone has sessions that are open, and what is personal in them has not changed.
    this.#settings = { ...settings, redact: { ...redact, ...settings.redact } };
    this.#tell({ kind: 'settings', settings: this.#settings });
    if (this.#settings.limits.examples === examples || this.#worker === null) return;
    for (const hand of this.#hands) this.#openLine(hand);
  }

  supply(hand: EvidenceHand): () => void {
    this.#hands.add(hand);
    if (this.#worker !== null) this.#openLine(hand);
    return () => void this.#hands.delete(hand);
  }

  get counts(): EvidenceCounts {
    const { kept, dropped } = this.#report;
    const sum = { ...this.#before.dropped };
    for (const [cause, count] of Object.entries(dropped)) sum[cause as EvidenceDrop] += count;
    return { kept: this.#before.kept + kept, dropped: sum };
  }

  get state(): EvidenceState {
    const thread = this.#closed ? 'closed' : this.#worker === null ? 'waiting' : 'running';
    return { ...this.#report, ...this.counts, thread, restarts: this.#restarts };
  }

  /** Throws `CutoverError('conflict')` with what keeps evidence from being read. */
  ask<K extends keyof EvidenceQueries>(
    name: K,
    question: Parameters<EvidenceQueries[K]>[0],
    waitMs = ANSWER_MS,
  ): Promise<ReturnType<EvidenceQueries[K]>> {
    if (this.#worker === null) return Promise.reject(unreadable('its thread does not run'));
    const id = this.#nextId++;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const late = () => {
      this.#asked.delete(id);
      reject(unreadable(`no answer within ${waitMs / 1_000} s`));
    };
    this.#asked.set(id, { resolve, reject, timer: setTimeout(late, waitMs) });
    this.#tell({ kind: 'ask', id, name, question });
    return promise as Promise<ReturnType<EvidenceQueries[K]>>;
  }

  /** Lets what is under way be written. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#restarting);
    const worker = this.#worker;
    if (worker === null) return;
    const ended = new Promise(resolve => worker.once('exit', resolve));
    this.#tell({ kind: 'close' });
    const timer = setTimeout(() => void worker.terminate(), CLOSE_MS);
    await ended;
    clearTimeout(timer);
  }

  #start(): void {
    if (this.#data === null || this.#closed) return;
    const data: EvidenceThreadData = { ...this.#data, settings: this.#settings };
    const worker = new Worker(THREAD, {
      name: 'evidence',
      workerData: data,
      resourceLimits: RESOURCE_LIMITS,
    });
    worker.on('message', (message: FromEvidence) => this.#hear(message));
    worker.on('error', error => {
      this.#logger.error({ err: error }, 'the evidence thread failed');
    });
    worker.on('exit', () => this.#onExit());
    // Evidence alone keeps no process running.
    worker.unref();
    this.#worker = worker;
    for (const hand of this.#hands) this.#openLine(hand);
  }

  #openLine(hand: EvidenceHand): void {
    const { port1, port2 } = new MessageChannel();
    this.#worker?.postMessage({ kind: 'line', port: port1 } satisfies ToEvidence, [port1]);
    hand(port2, this.#settings.limits.examples);
  }

  #onExit(): void {
    this.#worker = null;
    for (const { reject, timer } of this.#asked.values()) {
      clearTimeout(timer);
      reject(unreadable('its thread ended'));
    }
    this.#asked.clear();
    if (this.#closed) return;
    this.#before = this.counts;
    this.#report = { ...this.#report, kept: 0, dropped: noDrops(), use: null };
    const delayMs = Math.min(RESTART_MS * 2 ** this.#restarts, LONGEST_RESTART_MS);
    this.#restarts += 1;
    this.#restarting = setTimeout(() => this.#start(), delayMs).unref();
  }

  #tell(message: ToEvidence): void {
    this.#worker?.postMessage(message);
  }

  #hear(message: FromEvidence): void {
    if (message.kind === 'report') {
      this.#tellTrouble(message.report);
      this.#report = message.report;
      return;
    }
    if (message.kind === 'fault') {
      this.#logger.error({ err: message.error }, 'a batch of evidence could not be dealt with');
      return;
    }
    const asked = this.#asked.get(message.id);
    if (asked === undefined) return;
    this.#asked.delete(message.id);
    clearTimeout(asked.timer);
    if (message.kind === 'answer') asked.resolve(message.value);
    else asked.reject(unreadable(message.message));
  }

  /** Once when it begins, once when it is over. */
  #tellTrouble({ trouble, setAside }: EvidenceReport): void {
    const before = this.#report;
    if (setAside !== null && setAside.at !== before.setAside?.at) {
      this.#logger.error(
        { file: setAside.file },
        'the evidence file could not be used and was set aside',
      );
    }
    if (trouble?.cause === before.trouble?.cause) return;
    if (trouble === null) this.#logger.info('evidence is kept again');
    else this.#logger.error({ cause: trouble.cause }, `evidence is not kept: ${trouble.message}`);
  }
}

function settingsOf({ evidence, routes }: Config): EvidenceSettings {
  return {
    limits: evidence,
    redact: Object.fromEntries(
      routes.map(({ name, redact, compare }) => [
        name,
        // What was answered to a request is an event with a head: status, headers, body.
        { paths: redact, envelopes: ['body', ...compare.envelopes] },
      ]),
    ),
  };
}

function unreadable(why: string): CutoverError {
  return new CutoverError('conflict', `evidence can not be read: ${why}`);
}

function noDrops(): Record<EvidenceDrop, number> {
  const causes = Object.keys(EVIDENCE_DROPS).map(cause => [cause, 0]);
  return Object.fromEntries(causes) as Record<EvidenceDrop, number>;
}
