// The requests of one client connection. node:http begins whatever it has read, however many answers are
// still due: one client with 60,000 small requests had as many decided, 5,236 connections to a service and
// 389 MB. Here so many are open at a time; the next ones wait, and nothing more is read until they begin.
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { isQueued, wasCutShort } from './answer.ts';

/** Tools that pipeline use 10 to 16; browsers do not. What waits comes from one read of 64 KiB at most. */
const MOST_OPEN = 32;

interface Due {
  readonly response: ServerResponse;
  readonly begin: () => void;
}

export class Pipeline {
  readonly #socket: Socket;
  readonly #waiting: Due[] = [];
  #open = 0;
  #last: ServerResponse | null = null;
  #isOver = false;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** The last answer that is due, or was: what can not be read behind its request waits for it. */
  get last(): ServerResponse | null {
    return this.#last;
  }

  /** Calls `begin` when there is room, in the order of the requests; never for one whose client has left. */
  take(response: ServerResponse, begin: () => void): void {
    if (this.#isOver) return;
    this.#last = response;
    if (isQueued(response)) response.once('socket', onTurn);
    if (this.#open < MOST_OPEN) return this.#begin({ response, begin });
    this.#waiting.push({ response, begin });
    if (this.#waiting.length > 1) return;
    // Whoever reads a request's body sets the whole connection going.
    this.#socket.on('resume', this.#hold);
    this.#hold();
  }

  /** The request that comes next is the last one: its answer closes the connection. */
  takeLast(response: ServerResponse, begin: () => void): void {
    response.shouldKeepAlive = false;
    this.take(response, begin);
    this.#isOver = true;
  }

  #begin({ response, begin }: Due): void {
    this.#open += 1;
    response.once('close', this.#onClose);
    begin();
  }

  readonly #hold = (): void => void this.#socket.pause();

  readonly #onClose = (): void => {
    this.#open -= 1;
    // node:http answers what it has read, even if it may not be sent any more.
    if (!this.#socket.writable || wasCutShort(this.#socket)) this.#waiting.length = 0;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    if (this.#waiting.length === 0) {
      this.#socket.off('resume', this.#hold);
      // Of the last one that was read, some may be missing.
      this.#socket.resume();
    }
    this.#begin(next);
  };
}

/**
 * An answer that was given up in the queue has no end, and node:http would hand it the connection all the same, for
 * ever. It closes behind the answer before it, with no byte of this one.
 */
function onTurn(this: ServerResponse, socket: Socket): void {
  if (this.destroyed) socket.destroy();
}
