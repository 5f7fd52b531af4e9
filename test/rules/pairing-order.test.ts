// Pairs of a lane and their order, while an event before them waits: what is looked at again, and what comes of it.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Comparison } from '../../src/rules/compare/compare.ts';
import type { Side } from '../../src/rules/decide.ts';
import { Order } from '../../src/rules/pairing/order.ts';
import type { Pending } from '../../src/rules/pairing/pending.ts';

const event = (place: number) => ({ place, isNamed: true }) as Pending;
const SAME: Comparison = {
  ...{
    differences: [],
    excused: [],
    stopped: null,
    learned: [],
    inexact: false,
    isAlike: true,
    hasAdded: false,
  },
};

type Waiting = Record<Side, Pending[]>;

/**
 * Legacy's events come in order, the candidate's as `late` says; `lost` never come. Returns which pairs came
 * to rest, when, and which of them late. `seen` is what of the waiting events an order is shown.
 */
function run(
  late: readonly number[],
  lost: ReadonlySet<number>,
  seen: (waiting: Waiting) => Waiting,
) {
  const order = new Order();
  const waiting: Waiting = { legacy: [], candidate: [] };
  const rested: string[] = [];
  const arrivals = late
    .flatMap((by, n) => [
      { n, side: 'legacy' as Side, at: 2 * n },
      { n, side: 'candidate' as Side, at: 2 * (n + by) + 1 },
    ])
    .filter(({ n, side }) => side === 'legacy' || !lost.has(n))
    .sort((a, b) => a.at - b.at);
  const places = { legacy: 0, candidate: 0 };
  const known = new Map<number, Pending>();
  for (const { n, side } of arrivals) {
    const arrived = event(places[side]);
    places[side] += 1;
    const other = known.get(n);
    if (other === undefined) {
      known.set(n, arrived);
      waiting[side].push(arrived);
    } else {
      const from = side === 'legacy' ? waiting.candidate : waiting.legacy;
      from.splice(from.indexOf(other), 1);
      const [legacy, candidate] = side === 'legacy' ? [arrived, other] : [other, arrived];
      order.add({ legacy, candidate, comparison: SAME, isLate: false });
    }
    order.settle(seen(waiting), ({ legacy, candidate, isLate }) => {
      rested.push(`${arrivals.length} ${n}: ${legacy.place} ${candidate.place} ${isLate}`);
    });
  }
  waiting.legacy = [];
  waiting.candidate = [];
  order.settle(waiting, ({ legacy, candidate, isLate }) => {
    rested.push(`end: ${legacy.place} ${candidate.place} ${isLate}`);
  });
  return rested;
}

test('what is not looked at again would have said the same', () => {
  const asTheyAre = (waiting: Waiting) => waiting;
  // Others each time: everything has to be looked at.
  const others = ({ legacy, candidate }: Waiting) => ({
    legacy: legacy.map(({ place }) => event(place)),
    candidate: candidate.map(({ place }) => event(place)),
  });
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 6 }), { minLength: 1, maxLength: 40 }),
      fc.array(fc.integer({ min: 0, max: 39 }), { maxLength: 4 }),
      (late, lost) => {
        const never = new Set(lost);
        expect(run(late, never, asTheyAre)).toEqual(run(late, never, others));
      },
    ),
    { numRuns: 500 },
  );
});

test('pairs behind one that waits for its window are not all looked at with each that follows', () => {
  let looks = 0;
  const counted = (place: number) =>
    ({
      isNamed: true,
      get place() {
        looks += 1;
        return place;
      },
    }) as Pending;
  const order = new Order();
  const waiting: Waiting = { legacy: [counted(0)], candidate: [] };
  const many = 2_000;
  for (let n = 1; n <= many; n += 1) {
    order.add({ legacy: counted(n), candidate: counted(n - 1), comparison: SAME, isLate: false });
    order.settle(waiting, () => undefined);
  }
  expect(looks / many).toBeLessThan(30);
});
