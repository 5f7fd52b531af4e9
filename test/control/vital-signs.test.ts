// Copies of running totals, as guardrails keep a window of them.
import { expect, test } from 'vitest';
import { signsNow, VitalSigns } from '../../src/control/vital-signs.ts';

test('a copy stays what it was, and shares with the one before what took how long where nothing came to it', () => {
  const signs = new VitalSigns();
  signs.sessionOpened('events', 'legacy', 'flag', 5);
  const first = signsNow(signs.of('events'));
  signs.sessionOpened('events', 'candidate', 'flag', 5);
  const second = signsNow(signs.of('events'), first);

  expect(second.legacy.latency).toBe(first.legacy.latency);
  const opened = [first, second].map(({ candidate }) => candidate.opened);
  const timed = [first, second].map(({ candidate: { latency } }) => sum(latency));
  expect({ opened, timed }).toEqual({ opened: [0, 1], timed: [0, 1] });

  signs.sessionOpened('events', 'legacy', 'flag', 5);
  expect(sum(second.legacy.latency)).toBe(1);
  expect(sum(signsNow(signs.of('events'), second).legacy.latency)).toBe(2);
});

function sum(counts: readonly number[]): number {
  return counts.reduce((all, count) => all + count, 0);
}
