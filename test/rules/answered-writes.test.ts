import { expect, test } from 'vitest';
import { AnsweredWrites } from '../../src/rules/pairing/answered-writes.ts';

test('a side that has not answered is as late as it is, but for more than a window', () => {
  const writes = new AnsweredWrites(5_000);
  expect(writes.lateMs('candidate', 10_000)).toBe(0);
  writes.note(10_050, { legacy: 10_050, candidate: 9_000 });
  expect(writes.lateMs('legacy', 10_000)).toBe(50);
  expect(writes.lateMs('candidate', 10_000)).toBe(5_000);
  writes.note(12_000, { legacy: 12_000, candidate: 9_999 });
  writes.note(12_100, { legacy: 12_100, candidate: 10_000 });
  writes.note(12_200, { legacy: 12_200, candidate: 12_200 });
  expect(writes.lateMs('candidate', 10_000)).toBe(2_100);
  expect(writes.lateMs('candidate', 10_001)).toBe(2_199);
});

test('what is longer ago than anybody asks for is forgotten', () => {
  const writes = new AnsweredWrites(5_000);
  for (let at = 0; at <= 120_000; at += 100) writes.note(at, { legacy: at, candidate: at });
  expect(writes.lateMs('candidate', 105_010)).toBe(90);
  expect(writes.lateMs('candidate', 50_000)).toBe(5_000);
});
