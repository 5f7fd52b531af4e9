// What a client names in its first seconds: no more than there is room for, and not for longer.
import { expect, test } from 'vitest';
import { NamedRuns } from '../../src/rules/pairing/named-runs.ts';
import { wordsOf } from '../../src/rules/words.ts';

test('a run is named by all of its words, from when they were said until they are forgotten', () => {
  const named = new NamedRuns();
  named.note(wordsOf('start run1 of'), 5);
  named.note(wordsOf('thread'), 7);
  expect([named.has('run1', 4), named.has('run1', 5), named.has('run2', 9)]).toEqual([
    false,
    true,
    false,
  ]);
  expect([named.has('thread of run1', 6), named.has('thread of run1', 7)]).toEqual([false, true]);
  expect(named.has('::', 9)).toBe(false);
  named.forget();
  expect(named.has('run1', 9)).toBe(false);
});

test('of a message that is longer than there is room for its first words are kept', () => {
  const named = new NamedRuns();
  named.note(wordsOf(Array.from({ length: 20_000 }, (_, n) => `w${n}`).join(' ')), 0);
  expect([named.has('w0', 0), named.has('w255', 0), named.has('w256', 0)]).toEqual([
    true,
    true,
    false,
  ]);
});
