// Small events take thirty times their message once they wait: a room full of those must not be three times what
// the judge's thread has.
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
