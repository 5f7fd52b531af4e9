// A leg: one upstream connection of a WebSocket session, from dialling to the answer's head.
import { randomBytes } from 'node:crypto';
import type net from 'node:net';
import type { ErrorCode } from '../errors.ts';
import type { Side } from '../rules/decide.ts';
import { closeFrame, FrameTracker, OPCODE, wholeFrame } from '../wire/frames.ts';
import { checkServerHandshake } from '../wire/handshake.ts';
import { fieldValues } from '../wire/headers.ts';
import { type AnswerHead, readAnswerHead } from '../wire/http-head.ts';
import { afterReads } from './after-reads.ts';
import { NOTHING } from './tail-ring.ts';
import { connect, connectFailure, type Upstream } from './upstream.ts';

export const MOST_READ_BYTES = 65_536;
/** One read buffer for every leg of the process: each read is copied before the next one. */
const READ_BUFFER = Buffer.allocUnsafeSlow(MOST_READ_BYTES);
/** An answer's head; four times what services usually allow for a request's. */
const MOST_ANSWER_BYTES = 65_536;
/** Informational answers before the real one (RFC 9110 15.2); more is nonsense. */
const MOST_INTERIM_ANSWERS = 5;

/** What may wait for a service that does not read, or is not open yet; as much as a socket holds. */
export const MOST_WAITING_BYTES = 1_048_576;
/** So many masks are drawn at a time: a call for each of them costs more than the frame. */
const MASKS = 1_024;

/** A goodbye is answered within that time, or the connection is cut. */
export const GOODBYE_MS = 2_000;
const NORMAL_CLOSE = 1000;

/** An upstream connection whose bytes go to whoever owns it at the time. */
export class Leg {
  readonly side: Side;
  readonly socket: net.Socket;
  /** Follows what its service sends, from the first byte behind the handshake. */
  readonly tracker = new FrameTracker(payload => {
    this.pinged = payload;
  });
  /** Gets every read. The view holds only during the call. */
  onBytes: (view: Buffer) => void;
  /**
   * The last ping of it that is not answered for certain: of a primary it went to the client, who may answer when
   * another leg is that. Of one read the last one is enough (RFC 6455 5.5.3): there may be thousands in it.
   */
  pinged: Buffer | null = null;
  /** The subprotocol that its service chose; null for none. */
  protocol: string | null = null;
  /** Where its last bytes lie in the ring of tails. */
  tail = NOTHING;
  /**
   * ms of `performance.now()`: what its service has said from then on went there. Minus infinity for a leg that
   * was opened with its session: before it there was nobody to say anything to.
   */
  tailedSince = Number.POSITIVE_INFINITY;
  /** Messages of it up to this one reached the client while it was the primary. */
  given = 0;
  /** ms of `performance.now()`. */
  openedAt = 0;
  /** A message of the client's, begun while it was the primary, is still going to it as it comes. */
  midMessage = false;

  constructor(upstream: Upstream, onBytes: (view: Buffer) => void) {
    this.side = upstream.side;
    this.onBytes = onBytes;
    this.socket = connect(upstream, {
      buffer: READ_BUFFER,
      callback: (length, view) => {
        this.onBytes((view as Buffer).subarray(0, length));
        return true;
      },
    });
  }

  /**
   * Inside a message of the client's it waits: in one of its frames it would be taken for payload. A service
   * that reads none of them gets no more.
   */
  pong(payload: Buffer): void {
    const { socket } = this;
    if (this.midMessage) this.pinged = payload;
    else if (socket.writable && socket.writableLength <= MOST_WAITING_BYTES)
      socket.write(wholeFrame(OPCODE.pong, payload, mask()));
  }

  /** Where nobody has stopped it, `resume` is carried out all the same, in a tick of its own. */
  readOn(): void {
    if (this.socket.isPaused()) this.socket.resume();
  }

  /** Answers the last ping that nobody has answered for certain. */
  answerPing(): void {
    const { pinged } = this;
    this.pinged = null;
    if (pinged !== null) this.pong(pinged);
  }

  /** Says goodbye, and nothing more; inside a message of the client's, by the end of the connection alone. */
  leave(): void {
    this.socket.resume();
    if (this.midMessage) this.socket.end();
    else this.socket.end(closeFrame(NORMAL_CLOSE, '', mask()));
    setTimeout(() => this.socket.destroy(), GOODBYE_MS).unref();
  }
}

let masks = Buffer.alloc(0);

/** RFC 6455 5.3: fresh and unpredictable for every frame. */
export function mask(): Buffer {
  if (masks.length === 0) masks = randomBytes(4 * MASKS);
  const drawn = masks.subarray(0, 4);
  masks = masks.subarray(4);
  return drawn;
}

export interface LegRequest {
  readonly upstream: Upstream;
  /** The whole upgrade request. */
  readonly head: Buffer;
  /** Its `Sec-WebSocket-Key`, and the subprotocols that it offers. */
  readonly key: string;
  readonly offered: readonly string[];
}

export interface LegAnswer<Kind extends 'open' | 'refused'> {
  readonly kind: Kind;
  readonly leg: Leg;
  readonly answer: AnswerHead;
  /** What the service sent behind its answer's head. */
  readonly early: Buffer;
}

export type LegOutcome =
  | LegAnswer<'open'>
  | LegAnswer<'refused'>
  | { readonly kind: 'failed'; readonly code: ErrorCode; readonly detail: string };

/**
 * Dials a service, sends the upgrade request, reads the answer. Never rejects. An abort destroys
 * the connection and settles as failed. Until the caller takes over `leg.onBytes`, at once after
 * this settles, no byte is read.
 */
export function dialLeg(request: LegRequest, signal: AbortSignal): Promise<LegOutcome> {
  return new Promise(resolve => {
    const { upstream } = request;
    let received = Buffer.alloc(0);
    let interim = 0;
    let settled = false;
    const leg = new Leg(upstream, view => {
      received = Buffer.concat([received, view]);
      read();
    });
    const { socket } = leg;
    let timer = setTimeout(onTimeout, upstream.config.connectTimeoutMs);

    socket.once(upstream.secure ? 'secureConnect' : 'connect', () => {
      clearTimeout(timer);
      timer = setTimeout(onTimeout, upstream.config.handshakeTimeoutMs);
      socket.write(request.head);
    });
    socket.on('error', onError);
    socket.once('end', onEnd);
    socket.once('close', onEnd);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();

    function read(): void {
      const answer = readAnswerHead(received, MOST_ANSWER_BYTES);
      if (answer === 'incomplete') return;
      if ('invalid' in answer) return fail('upstream-invalid', answer.invalid);
      if (answer.status < 200 && answer.status !== 101) {
        interim += 1;
        if (interim > MOST_INTERIM_ANSWERS)
          return fail('upstream-invalid', 'too many interim answers');
        received = received.subarray(answer.bytes);
        return read();
      }
      if (answer.status === 101) {
        const wrong = checkServerHandshake(answer.headers, request.key, request.offered);
        if (wrong !== null) return fail('upstream-invalid', wrong);
      }
      const early = received.subarray(answer.bytes);
      leg.protocol = fieldValues(answer.headers, 'sec-websocket-protocol')[0] ?? null;
      leg.openedAt = performance.now();
      settle({ kind: answer.status === 101 ? 'open' : 'refused', leg, answer, early });
    }
    function onTimeout(): void {
      const due = timer;
      afterReads(() => {
        // It has come to the next step meanwhile.
        if (timer !== due) return;
        fail(
          'upstream-timeout',
          socket.connecting ? 'it did not accept the connection' : 'it did not answer',
        );
      });
    }
    function onError(error: NodeJS.ErrnoException): void {
      fail(
        received.length === 0 && socket.bytesWritten === 0
          ? connectFailure(error.code)
          : 'upstream-closed',
        error.code ?? error.message,
      );
    }
    function onEnd(): void {
      fail('upstream-closed', 'it closed the connection');
    }
    function onAbort(): void {
      fail('upstream-closed', 'it was given up');
    }
    function fail(code: ErrorCode, detail: string): void {
      if (settled) return;
      socket.destroy();
      settle({ kind: 'failed', code, detail });
    }
    function settle(outcome: LegOutcome): void {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      socket.off('end', onEnd);
      socket.off('close', onEnd);
      // An open leg outlives this function by hours: nothing of it may stay behind on the socket.
      if (outcome.kind !== 'failed') socket.off('error', onError);
      resolve(outcome);
    }
  });
}
