// What a client sends before its upgrade is answered: kept in order, bounded, never lost, and its
// going away is noticed at once. Only who reads on notices, so one that sends more than is kept is not
// held back but refused; clients have to wait for the answer (RFC 6455 4.1).
import type { Duplex } from 'node:stream';
import { GatheredBytes } from '../wire/gathered-bytes.ts';

export class EarlyBytes {
  readonly #socket: Duplex;
  readonly #limit: number;
  readonly #over = new AbortController();
  #gone = false;
  readonly #bytes: GatheredBytes;

  /** `head` is what the HTTP parser had already read behind the request. */
  constructor(socket: Duplex, head: Buffer, limitBytes: number) {
    this.#socket = socket;
    this.#limit = limitBytes;
    this.#bytes = new GatheredBytes(limitBytes);
    this.#bytes.add(head);
    socket.on('data', this.#onData).on('end', this.#onGone);
    socket.on('error', this.#onGone).on('close', this.#onGone);
    if (socket.destroyed) this.#onGone();
    this.#checkSize();
  }

  /** Aborted when the client has left, or has sent too much: there is nothing to open any more. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** True if it has left, by reset, close or half-close. */
  get gone(): boolean {
    return this.#gone;
  }

  /** True if it has sent more than is kept. */
  get tooMuch(): boolean {
    return this.#bytes.length > this.#limit;
  }

  /** Stops watching and gives all bytes so far. The socket is paused: nothing comes in between. */
  take(): Buffer {
    const socket = this.#socket;
    socket.pause();
    socket.off('data', this.#onData).off('end', this.#onGone);
    socket.off('error', this.#onGone).off('close', this.#onGone);
    return this.#bytes.view;
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#bytes.add(chunk);
    this.#checkSize();
  };

  #checkSize(): void {
    if (!this.tooMuch) return;
    // The answer comes next; until then nothing more is taken in.
    this.#socket.pause();
    this.#over.abort();
  }

  readonly #onGone = (): void => {
    this.#gone = true;
    this.#over.abort();
  };
}
