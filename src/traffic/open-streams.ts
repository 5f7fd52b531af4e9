// The streams of events that are open: whoever's side changes is told to come again, behind an event.
import type { ServerResponse } from 'node:http';
import type { RouteConfig } from '../config/schema.ts';
import type { Decider, TrafficView } from '../ports.ts';
import type { Decision, IsolationMode, Side, Subject } from '../rules/decide.ts';
import type { ClientAnswer } from './client-answer.ts';
import type { TrafficContext } from './context.ts';
import { Departures } from './departures.ts';
import { EventStream } from './event-stream.ts';
import { paced, windowFor } from './pace.ts';
import type { RollbackRun } from './rollback-run.ts';
import { inSlices } from './slices.ts';

/** Clients whose streams the proxy ends come back after so long, and a time of each one's own. */
const LEAST_RETRY_MS = 250;
/** Where they are ended at a pace, that pace spreads them already: so much more, each its own. */
const RETRY_JITTER_MS = 1_000;

/** What a stream is, and by what its side is decided. */
export interface StreamFacts {
  readonly id: string;
  readonly route: RouteConfig;
  readonly subject: Subject | null;
  readonly answer: ClientAnswer;
  /** How it is guarded from its first byte to its last. */
  readonly isolation: IsolationMode;
}

export interface OpenStream extends StreamFacts {
  readonly stream: EventStream;
  /** What the other service is shown beside it. */
  second: { readonly side: Side; unwanted(): void } | null;
  /** Where nothing is compared, and legacy's stream is heard all the same. */
  ear: { close(): void } | null;
  /** Comes from the other side than its decision says, and is to be gone by then (ms of `performance.now()`). */
  leaveBy: number;
}

export interface OpenStreamsOptions {
  readonly context: () => TrafficContext;
  readonly decider: Decider;
}

export class OpenStreams {
  readonly #options: OpenStreamsOptions;
  readonly #open = new Set<OpenStream>();
  readonly #departures: Departures<OpenStream>;
  /** Counts changes of what decides. */
  #changes = 0;
  #draining = false;

  constructor(options: OpenStreamsOptions) {
    this.#options = options;
    this.#departures = new Departures({
      perS: () => options.context().limits.movesPerS,
      isDue: open => this.#isToLeave(open),
      tell: ({ stream }) => this.#end(stream),
    });
  }

  get size(): number {
    return this.#open.size;
  }

  /** One more, which `response` carries; it is none any more once that is closed. */
  open(response: ServerResponse, facts: StreamFacts): OpenStream {
    // What was decided while its service had not answered yet is asked for when it has.
    const stream = new EventStream(response, facts.answer, () => this.#follow(open));
    const leaveBy = Number.POSITIVE_INFINITY;
    const open: OpenStream = { ...facts, stream, second: null, ear: null, leaveBy };
    this.#open.add(open);
    response.once('close', () => {
      this.#open.delete(open);
      this.#departures.forget(open);
    });
    if (this.#draining) this.#end(stream);
    return open;
  }

  *of(route: string): ReturnType<TrafficView['sessionsOf']> {
    for (const { id, subject, answer, stream } of this.#open) {
      if (answer.route !== route || stream.isPlain) continue;
      yield { id, subject, side: answer.side, turns: [] };
    }
  }

  /**
   * Asks for the decision of each anew: whoever's side is another one now, or is to be guarded in another way, is told
   * to come again, at a pace or once he has had his time to leave, and what is not to be compared any more is shown to nobody else. Answers come to
   * their own end.
   */
  async reconsider(): Promise<void> {
    this.#changes += 1;
    const run = this.#changes;
    await inSlices(
      this.#open,
      open => this.#follow(open),
      () => run === this.#changes,
    );
  }

  /** The candidate's that have a part in `run` end behind the event under way. */
  rollBack(run: RollbackRun): void {
    const { boundaryMs, movesPerS } = this.#options.context().limits;
    const streams = [...this.#open].filter(
      ({ stream, answer }) =>
        answer.rollbacks.includes(run) && !stream.isPlain && !answer.isCutShort,
    );
    const retryMs = windowFor(streams.length, movesPerS);
    for (const { stream, answer } of streams) {
      // Not after a release: what has not begun by then has nothing to end.
      const isDue = () => answer.rollbacks.includes(run);
      stream.endSoon(boundaryMs, LEAST_RETRY_MS + Math.random() * retryMs, isDue);
    }
  }

  /** Ends those that are open now, spread over `windowMs`, until all are told or it is aborted. */
  async end(windowMs: number, signal?: AbortSignal): Promise<void> {
    const isDue = () => signal?.aborted !== true;
    await paced([...this.#open], windowMs, ({ stream }) => this.#end(stream, isDue), signal);
  }

  /** As `end`, and those that open from now on. */
  async drain(windowMs: number): Promise<void> {
    this.#draining = true;
    await this.end(windowMs);
  }

  sweep(nowMs: number): void {
    for (const open of this.#open) if (open.leaveBy <= nowMs) this.#departures.add(open);
  }

  close(): void {
    this.#departures.close();
  }

  #follow(open: OpenStream): void {
    if (!this.#isToLeave(open)) {
      open.leaveBy = Number.POSITIVE_INFINITY;
      return this.#standBeside(open);
    }
    // How it is guarded is no matter of sides, and does not wait.
    const isOtherSide = this.#decisionOn(open).primary !== open.answer.side;
    if (open.route.onSwitch !== 'drain' || !isOtherSide) this.#departures.add(open);
    else if (open.leaveBy === Number.POSITIVE_INFINITY) {
      open.leaveBy = performance.now() + this.#options.context().limits.leaveMs;
    }
  }

  #isToLeave(open: OpenStream): boolean {
    if (!open.stream.comesAgain || open.answer.isCutShort) return false;
    const { primary, isolation, reason } = this.#decisionOn(open);
    // Only what is new goes to the emergency lane; what is open stays as it is.
    if (reason === 'bypass') return false;
    // Whose data nobody can tell from others' is not guarded at all.
    const isGuardedAnew = isolation !== open.isolation && open.subject !== null;
    return primary !== open.answer.side || isGuardedAnew;
  }

  /** No stream has a second one from its middle on: there is one to be given up, or nothing to do. */
  #standBeside(open: OpenStream): void {
    if (open.second === null && open.ear === null) return;
    const { primary, second, reason, overhear } = this.#decisionOn(open);
    // One who is compared from now on is heard on, until he comes again.
    if (!overhear && second === null) open.ear?.close();
    if (open.second === null) return;
    if (reason === 'bypass' || primary !== open.answer.side) return;
    if (second?.side === open.second.side) return;
    open.second.unwanted();
    open.second = null;
  }

  #decisionOn({ route, subject }: OpenStream): Decision {
    return this.#options.decider(route, subject).decision;
  }

  #end(stream: EventStream, isDue = () => true): void {
    const { boundaryMs } = this.#options.context().limits;
    stream.endSoon(boundaryMs, LEAST_RETRY_MS + Math.random() * RETRY_JITTER_MS, isDue);
  }
}
