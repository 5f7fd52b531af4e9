import { expect, test } from 'vitest';
import { type Lone, ReadingOn } from '../../src/traffic/reading-on.ts';

const leg = (): Lone => ({
  ...{ route: 'events', side: 'candidate' },
  ...{ leave: () => undefined, sweepLone: () => undefined },
});

// The fault: when five hundred sessions had ended, whoever was refused then was not looked at.
test('there is room for legs of clients who were refused, however many others are heard on', () => {
  const readingOn = new ReadingOn();
  for (let n = 0; n < 5_000; n += 1) expect(readingOn.add(leg())).toBe(true);
  expect(readingOn.add(leg())).toBe(false);
  const refused = Array.from({ length: 500 }, leg);
  for (const each of refused) expect(readingOn.addRefused(each)).toBe(true);
  expect(readingOn.addRefused(leg())).toBe(false);
  expect(readingOn.add(leg())).toBe(false);
  // Those that have ended by themselves leave room, and so do those that were left.
  for (const each of refused.slice(0, 200)) readingOn.delete(each);
  readingOn.sweep(performance.now() + 6_000);
  for (let n = 0; n < 500; n += 1) expect(readingOn.addRefused(leg())).toBe(true);
  expect(readingOn.addRefused(leg())).toBe(false);
});
