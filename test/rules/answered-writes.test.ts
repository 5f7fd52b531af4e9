import { expect, test } from 'vitest';
import { AnsweredWrites } from '../../src/rules/pairing/answered-writes.ts';

/** Legacy answers at once. */
function candidate(writes: AnsweredWrites, at: number, answered: number, longest: number): void {
  const longestMs = { legacy: 0, candidate: longest };
  writes.note(at, { answered: { legacy: at, candidate: answered }, longestMs });
}

test('a side is late until it has answered what began before, and no longer than it took for any', () => {
  const writes = new AnsweredWrites(5_000);
  expect(writes.lateMs('candidate', 10_000)).toBe(0);
  candidate(writes, 10_050, 9_000, 1_050);
  expect(writes.lateMs('legacy', 10_000)).toBe(0);
  expect(writes.lateMs('candidate', 10_000)).toBe(1_050);
  candidate(writes, 12_000, 9_999, 3_000);
  candidate(writes, 12_100, 10_000, 3_050);
  candidate(writes, 12_200, 12_200, 5);
  expect(writes.lateMs('candidate', 10_000)).toBe(2_100);
  expect(writes.lateMs('candidate', 10_001)).toBe(2_199);
  expect(writes.lateMs('candidate', 12_110)).toBe(5);
  expect(writes.lateMs('legacy', 10_000)).toBe(0);
});

test('what is longer ago than anybody asks for is forgotten', () => {
  const writes = new AnsweredWrites(5_000);
  for (let at = 0; at <= 120_000; at += 100) candidate(writes, at, at, 90_000 < at ? 7 : 70);
  expect(writes.lateMs('candidate', 105_010)).toBe(7);
  expect(writes.lateMs('candidate', 50_000)).toBe(7);
});
