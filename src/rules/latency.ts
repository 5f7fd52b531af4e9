// How long things took, as counts in buckets: cheap to add to, to subtract (a window is the difference of
// two) and to read a quantile from.

/** Each bucket is a quarter wider than the one before: a quantile is right to within that. */
const GROWTH = 1.25;
/** From 0.1 ms to some two minutes. */
const LEAST_MS = 0.1;
const BUCKETS = 64;

/** Number of things in each bucket. */
export type LatencyCounts = readonly number[];

export function noLatencies(): number[] {
  return new Array<number>(BUCKETS).fill(0);
}

export function addLatency(counts: number[], ms: number): void {
  const bucket = Math.ceil(Math.log(Math.max(ms, LEAST_MS) / LEAST_MS) / Math.log(GROWTH));
  const last = Math.min(bucket, BUCKETS - 1);
  counts[last] = (counts[last] ?? 0) + 1;
}

export function latenciesSince(now: LatencyCounts, before: LatencyCounts): LatencyCounts {
  return now.map((count, i) => count - (before[i] ?? 0));
}

/** Upper end (ms) of the bucket that holds the quantile `q` of 0 to 1; null of nothing. */
export function latencyQuantile(counts: LatencyCounts, q: number): number | null {
  const total = counts.reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  let left = Math.ceil(q * total);
  const bucket = counts.findIndex(count => {
    left -= count;
    return left <= 0;
  });
  return LEAST_MS * GROWTH ** bucket;
}
