// A connection to a service for plain requests: dialled when it is first used, one request at a time,
// dialled anew where the service has closed it.
//
//   give ─► waiting ─► (dial) ─► start ─► read … ─► complete ─► idle ─► the next one
//                         └─────────┴────────┴─► lost: told why, or sent once more
import type net from 'node:net';
import type { ErrorCode } from '../errors.ts';
import { afterReads } from './after-reads.ts';
import { Leg } from './leg.ts';
import { Progress } from './progress.ts';
import type { Member, Roll } from './roll.ts';
import { connectFailure, type Upstream } from './upstream.ts';

/**
 * An idle connection is kept so long, less if the service asks for it. Most services close idle ones
 * after 5 s or more and say so; without a word 4 s stay below that.
 */
const KEEP_ALIVE_MS = 4_000;
/** A service counts from its last byte, which took its time to get here. */
const KEEP_ALIVE_MARGIN_MS = 1_000;

/** Why a request has no whole answer. */
export interface Loss {
  readonly code: ErrorCode;
  readonly detail: string;
}

/** One request, as its connection deals with it. */
export interface RequestUnderWay {
  /** The connection stands, and is this one's until the answer is complete. */
  start(socket: net.Socket): void;
  /**
   * Bytes that came. `open`: more are due; a number: the answer is complete, and the service keeps the
   * connection for so many seconds; a loss: it is not valid.
   */
  read(view: Buffer): 'open' | number | Loss;
  /** The service has ended its side. True if that completes the answer. */
  readEnd(): boolean;
  /** Called after `read` or `readEnd` said so; the connection is free. */
  complete(): void;
  /** The connection is lost. True if the request is to be sent once more, on a new one. */
  mayRepeat(): boolean;
  lost(loss: Loss): void;
  /** The service has had the whole request since then and not begun to answer; null otherwise. */
  readonly unansweredSinceMs: number | null;
  /** Its answer has begun. */
  readonly isAnswered: boolean;
}

export interface ServiceConnectionOptions {
  readonly upstream: Upstream;
  /** All connections that stand or are being dialled; whoever keeps it calls `sweep` for them. */
  readonly roll: Roll<ServiceConnection>;
  /** A request given to it is over, however it ended. */
  readonly onFree?: () => void;
  /** It was closed, by the service or by its time limit, while it was idle. */
  readonly onGone?: () => void;
}

export class ServiceConnection implements Member {
  place = -1;
  readonly upstream: Upstream;
  readonly #options: ServiceConnectionOptions;
  readonly #waiting: RequestUnderWay[] = [];
  #current: RequestUnderWay | null = null;
  readonly #progress = new Progress(performance.now());
  /** The current request is on its way; what comes is its answer. */
  #started = false;
  #leg: Leg | null = null;
  #stands = false;
  /** Requests that were sent on this leg. */
  #sent = 0;
  #dialTimer: NodeJS.Timeout | undefined;
  #idleUntilMs = 0;
  #isPaused = false;
  #isClosing = false;

  constructor(options: ServiceConnectionOptions) {
    this.#options = options;
    this.upstream = options.upstream;
  }

  /** It stands, for the next request. */
  get isOpen(): boolean {
    return this.#stands;
  }

  /** True if the current request goes over a leg that has carried others. */
  get isReused(): boolean {
    return this.#sent > 1;
  }

  /** Takes a request, which has its turn when those before it are over. */
  give(request: RequestUnderWay): void {
    this.#waiting.push(request);
    this.#next();
  }

  /** Reads on, if it is this request's turn. */
  resume(request: RequestUnderWay): void {
    if (this.#current === request) this.#unpause();
  }

  /** Gives a request up; it hears nothing more. */
  abort(request: RequestUnderWay): void {
    const place = this.#waiting.indexOf(request);
    if (place !== -1) this.#waiting.splice(place, 1);
    else if (this.#current !== request) return;
    else this.#drop();
    this.#finish(request);
  }

  /** What is under way comes to its end; after that it is closed. */
  close(): void {
    this.#isClosing = true;
    this.#next();
  }

  /** Called about once a second: closes what was idle for long, gives up services that do not answer. */
  sweep(nowMs: number): void {
    const { responseTimeoutMs } = this.upstream.config;
    if (this.#current === null) {
      if (nowMs >= this.#idleUntilMs) this.#goIdle();
      return;
    }
    // It may answer what it has not read, and go on with that for as long as it likes.
    if (this.#started && this.#current.isAnswered) return this.#progress.restart(nowMs);
    // The time for an answer counts from the whole request; a body that is not taken has no such moment.
    const socket = this.#stands ? (this.#leg?.socket ?? null) : null;
    if (socket !== null && this.#progress.isStuck(socket, nowMs, responseTimeoutMs))
      return this.#lose({ code: 'upstream-timeout', detail: 'it does not take the request' });
    const sinceMs = this.#started ? this.#current.unansweredSinceMs : null;
    if (sinceMs !== null && nowMs - sinceMs >= responseTimeoutMs)
      this.#lose({ code: 'upstream-timeout', detail: 'it did not answer' });
  }

  #next(): void {
    if (this.#current !== null) return;
    const next = this.#waiting.shift();
    if (next === undefined) {
      if (this.#isClosing) this.#drop();
      return;
    }
    this.#current = next;
    if (this.#stands && performance.now() >= this.#idleUntilMs) this.#drop();
    if (this.#leg === null) this.#dial();
    // What the service sent unasked, its end included, may have arrived and not been read yet.
    else afterReads(this.#start);
  }

  #dial(): void {
    const leg = new Leg(this.upstream, view => {
      if (this.#leg === leg) this.#read(view);
    });
    this.#leg = leg;
    this.#sent = 0;
    this.#options.roll.add(this);
    const giveUp = () => {
      if (this.#leg !== leg || this.#stands) return;
      leg.socket.destroy();
      this.#lose({ code: 'upstream-timeout', detail: 'it did not accept the connection' });
    };
    const { connectTimeoutMs } = this.upstream.config;
    this.#dialTimer = setTimeout(() => afterReads(giveUp), connectTimeoutMs);
    let failure = '';
    leg.socket
      .once(this.upstream.secure ? 'secureConnect' : 'connect', () => {
        if (this.#leg !== leg) return;
        clearTimeout(this.#dialTimer);
        this.#stands = true;
        this.#start();
      })
      .on('end', () => {
        if (this.#leg === leg) this.#readEnd();
      })
      .on('error', (error: NodeJS.ErrnoException) => {
        failure = error.code ?? error.message;
      })
      .on('close', () => {
        if (this.#leg === leg) this.#lose(lossBy(failure, this.#stands));
      });
  }

  readonly #start = (): void => {
    const { socket } = this.#leg ?? {};
    if (socket === undefined || !this.#stands || this.#started || this.#current === null) return;
    this.#started = true;
    this.#sent += 1;
    this.#current.start(socket);
  };

  #read(view: Buffer): void {
    const request = this.#current;
    // Nobody has asked for that: whose it is can not be known, nor what comes after it.
    if (request === null || !this.#started) return this.#loseIdle();
    const outcome = request.read(view);
    // It may have been given up over what it read.
    if (this.#current !== request || outcome === 'open') return;
    if (typeof outcome !== 'number') return this.#lose(outcome);
    this.#complete(request, outcome);
  }

  #readEnd(): void {
    const request = this.#current;
    if (request === null || !this.#started) return this.#loseIdle();
    if (request.readEnd()) this.#complete(request, 0);
    else this.#lose({ code: 'upstream-closed', detail: 'it closed the connection' });
  }

  #complete(request: RequestUnderWay, keptForS: number): void {
    const forMs = Math.min(KEEP_ALIVE_MS, keptForS * 1_000 - KEEP_ALIVE_MARGIN_MS);
    this.#idleUntilMs = performance.now() + forMs;
    if (forMs <= 0) this.#drop();
    else this.#unpause();
    this.#finish(request);
    request.complete();
  }

  /** Pauses reading until the current request resumes it. */
  pause(): void {
    this.#isPaused = true;
    this.#leg?.socket.pause();
  }

  #unpause(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#leg?.socket.resume();
  }

  /** The leg is lost, and its request with it, unless that goes once more. */
  #lose(loss: Loss): void {
    const request = this.#current;
    if (request === null || (!this.#started && this.#stands)) return this.#loseIdle();
    const again = this.#started && loss.code === 'upstream-closed' && request.mayRepeat();
    this.#drop();
    if (again) return this.#dial();
    this.#finish(request);
    request.lost(loss);
  }

  /** A leg on which nothing was asked is no loss: a request that waits for it gets a new one. */
  #loseIdle(): void {
    this.#drop();
    if (this.#current === null) this.#options.onGone?.();
    else this.#dial();
  }

  #goIdle(): void {
    this.#drop();
    this.#options.onGone?.();
  }

  #drop(): void {
    const leg = this.#leg;
    if (leg === null) return;
    clearTimeout(this.#dialTimer);
    this.#leg = null;
    this.#stands = false;
    this.#started = false;
    this.#isPaused = false;
    this.#options.roll.delete(this);
    leg.socket.destroy();
  }

  #finish(request: RequestUnderWay): void {
    if (this.#current === request) {
      this.#current = null;
      this.#started = false;
    }
    this.#options.onFree?.();
    this.#next();
  }
}

function lossBy(failure: string, stood: boolean): Loss {
  const detail = failure === '' ? 'it closed the connection' : failure;
  const isClosed = stood || failure === '' || failure === 'ECONNRESET' || failure === 'EPIPE';
  return { code: isClosed ? 'upstream-closed' : connectFailure(failure), detail };
}
