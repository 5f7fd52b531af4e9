// Plays the conformance cases; how they are written: compare-case.ts.
import { expect, test } from 'vitest';
import { FAULTS } from '../../src/broadcast/fault.ts';
import { VERDICTS } from '../../src/rules/verdict.ts';
import { play, readCases } from './compare-case.ts';

const CASES = readCases();

test.each(CASES)('$file: $one.name', ({ one, events }) => {
  const outcome = play(one, events);
  expect(outcome.found).toEqual(one.expect.toSorted());
  expect(outcome.pending).toBe(0);
  for (const [line, byMs] of Object.entries(one.within ?? {})) {
    expect(outcome.times.get(line), line).toBeLessThanOrEqual(byMs);
  }
});

// The fault: a verdict that took twenty seconds would have passed all tests of most kinds.
test('of every fault that can be planted in an event a case says by when it is found', () => {
  const timed = CASES.filter(({ one }) => one.within !== undefined).map(({ one }) => one.name);
  for (const kind of FAULTS) {
    if (kind === 'slow' || kind === 'crash') continue;
    expect(
      timed.some(name => name.startsWith(`${kind}: `)),
      kind,
    ).toBe(true);
  }
});

test('there is a case for every verdict', () => {
  const lines = CASES.flatMap(({ one }) => one.expect);
  for (const verdict of Object.keys(VERDICTS)) {
    expect(
      lines.some(line => line.startsWith(verdict)),
      verdict,
    ).toBe(true);
  }
  expect(CASES.length).toBeGreaterThanOrEqual(40);
});
