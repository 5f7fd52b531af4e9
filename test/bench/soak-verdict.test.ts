import { expect, test } from 'vitest';
import {
  growthPerMinute,
  problemsOf,
  type Sample,
  type Soaked,
  settled,
} from '../../bench/soak/verdict.ts';

const MB = 1_048_576;

/** Ten minutes of samples; bytes by the minute that has passed. */
function samples(bytes: (minute: number) => number, minutes = 10): Sample[] {
  return Array.from({ length: minutes * 30 }, (_, i) => ({
    atMs: i * 2_000,
    residentBytes: bytes((i * 2_000) / 60_000),
  }));
}

const good: Soaked = {
  samples: samples(() => 80 * MB),
  before: { sockets: 3, Timeout: 2 },
  after: { sockets: 3, Timeout: 1 },
  visits: { churn: { done: 10, failed: 0, firstFailure: null } },
  faults: [],
  died: null,
};

test('a proxy that keeps its size and leaves nothing behind has passed', () => {
  expect(problemsOf(good)).toEqual([]);
});

test('the slope is that of the line that fits best, and of what comes after minute three alone', () => {
  expect(growthPerMinute(samples(m => m * 5))).toBeCloseTo(5);
  expect(growthPerMinute(samples(m => 100 - m * 2))).toBeCloseTo(-2);
  const warmedUp = samples(m => Math.min(m, 3) * 20 * MB);
  expect(settled(warmedUp)[0]?.atMs).toBe(180_000);
  expect(growthPerMinute(settled(warmedUp))).toBeCloseTo(0);
  // Half of a short run.
  expect(settled(samples(() => 1, 4))[0]?.atMs).toBe(120_000);
});

test('a saw that does not rise has passed, one that rises by 1 MB a minute has not', () => {
  const saw = (m: number) => 80 * MB + ((m * 7) % 1) * 20 * MB;
  expect(problemsOf({ ...good, samples: samples(saw) })).toEqual([]);
  expect(problemsOf({ ...good, samples: samples(m => saw(m) + m * 1.2 * MB) })).toEqual([
    expect.stringMatching(/^resident size rises by 1\.\d+ MB a minute$/),
  ]);
});

test('whatever else is wrong is said', () => {
  expect(problemsOf({ ...good, samples: good.samples.slice(0, 5) })[0]).toContain('too few');
  expect(problemsOf({ ...good, after: { sockets: 5, PipeWrap: 1 } })).toEqual([
    '2 sockets were left behind (3 before, 5 after)',
    '1 PipeWrap were left behind (0 before, 1 after)',
  ]);
  const visits = {
    churn: { done: 9, failed: 1, firstFailure: 'Error: 502' },
    streams: { done: 0, failed: 0, firstFailure: null },
  };
  expect(problemsOf({ ...good, visits })).toEqual([
    '1 visits of kind "churn" failed: Error: 502',
    'no visit of kind "streams" came to its end',
  ]);
  expect(problemsOf({ ...good, faults: ['{"level":50}'] })[0]).toContain('1 faults');
  expect(problemsOf({ ...good, died: 'SIGSEGV' })).toEqual(['the proxy ended by itself: SIGSEGV']);
});
