// Small events take thirty times their message once they wait: a room full of those must not be three times what
// the judge's thread has.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES } from '../../src/rules/decide.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';

const EVENT_BYTES = 30;

test('an event counts as 64 bytes more than its message, and as nothing once it is over', () => {
  const room = { bytes: 0, mostBytes: 100 * (EVENT_BYTES + 64) };
  const found: (string | null)[] = [];
  const sessions = Array.from({ length: 4 }, (_, nth) => {
    const one = new Pairing({
      ...{ route: 'events', session: `s${nth}`, rules: compileRules(DEFAULT_RULES), subject: [] },
      ...{ ids: new IdClasses(), windowMs: 5_000, maxPending: 1_000, room },
      onFinding: ({ because }) => found.push(because),
    });
    for (const side of SIDES) one.legOpened(side, 0);
    return one;
  });
  for (let seq = 0; seq < 40; seq++) {
    for (const one of sessions) {
      one.event('legacy', { type: 'a', run_id: 'r', seq }, 1_000, null, null, EVENT_BYTES);
    }
  }
  const waiting = () => sessions.reduce((sum, { pending }) => sum + pending, 0);
  expect(waiting()).toBe(100);
  expect(found).toEqual(Array(60).fill('window-overrun'));
  for (const one of sessions) one.end(1_100);
  expect([waiting(), room.bytes]).toEqual([0, 0]);
});

setFlagsFromString('--expose-gc');
const collect: () => void = runInNewContext('gc');

/** What so many messages take that wait, bytes. */
function heapOf(count: number, textOf: (nth: number) => string, sweepMs: number | null): number {
  const one = new Pairing({
    ...{ route: 'events', session: 's', rules: compileRules(DEFAULT_RULES), subject: [] },
    ...{ ids: new IdClasses(), windowMs: 5_000, maxPending: 1_000 },
    onFinding: () => undefined,
  });
  for (const side of SIDES) one.legOpened(side, 0);
  collect();
  const before = process.memoryUsage().heapUsed;
  for (let nth = 0; nth < count; nth++) {
    const text = textOf(nth);
    one.event('legacy', JSON.parse(text), 1_000, null, text, text.length);
  }
  if (sweepMs !== null) one.sweep(sweepMs);
  collect();
  expect(one.pending).toBe(count);
  return process.memoryUsage().heapUsed - before;
}

// The fault: the second parse that an id beyond 2^53 takes waited along with the first.
test('an event whose key is read to the last digit takes no more memory than any other', () => {
  const all = '{},'.repeat(20_000);
  const textOf = (id: string) => (nth: number) =>
    `{"type":"a","message_id":${id}${10 + nth},"all":[${all}{}]}`;
  const rounded = heapOf(20, textOf('9007199254740993'), null);
  expect(rounded / heapOf(20, textOf('9007199254'), null)).toBeLessThan(1.4);
});

test('what waits is kept without its text, unless there are digits in it that a parser loses', () => {
  const textOf = (number: string) => (nth: number) =>
    `{"type":"a","seq":${nth},"n":${number},"said":[${'1,'.repeat(2_000)}1]}`;
  const withText = heapOf(500, textOf('9007199254740993'), 1_100);
  for (const number of ['900719925474099', '"1764323456123456"']) {
    const less = withText - heapOf(500, textOf(number), 1_100);
    expect(less, number).toBeGreaterThan(500 * 3_500);
  }
});
