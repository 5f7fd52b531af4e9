// Client connections of HTTP that wait for their next request, in whatever lane the last one was. Each holds a
// descriptor for `limits.keepAliveMs`; where those run short, who has been silent for longest gives way.
import type { Socket } from 'node:net';
import type { Shortage } from '../ports.ts';
import { afterReads } from './after-reads.ts';
import { mostDescriptors, nextDescriptor } from './descriptors.ts';
import type { Pipeline } from './pipeline.ts';
import { Roll } from './roll.ts';

/**
 * An eighth of all descriptors, and at most so many, are for newcomers and for what is asked next. When the last one
 * is in use, the system accepts newcomers only to close them, and nothing tells of it.
 */
const RESERVED_SHARE = 8;
const MOST_RESERVED = 256;
/** So much of that is freed at a time: to find who has been silent for longest takes a look at everybody. */
const FREED_SHARE = 4;
/** Descriptors are looked at so often, and where they were short. */
const LOOK_MS = 1_000;
const NEXT_LOOK_MS = 100;
/** Whoever was answered a moment ago is about to ask again. */
const LEAST_IDLE_MS = 1_000;

export class KeptConnections {
  /** Those that gave way. */
  readonly letGo: Record<Shortage, number> = { low: 0, exhausted: 0 };
  readonly #open = new Roll<Pipeline>();
  readonly #lowFrom: number;
  readonly #atOnce: number;
  #timer: NodeJS.Timeout;
  #isDue = false;
  /** Nobody was to be found: not looked for again before that (ms of `performance.now()`). */
  #nextMs = 0;

  constructor(most = mostDescriptors()) {
    const reserved = Math.min(MOST_RESERVED, Math.ceil(most / RESERVED_SHARE));
    this.#lowFrom = most - reserved;
    this.#atOnce = Math.ceil(reserved / FREED_SHARE);
    this.#timer = setTimeout(() => this.#look(), LOOK_MS).unref();
  }

  /** Looks after a connection until it closes. */
  add(socket: Socket, pipeline: Pipeline): void {
    this.#open.add(pipeline);
    socket.once('close', () => this.#open.delete(pipeline));
  }

  each(visit: (pipeline: Pipeline) => void): void {
    this.#open.each(visit);
  }

  /** A connection to a service could not be had: nothing is left to make it of. */
  exhausted(): void {
    this.#letGoSoon('exhausted');
  }

  /** Closes those that have been idle for `forMs` as of now. */
  closeIdle(forMs: number): void {
    const sinceMs = performance.now() - forMs;
    this.#open.each(pipeline => {
      if (pipeline.idleSinceMs <= sinceMs) pipeline.close();
    });
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #look(): void {
    const isShort = nextDescriptor() >= this.#lowFrom;
    if (isShort) this.#letGoSoon('low');
    this.#timer = setTimeout(() => this.#look(), isShort ? NEXT_LOOK_MS : LOOK_MS).unref();
  }

  #letGoSoon(shortage: Shortage): void {
    if (this.#isDue || performance.now() < this.#nextMs) return;
    this.#isDue = true;
    // A request that has come is no silence.
    afterReads(() => {
      this.#isDue = false;
      this.#letGo(shortage);
    });
  }

  #letGo(shortage: Shortage): void {
    const nowMs = performance.now();
    const idle: Pipeline[] = [];
    this.#open.each(pipeline => {
      if (pipeline.idleSinceMs <= nowMs - LEAST_IDLE_MS) idle.push(pipeline);
    });
    if (idle.length === 0) this.#nextMs = nowMs + NEXT_LOOK_MS;
    const since = Float64Array.from(idle, pipeline => pipeline.idleSinceMs).sort();
    const longest = since[Math.min(this.#atOnce, since.length) - 1] ?? 0;
    for (const pipeline of idle) {
      if (pipeline.idleSinceMs > longest) continue;
      pipeline.close();
      this.letGo[shortage] += 1;
    }
  }
}
