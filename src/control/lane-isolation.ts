// What the lanes' guards did about other users' data: counted, and told.
import type { Logger } from 'pino';
import { Counter, type Registry } from 'prom-client';
import type { IsolationWatch, JudgeView, Prevented, UninspectedBecause } from '../ports.ts';
import type { Side } from '../rules/decide.ts';

/** Failures that are told one by one; what came of all of them is counted. */
const MOST_TOLD = 20;

export interface LaneIsolationOptions {
  /** Told at once of every event; `unseen`: the judge has no copy of it. */
  readonly onPrevented: (event: Prevented, unseen: boolean) => void;
  readonly logger: Logger;
  readonly judge: Pick<JudgeView, 'running' | 'identityMismatch'>;
}

interface Counted {
  readonly labels: Readonly<Record<string, string>>;
  times: number;
}

export class LaneIsolation implements IsolationWatch {
  readonly #options: LaneIsolationOptions;
  readonly #prevented = new Map<string, Counted>();
  #failures = 0;
  readonly #narrowed = new Map<string, Counted>();
  readonly #uninspected = new Map<string, Counted>();

  constructor(options: LaneIsolationOptions) {
    this.#options = options;
  }

  fits(route: string): boolean {
    return !this.#options.judge.identityMismatch(route);
  }

  prevented(event: Prevented): void {
    const { route, side, outcome } = event;
    count(this.#prevented, { route, side, outcome });
    this.#options.onPrevented(event, !event.compared || !this.#options.judge.running);
  }

  failed(route: string, error: unknown): void {
    this.#failures += 1;
    if (this.#failures > MOST_TOLD) return;
    this.#options.logger.error({ route, err: error }, 'a message could not be guarded');
  }

  narrowed(route: string, side: Side): void {
    count(this.#narrowed, { route, side });
  }

  uninspected(route: string, side: Side, because: UninspectedBecause, withheld: boolean): void {
    const outcome = withheld ? 'withheld' : 'passed';
    count(this.#uninspected, { route, side, because, outcome });
  }

  register(registry: Registry): void {
    const prevented = this.#prevented;
    const narrowed = this.#narrowed;
    const uninspected = this.#uninspected;
    new Counter({
      name: 'cutover_isolation_prevented_total',
      help: 'Events that named somebody else, and did not reach a client as they were.',
      labelNames: ['route', 'side', 'outcome'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { labels, times } of prevented.values()) this.inc(labels, times);
      },
    });
    new Counter({
      name: 'cutover_isolation_narrowed_total',
      help: 'Events whose lists of recipients reached a client with his own name alone.',
      labelNames: ['route', 'side'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { labels, times } of narrowed.values()) this.inc(labels, times);
      },
    });
    new Counter({
      name: 'cutover_isolation_uninspected_total',
      help: 'Messages that nobody could look into, on sessions that are guarded.',
      labelNames: ['route', 'side', 'because', 'outcome'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { labels, times } of uninspected.values()) this.inc(labels, times);
      },
    });
  }
}

function count(counts: Map<string, Counted>, labels: Counted['labels']): void {
  const key = Object.values(labels).join('\n');
  const counted = counts.get(key);
  if (counted === undefined) counts.set(key, { labels, times: 1 });
  else counted.times += 1;
}
