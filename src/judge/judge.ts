// The judge as the rest of the program knows it: a thread that compares what the lanes hand over. It
// may be slow, and it may fail; whoever is served does not notice, and the books say what was missed.
import { randomBytes } from 'node:crypto';
import { extname } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { Logger } from 'pino';
import type { EvidenceSink, JudgeView, NoiseAsked, Tap } from '../ports.ts';
import { SIDES } from '../rules/decide.ts';
import type { Contamination } from '../rules/isolation/incident.ts';
import {
  addIsolationBooks,
  emptyIsolationBooks,
  type IsolationBooks,
} from '../rules/isolation/isolation-books.ts';
import { type Marker, Markers } from '../rules/isolation/marker.ts';
import { SECRET_BYTES } from '../rules/isolation/secret-hash.ts';
import type { NoiseCounts } from '../rules/noise-tally.ts';
import { addBooks, type Books, emptyBooks } from '../rules/pairing/books.ts';
import type { Batch } from './batch.ts';
import { type RouteRules, WINDOW_MS } from './docket.ts';
import { BatchTap } from './tap.ts';
import type { FromJudge, JudgeData, ToJudge } from './thread.ts';
import { UnansweredWrites } from './unanswered-writes.ts';

/**
 * 10,000 sessions with their events in the window are some 200 MB; beyond twice that it begins anew. The
 * young generation is three semi-spaces of 16 MB: left to itself it grows to 64 MB each and fills them
 * over minutes, for no more pairs a second (bench/README.md).
 */
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 512, maxYoungGenerationSizeMb: 48 } as const;
/** Windows are swept so often: what they tell is told within 100 ms of their end, with the sweep and the way here. */
const TICK_MS = 75;
/** After so long without anything to judge, so often: windows are over, and evidence is written. */
const IDLE_MS = 3 * WINDOW_MS;
const IDLE_TICK_MS = 1_000;
/**
 * A thread that says nothing for so many turns of this one's timer (15 s) is stuck: two events of 1 MiB take it less
 * than a second. Not by the clock: where the whole process stands still (SIGSTOP, a snapshot of its machine), both do.
 */
const STUCK_TICKS = 200;
/** After a failure the next thread begins at once, the one after that more slowly. */
const RESTART_MS = 1_000;
/** At the end it has so long to close the books and hand over evidence. */
const CLOSE_MS = 3_000;

/** Asked once: it is a getter that looks into what it is of, and every read is given its time. */
const TIME_ORIGIN = performance.timeOrigin;

export interface JudgeOptions {
  readonly rules: RouteRules;
  readonly evidence: EvidenceSink | null;
  /** Called once for every event with another user's data; names users. */
  readonly onContamination?: (contamination: Contamination) => void;
  /** Strings that a run has planted, each with the user who alone may see it. */
  readonly markers?: readonly Marker[];
  readonly logger: Logger;
}

export class Judge implements JudgeView {
  readonly #options: JudgeOptions;
  readonly #tap: BatchTap;
  readonly #writes = new UnansweredWrites(WINDOW_MS);
  readonly #ticker: NodeJS.Timeout;
  /** Of threads that failed, and what was lost with them. */
  readonly #before = new Map<string, Books>();
  readonly #asked = new Map<number, (books: Books | null) => void>();
  readonly #askedNoise = new Map<number, (counts: NoiseCounts | null) => void>();
  /** Of each route that is measured. */
  readonly #measured = new Map<string, NoiseAsked>();
  #rules: RouteRules;
  #books: ReadonlyMap<string, Books> = new Map();
  /** The same for what isolation counts. */
  readonly #isolationBefore = new Map<string, IsolationBooks>();
  #isolation: ReadonlyMap<string, IsolationBooks> = new Map();
  #worker: Worker | null = null;
  #stopSupply: () => void = () => undefined;
  /** Turns of the timer since the thread said something. */
  #silentTicks = 0;
  #tickedAt = 0;
  #closing: PromiseWithResolvers<void> | null = null;
  #asks = 0;
  restarts = 0;
  failures = 0;
  /** How far the thread is behind, ms. */
  lagMs = 0;
  /** Epoch ms; all that was handed over by then has been read. */
  #readUntil = 0;

  constructor(options: JudgeOptions) {
    this.#options = options;
    this.#rules = options.rules;
    this.#tap = new BatchTap({
      send: batch => this.#send(batch),
      now: steadyNow,
      writes: this.#writes,
      markers: new Markers(options.markers ?? []),
    });
    this.#start();
    // Behind the reads of the same turn: after a time in which this thread was not scheduled, what has come
    // meanwhile is handed over before windows end by it.
    const tick = () => this.#tick();
    this.#ticker = setInterval(() => setImmediate(tick), TICK_MS).unref();
  }

  get tap(): Tap {
    return this.#tap;
  }

  get running(): boolean {
    return this.#worker !== null;
  }

  /** So long ago all that came then was handed over and read, ms: also while the thread says nothing. */
  get behindMs(): number {
    return Math.max(0, steadyNow() - this.#readUntil);
  }

  get bytesLeftOut(): number {
    return this.#tap.bytesLeftOut;
  }

  get bytesUnheard(): number {
    return this.#tap.bytesUnheard;
  }

  get streamsUnheard(): number {
    return this.#tap.streamsUnheard;
  }

  /** Books by route, as of the last report. */
  books(): ReadonlyMap<string, Books> {
    const all = new Map<string, Books>();
    for (const books of [this.#before, this.#books]) {
      for (const [route, of] of books) {
        const sum = all.get(route) ?? emptyBooks();
        all.set(route, sum);
        addBooks(sum, of);
      }
    }
    return all;
  }

  /** What isolation has counted by route, as of the last report. */
  isolationBooks(): ReadonlyMap<string, IsolationBooks> {
    const all = new Map<string, IsolationBooks>();
    for (const books of [this.#isolationBefore, this.#isolation]) addIsolation(all, books);
    return all;
  }

  identityMismatch(route: string): boolean {
    // Between two threads what the one before knew counts.
    const known = this.#isolation.get(route) ?? this.#isolationBefore.get(route);
    return known?.identityMismatch ?? false;
  }

  /** Books of an open session; null if there is none, or nothing of it is compared. */
  booksOf(session: string): Promise<Books | null> {
    if (this.#worker === null) return Promise.resolve(null);
    this.#asks += 1;
    const ask = this.#asks;
    return new Promise(resolve => {
      this.#asked.set(ask, resolve);
      this.#tell({ kind: 'session', id: session, ask });
    });
  }

  measureNoise(route: string, asked: NoiseAsked | null): void {
    if (asked === null) this.#measured.delete(route);
    else this.#measured.set(route, asked);
    this.#tell({ kind: 'measure', route, asked });
  }

  noise(route: string): Promise<NoiseCounts | null> {
    if (this.#worker === null) return Promise.resolve(null);
    this.#asks += 1;
    const ask = this.#asks;
    return new Promise(resolve => {
      this.#askedNoise.set(ask, resolve);
      this.#tell({ kind: 'noise', route, ask });
    });
  }

  /** For what begins from now on. Those of a route that is gone stay: its sessions do as well. */
  setRules(rules: RouteRules): void {
    this.#rules = { ...this.#rules, ...rules };
    this.#tell({ kind: 'rules', rules });
  }

  /** Closes the books, hands over what evidence there is, and ends the thread. */
  async close(): Promise<void> {
    if (this.#closing !== null) return this.#closing.promise;
    this.#closing = Promise.withResolvers<void>();
    clearInterval(this.#ticker);
    this.#tap.flush();
    const worker = this.#worker;
    // Between two threads there is nothing to wait for, now or when it is closed again.
    if (worker === null) return this.#closing.resolve();
    this.#tell({ kind: 'close', time: steadyNow() });
    const deadline = setTimeout(() => void worker.terminate(), CLOSE_MS);
    await this.#closing.promise;
    clearTimeout(deadline);
  }

  #start(): void {
    // Sources run as they are, and so does what was built of them.
    const thread = new URL(`./thread${extname(import.meta.url)}`, import.meta.url);
    const worker = new Worker(thread, {
      workerData: {
        rules: this.#rules,
        secret: randomBytes(SECRET_BYTES),
        markers: this.#options.markers ?? [],
        // Until it has seen enough itself, it is not to take everybody back by names that do not fit.
        mismatched: [...this.#isolationBefore].flatMap(([route, { identityMismatch }]) =>
          identityMismatch ? [route] : [],
        ),
      } satisfies JudgeData,
      resourceLimits: RESOURCE_LIMITS,
    });
    this.#worker = worker;
    this.#silentTicks = 0;
    worker.unref();
    worker.on('message', (said: FromJudge) => this.#hear(said));
    worker.on('error', error => this.#options.logger.error({ err: error }, 'the judge failed'));
    worker.on('exit', () => this.#onExit());
    // One that begins anew counts from nothing on.
    for (const [route, asked] of this.#measured) this.#tell({ kind: 'measure', route, asked });
    this.#stopSupply =
      this.#options.evidence?.supply((line, examples) => {
        const told: ToJudge = { kind: 'evidence', line, examples };
        worker.postMessage(told, [line]);
      }) ?? (() => undefined);
  }

  #hear(said: FromJudge): void {
    this.#silentTicks = 0;
    switch (said.kind) {
      case 'done':
        return this.#tap.returned(said.bytes, said.exchangeBytes, said);
      case 'report':
        this.#books = said.books;
        this.#isolation = said.isolation;
        this.failures = said.failures;
        this.lagMs = Math.max(0, steadyNow() - said.time);
        this.#readUntil = said.time;
        return;
      case 'session':
        this.#asked.get(said.ask)?.(said.books);
        this.#asked.delete(said.ask);
        return;
      case 'noise':
        this.#askedNoise.get(said.ask)?.(said.counts);
        this.#askedNoise.delete(said.ask);
        return;
      case 'failure':
        this.#options.logger.error({ err: said.error }, 'the judge could not compare something');
        return;
      case 'contaminated':
        return this.#options.onContamination?.(said.contamination);
      case 'closed':
        return;
    }
  }

  /** A thread that failed: what it had in hand is counted as not judged, and the next one begins. */
  #onExit(): void {
    this.#worker = null;
    this.#stopSupply();
    for (const answer of this.#asked.values()) answer(null);
    this.#asked.clear();
    for (const answer of this.#askedNoise.values()) answer(null);
    this.#askedNoise.clear();
    if (this.#closing !== null) return this.#closing.resolve();
    this.#writeOff();
    this.restarts += 1;
    const delay = this.restarts === 1 ? 0 : RESTART_MS;
    setTimeout(() => {
      if (this.#closing !== null) return;
      // Nobody heard what was handed over meanwhile.
      this.#writeOff();
      this.#start();
      this.#tap.beginAnew();
    }, delay).unref();
  }

  #writeOff(): void {
    addIsolation(this.#isolationBefore, this.#isolation);
    this.#isolation = new Map();
    for (const [route, books] of this.#books) {
      const sum = this.#before.get(route) ?? emptyBooks();
      this.#before.set(route, sum);
      addBooks(sum, books);
    }
    this.#books = new Map();
    for (const [route, handed] of this.#tap.allHanded()) {
      const books = this.#before.get(route) ?? emptyBooks();
      this.#before.set(route, books);
      for (const side of SIDES) {
        const of = books[side];
        const unseen = Math.max(0, handed[side] - of.seen);
        of.seen += unseen;
        of.unjudged['judge-restart'] += unseen + of.pending;
        of.pending = 0;
      }
    }
  }

  #tick(): void {
    this.#silentTicks += 1;
    const time = steadyNow();
    // No window is open then, and nothing counts up: a thread that wakes for nothing costs a proxy that only forwards.
    if (this.#tap.isIdleSince(time - IDLE_MS) && time - this.#tickedAt < IDLE_TICK_MS) return;
    this.#tap.endHanging();
    // A time that is ahead of what was handed over would end windows before their events are known.
    if (this.#tap.flushIfFree()) {
      this.#tickedAt = time;
      this.#tell({ kind: 'tick', time, ...this.#writes.look(time) });
    }
    if (this.#worker === null || this.#silentTicks < STUCK_TICKS) return;
    this.#options.logger.error('the judge is stuck and begins anew');
    void this.#worker.terminate();
  }

  #send(batch: Batch): void {
    if (this.#worker === null) return;
    const told: ToJudge = batch;
    this.#worker.postMessage(told, [batch.bytes]);
  }

  #tell(told: ToJudge): void {
    this.#worker?.postMessage(told);
  }
}

function addIsolation(
  all: Map<string, IsolationBooks>,
  books: ReadonlyMap<string, IsolationBooks>,
): void {
  for (const [route, of] of books) {
    const sum = all.get(route) ?? emptyIsolationBooks();
    all.set(route, sum);
    addIsolationBooks(sum, of);
  }
}

/** Epoch ms of a clock that never steps; whole ones, as evidence is kept with. */
function steadyNow(): number {
  return Math.round(TIME_ORIGIN + performance.now());
}
