// What a client sends before its upgrade is answered: kept in order, bounded, never lost, and its
// going away is noticed at once.
import type { Duplex } from 'node:stream';

export class EarlyBytes {
  readonly #socket: Duplex;
  readonly #limit: number;
  readonly #gone = new AbortController();
  #chunks: Buffer[];
  #size: number;

  /** `head` is what the HTTP parser had already read behind the request. */
  constructor(socket: Duplex, head: Buffer, limitBytes: number) {
    this.#socket = socket;
    this.#limit = limitBytes;
    this.#chunks = head.length > 0 ? [head] : [];
    this.#size = head.length;
    socket.on('data', this.#onData).on('end', this.#onGone);
    socket.on('error', this.#onGone).on('close', this.#onGone);
    if (socket.destroyed) this.#onGone();
    else if (this.#size >= limitBytes) socket.pause();
  }

  /** Aborted when the client has left, by reset, close or half-close. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  /** Stops watching and gives all bytes so far. The socket is paused: nothing comes in between. */
  take(): Buffer {
    const socket = this.#socket;
    socket.pause();
    socket.off('data', this.#onData).off('end', this.#onGone);
    socket.off('error', this.#onGone).off('close', this.#onGone);
    return Buffer.concat(this.#chunks);
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
    // Beyond the limit the client waits in its own socket; TCP holds it back.
    if (this.#size >= this.#limit) this.#socket.pause();
  };

  readonly #onGone = (): void => this.#gone.abort();
}
