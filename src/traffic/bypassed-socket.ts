// A WebSocket in the bypass. The library moves its bytes; here it is only listened to, so that it can be
// ended between two messages, as any other.
import type { Socket } from 'node:net';
import type { LimitsConfig } from '../config/schema.ts';
import { closeFrame, FrameTracker } from '../wire/frames.ts';
import { watchForDeadPeer } from './upstream.ts';

export class BypassedSocket {
  readonly #client: Socket;
  readonly #upstream: Socket;
  readonly #limits: LimitsConfig;
  readonly #toClient = new FrameTracker();
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
    // The library passes an end on, and leaves the rest to the other one, which may never follow.
    client.once('end', this.#soonDestroy);
    upstream.once('end', this.#soonDestroy);
    client.once('close', () => {
      upstream.resume();
      upstream.destroySoon();
    });
  }

  /** Ends it by a close frame, as `Session.end` does. Legacy still gets the client's answer. */
  end(code: number, reason: string): void {
    if (this.#ending) return;
    this.#ending = true;
    if (this.#toClient.lost) return void this.#client.destroy();
    this.#upstream.unpipe(this.#client);
    this.#soonDestroy();
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

  readonly #soonDestroy = (): void => {
    const timer = setTimeout(() => {
      // A client that is still to get what came before the end has its time for that: `Stalls`.
      if (this.#client.writableLength > 0) timer.refresh();
      else this.#client.destroy();
    }, this.#limits.closeMs).unref();
  };

  readonly #onData = (chunk: Buffer): void => {
    if (this.#cut) return;
    if (this.#closeWaiting === null) return void this.#toClient.push(chunk);
    const taken = this.#toClient.push(chunk, 'message');
    this.#client.write(chunk.subarray(0, taken));
    if (this.#toClient.atMessageBoundary) this.#put(this.#closeWaiting);
  };

  #put(frame: Buffer): void {
    this.#closeWaiting = null;
    this.#cut = true;
    // Legacy's own close has the last word.
    if (this.#toClient.closeCode === null) this.#client.write(frame);
  }
}
