// One rollback in the lanes: which sessions and answers it found on the candidate, what became of each, and
// when the candidate's last byte went to a client.
import type { Writable } from 'node:stream';
import type {
  AnswerTally,
  MoveKind,
  RollbackProgress,
  RouteScope,
  SessionTally,
} from '../ports.ts';

/** A session, as far as a rollback is concerned with it. */
export interface RolledBack {
  /** The name of its route. */
  readonly route: string;
  /** More than one where a wider or harsher one was asked for before the first was over. */
  rollbacks: readonly RollbackRun[];
  /** Where its bytes go. */
  readonly client: Pick<Writable, 'writableLength'>;
}

/** An answer or a stream of events. */
export type RolledBackAnswer = RolledBack;

type Outcome = 'inPlace' | 'redialled' | 'closed' | 'left';

const NONE: readonly RollbackRun[] = [];

export class RollbackRun implements RollbackProgress {
  /** What it holds, as of now. */
  readonly routes: RouteScope;
  readonly done: Promise<void>;
  readonly found: Promise<void>;
  lastCandidateByteAt: number | null = null;
  readonly #settled = { inPlace: 0, redialled: 0, closed: 0, left: 0 };
  /** What nearly all of them have, thousands of them. */
  readonly #alone: readonly RollbackRun[] = [this];
  readonly #pending = new Set<RolledBack>();
  /** Whether legacy has refused them. */
  readonly #failed = new Map<RolledBack, boolean>();
  readonly #answers = { finished: 0, ended: 0 };
  readonly #pendingAnswers = new Set<RolledBackAnswer>();
  /** Were pending when their route was released, and stay so. */
  readonly #released = { sessions: 0, answers: 0 };
  /** Sessions that are being opened, and may turn out to be the candidate's. */
  #opening = 0;
  /** Waiting for each client in this process when the candidate's last byte had been handed over. */
  readonly #queued = new WeakMap<RolledBack, number>();
  queuedBytes = 0;
  readonly #onEnd: (run: RollbackRun) => void;
  #resolve: () => void = () => undefined;
  #resolveFound: () => void = () => undefined;
  #isLooking = true;
  #ended = false;

  /** `onEnd` is called once, before `done` settles. */
  constructor(routes: RouteScope, onEnd: (run: RollbackRun) => void) {
    this.routes = routes;
    this.#onEnd = onEnd;
    this.done = new Promise(resolve => {
      this.#resolve = resolve;
    });
    this.found = new Promise(resolve => {
      this.#resolveFound = resolve;
    });
  }

  get sessions(): SessionTally {
    const { inPlace, redialled, closed, left } = this.#settled;
    const failed = this.#failed.size;
    const pending = this.#pending.size + this.#opening + this.#released.sessions;
    const affected = inPlace + redialled + closed + left + failed + pending;
    return { affected, inPlace, redialled, closed, left, failed, pending };
  }

  get refused(): number {
    return [...this.#failed.values()].filter(isRefused => isRefused).length;
  }

  get answers(): AnswerTally {
    const { finished, ended } = this.#answers;
    const pending = this.#pendingAnswers.size + this.#released.answers;
    return { affected: finished + ended + pending, finished, ended, pending };
  }

  /** Whoever is open has joined, or turned out not to. It can come to its end from then on. */
  allFound(): void {
    this.#isLooking = false;
    this.#resolveFound();
    this.settle();
  }

  join(session: RolledBack): void {
    session.rollbacks = session.rollbacks.length === 0 ? this.#alone : [...session.rollbacks, this];
    this.#pending.add(session);
  }

  /** A session that is being opened; call the result once it has joined, or turned out not to. */
  opening(): () => void {
    this.#opening += 1;
    return () => {
      this.#opening -= 1;
      this.settle();
    };
  }

  joinAnswer(answer: RolledBackAnswer): void {
    answer.rollbacks = [...answer.rollbacks, this];
    this.#pendingAnswers.add(answer);
  }

  /** Bytes of the candidate's were handed to a client's socket. */
  handedOver(): void {
    this.lastCandidateByteAt = performance.now();
  }

  /** No byte of the candidate's follows, unless a session stays where it is after all. */
  cut(whose: RolledBack): void {
    const bytes = whose.client.writableLength;
    const before = this.#queued.get(whose) ?? 0;
    if (bytes === before) return;
    this.#queued.set(whose, bytes);
    this.queuedBytes += bytes - before;
  }

  moved(session: RolledBack, how: MoveKind): void {
    this.#settle(session, how === 'redialled' ? 'redialled' : 'inPlace');
  }

  closed(session: RolledBack): void {
    this.#settle(session, 'closed');
  }

  left(session: RolledBack): void {
    this.#settle(session, 'left');
  }

  /** Legacy could not be had for it, or has refused it as it refuses everybody. It may still be, later. */
  failed(session: RolledBack, isRefused: boolean): void {
    if (!this.#pending.delete(session) && !this.#failed.has(session)) return;
    this.#failed.set(session, isRefused);
    this.settle();
  }

  answerOver(answer: RolledBackAnswer, how: 'finished' | 'ended'): void {
    this.#leave(answer);
    if (!this.#pendingAnswers.delete(answer)) return;
    this.#answers[how] += 1;
    this.settle();
  }

  /** Nobody waits any longer for those whose route it does not hold now: they go where flags say. */
  letGo(): void {
    const isReleased = ({ route }: RolledBack) => !this.routes.has(route);
    for (const session of [...this.#pending, ...this.#failed.keys()].filter(isReleased)) {
      this.#leave(session);
      if (this.#pending.delete(session)) this.#released.sessions += 1;
    }
    for (const answer of [...this.#pendingAnswers].filter(isReleased)) {
      this.#leave(answer);
      this.#pendingAnswers.delete(answer);
      this.#released.answers += 1;
    }
    this.settle();
  }

  /** Ends it if nothing is pending. */
  settle(): void {
    if (this.#isLooking) return;
    const pending = this.#pending.size + this.#opening + this.#pendingAnswers.size;
    if (pending === 0) this.end();
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const each of [...this.#pending, ...this.#failed.keys(), ...this.#pendingAnswers]) {
      this.#leave(each);
    }
    this.#onEnd(this);
    this.#resolve();
  }

  #leave(whose: RolledBack): void {
    whose.rollbacks =
      whose.rollbacks === this.#alone ? NONE : whose.rollbacks.filter(run => run !== this);
  }

  #settle(session: RolledBack, outcome: Outcome): void {
    if (!session.rollbacks.includes(this)) return;
    this.#leave(session);
    this.#pending.delete(session);
    this.#failed.delete(session);
    this.#settled[outcome] += 1;
    this.settle();
  }
}
