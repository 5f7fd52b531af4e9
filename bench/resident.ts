// Whether a proxy that compares grows: the events of `shadow`, 10,000 a second of both services, every pair judged, without
// a break for some minutes, and how much memory it has meanwhile.
import { setTimeout as pause } from 'node:timers/promises';
import { rounded, type Target } from './comparison.ts';
import { residentBytes } from './machine.ts';
import { startShadowed } from './shadow.ts';
import { growthPerMinute, MOST_GROWTH, type Sample, settled } from './soak/verdict.ts';

export const RESIDENT_SIZES = { minutes: 10 };
/** From one look to the next. */
const LOOK_MS = 5_000;
const QUARTERS = 4;
const MB = 1_048_576;

export interface ResidentResult {
  /** Slope of the line that fits best, from minute 3 on (of a shorter run: its second half). */
  readonly mbPerMinute: number;
  /**
   * At the first look that counts, at most, and at the end; and the lowest of each quarter: heaps are collected now and
   * then, and what does not come down again has grown.
   */
  readonly mb: {
    readonly first: number;
    readonly most: number;
    readonly last: number;
    readonly lows: readonly number[];
  };
  readonly events: number;
  /** Share of legacy's events that was not compared. */
  readonly unjudged: number;
  readonly targets: readonly Target[];
}

export async function benchResident(options: {
  readonly json: boolean;
  readonly minutes: number;
}): Promise<ResidentResult> {
  const { json, minutes } = options;
  const shadowed = await startShadowed();
  const samples: Sample[] = [];
  let events = 0;
  let unjudged = 0;
  try {
    const beganAt = performance.now();
    while (performance.now() - beganAt < minutes * 60_000) {
      await pause(LOOK_MS);
      events += await shadowed.delivered();
      const sample = {
        atMs: performance.now() - beganAt,
        residentBytes: residentBytes(shadowed.pids),
      };
      samples.push(sample);
      if (!json) console.log(`${rounded(sample.atMs / 60_000)} min: ${megabytes(sample)} MB`);
    }
    unjudged = rounded(await shadowed.unjudged());
  } finally {
    await shadowed.stop();
  }
  const counted = settled(samples);
  const sizes = counted.map(megabytes);
  const grown = rounded(growthPerMinute(counted) / MB);
  const target = { what: 'MB that it grows by a minute', value: grown, most: MOST_GROWTH / MB };
  const lows = lowsOf(sizes);
  if (!json) {
    console.log(`${grown} MB a minute; lowest of each quarter: ${lows.join(', ')} MB`);
    console.log(`not compared: ${unjudged} of all events`);
  }
  return {
    mbPerMinute: grown,
    mb: { first: sizes[0] ?? 0, most: Math.max(...sizes), last: sizes.at(-1) ?? 0, lows },
    ...{ events, unjudged },
    targets: [{ ...target, met: grown < target.most }],
  };
}

function lowsOf(sizes: readonly number[]): number[] {
  const quarter = Math.ceil(sizes.length / QUARTERS);
  return Array.from({ length: QUARTERS }, (_, nth) =>
    Math.min(...sizes.slice(nth * quarter, (nth + 1) * quarter)),
  );
}

function megabytes(sample: Sample): number {
  return rounded(sample.residentBytes / MB);
}
