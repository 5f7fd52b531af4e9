// The books of a comparison as an operator reads them: per side, nothing but what there is.
import type { JudgeView } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import { latencyQuantile } from '../rules/latency.ts';
import { type Books, imbalance, type SideBooks, unjudgedOf } from '../rules/pairing/books.ts';
import type { UnjudgedReason } from '../rules/verdict.ts';

/** `seen` is the sum of all others. */
export type SideView = Omit<SideBooks, 'unjudged' | 'latency'> & {
  readonly unjudged: number;
  /** Reasons that occurred. */
  readonly because: Readonly<Partial<Record<UnjudgedReason, number>>>;
  /** Of answers that were compared, ms, right to within a quarter; null where there was none. */
  readonly latencyMs: { readonly p50: number; readonly p99: number } | null;
};

export interface BooksView extends Readonly<Record<Side, SideView>> {
  /** What does not add up; null when all does, as it must. */
  readonly imbalance: string | null;
}

export interface JudgeStatus {
  readonly running: boolean;
  readonly restarts: number;
  readonly failures: number;
  readonly lagMs: number;
  readonly bytesLeftOut: number;
  readonly bytesUnheard: number;
  readonly streamsUnheard: number;
}

export function booksView(books: Books): BooksView {
  return {
    legacy: sideView(books.legacy),
    candidate: sideView(books.candidate),
    imbalance: imbalance(books),
  };
}

export function judgeStatus(judge: JudgeView): JudgeStatus {
  const { running, restarts, failures, lagMs, bytesLeftOut, bytesUnheard, streamsUnheard } = judge;
  return {
    ...{ running, restarts, failures, lagMs: Math.round(lagMs), bytesLeftOut },
    ...{ bytesUnheard, streamsUnheard },
  };
}

function sideView(books: SideBooks): SideView {
  const { unjudged, latency, ...counts } = books;
  const because = Object.fromEntries(Object.entries(unjudged).filter(([, count]) => count > 0));
  return { ...counts, unjudged: unjudgedOf(books), because, latencyMs: latencyOf(latency) };
}

/** Of counts by bucket; null of nothing. */
export function latencyOf(counts: SideBooks['latency']): SideView['latencyMs'] {
  const [p50, p99] = [latencyQuantile(counts ?? [], 0.5), latencyQuantile(counts ?? [], 0.99)];
  return p50 === null || p99 === null ? null : { p50, p99 };
}
