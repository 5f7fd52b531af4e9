// The second leg of a session: what the other service would have sent. It is fed with what the client
// says and its answers go to the judge alone; whatever it does, the client does not notice. It may become
// the primary, and a primary may become it.
//
//   client messages ─► (mirrored) ─► second leg ─► copies for the judge, and the tail
//                                        └─ pings are answered here
import type { StreamTap } from '../ports.ts';
import type { SecondLeg as Role, Side } from '../rules/decide.ts';
import { endOfLeg } from '../rules/handover/close-codes.ts';
import type { SecondLegEnd } from '../rules/second-leg-end.ts';
import { ABNORMAL, CLOSE_BYTE, NO_CODE, type StopAt, wholeFrame } from '../wire/frames.ts';
import { GatheredBytes } from '../wire/gathered-bytes.ts';
import { Flood } from './flood.ts';
import { dialLeg, GOODBYE_MS, type Leg, type LegRequest, MOST_WAITING_BYTES, mask } from './leg.ts';
import { LET_IN_MS } from './let-in.ts';
import type { TailRing } from './tail-ring.ts';

/** Of 4xx, those that are about the service, or what stands before it (RFC 9110 15.5, RFC 8470 5.2, RFC 6585 4). */
const NOT_OF_CLIENT: ReadonlySet<number> = new Set([404, 405, 407, 408, 421, 425, 426, 429]);
/** Close code of who is done with his client (RFC 6455 7.4.1). */
const FULFILLED = 1_000;

export interface SecondLegOptions {
  readonly side: Side;
  readonly role: Role['role'];
  readonly tap: StreamTap;
  /** Null for a leg that nobody is ever moved to. */
  readonly tails: TailRing | null;
  /** Told once the handshake is through, and once when it is over. */
  readonly onOpen: () => void;
  /** Told when bytes have come, before they are read, and again once they lie in the tail. */
  readonly onSpeaks: () => void;
  /** Told before `onEnd` that its service has answered the handshake, and with another status than 101. */
  readonly onRefused: (status: number) => void;
  readonly onEnd: (end: SecondLegEnd) => void;
}

export class SecondLeg {
  readonly side: Side;
  /** Changes with the roles of the session, where its service is not told. */
  role: Role['role'];
  readonly #options: SecondLegOptions;
  /** Null for one that was not dialled: it takes longer to make than all else of it. */
  #gone: AbortController | null = null;
  #leg: Leg | null = null;
  /** Its service's answer to the handshake, if that is no 101. */
  #refusedWith: number | null = null;
  /** Frames that wait for `flush`, or for a service that is not open yet; null for none. */
  #frames: GatheredBytes | null = null;
  #bytes = 0;
  readonly #flood = new Flood();
  /** Why a goodbye was said; its service may still send until it answers. */
  #leaving: SecondLegEnd | null = null;
  #ended = false;

  private constructor(options: SecondLegOptions) {
    this.#options = options;
    this.side = options.side;
    this.role = options.role;
  }

  /** Dials at once. */
  static dial(request: LegRequest, options: SecondLegOptions): SecondLeg {
    const second = new SecondLeg(options);
    void second.#dial(request);
    return second;
  }

  /** A leg that was the primary. `onOpen` is not called: it is open. */
  static of(leg: Leg, options: SecondLegOptions): SecondLeg {
    const second = new SecondLeg(options);
    second.#attach(leg);
    return second;
  }

  /** The leg, while it is open and nobody has said goodbye. */
  get leg(): Leg | null {
    return this.#ended || this.#leaving !== null ? null : this.#leg;
  }

  /** Of its service, as far as they have begun. */
  get messages(): number {
    return this.#leg?.tracker.messages ?? 0;
  }

  /** Its service has refused it, or said goodbye, for its client's sake: it would say the same to another leg. */
  get refusesClient(): boolean {
    if (this.#refusedWith !== null) return isOfClient(this.#refusedWith);
    return isGoodbyeToClient(this.#leg?.tracker.closeCode ?? ABNORMAL);
  }

  /** Its service lets the client in: some accept whoever comes, and say then that he may not. */
  get letsIn(): boolean {
    const leg = this.#leg;
    if (leg === null || performance.now() - leg.openedAt < LET_IN_MS) return false;
    return this.#refusedWith === null && !showsTheDoor(leg.tracker.closeCode ?? ABNORMAL);
  }

  /** Gives the leg away, open as it is: whoever takes it listens from now on. */
  release(): Leg | null {
    const { leg } = this;
    if (leg === null) return null;
    this.#ended = true;
    const { socket } = leg;
    socket.off('end', this.#onSocketEnd).off('error', onError).off('close', this.#onSocketClose);
    return leg;
  }

  /** A message of the client, which goes out with `flush`. `payload` is not kept. False: it takes none any more. */
  send(opcode: number, payload: Buffer): boolean {
    if (this.#ended || this.#leaving !== null) return false;
    this.#frames ??= new GatheredBytes(MOST_WAITING_BYTES);
    this.#frames.add(wholeFrame(opcode, payload, mask()));
    if (this.#leg === null && this.#frames.length > MOST_WAITING_BYTES) this.#end('slow');
    return !this.#ended;
  }

  /** What was sent goes out in one write: a client may put thousands of messages into one of his. */
  flush(): void {
    if (this.#leg === null || this.#frames === null) return;
    const { socket } = this.#leg;
    socket.write(this.#frames.take());
    this.#frames = null;
    if (socket.writableLength > MOST_WAITING_BYTES) this.#end('slow');
  }

  /** Says goodbye; what the service had sent by then is still compared. */
  leave(why: 'ended' | 'unwanted'): void {
    if (this.#ended || this.#leaving !== null) return;
    this.#leaving = why;
    if (this.#leg === null) return this.#end(why);
    this.#leg.leave();
    setTimeout(() => this.#end(why), GOODBYE_MS).unref();
  }

  /** Called once a second with what the primary has sent since this one came; breaks off a shadow that floods. */
  sweep(primaryBytes: number): void {
    // Also of a standby, which may be a shadow again: not all that it has sent was sent in that second.
    const isFlood = this.#flood.look(this.#bytes, primaryBytes);
    if (isFlood && this.role === 'shadow') this.#end('flooding');
  }

  async #dial(request: LegRequest): Promise<void> {
    this.#gone = new AbortController();
    const outcome = await dialLeg(request, this.#gone.signal);
    if (this.#ended) {
      if (outcome.kind !== 'failed') outcome.leg.socket.destroy();
      return;
    }
    if (outcome.kind !== 'open') {
      if (outcome.kind === 'refused') {
        outcome.leg.socket.destroy();
        this.#refusedWith = outcome.answer.status;
        this.#options.onRefused(outcome.answer.status);
      }
      return this.#end(outcome.kind);
    }
    const { leg, early } = outcome;
    this.#attach(leg);
    this.#options.tap.legOpened(this.side, leg.tracker);
    this.flush();
    this.#options.onOpen();
    // Its end may be among them.
    if (early.length > 0) this.#onBytes(leg, early);
  }

  #attach(leg: Leg): void {
    this.#leg = leg;
    if (this.#options.tails !== null) leg.tailedSince = Math.min(leg.tailedSince, leg.openedAt);
    leg.onBytes = view => this.#onBytes(leg, view);
    // The client's answer may go to the new primary. A second pong is harmless (RFC 6455 5.5.3), a ping
    // without one costs the leg.
    leg.answerPing();
    const { socket } = leg;
    socket.on('end', this.#onSocketEnd).on('error', onError).on('close', this.#onSocketClose);
  }

  readonly #onSocketEnd = (): void => {
    if (this.#leg === null) return;
    // After a goodbye it has ended already, and doing so again makes an error that nobody gets: a tenth of a farewell.
    if (!this.#leg.socket.writableEnded) this.#leg.socket.end();
    this.#farewell(this.#leg);
  };
  readonly #onSocketClose = (): void => this.#end(endedBy(this.#leg));

  #onBytes(leg: Leg, view: Buffer): void {
    if (this.#ended) return;
    const { tracker } = leg;
    // Before they are read: a session that is to be moved to it then is one of which nobody has anything to say, and
    // what it says is the new primary's. But by a goodbye alone nobody is moved to who says it.
    if (!tracker.atFrameBoundary || view[0] !== CLOSE_BYTE) this.#options.onSpeaks();
    if (this.#ended) return leg.onBytes(view);
    this.#bytes += view.length;
    // What comes behind a message is found in the tail, though the beginning of that one may be gone.
    const taken = tracker.atMessageBoundary ? 0 : this.#follow(leg, view, 'message');
    if (taken < view.length) this.#follow(leg, taken === 0 ? view : view.subarray(taken), 'never');
    if (this.#leaving !== null) return;
    // Nobody can be moved to it, or be told where its next message begins.
    if (tracker.lost) return this.#end('unframeable');
    leg.answerPing();
    if (tracker.closeCode === null) return this.#options.onSpeaks();
    leg.leave();
    this.#farewell(leg);
  }

  #follow(leg: Leg, view: Buffer, stop: StopAt): number {
    const { tap, tails } = this.#options;
    const { tracker } = leg;
    const { messages, atMessageBoundary: atBoundary } = tracker;
    const taken = tap.follow(this.side, view, tracker, stop);
    if (tails !== null) {
      const bytes = taken === view.length ? view : view.subarray(0, taken);
      leg.tail = tails.append(leg.tail, { bytes, messages, atBoundary, time: performance.now() });
    }
    return taken;
  }

  /** Answered, and gone for us at once: nobody must wait for it, or make it the primary. */
  #farewell(leg: Leg): void {
    setTimeout(() => leg.socket.destroy(), GOODBYE_MS).unref();
    this.#end(endedBy(leg), false);
  }

  #end(why: SecondLegEnd, destroys = true): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#frames = null;
    if (this.#leg === null) this.#gone?.abort();
    else if (destroys) this.#leg.socket.destroy();
    const end = this.#leaving ?? why;
    const isByService = end === 'closed' || end === 'broken-off';
    this.#options.tap.legClosed(this.side, isByService ? 'by-service' : 'left');
    this.#options.onEnd(end);
  }
}

/** What its service meant by the end of it. */
function endedBy(leg: Leg | null): 'closed' | 'broken-off' {
  return endingOf(leg?.tracker.closeCode ?? ABNORMAL);
}

/** What a service means that ends a leg with that close code. */
export function endingOf(code: number): 'closed' | 'broken-off' {
  return endOfLeg(code, 'steady') === 'pass' ? 'closed' : 'broken-off';
}

/** What matters is that it is gone, and 'close' says so next. */
function onError(): void {
  // Counted there.
}

/** Does a service that closes a leg with that code not want its client? */
export function showsTheDoor(code: number): boolean {
  return code !== FULFILLED && isGoodbyeToClient(code);
}

function isGoodbyeToClient(code: number): boolean {
  // 4400 to 4599 say what those of an answer do.
  if (code >= 4_400 && code < 4_600) return isOfClient(code - 4_000);
  // No code is what any `close()` without a reason says.
  return code !== NO_CODE && endOfLeg(code, 'moving') === 'pass';
}

function isOfClient(status: number): boolean {
  return status >= 400 && status < 500 && !NOT_OF_CLIENT.has(status);
}
