import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { cleanUnitsUntil, confidenceOf, isPossible } from '../../src/rules/confidence.ts';

/** Mulberry32: the same draws in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Of `paths` counts that are watched unit by unit, the share in which `rate` was ever outside. */
function everOutside(
  rate: number,
  { paths, units }: { paths: number; units: number },
  isInside: (units: number, diverged: number) => boolean,
): number {
  const draw = seeded(20250915);
  const known = new Map<number, boolean>();
  const inside = (n: number, diverged: number) => {
    const key = n * (units + 1) + diverged;
    const answer = known.get(key) ?? isInside(n, diverged);
    known.set(key, answer);
    return answer;
  };
  let outside = 0;
  for (let path = 0; path < paths; path += 1) {
    let diverged = 0;
    for (let n = 1; n <= units; n += 1) {
      if (draw() < rate) diverged += 1;
      if (inside(n, diverged)) continue;
      outside += 1;
      break;
    }
  }
  return outside / paths;
}

describe('watched at every unit, the interval loses the true rate in at most 5 % of all counts', () => {
  // Three standard errors of a share of 5 % in 1,000 counts.
  const LIMIT = 0.05 + 3 * Math.sqrt((0.05 * 0.95) / 1_000);

  test.each([0.001, 0.01, 0.1, 0.5, 0.9])('true rate %d', rate => {
    const share = everOutside(rate, { paths: 1_000, units: 2_000 }, (units, diverged) =>
      isPossible({ units, diverged }, rate),
    );
    expect(share).toBeLessThan(LIMIT);
  });

  test('which an interval for a fixed number of units does not', () => {
    const wald = (units: number, diverged: number) => {
      const p = (diverged + 2) / (units + 4);
      return Math.abs(p - 0.1) <= 1.96 * Math.sqrt((p * (1 - p)) / (units + 4));
    };
    expect(everOutside(0.1, { paths: 1_000, units: 2_000 }, wald)).toBeGreaterThan(0.2);
  });
});

const totals = fc
  .tuple(fc.nat(100_000), fc.double({ min: 0, max: 1, noNaN: true }))
  .map(([units, share]) => ({ units, diverged: Math.round(units * share) }));

describe('the interval', () => {
  test('holds the observed rate, lies between 0 and 1, and ends where a rate becomes impossible', () => {
    fc.assert(
      fc.property(totals, given => {
        const { rate, lower, upper } = confidenceOf(given);
        expect(0 <= lower && lower <= upper && upper <= 1).toBe(true);
        if (rate === null) return;
        expect(lower <= rate && rate <= upper).toBe(true);
        if (lower > 0) expect(isPossible(given, lower * 0.999)).toBe(false);
        if (upper < 1) expect(isPossible(given, upper * 1.001)).toBe(false);
        if (lower > 0) expect(isPossible(given, lower + (rate - lower) * 0.01)).toBe(true);
        if (upper < 1) expect(isPossible(given, upper - (upper - rate) * 0.01)).toBe(true);
      }),
    );
  });

  test('is what the mixture says that is multiplied out unit by unit', () => {
    // One unit at a time: what each half of the mixture expected, times its weight.
    const draw = seeded(7);
    const parts = [0.5, 500].map(b => ({ b, likelihood: 0.5 }));
    let [units, diverged] = [0, 0];
    for (; units < 300; units += 1) {
      const hit = draw() < 0.05;
      for (const part of parts) {
        const expected = (0.5 + diverged) / (0.5 + part.b + units);
        part.likelihood *= hit ? expected : 1 - expected;
      }
      if (hit) diverged += 1;
    }
    const mixture = parts.reduce((sum, { likelihood }) => sum + likelihood, 0);
    for (let p = 0.005; p < 0.2; p += 0.001) {
      const likelihood = p ** diverged * (1 - p) ** (units - diverged);
      expect(isPossible({ units, diverged }, p), String(p)).toBe(mixture / likelihood < 20);
    }
  });

  test('of no unit says nothing', () => {
    expect(confidenceOf({ units: 0, diverged: 0 })).toMatchObject({
      rate: null,
      lower: 0,
      upper: 1,
    });
  });
});

describe('how many more clean units', () => {
  test('some 4,900 from nothing until the rate is below 0.1 %', () => {
    const more = cleanUnitsUntil({ units: 0, diverged: 0 }, 0.001) ?? expect.fail();
    expect(more).toBeGreaterThan(4_700);
    expect(more).toBeLessThan(5_000);
  });

  test('exactly so many: one fewer is not enough, and none once it is reached', () => {
    fc.assert(
      fc.property(
        fc
          .tuple(fc.nat(5_000), fc.nat(20))
          .map(([units, d]) => ({ units, diverged: Math.min(units, d) })),
        fc.constantFrom(0.2, 0.05, 0.01, 0.001),
        (given, threshold) => {
          const more = cleanUnitsUntil(given, threshold) ?? expect.fail();
          const upperAfter = (count: number) =>
            confidenceOf({ ...given, units: given.units + count }).upper;
          expect(upperAfter(more)).toBeLessThanOrEqual(threshold);
          if (more > 0) expect(upperAfter(more - 1)).toBeGreaterThanOrEqual(threshold);
          expect(cleanUnitsUntil({ ...given, units: given.units + more }, threshold)).toBe(0);
        },
      ),
    );
  });

  test('a threshold that no count reaches is answered by null', () => {
    expect(cleanUnitsUntil({ units: 100, diverged: 1 }, 0)).toBeNull();
    expect(cleanUnitsUntil({ units: 100, diverged: 1 }, 1e-12)).toBeNull();
  });
});
