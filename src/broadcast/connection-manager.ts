// The SSOT side's one registry of connections, and the one place that writes to them.
import type { BroadcastEvent } from './event.ts';
import { type EventSocket, TEXT_FRAME, takesFrames } from './event-socket.ts';

/** What became of one event for one user. */
export interface Delivery {
  readonly attempted: number;
  /** Sockets whose operating system took the frame. */
  readonly taken: number;
}

const NOBODY: Promise<Delivery> = Promise.resolve(Object.freeze({ attempted: 0, taken: 0 }));
const ONE_TAKEN: Delivery = Object.freeze({ attempted: 1, taken: 1 });
const ONE_FAILED: Delivery = Object.freeze({ attempted: 1, taken: 0 });

export class ConnectionManager {
  /** Nearly everybody has one socket, so that one stands alone; further ones make it a list. */
  readonly #sockets = new Map<string, EventSocket | readonly EventSocket[]>();
  #connections = 0;
  #framesTaken = 0;
  #framesFailed = 0;

  add(userId: string, socket: EventSocket): void {
    const present = this.#sockets.get(userId);
    if (present === undefined) this.#sockets.set(userId, socket);
    else this.#sockets.set(userId, [...listOf(present), socket]);
    this.#connections++;
  }

  /** Harmless for a socket that is not there. */
  remove(userId: string, socket: EventSocket): void {
    const present = this.#sockets.get(userId);
    if (present === undefined) return;
    const before = listOf(present);
    const [first, ...others] = before.filter(each => each !== socket);
    if (first === undefined) this.#sockets.delete(userId);
    else this.#sockets.set(userId, others.length === 0 ? first : [first, ...others]);
    this.#connections -= before.length - (first === undefined ? 0 : 1 + others.length);
  }

  /** Does the user have a socket that takes frames at this moment? */
  isReachable(userId: string): boolean {
    const present = this.#sockets.get(userId);
    return present !== undefined && listOf(present).some(takesFrames);
  }

  /** Sends to all of a user's sockets at once; settles when each has taken the frame or failed. */
  deliver(userId: string, event: BroadcastEvent): Promise<Delivery> {
    const present = this.#sockets.get(userId);
    if (present === undefined) return NOBODY;
    const frame = encode(event);
    if (!isList(present)) return this.#write(present, frame, ONE_TAKEN, ONE_FAILED);
    return this.#writeAll(present, frame);
  }

  /** Sends to one socket: greetings, answers, replays. True if it took the frame. */
  reply(socket: EventSocket, event: BroadcastEvent): Promise<boolean> {
    return this.#write(socket, encode(event), true, false);
  }

  get counts(): {
    readonly users: number;
    readonly connections: number;
    readonly framesTaken: number;
    readonly framesFailed: number;
  } {
    return {
      users: this.#sockets.size,
      connections: this.#connections,
      framesTaken: this.#framesTaken,
      framesFailed: this.#framesFailed,
    };
  }

  async #writeAll(sockets: readonly EventSocket[], frame: Buffer): Promise<Delivery> {
    const took = await Promise.all(sockets.map(socket => this.#write(socket, frame, true, false)));
    return { attempted: took.length, taken: took.filter(Boolean).length };
  }

  /** Settles as `taken` or `failed`, so that the common case of one socket costs one promise. */
  #write<T>(socket: EventSocket, frame: Buffer, taken: T, failed: T): Promise<T> {
    return new Promise(settle => {
      if (!takesFrames(socket)) {
        this.#framesFailed++;
        settle(failed);
        return;
      }
      socket.send(frame, TEXT_FRAME, error => {
        if (error) this.#framesFailed++;
        else this.#framesTaken++;
        settle(error ? failed : taken);
      });
    });
  }
}

/**
 * Once for all of a user's sockets. As bytes, although `ws` takes text: a frame of bytes goes to the
 * kernel as it is, while text is encoded by every write (measured: 10 % of an event's CPU).
 */
function encode(event: BroadcastEvent): Buffer {
  return Buffer.from(JSON.stringify(event));
}

function isList(present: EventSocket | readonly EventSocket[]): present is readonly EventSocket[] {
  return Array.isArray(present);
}

function listOf(present: EventSocket | readonly EventSocket[]): readonly EventSocket[] {
  return isList(present) ? present : [present];
}
