// What waits, held against a list that is looked through from its beginning: few are, many are in a map.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { Arrivals } from '../../src/rules/pairing/arrivals.ts';
import { type Pending, Waiting } from '../../src/rules/pairing/pending.ts';

const RULES = compileRules(DEFAULT_RULES);

function arrived(arrivals: Arrivals, run: string, seq: number, at = 0): Pending {
  return arrivals.take('legacy', { type: 'a', run_id: run, seq }, at, null, null, 10);
}

test('the oldest of those that are found by the same is found, however many come and go', () => {
  const step = fc.oneof(
    { weight: 3, arbitrary: fc.record({ add: fc.nat(11) }) },
    { weight: 2, arbitrary: fc.record({ remove: fc.nat() }) },
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 60, maxLength: 150 }), steps => {
      const arrivals = new Arrivals(RULES, 's');
      const waiting = new Waiting();
      const model: Pending[] = [];
      // Twelve names, two runs of which have one number each, so that several have one `lead`.
      const named = (name: number) => arrived(arrivals, name % 2 === 0 ? 'r' : 'q', name >> 1);
      for (const each of steps) {
        if ('add' in each) {
          const event = named(each.add);
          waiting.add(event);
          model.push(event);
        } else {
          const [event] = model.splice(each.remove % (model.length || 1), 1);
          if (event !== undefined) waiting.remove(event);
        }
        expect([waiting.size, waiting.oldest]).toEqual([model.length, model[0] ?? null]);
        for (let name = 0; name < 12; name++) {
          const like = named(name);
          const alike = model.filter(({ named: its }) => its?.key === like.named?.key);
          expect([...waiting.allOf(like)]).toEqual(alike);
        }
      }
    }),
    { numRuns: 30 },
  );
});

// The fault: hundreds of one name were gone through for each event of another one.
test('however many wait, a few at most are looked at for one that is not among them', () => {
  const arrivals = new Arrivals(RULES, 's');
  const waiting = new Waiting();
  let looks = 0;
  for (let nth = 0; nth < 100; nth++) {
    const event = arrived(arrivals, `run ${nth}`, 1);
    const { lead } = event;
    const get = () => {
      looks += 1;
      return lead;
    };
    Object.defineProperty(event, 'lead', { get });
    waiting.add(event);
  }
  looks = 0;
  expect(waiting.find(arrived(arrivals, 'r', 2))).toBeNull();
  expect(looks).toBeLessThan(10);
});

test('what is forgotten of a run is no more had by what comes of it then', () => {
  const arrivals = new Arrivals(RULES, 's');
  const { lane } = arrived(arrivals, 'r', 0, 1_000);
  expect(arrived(arrivals, 'r', 1, 2_000).lane).toBe(lane);
  expect(arrived(arrivals, 'q', 0, 2_000).lane).not.toBe(lane);
  expect(arrived(arrivals, 'r', 2, 2_000).lane).toBe(lane);
  arrivals.sweep(1_000_000);
  const anew = arrived(arrivals, 'r', 3, 1_000_000);
  expect(anew.lane).not.toBe(lane);
  expect(anew.lane?.bornAt).toBe(1_000_000);
  arrived(arrivals, 'q', 1, 1_000_000);
  expect(arrived(arrivals, 'r', 4, 1_000_000).lane).toBe(anew.lane);
});
