import { expect, test } from 'vitest';
import { type LateWrites, toldOf, WriteTimes } from '../../src/rules/pairing/late-writes.ts';

/** The candidate answers writes, of each user one; legacy answers at once. */
function candidate(times: WriteTimes, at: number, took: Record<string, number>): void {
  const late = Object.entries(took).map(([user, tookMs]): [string | null, LateWrites] => [
    user === '' ? null : user,
    { begunAt: at - tookMs, answeredAt: at, tookMs },
  ]);
  times.note(at, { legacy: toldOf(new Map()), candidate: toldOf(new Map(late)) });
}

test('a side is late by what it took longest for of what had begun, and no longer than from then on', () => {
  const times = new WriteTimes(5_000);
  const about = times.about(['ann']);
  expect(about.lateMs('candidate', 10_000, 10_000)).toBe(0);
  candidate(times, 10_050, { ann: 1_050 });
  candidate(times, 12_000, { ann: 3_000 });
  candidate(times, 12_100, { ann: 5 });
  expect(about.lateMs('candidate', 10_000, 8_000)).toBe(3_000);
  expect(about.lateMs('candidate', 10_000, 10_000)).toBe(2_000);
  // It began at 9,000.
  expect(about.lateMs('candidate', 8_999, 8_000)).toBe(0);
  expect(about.lateMs('candidate', 12_095, 12_001)).toBe(5);
  expect(about.lateMs('legacy', 10_000, 8_000)).toBe(0);
});

test('what is about another user makes nobody late; what is about nobody known may be about everybody', () => {
  const times = new WriteTimes(5_000);
  const late = (names: string[]) => times.about(names).lateMs('candidate', 10_000, 9_000);
  candidate(times, 10_100, { bob: 700 });
  expect(late(['ann'])).toBe(0);
  expect(late(['bob'])).toBe(700);
  expect(late(['robert', 'bob'])).toBe(700);
  // Nobody knows who hears it.
  expect(late([])).toBe(700);
  candidate(times, 10_200, { '': 300 });
  expect(late(['ann'])).toBe(300);
});

test('what is longer ago than anybody asks for is forgotten', () => {
  const times = new WriteTimes(5_000);
  for (let at = 0; at <= 120_000; at += 100) candidate(times, at, { ann: at > 90_000 ? 7 : 70 });
  const about = times.about(['ann']);
  expect(about.lateMs('candidate', 105_095, 105_000)).toBe(7);
  expect(about.lateMs('candidate', 120_000, 0)).toBe(7);
});
