// Whether a peer still takes what is written to it.
import net from 'node:net';
import { UnsentBytes } from './unsent-bytes.ts';

/** A socket, or a message on one. */
interface Taker {
  /** Bytes that wait to be taken. */
  readonly writableLength: number;
  readonly socket?: net.Socket | null | undefined;
}

/** Watches one peer; asked about once a second. */
export class Progress {
  #pending = 0;
  #sinceMs: number;
  /** What the kernel says, once half of its time is gone and nothing was seen to move. */
  #unsent: UnsentBytes | null = null;

  constructor(nowMs: number) {
    this.#sinceMs = nowMs;
  }

  /** Its time begins now: it was not asked to take anything before. */
  restart(nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#unsent = null;
  }

  /** True if bytes wait, and none was taken for `limitMs`. A peer that takes any within that is slow, not stuck. */
  isStuck(peer: Taker, nowMs: number, limitMs: number): boolean {
    const pending = peer.writableLength;
    if (pending !== this.#pending || pending === 0) {
      this.#pending = pending;
      this.restart(nowMs);
    }
    if ((nowMs - this.#sinceMs) * 2 < limitMs) return false;
    this.#unsent ??= new UnsentBytes();
    const unsent = this.#unsent;
    this.#sinceMs = Math.max(this.#sinceMs, unsent.movedMs);
    const isDue = nowMs - this.#sinceMs >= limitMs;
    if (isDue && unsent.isStill) return true;
    if (isDue || !unsent.isKnown) {
      const socket = peer instanceof net.Socket ? peer : peer.socket;
      unsent.look(socket ? [socket] : []);
    }
    return false;
  }
}
