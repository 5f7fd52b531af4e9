// Events that found nobody there, kept for when he comes back.
import type { BroadcastEvent } from './event.ts';

/** Per user; the newest are kept. */
export const MAX_UNDELIVERED_PER_USER = 50;
/** 10,000 absent users with full queues are some 250 MB; the one who waits longest goes first. */
const MAX_ABSENT_USERS = 10_000;

export class Undelivered {
  readonly #queues = new Map<string, BroadcastEvent[]>();
  #droppedFull = 0;
  #droppedUsers = 0;

  keep(userId: string, event: BroadcastEvent): void {
    let queue = this.#queues.get(userId);
    if (queue === undefined) {
      queue = [];
      this.#queues.set(userId, queue);
      const [longest] = this.#queues.keys();
      if (this.#queues.size > MAX_ABSENT_USERS && longest !== undefined) {
        this.#droppedUsers += this.#queues.get(longest)?.length ?? 0;
        this.#queues.delete(longest);
      }
    }
    queue.push(event);
    if (queue.length > MAX_UNDELIVERED_PER_USER) {
      queue.shift();
      this.#droppedFull++;
    }
  }

  /** Hands over a user's events, oldest first, and forgets them. */
  take(userId: string): readonly BroadcastEvent[] {
    const queue = this.#queues.get(userId) ?? [];
    this.#queues.delete(userId);
    return queue;
  }

  get counts(): { readonly users: number; readonly dropped: number } {
    return { users: this.#queues.size, dropped: this.#droppedFull + this.#droppedUsers };
  }
}
