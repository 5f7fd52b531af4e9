// Clients that owe the rest of a request's body, in whatever lane, and send nothing of it.
import type { IncomingMessage } from 'node:http';
import { hasBody } from './held-body.ts';

/** Looked at for progress so often. */
const SWEEP_MS = 1_000;

interface Upload {
  readonly incoming: IncomingMessage;
  /** Bytes that had come when it was last seen to move, and when that was. */
  bytes: number;
  sinceMs: number;
}

export class Uploads {
  readonly #open = new Set<Upload>();
  readonly #sweeper: NodeJS.Timeout;

  /** `onStuck` gets those of which no byte came for `limitMs`, once each. */
  constructor(limitMs: () => number, onStuck: (incoming: IncomingMessage) => void) {
    this.#sweeper = setInterval(() => {
      for (const upload of this.#open) {
        if (!isStuck(upload, performance.now(), limitMs())) continue;
        this.#open.delete(upload);
        onStuck(upload.incoming);
      }
    }, SWEEP_MS);
    this.#sweeper.unref();
  }

  /** Looks after a request until its body has come whole or its connection closes. */
  watch(incoming: IncomingMessage): void {
    if (!hasBody(incoming)) return;
    const upload = { incoming, bytes: -1, sinceMs: performance.now() };
    this.#open.add(upload);
    incoming.once('close', () => this.#open.delete(upload));
  }

  close(): void {
    clearInterval(this.#sweeper);
  }
}

function isStuck(upload: Upload, nowMs: number, limitMs: number): boolean {
  const { incoming } = upload;
  const { bytesRead } = incoming.socket;
  // What has come and is not taken yet waits for the service, not for the client.
  if (incoming.complete || incoming.readableLength > 0 || bytesRead !== upload.bytes) {
    upload.bytes = bytesRead;
    upload.sinceMs = nowMs;
  }
  return nowMs - upload.sinceMs >= limitMs;
}
