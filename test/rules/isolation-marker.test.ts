// Strings that were planted for one user, in bytes that another one is sent.
import { expect, test } from 'vitest';
import { Markers } from '../../src/rules/isolation/marker.ts';

const markers = new Markers([
  { text: 'cutovermarker00aa', user: 'ann' },
  { text: 'cutovermarker00bb', user: 'bob' },
]);
const foundAt = (text: string) => markers.foreignIn(Buffer.from(text), ['bob']);

test.each([
  ['plainly', 'a cutovermarker00aa', 'ann'],
  ['with its first letter escaped', '"\\u0063utovermarker00aa"', 'ann'],
  ['with one within escaped', '"cutover\\u006darker00aa"', 'ann'],
  ['with one within escaped, in a text within a text', '"\\"cutover\\\\u006Darker00aa\\""', 'ann'],
  ['... and in one within that', '"cutover\\\\\\\\u006darker00aa"', 'ann'],
  ['behind backslashes', `"${'\\\\'.repeat(50)}cutovermarker00aa \\u0041"`, 'ann'],
  ['his own alone', '"cutover\\u006darker00bb"', null],
])('a marker is found that is written %s', (_how, text, owner) => {
  expect(foundAt(text)).toBe(owner);
});

test('a megabyte of backslashes is gone through once', () => {
  const run = '\\'.repeat(1_000_000);
  expect(foundAt(`"\\u0041${run}"`)).toBeNull();
  expect(foundAt(`"\\u0041${run}u0063utovermarker00aa"`)).toBe('ann');
});
