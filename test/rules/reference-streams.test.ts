import { expect, test } from 'vitest';
import { PLANTED, playReference } from './reference-streams.ts';

// At full size, by hand: 100,000 events with faults, 1,000,000 without.
test('every fault planted into the reference services is found and named rightly, and nothing else', () => {
  const { planted, found, missed, falseAlarms, events, unjudged } = playReference({
    seed: 1,
    users: 30,
    runsPerUser: 60,
    jitterMs: 500,
    faultRate: 0.02,
  });
  expect(events).toBeGreaterThan(10_000);
  expect(planted).toBeGreaterThan(10 * PLANTED.length);
  expect(missed).toEqual([]);
  expect(falseAlarms).toEqual([]);
  expect(found).toBe(planted);
  expect(unjudged).toBeLessThanOrEqual(0.001 * events);
});

test.each([0, 20, 500])('clean streams with %d ms of jitter are matches alone', jitterMs => {
  const options = { seed: 2 + jitterMs, users: 15, runsPerUser: 40, jitterMs, faultRate: 0 };
  const { books, falseAlarms, events } = playReference(options);
  expect(falseAlarms).toEqual([]);
  expect(books.legacy.match).toBe(events);
  expect(books.candidate.match).toBe(events);
});
