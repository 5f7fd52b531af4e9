// A client that does not read holds its service back, and the second leg with it: what either of them has
// said by then may wait for the other one's for as long as that lasts.
import type { StreamTap } from '../ports.ts';

/** Shorter ones are no matter to a window of seconds, and a busy stream has many. */
const WORTH_TELLING_MS = 500;

export class HeldBack {
  readonly #tap: StreamTap;
  #timer: NodeJS.Timeout | null = null;
  #isTold = false;
  /** The client takes nothing at present. */
  isHeld = false;

  constructor(tap: StreamTap) {
    this.#tap = tap;
  }

  begin(): void {
    if (this.isHeld) return;
    this.isHeld = true;
    this.#timer = setTimeout(() => {
      this.#isTold = true;
      this.#tap.held(true);
    }, WORTH_TELLING_MS).unref();
  }

  end(): void {
    if (!this.isHeld) return;
    this.isHeld = false;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
    if (this.#isTold) this.#tap.held(false);
    this.#isTold = false;
  }
}
