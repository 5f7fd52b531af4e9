import { expect, test } from 'vitest';
import { Flood } from '../../src/traffic/flood.ts';

const MB = 1_048_576;

/** In which second it is one, of what both send in each (MiB). */
function secondOf(...seconds: [shadow: number, primary: number][]): number {
  const flood = new Flood();
  let [bytes, primaryBytes] = [0, 0];
  return seconds.findIndex(([shadow, primary]) => {
    bytes += shadow * MB;
    primaryBytes += primary * MB;
    return flood.look(bytes, primaryBytes);
  });
}

const times = (count: number, each: [number, number]) => Array.from({ length: count }, () => each);

test('a shadow may send 8 MiB a second or four times what the primary does, for good', () => {
  expect(secondOf(...times(600, [8, 0]))).toBe(-1);
  expect(secondOf(...times(600, [400, 100]))).toBe(-1);
});

test('beyond that it may send 64 MiB', () => {
  expect([secondOf([72, 0]), secondOf([72.001, 0])]).toEqual([-1, 0]);
  expect(secondOf(...times(600, [9, 0]))).toBe(64);
  expect(secondOf(...times(600, [50, 10]))).toBe(6);
});

// The fault: 28 MB that the primary had sent in the second before were one, and what followed was not compared.
test('what the primary sent in the second before, or later, is none', () => {
  expect(secondOf([0.4, 28], [28, 2.5], [2, 0])).toBe(-1);
  expect(secondOf([28, 0], [2.5, 28], [0, 2])).toBe(-1);
});

test('what was sent less than allowed allows more for a while, not for ever', () => {
  expect(secondOf([72, 0], ...times(8, [0, 0]), [72, 0])).toBe(-1);
  expect(secondOf(...times(600, [0, 100]), [73, 0])).toBe(600);
});
