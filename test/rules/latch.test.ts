import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  bookOf,
  heldEntries,
  type LatchEntry,
  latchOn,
  NO_LATCH,
  withEntry,
} from '../../src/rules/latch.ts';

const entry = (
  epoch: number,
  scope: string,
  state: LatchEntry['state'],
  reason = `${epoch}`,
): LatchEntry => ({ epoch, scope, state, reason, by: 'operator', at: '2026-01-01T00:00:00.000Z' });
const book = (...entries: LatchEntry[]) => entries.reduce(withEntry, NO_LATCH);
const found = { reason: 'damaged', at: '2026-01-02T00:00:00.000Z' };

test.each<[string, LatchEntry[], string, ReturnType<typeof latchOn>]>([
  ['nothing was said', [], 'events', null],
  ['the route was rolled back', [entry(1, 'events', 'latched')], 'events', 'latched'],
  ['another route was', [entry(1, 'api', 'latched')], 'events', null],
  ['everything was', [entry(1, '*', 'latched')], 'events', 'latched'],
  [
    'everything was severed, the route latched',
    [entry(1, '*', 'severed'), entry(2, 'events', 'latched')],
    'events',
    'severed',
  ],
  ['it was released', [entry(1, '*', 'latched'), entry(2, '*', 'released')], 'events', null],
  [
    'everything was released, the route not',
    [entry(1, 'events', 'latched'), entry(2, '*', 'latched'), entry(3, '*', 'released')],
    'events',
    'latched',
  ],
  [
    'the route was released, everything not',
    [entry(1, '*', 'latched'), entry(2, 'events', 'latched'), entry(3, 'events', 'released')],
    'events',
    'latched',
  ],
  [
    '64: an older rollback comes again',
    [entry(1, '*', 'latched'), entry(2, '*', 'released'), entry(1, '*', 'latched')],
    'events',
    null,
  ],
  [
    '64: a release is late',
    [entry(3, '*', 'latched'), entry(2, '*', 'released')],
    'events',
    'latched',
  ],
  [
    'two took the same number: legacy is right',
    [entry(2, '*', 'released'), entry(2, '*', 'latched')],
    'events',
    'latched',
  ],
])('%s', (_what, entries, route, held) => {
  expect(latchOn(book(...entries), route)).toBe(held);
});

test('64: in whatever order and however often entries are heard, the same holds in the end', () => {
  const any = fc
    .array(
      fc.tuple(fc.constantFrom('*', 'a', 'b'), fc.constantFrom('latched', 'severed', 'released')),
      { maxLength: 12 },
    )
    .map(said => said.map(([scope, state], index) => entry(index + 1, scope, state as 'latched')));
  fc.assert(
    fc.property(
      any.chain(said =>
        fc.tuple(
          fc.constant(said),
          fc.shuffledSubarray([...said, ...said], { minLength: said.length * 2 }),
        ),
      ),
      ([said, heard]) => {
        const [inOrder, otherwise] = [book(...said), book(...heard)];
        for (const route of ['a', 'b', 'c'])
          expect(latchOn(otherwise, route)).toBe(latchOn(inOrder, route));
        expect(heldEntries(otherwise)).toEqual(heldEntries(inOrder));
        expect(otherwise.epoch).toBe(inOrder.epoch);
      },
    ),
  );
});

describe('lines of a file', () => {
  const line = (...rest: Parameters<typeof entry>) => JSON.stringify(entry(...rest));

  test.each([
    ['half a line', '{"epoch":2,"sco'],
    ['another JSON', '[1]'],
    ['one that lacks its reason', '{"epoch":2,"scope":"*","state":"released","by":"x","at":"y"}'],
    ['a state that nobody knows', JSON.stringify({ ...entry(2, '*', 'latched'), state: 'open' })],
    ['zeros', '\0\0\0'],
  ])('67: %s holds everything', (_what, torn) => {
    const { book: read, damaged } = bookOf([line(1, 'api', 'released'), torn], found);
    expect(damaged).toBe(1);
    expect(heldEntries(read)).toMatchObject([{ scope: '*', reason: 'damaged', by: 'cutover' }]);
  });

  test('what was torn holds until it is released', () => {
    const { book: read, damaged } = bookOf(
      [line(1, 'a', 'latched'), '{"epoch":2', line(2, '*', 'released'), ''],
      found,
    );
    expect(damaged).toBe(1);
    expect(heldEntries(read).map(({ scope }) => scope)).toEqual(['a']);
  });
});
