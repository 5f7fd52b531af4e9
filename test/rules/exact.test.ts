// Which messages have integers whose digits a parser loses: their text is kept while they wait, and no other's.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mayBeInexact, withExactIntegers } from '../../src/rules/pairing/exact.ts';

/** However JSON may write a number (RFC 8259 section 6). */
const number = fc
  .tuple(
    fc.constantFrom('', '-'),
    fc.oneof(fc.constant('0'), fc.stringMatching(/^[1-9]\d{0,25}$/)),
    fc.oneof(fc.constant(''), fc.stringMatching(/^\.\d{1,20}$/)),
    fc.oneof(fc.constant(''), fc.stringMatching(/^[eE][+-]?\d{1,2}$/)),
  )
  .map(parts => parts.join(''));
const blank = fc.constantFrom('', ' ', '\n', '\t', '\r');
const PLACES: readonly ((number: string, blank: string) => string)[] = [
  (number, blank) => `${blank}${number}`,
  (number, blank) => `[${blank}${number}]`,
  (number, blank) => `["a",${blank}${number}]`,
  (number, blank) => `{"a":${blank}${number}}`,
];

test('every integer beyond 2^53 is told of by its text, wherever it stands and however it is written', () => {
  let told = 0;
  fc.assert(
    fc.property(number, blank, fc.constantFrom(...PLACES), (number, blank, place) => {
      const text = place(number, blank);
      // By what a double makes of it, which the rule knows nothing of.
      const value = Number(number);
      if (!Number.isInteger(value) || Number.isSafeInteger(value)) return;
      told += 1;
      expect(mayBeInexact(text)).toBe(true);
    }),
    { numRuns: 2_000 },
  );
  expect(told).toBeGreaterThan(200);
});

test.each([
  ...['9007199254740992', '-9007199254740993', '12345678901234567', '9007199254740993.0'],
  ...['1e20', '-1E+20', '1.5e300', '12345678901234567890e-2'],
])('%s is such an integer', number => {
  for (const place of PLACES) expect(mayBeInexact(place(number, ''))).toBe(true);
});

test('what has such an integer is read to its last digit, and what has none as ever', () => {
  expect(withExactIntegers('{"a":[9007199254740993,1e20,1.5],"b":"9007199254740993"}')).toEqual({
    ...{ a: [9007199254740993n, 100000000000000000000n, 1.5], b: '9007199254740993' },
  });
  expect(withExactIntegers('{"a":42,"b":"9007199254740993"}')).toEqual({
    ...{ a: 42, b: '9007199254740993' },
  });
  expect(withExactIntegers('{"a":')).toBeUndefined();
});

// The fault: stamps in microseconds and ids as texts kept the text of all that waited, half as much again as without.
test.each([
  '{"sent_us":"1764323456123456"}',
  '{"id":"9007199254740993"}',
  '{"id":"req-12345678901234567890"}',
  '{"trace":"4bf92f3577b34da6a3ce929d0e0e4736","span":"1e20"}',
  '{"at":1764323456.123456}',
  '{"at":1764323456123}',
  '{"share":0.12345678901234567}',
])('%s has no such integer', text => {
  expect(mayBeInexact(text)).toBe(false);
});
