// From the judge to the thread that keeps evidence, past the main thread. One batch at a time is on
// its way; while the other end is busy the next one gathers, so that a slow disk costs no memory.
import type { MessagePort } from 'node:worker_threads';
import { EvidenceBatcher } from '../rules/evidence-batch.ts';
import { UnitTracker } from '../rules/unit-tracker.ts';
import type { Finding } from '../rules/verdict.ts';

export class EvidenceLine {
  readonly #batcher = new EvidenceBatcher();
  readonly #units = new UnitTracker();
  #port: MessagePort | null = null;
  #underWay: PromiseWithResolvers<void> | null = null;

  /**
   * From now on batches go there: a port of `EvidenceSink.supply`. Until the first one they gather,
   * within bounds. The port does not keep the thread alive.
   */
  use(port: MessagePort): void {
    this.#port?.close();
    this.#port = port;
    this.#settle();
    // Whatever comes back says that the batch is dealt with.
    port.on('message', () => this.#settle());
    port.on('close', () => {
      if (this.#port !== port) return;
      this.#port = null;
      this.#settle();
    });
    port.unref();
  }

  /** There is somebody to take the next batch. */
  get isFree(): boolean {
    return this.#port !== null && this.#underWay === null;
  }

  add(finding: Finding): void {
    this.#batcher.add(finding);
    this.#units.add(finding);
  }

  /** To be called a few times a second. `nowMs` is epoch ms. */
  flush(nowMs: number): void {
    if (this.#port === null || this.#underWay !== null) return;
    const batch = this.#batcher.take(this.#units.take(nowMs));
    if (batch === null) return;
    this.#port.postMessage(batch);
    this.#underWay = Promise.withResolvers();
  }

  /** Ends every unit under way and hands over all that is left; resolves once it is dealt with. */
  async close(): Promise<void> {
    await this.#underWay?.promise;
    this.flush(Number.POSITIVE_INFINITY);
    await this.#underWay?.promise;
    this.#port?.close();
  }

  #settle(): void {
    this.#underWay?.resolve();
    this.#underWay = null;
  }
}
