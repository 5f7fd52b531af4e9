// From the judge to the thread that keeps evidence, past the main thread. One batch at a time is on
// its way; while the other end is busy the next one gathers, so that a slow disk costs no memory, and
// after it there is a pause, so that keeping never takes more than a part of a core.
import type { MessagePort } from 'node:worker_threads';
import {
  EvidenceBatcher,
  type FromEvidenceLine,
  type ToEvidenceLine,
} from '../rules/evidence-batch.ts';
import { UnitTracker } from '../rules/unit-tracker.ts';
import type { Finding } from '../rules/verdict.ts';

/** Pause after a batch, in times that it took; so keeping takes a quarter of a core at most. */
const PAUSES = 3;
/**
 * ... and at least this: where every moment has something that is counted only, a batch of it at each turn is a
 * transaction, and half a megabyte of garbage a minute (bench/README.md). What comes after a time without goes at once.
 */
const LEAST_PAUSE_MS = 500;
/** A disk that hung for a while is tried again by then. */
const LONGEST_PAUSE_MS = 2_000;

export class EvidenceLine {
  readonly #batcher = new EvidenceBatcher();
  readonly #units = new UnitTracker();
  #port: MessagePort | null = null;
  #underWay: PromiseWithResolvers<void> | null = null;
  /** On the monotonic clock. */
  #sentAt = 0;
  #restedAt = 0;
  readonly #leastPauseMs: number;

  constructor(leastPauseMs = LEAST_PAUSE_MS) {
    this.#leastPauseMs = leastPauseMs;
  }

  /**
   * From now on batches go there: a port of `EvidenceSink.supply`. Until the first one they gather,
   * within bounds. The port does not keep the thread alive. Of every kind of divergence
   * `examples` are kept.
   */
  use(port: MessagePort, examples: number): void {
    this.#port?.close();
    this.#batcher.firstExamples = Math.floor(examples / 2);
    this.#port = port;
    this.#restedAt = 0;
    this.#settle();
    port.on('message', (told: ToEvidenceLine) => {
      if (told.kind === 'forget') {
        this.#units.forget(told.route);
        port.postMessage({ kind: 'forgotten' } satisfies FromEvidenceLine);
        return;
      }
      const now = performance.now();
      const pauseMs = Math.max(PAUSES * (now - this.#sentAt), this.#leastPauseMs);
      this.#restedAt = now + Math.min(pauseMs, LONGEST_PAUSE_MS);
      this.#settle();
    });
    port.on('close', () => {
      if (this.#port !== port) return;
      this.#port = null;
      this.#settle();
    });
    port.unref();
  }

  /** There is somebody to take the next batch. */
  get isFree(): boolean {
    return this.#port !== null && this.#underWay === null && performance.now() >= this.#restedAt;
  }

  /** `subject`: names of the user whose events they are. */
  add(finding: Finding, subject: readonly string[] = []): void {
    this.#batcher.add(finding, subject);
    this.#units.add(finding, subject);
  }

  /** To be called a few times a second. `nowMs` is epoch ms. */
  flush(nowMs: number): void {
    if (this.isFree) this.#send(nowMs);
  }

  /** Ends every unit under way and hands over all that is left; resolves once it is dealt with. */
  async close(): Promise<void> {
    await this.#underWay?.promise;
    this.#send(Number.POSITIVE_INFINITY);
    await this.#underWay?.promise;
    this.#port?.close();
  }

  #send(nowMs: number): void {
    if (this.#port === null) return;
    const batch = this.#batcher.take(this.#units.take(nowMs));
    if (batch === null) return;
    this.#port.postMessage({ kind: 'batch', batch } satisfies FromEvidenceLine);
    this.#underWay = Promise.withResolvers();
    this.#sentAt = performance.now();
  }

  #settle(): void {
    this.#underWay?.resolve();
    this.#underWay = null;
  }
}
