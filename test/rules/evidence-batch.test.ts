// What the judge hands over: complete counts, few examples, and never much at once.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES } from '../../src/rules/decide.ts';
import { type EvidenceBatch, EvidenceBatcher } from '../../src/rules/evidence-batch.ts';
import { generalPath, groupsOf } from '../../src/rules/evidence-group.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';
import type { Difference, Finding } from '../../src/rules/verdict.ts';

function finding(rest: Partial<Finding> = {}): Finding {
  return {
    ...{
      verdict: 'mismatch',
      because: null,
      route: 'events',
      eventType: 'a',
      key: null,
      unit: 'r',
    },
    ...{ session: 's', legacy: { a: 1 }, candidate: { a: 2 }, sides: ['legacy', 'candidate'] },
    ...{ differences: [value('/a')], at: 0, ...rest },
  };
}

const value = (path: string): Difference => ({ kind: 'value', path, legacy: 1, candidate: 2 });

function batchOf(...findings: Finding[]): EvidenceBatch {
  const batcher = new EvidenceBatcher();
  for (const each of findings) batcher.add(each);
  return batcher.take([]) ?? expect.fail();
}

test.each([
  ['/items/3/price', '/items/*/price'],
  ['/0', '/*'],
  ['', ''],
  ['/seen/user_1001', '/seen/*'],
  ['/by/0b7f6a3e-6f0c-4a34-9f43-8a0a0f1d2c3b/x', '/by/*/x'],
  ['/to/alice@example.com', '/to/*'],
  ['/headers/content-type', '/headers/content-type'],
  ['/sha256/$ref/@id/__proto__', '/sha256/$ref/@id/__proto__'],
  [`/${'x'.repeat(41)}`, '/*'],
  ['/a/b/c/d/e/f/g/h/i/j/k/l/m/n', '/a/b/c/d/e/f/g/h/i/j/k/l'],
])('the path %s is grouped as %s', (path, general) => {
  expect(generalPath(path)).toBe(general);
});

test.each([
  ['agent_started', 'agent_started'],
  ['GET 2xx', 'GET 2xx'],
  ['chat.user_1001', 'chat.*'],
  ['for 0b7f6a3e-6f0c-4a34-9f43-8a0a0f1d2c3b, done', 'for *, done'],
  ['x'.repeat(150), 'x'.repeat(100)],
])('events of type %s are grouped as %s', (type, general) => {
  expect(groupsOf(finding({ eventType: type }))[0]?.eventType).toBe(general);
});

test('a finding is in a group for every kind and place of its differences, once', () => {
  const differences = [value('/items/1'), value('/items/2'), value('/b')];
  expect(groupsOf(finding({ differences })).map(({ kind, path }) => `${kind} ${path}`)).toEqual([
    'value /items/*',
    'value /b',
  ]);
  const unjudged = finding({ verdict: 'unjudged', because: 'too-deep', differences: [] });
  expect(groupsOf(unjudged)).toEqual([
    { route: 'events', eventType: 'a', verdict: 'unjudged', kind: 'too-deep', path: '' },
  ]);
  expect(groupsOf(finding({ verdict: 'missing' })).map(({ path }) => path)).toEqual(['']);
  const many = Array.from({ length: 100 }, (_, i) =>
    value(`/${'x'.repeat(1 + (i % 40))}/${i % 3}`),
  );
  expect(groupsOf(finding({ differences: many }))).toHaveLength(16);
});

test('whatever a finding follows, it is counted where it belongs', () => {
  const one = fc.record({
    verdict: fc.constantFrom('noise', 'mismatch', 'missing', 'unjudged' as const),
    because: fc.constantFrom(null, 'overload', 'no-second' as const),
    route: fc.constantFrom('events', 'sse'),
    eventType: fc.constantFrom('a', 'b'),
    differences: fc.array(
      fc.record({
        kind: fc.constantFrom('value', 'type' as const),
        path: fc.constantFrom('/a', '/b/0', '/b/1'),
        ...{ legacy: fc.constant(1), candidate: fc.constant(2) },
      }),
      { maxLength: 3 },
    ),
  });
  fc.assert(
    fc.property(fc.array(one), fc.nat(), (all, cut) => {
      const batcher = new EvidenceBatcher();
      const counted: Record<string, number> = {};
      const expected: Record<string, number> = {};
      const take = () => {
        for (const { count, firstAt, lastAt, ...group } of batcher.take([])?.groups ?? []) {
          const key = JSON.stringify(Object.entries(group).sort());
          counted[key] = (counted[key] ?? 0) + count;
        }
      };
      for (const [nth, each] of all.entries()) {
        batcher.add(finding(each));
        for (const group of groupsOf(finding(each))) {
          const key = JSON.stringify(Object.entries(group).sort());
          expected[key] = (expected[key] ?? 0) + 1;
        }
        if (nth === cut % all.length) take();
      }
      take();
      expect(counted).toEqual(expected);
    }),
  );
});

test('all are counted, with the times of the first and the last; the first five are handed over', () => {
  const batch = batchOf(
    ...Array.from({ length: 1_000 }, (_, at) => finding({ at, unit: `r${at}` })),
  );
  expect(batch.groups).toMatchObject([{ count: 1_000, firstAt: 0, lastAt: 999 }]);
  const units = batch.examples.map(({ finding: { unit } }) => unit);
  expect(units).toEqual(['r0', 'r1', 'r2', 'r3', 'r4']);
  expect(batch.examples.every(({ groups }) => groups.join() === '0')).toBe(true);
});

test('after the first five there is one example in five seconds, and every finding is counted', () => {
  const batcher = new EvidenceBatcher();
  let [examples, count] = [0, 0];
  for (let at = 0; at < 60_000; at += 100) {
    batcher.add(finding({ at }));
    const batch = batcher.take([]);
    examples += batch?.examples.length ?? 0;
    count += batch?.groups[0]?.count ?? 0;
  }
  expect([examples, count]).toEqual([5 + 11, 600]);
});

test('times are whole milliseconds, whatever the clock of the judge counts in', () => {
  const batch = batchOf(finding({ at: 1.75 }), finding({ at: 2.5, legacy: 'x'.repeat(200_000) }));
  expect(batch.groups).toMatchObject([{ firstAt: 1, lastAt: 2 }]);
  expect(batch.examples.map(({ finding: { at } }) => at)).toEqual([1, 2]);
});

test('one rare kind among many frequent ones has its example', () => {
  const rare = finding({ differences: [value('/rare')], unit: 'rare' });
  const frequent = Array.from({ length: 50_000 }, () => finding());
  const batch = batchOf(...frequent.slice(0, 30_000), rare, ...frequent);
  expect(batch.examples.map(({ finding: { unit } }) => unit)).toContain('rare');
});

test('an example in two groups is handed over once', () => {
  const batch = batchOf(finding({ differences: [value('/a'), value('/b')] }));
  expect(batch.examples).toMatchObject([{ groups: [0, 1] }]);
});

test('groups that are made up without end share one', () => {
  const made = Array.from({ length: 5_000 }, (_, i) =>
    finding({
      eventType: `type ${i.toString(36).replace(/\d/g, d => '!-+=()[]{}'[Number(d)] ?? '')}`,
    }),
  );
  const { groups } = batchOf(...made);
  expect(groups).toHaveLength(1_001);
  expect(groups.at(-1)).toMatchObject({ eventType: '(other)', path: '', count: 4_000 });
});

test('what is too large or too deep is handed over without its events, and counted', () => {
  const deep = JSON.parse(`${'['.repeat(10_000)}${']'.repeat(10_000)}`);
  const batch = batchOf(
    finding({ legacy: 'x'.repeat(200_000), differences: [value('/large')] }),
    finding({ candidate: deep, differences: [value('/deep')] }),
    finding(),
  );
  expect(batch.examples.map(({ cut }) => cut)).toEqual([true, true, false]);
  expect(batch.examples[0]?.finding).toMatchObject({ legacy: undefined, differences: [] });
  expect(batch.dropped).toEqual({ 'too-large': 2 });
  structuredClone(batch);
});

test('a batch holds 4 MiB of events at most, half of it for kinds that have no example yet', () => {
  const big = 'x'.repeat(100_000);
  const frequent = Array.from({ length: 10 }, (_, i) => differing('f', i)).flatMap(each =>
    Array.from({ length: 5 }, () => ({ ...each, legacy: big })),
  );
  const rare = Array.from({ length: 10 }, (_, i) => ({ ...differing('r', i), legacy: big }));
  const batch = batchOf(...frequent, ...rare);
  expect(batch.examples).toHaveLength(60);
  const whole = batch.examples.filter(({ cut }) => !cut);
  expect(whole.length * big.length).toBeLessThan(4 * 1024 * 1024);
  expect(batch.examples.slice(-10).every(({ cut }) => !cut)).toBe(true);
  expect(batch.dropped).toEqual({ 'batch-full': 60 - whole.length });
});

/** A kind of its own for each letter and number up to 25. */
function differing(letter: string, number: number): Finding {
  return finding({ differences: [value(`/${letter}${String.fromCharCode(97 + number)}`)] });
}

test('nothing found is no batch; what was taken is not taken again', () => {
  const batcher = new EvidenceBatcher();
  expect(batcher.take([])).toBeNull();
  batcher.add(finding());
  expect(batcher.take([])?.groups).toHaveLength(1);
  expect(batcher.take([])).toBeNull();
  expect(
    batcher.take([{ route: 'r', eventType: null, of: 'run', hour: 0, units: 1, diverged: 0 }]),
  ).toMatchObject({
    groups: [],
    units: [{ units: 1 }],
  });
});

test('the key of what a session found is in its example, for another thread as well', () => {
  const batcher = new EvidenceBatcher();
  const pairing = new Pairing({
    ...{ route: 'events', session: 's', rules: compileRules(DEFAULT_RULES), subject: [] },
    ...{ ids: new IdClasses(), windowMs: 5_000, maxPending: 10 },
    onFinding: each => batcher.add(each),
  });
  for (const side of SIDES) pairing.legOpened(side, 0);
  for (const side of SIDES) pairing.event(side, { type: 'a', run_id: 'r', seq: 1 }, 1_000);
  const { examples } = structuredClone(batcher.take([])) ?? expect.fail();
  expect(examples.map(each => each.finding.key)).toEqual(['k1:["a","r",1]']);
});
