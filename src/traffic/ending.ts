// The end of two connections that belong together, from the first goodbye on: how long it may take.
import type net from 'node:net';
import type { LimitsConfig } from '../config/schema.ts';
import { UnsentBytes } from './unsent-bytes.ts';

export class Ending {
  readonly #mayFinish: boolean;
  readonly #beganMs: number;
  #sinceMs: number;
  /** Bytes that were written to both. */
  #written = 0;
  /** What the kernel says, once half of the time is gone. */
  #unsent: UnsentBytes | null = null;

  /** `mayFinish`: it was one of the two who said goodbye, and not the proxy. */
  constructor(nowMs: number, mayFinish: boolean) {
    this.#beganMs = nowMs;
    this.#sinceMs = nowMs;
    this.#mayFinish = mayFinish;
  }

  /**
   * True if the end that is due has not come for `closeMs`. While either side still takes what came before the
   * end, nobody is late with his own; nor while one finishes what he was saying (RFC 6455 5.5.1), for `stallMs`
   * at most. Asked about once a second, for the same two.
   */
  isLate(
    both: readonly net.Socket[],
    nowMs: number,
    { closeMs, stallMs }: Pick<LimitsConfig, 'closeMs' | 'stallMs'>,
  ): boolean {
    let written = 0;
    let waiting = 0;
    for (const { bytesWritten, writableLength } of both) {
      written += bytesWritten;
      waiting += writableLength;
    }
    const speaks = this.#mayFinish && written !== this.#written;
    this.#written = written;
    if (waiting > 0 || (speaks && nowMs - this.#beganMs < stallMs)) {
      this.#sinceMs = nowMs;
      this.#unsent = null;
    }
    if ((nowMs - this.#sinceMs) * 2 < closeMs) return false;
    this.#unsent ??= new UnsentBytes();
    const unsent = this.#unsent;
    this.#sinceMs = Math.max(this.#sinceMs, unsent.movedMs);
    const quietMs = nowMs - this.#sinceMs;
    if (unsent.isKnown && unsent.bytes === 0 && quietMs >= closeMs) return true;
    if (unsent.isStill && quietMs >= stallMs) return true;
    if (quietMs >= closeMs || !unsent.isKnown) unsent.look(both);
    return false;
  }
}
