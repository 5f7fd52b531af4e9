// The requests of one client connection. node:http begins whatever it has read, however many answers are
// still due: one client with 60,000 small requests had as many decided, 5,236 connections to a service and
// 389 MB. Here so many are open at a time, and one that changes something is open alone; the next ones wait, and
// where there are many of them nothing more is read until they begin.
import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { isWrite } from '../wire/http-method.ts';
import { afterReads } from './after-reads.ts';
import { isQueued, isUnderWay, wasCutShort } from './answer.ts';
import { hasBody } from './held-body.ts';
import type { Member } from './roll.ts';

/**
 * Tools that pipeline use 10 to 16; browsers do not. As many may wait behind one that is open alone, and what comes
 * in one more read of 64 KiB.
 */
const MOST_OPEN = 32;

/** Some clients send one behind a request (RFC 9112 2.2): no request begins with so little. */
const EMPTY_LINE = 2;
/** A head that is late is looked at so often: some of its time nobody may have read it. */
const LATE_LOOK_MS = 1_000;
/** In place of a number of bytes: a request is not whole. */
const BUSY = -1;

interface Due {
  readonly response: ServerResponse;
  readonly begin: () => void;
}

export class Pipeline implements Member {
  place = -1;
  readonly #socket: Socket;
  readonly #waiting: Due[] = [];
  readonly #open: ServerResponse[] = [];
  /** What is open may change something: nothing else is open beside it (RFC 9112 9.3.2). */
  #isWriteOpen = false;
  /** Nothing is read: there is enough that waits. */
  #isHeld = false;
  /** Since when that is over, in ms of `performance.now()`. */
  #readOnMs = Number.NEGATIVE_INFINITY;
  #last: ServerResponse | null = null;
  #isOver = false;
  #isDraining = false;
  /** It has other owners: another protocol is spoken there, or was asked for. */
  #isHandedOver = false;
  /** Bytes that had come with the last request, BUSY while some of it is missing: more are of the next one. */
  #wholeAt = BUSY;
  /** When the last answer was out, in ms of `performance.now()`. */
  #answeredAtMs = 0;

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
    if (this.#isDraining && !this.#mayFollow()) return;
    this.#last = response;
    this.#measure(response);
    if (this.#isDraining) this.#closeBehind(response);
    if (isQueued(response)) response.once('socket', onTurn);
    this.#waiting.push({ response, begin });
    this.#beginNext();
    if (this.#isHeld || this.#open.length + this.#waiting.length <= MOST_OPEN) return;
    this.#isHeld = true;
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

  /** From now on the last answer that is due says that its connection closes behind it. */
  drain(): void {
    this.#isDraining = true;
    if (this.#last !== null) this.#closeBehind(this.#last);
  }

  /**
   * Another protocol was asked for. With that node:http takes its own listeners off, whatever it still has to answer:
   * nothing else would tell an answer that there is room for more of it, or any of them that their client has left.
   */
  handOver(): void {
    this.#isHandedOver = true;
    if (!isUnderWay(this.#last)) return;
    this.#socket.on('drain', this.#onDrain).prependOnceListener('close', this.#onGone);
    // Only who reads on notices. What comes is no request any more, and the end of it is the client's leaving.
    this.#socket.on('end', () => this.#socket.end()).resume();
  }

  /**
   * By the clock the next head is late. Calls `refuse` once it could have been read for `limitMs` and has not come: where
   * the client is held back, by us or by an answer that it does not take, the rest lies there unread.
   */
  late(limitMs: number, refuse: () => void): void {
    const last = this.#last;
    // Where node:http has only just read on, what came by then may be on its way here still.
    let sinceMs = Math.max(this.#readOnMs, performance.now() - limitMs + LATE_LOOK_MS);
    let wasPaused = false;
    const look = (): void => {
      const isOver = this.#isHandedOver || this.#isOver || this.#socket.destroyed;
      // Another one: that has come.
      if (isOver || this.#last !== last) return;
      const nowMs = performance.now();
      // Where it has just been let go on, its turn to be read is yet to come.
      const isPaused = this.#socket.isPaused();
      if (isPaused || wasPaused) sinceMs = nowMs;
      wasPaused = isPaused;
      if (nowMs - sinceMs >= limitMs) return refuse();
      setTimeout(afterReads, Math.min(limitMs, LATE_LOOK_MS), look).unref();
    };
    afterReads(look);
  }

  /**
   * Since when nothing is due and nothing of a next request has come, in ms of `performance.now()`; infinity while
   * something is. An answer is due until the kernel has all of it: node:http calls a connection idle while a slow
   * client's answer still waits. For the rest of a request that has begun to come there is `limits.headersTimeoutMs`.
   * (One that begins in the same read in which the one before it ends can not be told from it.)
   */
  get idleSinceMs(): number {
    const isSilent = this.#socket.bytesRead - this.#wholeAt <= EMPTY_LINE;
    const isIdle = this.#open.length === 0 && this.#wholeAt !== BUSY && isSilent;
    // What was refused there, and is no answer to a request, closes it by itself.
    const isOver = this.#isHandedOver || this.#socket.writableEnded || this.#socket.destroyed;
    return isIdle && !isOver ? this.#answeredAtMs : Number.POSITIVE_INFINITY;
  }

  close(): void {
    this.#socket.destroy();
  }

  /**
   * In a drain: the last answer was to close the connection, and does not. False: it says so already, and nothing
   * behind it is answered (RFC 9112 9.6); what is not begun can be sent again.
   */
  #mayFollow(): boolean {
    const last = this.#last;
    if (last === null) return true;
    this.#isOver = last.headersSent && !last.shouldKeepAlive;
    if (!this.#isOver) last.shouldKeepAlive = true;
    return !this.#isOver;
  }

  #closeBehind(response: ServerResponse): void {
    const { req } = response;
    // With some of a request unread, closing would reset the connection under its answer. One that is sent before
    // leaves the connection to be closed when it is idle.
    if (hasBody(req) && !req.complete) req.once('end', () => this.#closeBehind(response));
    else if (response === this.#last && !response.headersSent) response.shouldKeepAlive = false;
  }

  #measure(response: ServerResponse): void {
    const { req } = response;
    const isWhole = req.complete || !hasBody(req);
    this.#wholeAt = isWhole ? this.#socket.bytesRead : BUSY;
    if (isWhole) return;
    req.once('end', () => {
      if (response === this.#last) this.#wholeAt = this.#socket.bytesRead;
    });
  }

  #beginNext(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      // node:http answers what it has read, even if it may not be sent any more.
      if (!this.#socket.writable || wasCutShort(this.#socket)) {
        this.#waiting.length = 0;
        return;
      }
      const writes = isWrite(next.response.req.method ?? '');
      const mayBeOpenBeside = !writes && !this.#isWriteOpen && this.#open.length < MOST_OPEN;
      if (this.#open.length > 0 && !mayBeOpenBeside) return;
      this.#waiting.shift();
      const { response, begin } = next;
      this.#open.push(response);
      this.#isWriteOpen = writes;
      response.once('close', () => this.#onClose(response));
      begin();
    }
  }

  readonly #hold = (): void => void this.#socket.pause();

  readonly #onDrain = (): void => {
    for (const response of this.#open) {
      if (response.socket === this.#socket) response.emit('drain');
    }
  };

  readonly #onGone = (): void => {
    for (const response of this.#open) {
      response.req.destroy(Object.assign(new Error('aborted'), { code: 'ECONNRESET' }));
      response.destroy();
    }
  };

  #onClose(response: ServerResponse): void {
    this.#open.splice(this.#open.indexOf(response), 1);
    this.#answeredAtMs = performance.now();
    this.#beginNext();
    if (!this.#isHeld || this.#open.length + this.#waiting.length > MOST_OPEN) return;
    this.#isHeld = false;
    this.#readOnMs = performance.now();
    this.#socket.off('resume', this.#hold);
    // Of the last one that was read, some may be missing.
    this.#socket.resume();
  }
}

/**
 * An answer that was given up in the queue has no end, and node:http would hand it the connection all the same, for
 * ever. It closes behind the answer before it, with no byte of this one.
 */
function onTurn(this: ServerResponse, socket: Socket): void {
  if (this.destroyed) socket.destroy();
}
