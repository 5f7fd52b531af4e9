// Clients that owe the rest of a request's body, in whatever lane, and send nothing of it, or next to nothing.
import type { IncomingMessage } from 'node:http';
import { afterReads } from './after-reads.ts';
import { hasBody } from './held-body.ts';

/** Looked at for progress so often. */
const SWEEP_MS = 1_000;

/**
 * A body of known length that comes slower than this is sent to keep a connection: the slowest of mobile
 * networks bring ten times as much, tools that attack so three bytes. One without may be a stream.
 */
const LEAST_BYTES_PER_S = 100;

interface Upload {
  readonly incoming: IncomingMessage;
  /** Bytes of the connection when it began. */
  readonly bytesBefore: number;
  /** How long the client was waited for, not the service. */
  owedMs: number;
  /** Bytes that had come when it was last seen to move, -1 if it was not seen to owe any, and when that was. */
  bytes: number;
  sinceMs: number;
}

export class Uploads {
  readonly #open = new Set<Upload>();
  readonly #sweeper: NodeJS.Timeout;

  /**
   * `onStuck` gets those of which no byte came for `limitMs`, or which were waited for longer than that
   * and are slower than 100 bytes a second; once each.
   */
  constructor(limitMs: () => number, onStuck: (incoming: IncomingMessage) => void) {
    const sweep = (): void => {
      for (const upload of this.#open) {
        if (!isStuck(upload, performance.now(), limitMs())) continue;
        this.#open.delete(upload);
        onStuck(upload.incoming);
      }
    };
    // Where the process itself stood still, what came meanwhile has not been read yet.
    this.#sweeper = setInterval(() => afterReads(sweep), SWEEP_MS);
    this.#sweeper.unref();
  }

  /** Looks after a request until its body has come whole or its connection closes. */
  watch(incoming: IncomingMessage): void {
    if (!hasBody(incoming)) return;
    const bytesBefore = incoming.socket.bytesRead;
    const upload = { incoming, bytesBefore, owedMs: 0, bytes: -1, sinceMs: performance.now() };
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
  const isOwed = !incoming.complete && incoming.readableLength === 0;
  // Not for a request that has only just begun, or was waiting for its service until now.
  if (isOwed && upload.bytes !== -1) upload.owedMs += SWEEP_MS;
  if (!isOwed || bytesRead !== upload.bytes) {
    // Where its service was waited for, its own time begins when it is next seen to owe something.
    upload.bytes = isOwed ? bytesRead : -1;
    upload.sinceMs = nowMs;
  }
  return nowMs - upload.sinceMs >= limitMs || (isOwed && trickles(upload, limitMs));
}

function trickles({ incoming, bytesBefore, owedMs }: Upload, limitMs: number): boolean {
  if (incoming.headers['content-length'] === undefined || owedMs < limitMs) return false;
  return incoming.socket.bytesRead - bytesBefore < (LEAST_BYTES_PER_S * owedMs) / 1_000;
}
