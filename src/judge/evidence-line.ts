// From the judge to the thread that keeps evidence, past the main thread. One batch at a time is on
// its way; while the other end is busy the next one gathers, so that a slow disk costs no memory.
import { once } from 'node:events';
import type { MessagePort } from 'node:worker_threads';
import { EvidenceBatcher } from '../rules/evidence-batch.ts';
import { UnitTracker } from '../rules/unit-tracker.ts';
import type { Finding } from '../rules/verdict.ts';

export class EvidenceLine {
  readonly #port: MessagePort;
  readonly #batcher = new EvidenceBatcher();
  readonly #units = new UnitTracker();
  #underWay = false;

  /** `port` is from `EvidenceSink.openLine`. It does not keep the thread alive. */
  constructor(port: MessagePort) {
    this.#port = port;
    // Whatever comes back says that the batch is dealt with.
    port.on('message', () => {
      this.#underWay = false;
    });
    port.unref();
  }

  add(finding: Finding): void {
    this.#batcher.add(finding);
    this.#units.add(finding);
  }

  /** To be called a few times a second. `nowMs` is epoch ms. */
  flush(nowMs: number): void {
    if (this.#underWay) return;
    const batch = this.#batcher.take(this.#units.take(nowMs));
    if (batch === null) return;
    this.#port.postMessage(batch);
    this.#underWay = true;
  }

  /** Ends every unit under way and hands over all that is left; resolves once it is dealt with. */
  async close(): Promise<void> {
    if (this.#underWay) await once(this.#port, 'message');
    this.flush(Number.POSITIVE_INFINITY);
    if (this.#underWay) await once(this.#port, 'message');
    this.#port.close();
  }
}
