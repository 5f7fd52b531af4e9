import { expect, test } from 'vitest';
import { LeftOutWrites } from '../../src/rules/pairing/left-out-writes.ts';

test('explains what comes within a window of it, on the side that lacks it, and nothing else', () => {
  const writes = new LeftOutWrites(5_000);
  expect(writes.mayExplain('candidate', 10_000)).toBe(false);
  writes.over('candidate', 10_000);
  expect(writes.mayExplain('candidate', 9_999)).toBe(false);
  expect(writes.mayExplain('candidate', 10_000)).toBe(true);
  expect(writes.mayExplain('candidate', 15_000)).toBe(true);
  expect(writes.mayExplain('candidate', 15_001)).toBe(false);
  expect(writes.mayExplain('legacy', 12_000)).toBe(false);
});

test('one after the other lasts until a window after the last one; what lies between stays judged', () => {
  const writes = new LeftOutWrites(5_000);
  for (const at of [10_000, 12_000, 16_500, 30_000]) writes.over('candidate', at);
  expect(writes.mayExplain('candidate', 21_500)).toBe(true);
  expect(writes.mayExplain('candidate', 21_501)).toBe(false);
  expect(writes.mayExplain('candidate', 30_000)).toBe(true);
});

// The fault: of an upload that took longer than a window, what it caused at its end was missing at the service that was
// not given it.
test('explains what comes until a window after it was answered, however long that takes', () => {
  const writes = new LeftOutWrites(5_000);
  writes.begin('candidate', 10_000);
  for (const at of [10_000, 20_000, 100_000]) expect(writes.mayExplain('candidate', at)).toBe(true);
  writes.over('candidate', 100_000);
  for (const at of [10_000, 20_000, 105_000]) expect(writes.mayExplain('candidate', at)).toBe(true);
  expect(writes.mayExplain('candidate', 9_999)).toBe(false);
  expect(writes.mayExplain('candidate', 105_001)).toBe(false);
});
