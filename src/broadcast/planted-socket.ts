// A socket on whose way faults happen. Everything that is not hit passes unchanged and in order.
import { type BroadcastEvent, field, isEvent } from './event.ts';
import { type Done, type EventSocket, type Frame, TEXT_FRAME } from './event-socket.ts';
import { alter, type FaultKind, runOf } from './fault.ts';

/** How long a slow user waits: longer than anybody's patience for one event. */
const SLOW_MS = 2_000;
/** An event that is to change places waits so long for the next of its run, then goes unharmed. */
const REORDER_MS = 2_000;
/** Frames that a slow or reordered user can have waiting; then they go out at once. */
const MAX_HELD = 1_000;

interface Held {
  readonly frame: Frame;
  readonly done: Done;
}

/** The event that waits to change places with the next one of its run. */
interface Swapped extends Held {
  readonly event: BroadcastEvent;
  readonly timer: NodeJS.Timeout;
}

/** What a planted socket asks of the planter. */
export interface FaultSource {
  draw(userId: string, event: BroadcastEvent): FaultKind | undefined;
  record(
    kind: FaultKind,
    userId: string,
    event: BroadcastEvent,
    detail: Readonly<Record<string, unknown>>,
  ): void;
  someoneElse(userId: string, event: BroadcastEvent): PlantedSocket | undefined;
  crash(): void;
}

/** The slow user's frames. */
interface Waiting {
  readonly frames: Held[];
  readonly timer: NodeJS.Timeout;
}

export class PlantedSocket implements EventSocket {
  readonly userId: string;
  readonly #planter: FaultSource;
  readonly #socket: EventSocket;
  #swapped: Swapped | undefined;
  #slow: Waiting | undefined;

  constructor(planter: FaultSource, userId: string, socket: EventSocket) {
    this.#planter = planter;
    this.userId = userId;
    this.#socket = socket;
  }

  get readyState(): number {
    return this.#socket.readyState;
  }

  get bufferedAmount(): number {
    return this.#socket.bufferedAmount;
  }

  send(frame: Frame, _options: typeof TEXT_FRAME, done: Done): void {
    if (this.#slow !== undefined) {
      this.#slow.frames.push({ frame, done });
      if (this.#slow.frames.length > MAX_HELD) this.#speedUp();
      return;
    }
    const event: unknown = JSON.parse(String(frame));
    if (isEvent(event) && (this.#swap(event, frame, done) || this.#plant(event, frame, done)))
      return;
    this.#socket.send(frame, TEXT_FRAME, done);
  }

  /** Past all faults: what another user's event arrives by. */
  sendPlainly(frame: Frame, done: Done): void {
    this.#socket.send(frame, TEXT_FRAME, done);
  }

  /** Plants the fault that the event draws. False when it draws none or there is nothing to hit. */
  #plant(event: BroadcastEvent, frame: Frame, done: Done): boolean {
    const kind = this.#planter.draw(this.userId, event);
    switch (kind) {
      case undefined:
        return false;
      case 'drop':
        this.#record(kind, event, {});
        done();
        return true;
      case 'duplicate':
        this.#record(kind, event, {});
        this.#socket.send(frame, TEXT_FRAME, done);
        this.#socket.send(frame, TEXT_FRAME, ignore);
        return true;
      case 'reorder':
        return this.#holdForSwap(event, frame, done);
      case 'slow':
        this.#record(kind, event, { delay_ms: SLOW_MS });
        this.#slow = {
          frames: [{ frame, done }],
          timer: setTimeout(() => this.#speedUp(), SLOW_MS).unref(),
        };
        return true;
      case 'crash':
        this.#record(kind, event, {});
        this.#planter.crash();
        return true;
      case 'misroute':
        return this.#misroute(event, frame, done);
      default: {
        const other = this.#planter.someoneElse(this.userId, event)?.userId ?? 'user_of_nobody';
        const altered = alter(kind, event, this.userId, other);
        if (altered === undefined) return false;
        this.#record(kind, event, altered.detail);
        this.#socket.send(JSON.stringify(altered.event), TEXT_FRAME, done);
        return true;
      }
    }
  }

  #record(kind: FaultKind, event: BroadcastEvent, detail: Readonly<Record<string, unknown>>): void {
    this.#planter.record(kind, this.userId, event, detail);
  }

  #misroute(event: BroadcastEvent, frame: Frame, done: Done): boolean {
    const other = this.#planter.someoneElse(this.userId, event);
    if (other === undefined) return false;
    this.#record('misroute', event, { to: other.userId });
    other.sendPlainly(frame, done);
    return true;
  }

  #holdForSwap(event: BroadcastEvent, frame: Frame, done: Done): boolean {
    // The last event of a run, or one outside of any, has nothing to change places with.
    const isLast = event.type === 'agent_completed' || field(event, 'run_id') === undefined;
    if (this.#swapped !== undefined || isLast) return false;
    const timer = setTimeout(() => {
      this.#swapped = undefined;
      this.#socket.send(frame, TEXT_FRAME, done);
    }, REORDER_MS).unref();
    this.#swapped = { event, frame, done: ignore, timer };
    // The service waits for each event of a run before it makes the next; it must believe this one.
    done();
    return true;
  }

  /** Lets the held event go after this one, if both are of one run. */
  #swap(event: BroadcastEvent, frame: Frame, done: Done): boolean {
    const held = this.#swapped;
    if (held === undefined || runOf(this.userId, held.event) !== runOf(this.userId, event)) {
      return false;
    }
    this.#swapped = undefined;
    clearTimeout(held.timer);
    this.#record('reorder', held.event, { overtaken_by: event.type });
    this.#socket.send(frame, TEXT_FRAME, done);
    this.#socket.send(held.frame, TEXT_FRAME, held.done);
    return true;
  }

  #speedUp(): void {
    const waiting = this.#slow;
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    this.#slow = undefined;
    // By the ordinary way, where an event that waits to change places is not forgotten.
    for (const { frame, done } of waiting.frames) this.send(frame, TEXT_FRAME, done);
  }
}

/** For the second copy of a frame and the held one: whether they arrive concerns nobody. */
const ignore = (): void => undefined;
