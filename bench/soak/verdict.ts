// What a soak has shown: whether the proxy grew, what it left behind, what it failed at.

/** Resident size may rise by so much a minute, in bytes. A leak of one socket a second is twice that. */
export const MOST_GROWTH = 1_048_576;
/** Caches fill and the heap finds its size before that; a shorter run has half of it to do so. */
const SETTLED_AFTER_MS = 180_000;
/** Fewer say nothing about a slope. */
const FEWEST_SAMPLES = 10;

/** `atMs` since the load began. */
export interface Sample {
  readonly atMs: number;
  readonly residentBytes: number;
}

/** What a process holds, by kind: sockets, other descriptors, and what keeps its event loop going. */
export type Holdings = Readonly<Record<string, number>>;

/** Visits of one kind of client. */
export interface Visits {
  done: number;
  failed: number;
  /** Of the first that failed. */
  firstFailure: string | null;
}

export interface Soaked {
  readonly samples: readonly Sample[];
  readonly before: Holdings;
  readonly after: Holdings;
  readonly visits: Readonly<Record<string, Visits>>;
  /** Lines of the proxy's log that tell of faults of its own. */
  readonly faults: readonly string[];
  /** How the process ended before it was told to; null if it did not. */
  readonly died: string | null;
}

/** The samples that count for the slope. */
export function settled(samples: readonly Sample[]): readonly Sample[] {
  const lastMs = samples.at(-1)?.atMs ?? 0;
  const fromMs = Math.min(SETTLED_AFTER_MS, lastMs / 2);
  return samples.filter(({ atMs }) => atMs >= fromMs);
}

/** Slope of the line that fits best (least squares), in bytes a minute; NaN for fewer than two moments. */
export function growthPerMinute(samples: readonly Sample[]): number {
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const minutes = samples.map(({ atMs }) => atMs / 60_000);
  const meanMinutes = mean(minutes);
  const meanBytes = mean(samples.map(({ residentBytes }) => residentBytes));
  let covariance = 0;
  let variance = 0;
  for (const [i, { residentBytes }] of samples.entries()) {
    const distance = (minutes[i] as number) - meanMinutes;
    covariance += distance * (residentBytes - meanBytes);
    variance += distance * distance;
  }
  return covariance / variance;
}

/** Sentences about what is wrong; none if the soak was passed. */
export function problemsOf({ samples, before, after, visits, faults, died }: Soaked): string[] {
  if (died !== null) return [`the proxy ended by itself: ${died}`];
  const counted = settled(samples);
  const growth = growthPerMinute(counted);
  const problems: string[] = [];
  if (counted.length < FEWEST_SAMPLES)
    problems.push(`there are ${counted.length} samples, too few to tell`);
  else if (!(growth < MOST_GROWTH))
    problems.push(`resident size rises by ${megabytes(growth)} MB a minute`);
  for (const kind of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [was, is] = [before[kind] ?? 0, after[kind] ?? 0];
    if (is > was)
      problems.push(`${is - was} ${kind} were left behind (${was} before, ${is} after)`);
  }
  for (const [kind, { done, failed, firstFailure }] of Object.entries(visits)) {
    if (done === 0) problems.push(`no visit of kind "${kind}" came to its end`);
    if (failed > 0) problems.push(`${failed} visits of kind "${kind}" failed: ${firstFailure}`);
  }
  if (faults.length > 0) problems.push(`the log has ${faults.length} faults: ${faults[0]}`);
  return problems;
}

export function megabytes(bytes: number): string {
  return (bytes / 1_048_576).toFixed(2);
}
