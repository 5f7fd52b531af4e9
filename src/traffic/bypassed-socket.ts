// A WebSocket in the bypass. The library moves its bytes; here it is only listened to, so that it can be
// ended between two messages, as any other.
import type { Socket } from 'node:net';
import type { LimitsConfig } from '../config/schema.ts';
import { closeFrame, FrameTracker } from '../wire/frames.ts';
import { Ending } from './ending.ts';
import { Progress } from './progress.ts';
import { watchForDeadPeer } from './upstream.ts';

/** Its end is looked at so often. */
const SWEEP_MS = 1_000;

export class BypassedSocket {
  readonly #client: Socket;
  readonly #upstream: Socket;
  readonly #limits: LimitsConfig;
  #sweeper: NodeJS.Timeout | undefined;
  readonly #toClient = new FrameTracker();
  readonly #toLegacy = new FrameTracker();
  /** A close of ours that waits for the message under way to end. */
  #closeWaiting: Buffer | null = null;
  #ending = false;
  /** Our close has gone out; what legacy still sends has no reader. */
  #cut = false;

  /** Both are connected by the library already, and not a byte has been read since. */
  constructor(client: Socket, upstream: Socket, limits: LimitsConfig) {
    this.#client = client;
    this.#upstream = upstream;
    this.#limits = limits;
    // The library asks the system to look for dead peers after two hours.
    watchForDeadPeer(client);
    watchForDeadPeer(upstream);
    upstream.on('data', this.#onData);
    client.on('data', this.#onClientData);
    // The library passes an end on, and leaves the rest to the other one, which may never follow.
    client.once('end', this.#onEnd);
    upstream.once('end', this.#onEnd);
    client.once('close', () => {
      clearInterval(this.#sweeper);
      upstream.resume();
      upstream.destroySoon();
    });
  }

  /** Ends it by a close frame, as `Session.end` does. Legacy still gets the client's answer, while it takes any. */
  end(code: number, reason: string): void {
    if (this.#ending) return;
    this.#ending = true;
    if (this.#toClient.lost) return void this.#client.destroy();
    this.#upstream.unpipe(this.#client);
    this.#watchEnding(false);
    const frame = closeFrame(code, reason);
    if (this.#toClient.atMessageBoundary) {
      this.#put(frame);
    } else {
      this.#closeWaiting = frame;
      setTimeout(() => {
        if (this.#closeWaiting === null) return;
        if (this.#toClient.atFrameBoundary) this.#put(frame);
        else this.#client.destroy();
      }, this.#limits.boundaryMs).unref();
    }
    // Without a pipe it stands still.
    this.#upstream.resume();
  }

  readonly #onEnd = (): void => {
    this.#watchEnding(true);
    this.#endAnswered();
  };

  /** Gives up a side that does not follow the other's end, or ours. */
  #watchEnding(mayFinish: boolean): void {
    if (this.#sweeper !== undefined || this.#client.destroyed) return;
    const both = [this.#client, this.#upstream];
    const beganMs = performance.now();
    const ending = new Ending(beganMs, mayFinish);
    const legacy = new Progress(beganMs);
    this.#sweeper = setInterval(() => {
      const nowMs = performance.now();
      if (ending.isLate(both, nowMs, this.#limits)) return void this.#client.destroy();
      // It takes nothing any more: the client is read all the same, since its answer lies behind.
      if (this.#cut && legacy.isStuck(this.#upstream, nowMs, this.#limits.closeMs))
        this.#client.unpipe(this.#upstream).resume();
    }, SWEEP_MS).unref();
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#cut) return;
    if (this.#closeWaiting === null) return void this.#toClient.push(chunk);
    const taken = this.#toClient.push(chunk, 'message');
    this.#client.write(chunk.subarray(0, taken));
    if (this.#toClient.atMessageBoundary) this.#put(this.#closeWaiting);
  };

  readonly #onClientData = (chunk: Buffer): void => {
    this.#toLegacy.push(chunk);
    this.#endAnswered();
  };

  #put(frame: Buffer): void {
    this.#closeWaiting = null;
    this.#cut = true;
    // Legacy's own close has the last word.
    if (this.#toClient.closeCode === null) this.#client.write(frame);
    this.#endAnswered();
  }

  /** The client has answered a close of ours: it must not wait for a legacy that hangs before it can come again. */
  #endAnswered(): void {
    const isAnswered = this.#toLegacy.closeCode !== null || this.#client.readableEnded;
    if (this.#cut && isAnswered) this.#client.end();
  }
}
