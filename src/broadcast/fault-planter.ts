// Faults planted on purpose, so that whoever compares or guards can be scored: which events are hit
// follows from the seed and the event alone, and each fault is written down before it happens.
//
//   service ──send──► planted socket ──(most events)──────────► socket
//                          └─ hit: log, then drop, alter, hold … ──► socket, or somebody else's
import { hash } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import { type BroadcastEvent, field, REPLY_TYPES } from './event.ts';
import { eventKeyOf } from './event-key.ts';
import type { EventSocket } from './event-socket.ts';
import { type FaultKind, type FaultSetting, runOf } from './fault.ts';
import { type FaultSource, PlantedSocket } from './planted-socket.ts';

/** Runs remembered so that none is hit twice; the oldest are forgotten. 100,000 are some 15 MB. */
const MAX_RUNS = 100_000;

export interface FaultOptions {
  readonly faults: readonly FaultSetting[];
  readonly seed: number;
  /** Appended to: one JSON object a line, see `PlantedFault`. */
  readonly truthFile?: string | undefined;
  /** What a planted crash does. */
  readonly crash: () => void;
}

interface OneFault {
  readonly kind: FaultKind;
  readonly mayHit: (userId: string) => boolean;
  readonly settle: (planted: PlantedFault) => void;
}

/** One line of the truth file. */
export interface PlantedFault {
  readonly seq: number;
  readonly kind: FaultKind;
  /** To whom the event was due. */
  readonly user: string;
  readonly run_id: string | null;
  readonly event_type: string;
  readonly event_key: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/**
 * Plants faults into the sockets that it wraps; at most one per run. A user with several sockets
 * is hit on the first of them that the event reaches.
 */
export class FaultPlanter implements FaultSource {
  readonly #options: FaultOptions;
  readonly #truth: number | undefined;
  readonly #sockets = new Map<string, PlantedSocket>();
  readonly #hitRuns = new Set<string>();
  #next: OneFault | null = null;
  #seq = 0;

  constructor(options: FaultOptions) {
    const total = options.faults.reduce((sum, { rate }) => sum + rate, 0);
    // Sums of decimal fractions may end a hair above 1.
    if (total > 1 + 1e-9)
      throw new RangeError(`the faults' rates add up to ${total}; 1 is all there is`);
    this.#options = options;
    this.#truth = options.truthFile === undefined ? undefined : openSync(options.truthFile, 'a');
  }

  get planted(): number {
    return this.#seq;
  }

  /**
   * Plants one fault, into the next event that it can alter; settles with what was planted. Once `signal` aborts,
   * none is planted any more, and it rejects.
   */
  plantNext(
    kind: FaultKind,
    mayHit: (userId: string) => boolean,
    signal?: AbortSignal,
  ): Promise<PlantedFault> {
    signal?.throwIfAborted();
    return new Promise((resolve, reject) => {
      const giveUp = () => {
        if (this.#next === next) this.#next = null;
        reject(signal?.reason);
      };
      const settle = (planted: PlantedFault) => {
        signal?.removeEventListener('abort', giveUp);
        resolve(planted);
      };
      const next = { kind, mayHit, settle };
      this.#next = next;
      signal?.addEventListener('abort', giveUp);
    });
  }

  /** The socket to register in place of `socket`. */
  wrap(userId: string, socket: EventSocket): EventSocket {
    const planted = new PlantedSocket(this, userId, socket);
    this.#sockets.set(userId, planted);
    return planted;
  }

  /** A wrapped socket has closed. */
  release(userId: string, socket: EventSocket): void {
    if (this.#sockets.get(userId) === socket) this.#sockets.delete(userId);
  }

  close(): void {
    if (this.#truth !== undefined) closeSync(this.#truth);
  }

  crash(): void {
    this.#options.crash();
  }

  /** The fault that an event draws, by its seed alone; none for replies and runs already hit. */
  draw(userId: string, event: BroadcastEvent): FaultKind | undefined {
    if (REPLY_TYPES.has(event.type) || this.#hitRuns.has(runOf(userId, event))) return undefined;
    if (this.#next?.mayHit(userId)) return this.#next.kind;
    if (this.#options.faults.length === 0) return undefined;
    let left = this.fraction('draw', userId, eventKeyOf(event));
    for (const { kind, rate } of this.#options.faults) {
      if (left < rate) return kind;
      left -= rate;
    }
    return undefined;
  }

  /** A number in [0, 1) that follows from the seed and the words. */
  fraction(...words: readonly string[]): number {
    const digest = hash('sha256', JSON.stringify([this.#options.seed, ...words]));
    return Number.parseInt(digest.slice(0, 13), 16) / 2 ** 52;
  }

  /** Somebody else who is connected; `undefined` when nobody is. */
  someoneElse(userId: string, event: BroadcastEvent): PlantedSocket | undefined {
    const others = [...this.#sockets.keys()].filter(each => each !== userId).sort();
    const index = Math.floor(others.length * this.fraction('else', userId, eventKeyOf(event)));
    const other = others[index];
    return other === undefined ? undefined : this.#sockets.get(other);
  }

  /** Writes a fault down; the event must be as the service wrote it. */
  record(
    kind: FaultKind,
    userId: string,
    event: BroadcastEvent,
    detail: PlantedFault['detail'],
  ): void {
    const runId = field(event, 'run_id');
    const line: PlantedFault = {
      seq: this.#seq++,
      kind,
      user: userId,
      run_id: typeof runId === 'string' ? runId : null,
      event_type: event.type,
      event_key: eventKeyOf(event),
      detail,
    };
    this.#hitRuns.add(runOf(userId, event));
    const [oldest] = this.#hitRuns;
    if (this.#hitRuns.size > MAX_RUNS && oldest !== undefined) this.#hitRuns.delete(oldest);
    const next = this.#next;
    if (next?.kind === kind && next.mayHit(userId)) {
      this.#next = null;
      next.settle(line);
    }
    // Written at once, so that the line is there even when the fault is a crash.
    if (this.#truth !== undefined) writeSync(this.#truth, `${JSON.stringify(line)}\n`);
  }
}
