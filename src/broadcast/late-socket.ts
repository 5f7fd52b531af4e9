// A socket on whose way every frame takes a while, and none overtakes another: what networks and busy
// services do to a stream.
import { type Done, type EventSocket, type Frame, TEXT_FRAME } from './event-socket.ts';

/** Beyond, frames go out at once: whoever sends so fast is held back by the socket behind. */
const MAX_HELD = 1_000;

export class LateSocket implements EventSocket {
  readonly #socket: EventSocket;
  readonly #mostMs: number;
  readonly #held: { readonly frame: Frame; readonly dueAt: number }[] = [];
  #timer: NodeJS.Timeout | undefined;

  /** Each frame is held for a random time of up to `mostMs`, longer where the one before it is. */
  constructor(socket: EventSocket, mostMs: number) {
    this.#socket = socket;
    this.#mostMs = mostMs;
  }

  get readyState(): number {
    return this.#socket.readyState;
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount;
  }

  /** `done` is called at once, as by an operating system that buffers. */
  send(frame: Frame, _options: typeof TEXT_FRAME, done: Done): void {
    const dueAt = performance.now() + Math.random() * this.#mostMs;
    const before = this.#held.at(-1)?.dueAt ?? 0;
    this.#held.push({ frame, dueAt: Math.max(dueAt, before) });
    done();
    if (this.#held.length > MAX_HELD) this.#sendDue(Number.POSITIVE_INFINITY);
    else if (this.#timer === undefined) this.#timer = this.#wait();
  }

  #sendDue(untilMs: number): void {
    for (
      let [next] = this.#held;
      next !== undefined && next.dueAt <= untilMs;
      [next] = this.#held
    ) {
      this.#held.shift();
      // A reader who has left by now misses it, as he would whatever is on its way.
      if (this.#socket.readyState === 1) this.#socket.send(next.frame, TEXT_FRAME, ignore);
    }
  }

  #wait(): NodeJS.Timeout | undefined {
    const [next] = this.#held;
    if (next === undefined) return undefined;
    return setTimeout(
      () => {
        this.#sendDue(performance.now());
        this.#timer = this.#wait();
      },
      Math.max(1, next.dueAt - performance.now()),
    ).unref();
  }
}

/** Its sender was told already. */
const ignore = (): void => undefined;
