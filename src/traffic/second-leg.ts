// The second leg of a session: what the other service would have sent. It is fed with what the client
// says and its answers go to the judge alone; whatever it does, the client does not notice.
//
//   client messages ─► (mirrored) ─► second leg ─► copies for the judge
//                                        └─ pings are answered here
import { randomBytes } from 'node:crypto';
import type { SecondLegEnd, StreamTap } from '../ports.ts';
import type { SecondLeg as Role, Side } from '../rules/decide.ts';
import { closeFrame, controlFrame, FrameTracker, OPCODE, wholeFrame } from '../wire/frames.ts';
import { dialLeg, type Leg, type LegRequest } from './leg.ts';

/** What may wait for a service that does not read, or is not open yet; as much as a socket holds. */
const MOST_WAITING_BYTES = 1_048_576;
/** A shadow may send this much a second, and four times what the primary sends. */
const FLOOD_BYTES = 8 * 1_048_576;
const FLOOD_FACTOR = 4;
/** A goodbye is answered within that time, or the connection is cut. */
const GOODBYE_MS = 2_000;
/** After the session has ended nobody waits: what comes in this time is still compared. */
const NORMAL_CLOSE = 1000;

export interface SecondLegOptions {
  readonly role: Role['role'];
  readonly request: LegRequest;
  readonly tap: StreamTap;
  /** Told once the handshake is through, and once when it is over. */
  readonly onOpen: () => void;
  readonly onEnd: (end: SecondLegEnd) => void;
}

export class SecondLeg {
  readonly side: Side;
  readonly role: Role['role'];
  readonly #options: SecondLegOptions;
  readonly #gone = new AbortController();
  readonly #tracker: FrameTracker;
  #leg: Leg | null = null;
  /** Frames for a service that is not open yet. */
  #early: Buffer[] = [];
  #earlyBytes = 0;
  #bytesSinceSweep = 0;
  /** Why a goodbye was said; its service may still send until it answers. */
  #leaving: SecondLegEnd | null = null;
  #ended = false;

  constructor(options: SecondLegOptions) {
    this.#options = options;
    this.side = options.request.upstream.side;
    this.role = options.role;
    this.#tracker = new FrameTracker(payload => this.#write(OPCODE.pong, payload));
    void this.#dial();
  }

  get isOpen(): boolean {
    return this.#leg !== null && !this.#ended;
  }

  /** A message of the client. `payload` is not kept. */
  send(opcode: number, payload: Buffer): void {
    if (this.#ended || this.#leaving !== null) return;
    if (this.#leg === null) {
      this.#early.push(wholeFrame(opcode, payload, mask()));
      this.#earlyBytes += payload.length;
      if (this.#earlyBytes > MOST_WAITING_BYTES) this.#end('slow');
      return;
    }
    this.#write(opcode, payload);
  }

  /** Says goodbye; what the service had sent by then is still compared. */
  leave(why: 'ended' | 'unwanted', code = NORMAL_CLOSE): void {
    if (this.#ended || this.#leaving !== null) return;
    this.#leaving = why;
    if (this.#leg === null) return this.#end(why);
    this.#leg.socket.end(closeFrame(code, '', mask()));
    setTimeout(() => this.#end(why), GOODBYE_MS).unref();
  }

  /** Cuts it off at once. */
  destroy(): void {
    this.#end('ended');
  }

  /** Called once a second with what the primary sent since; breaks off a shadow that floods. */
  sweep(primaryBytes: number): void {
    const bytes = this.#bytesSinceSweep;
    this.#bytesSinceSweep = 0;
    if (this.role === 'shadow' && bytes > Math.max(FLOOD_BYTES, FLOOD_FACTOR * primaryBytes)) {
      this.#end('flooding');
    }
  }

  async #dial(): Promise<void> {
    const outcome = await dialLeg(this.#options.request, this.#gone.signal);
    if (this.#ended) {
      if (outcome.kind !== 'failed') outcome.leg.socket.destroy();
      return;
    }
    if (outcome.kind !== 'open') {
      if (outcome.kind === 'refused') outcome.leg.socket.destroy();
      return this.#end(outcome.kind);
    }
    const { leg, early } = outcome;
    this.#leg = leg;
    leg.onBytes = view => this.#onBytes(view);
    // What matters is that it is gone, and 'close' says so next.
    leg.socket.on('error', () => undefined);
    leg.socket.on('end', () => leg.socket.end());
    leg.socket.on('close', () => this.#end('closed'));
    this.#options.tap.legOpened(this.side, this.#tracker);
    this.#options.onOpen();
    for (const frame of this.#early) leg.socket.write(frame);
    this.#early = [];
    if (early.length > 0) this.#onBytes(early);
  }

  #onBytes(view: Buffer): void {
    if (this.#ended) return;
    this.#bytesSinceSweep += view.length;
    this.#options.tap.follow(this.side, view, this.#tracker);
    if (this.#tracker.closeCode === null || this.#leaving !== null) return;
    this.#leaving = 'closed';
    this.#leg?.socket.end(closeFrame(NORMAL_CLOSE, '', mask()));
    setTimeout(() => this.#end('closed'), GOODBYE_MS).unref();
  }

  #write(opcode: number, payload: Buffer): void {
    const socket = this.#leg?.socket;
    if (socket === undefined || this.#ended || this.#leaving !== null) return;
    socket.write(
      opcode >= OPCODE.close
        ? controlFrame(opcode, payload, mask())
        : wholeFrame(opcode, payload, mask()),
    );
    if (socket.writableLength > MOST_WAITING_BYTES) this.#end('slow');
  }

  #end(why: SecondLegEnd): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#early = [];
    this.#gone.abort();
    this.#leg?.socket.destroy();
    this.#options.tap.legClosed(this.side);
    this.#options.onEnd(this.#leaving ?? why);
  }
}

/** RFC 6455 5.3: fresh and unpredictable for every frame. */
function mask(): Buffer {
  return randomBytes(4);
}
