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
      if (!JSON.stringify(withExactIntegers(text), tagged).includes('bigint')) return;
      told += 1;
      expect(mayBeInexact(text)).toBe(true);
    }),
    { numRuns: 2_000 },
  );
  expect(told).toBeGreaterThan(200);
});

function tagged(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? 'bigint' : value;
}

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
