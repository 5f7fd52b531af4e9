// Peers of the bypass that take nothing of what waits for them.
import { ServerResponse } from 'node:http';
import type { Writable } from 'node:stream';
import { isQueued } from './answer.ts';
import { Progress } from './progress.ts';

/** Looked at so often. */
const SWEEP_MS = 1_000;

export class Stalls {
  readonly #watched = new Map<
    Writable,
    { readonly progress: Progress; readonly end: () => void }
  >();
  readonly #sweeper: NodeJS.Timeout;

  constructor(limitMs: () => number) {
    this.#sweeper = setInterval(() => {
      const nowMs = performance.now();
      for (const [peer, { progress, end }] of this.#watched) {
        // An answer that is queued waits for the one before it, not for the client.
        if (peer instanceof ServerResponse && isQueued(peer)) progress.restart(nowMs);
        else if (progress.isStuck(peer, nowMs, limitMs())) end();
      }
    }, SWEEP_MS);
    this.#sweeper.unref();
  }

  /** Calls `end` if `peer` is stuck, until it closes. */
  watch(peer: Writable, end: () => void): void {
    this.#watched.set(peer, { progress: new Progress(performance.now()), end });
    peer.once('close', () => this.#watched.delete(peer));
  }

  close(): void {
    clearInterval(this.#sweeper);
  }
}
