// Whose data it is can be told of a run as well that only one service may have been told to begin.
import { expect, test } from 'vitest';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { SIDES } from '../../src/rules/decide.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';
import type { Finding } from '../../src/rules/verdict.ts';

test.each([
  ["of the candidate's that is nobody else's", false, ['unjudged no-second']],
  ["of the candidate's that is another user's", true, ['contaminated null']],
])('a run %s, while legacy was away, is asked for by its ids alone', (_, isOthers, expected) => {
  const found: Finding[] = [];
  const asked: boolean[] = [];
  const pairing = new Pairing({
    ...{ route: 'events', session: 's', rules: compileRules(DEFAULT_RULES), subject: ['bob'] },
    ...{ ids: new IdClasses(), windowMs: 5_000, maxPending: 100 },
    onFinding: finding => found.push(finding),
    isOthers: (_candidate, _legacy, byIdsAlone) => {
      asked.push(byIdsAlone);
      return isOthers;
    },
  });
  const both = (run_id: string, at: number) => {
    for (const side of SIDES) pairing.event(side, { type: 'step', run_id, seq: 1 }, at);
  };
  for (const side of SIDES) pairing.legOpened(side, 0);
  both('r1', 15_000);
  pairing.legClosed('legacy', 20_000, 'by-service');
  pairing.saidAlone(21_000, 'legacy');
  pairing.legOpened('legacy', 21_500);
  both('r2', 22_000);
  pairing.event('candidate', { type: 'step', run_id: 'r3', seq: 1 }, 25_000);
  for (let at = 25_000; at < 40_000; at += 100) pairing.sweep(at);
  const alone = found.filter(({ sides }) => sides.length === 1);
  expect(alone.map(({ verdict, because }) => `${verdict} ${because}`)).toEqual(expected);
  expect(asked).toEqual([true]);
});
