import { expect, test } from 'vitest';
import { isFlood, StreamFlood } from '../../src/traffic/flood.ts';

const MB = 1_048_576;

test('a shadow may send 8 MiB a second, and four times what the primary does', () => {
  expect([isFlood(8 * MB, 0), isFlood(8 * MB + 1, 0)]).toEqual([false, true]);
  expect([isFlood(40 * MB, 10 * MB), isFlood(40 * MB + 1, 10 * MB)]).toEqual([false, true]);
});

test('a stream that sends what the primary did, a second later or without its client, does not flood', () => {
  const late = new StreamFlood();
  expect([late.look(0, 10 * MB), late.look(10 * MB, 10 * MB)]).toEqual([false, false]);
  // The client has left, and legacy's stream with him.
  expect([late.look(20 * MB, 10 * MB), late.look(30 * MB, 10 * MB)]).toEqual([false, false]);
  expect(late.look(50 * MB, 10 * MB)).toBe(true);
  // Slowly it may send any amount.
  const slow = new StreamFlood();
  for (let s = 1; s <= 60; s += 1) expect(slow.look(s * 8 * MB, 0)).toBe(false);
});
