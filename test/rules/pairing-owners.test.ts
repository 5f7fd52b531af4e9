// Whose an event is, is asked of whatever the candidate sent and legacy did not send this user: what comes
// once more, or says that it is sent again, was once taken for harmless and nobody asked.
import { expect, test } from 'vitest';
import { broadcasterRules } from '../../src/broadcast/compare-rules.ts';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { SIDES } from '../../src/rules/decide.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';
import { lineOf } from './compare-case.ts';

const OWN = { type: 'list', run_id: 'own', items: [{ id: 1 }], note: { by: 'own' } };

/** Both send `OWN`, then the candidate alone `event`, and then it may leave; everything is another user's that says so. */
function alone(event: object, leaves = false): string[] {
  const lines: string[] = [];
  const one = new Pairing({
    ...{ route: 'events', session: 's', subject: ['user_1'], ids: new IdClasses() },
    rules: compileRules({
      ...broadcasterRules(),
      allow: [
        ...broadcasterRules().allow,
        { path: '/items', as: 'any-order', by: '/id' },
        { path: '/note', as: 'anything' },
      ],
    }),
    ...{ windowMs: 5_000, maxPending: 100 },
    onFinding: finding => lines.push(lineOf(finding)),
    isOthers: ({ value }) => JSON.stringify(value).includes('others'),
  });
  for (const side of SIDES) one.legOpened(side, 0);
  for (const side of SIDES) one.event(side, OWN, 2_000);
  one.event('candidate', event, 3_000);
  if (leaves) one.legClosed('candidate', 3_001, 'by-service');
  for (let at = 3_100; at < 13_000; at += 100) one.sweep(at);
  expect(one.pending).toBe(0);
  return lines;
}

test.each([
  ['is extra', { type: 'done', run_id: 'of others' }, 'extra done'],
  [
    'is sent again for whom it missed',
    { type: 'agent_completed', run_id: 'of others', recovered: true, data: {} },
    'unjudged(no-second) agent_completed candidate',
  ],
  ['comes once more with other elements', { ...OWN, items: [{ id: 'others' }] }, 'extra list'],
  [
    'comes once more but for what is not looked at',
    { ...OWN, note: { by: 'others' } },
    'duplicate list candidate',
  ],
])('another user’s event that %s is contaminated', (_name, event, line) => {
  expect(alone(event)).toContain(`contaminated ${line.split(' ')[1]} candidate`);
  const own = JSON.parse(JSON.stringify(event).replaceAll('others', 'own and more'));
  expect(alone(own)).toContain(line);
});

test('so it is when it is the last that a leg said before it ended', () => {
  expect(alone({ type: 'bye', of: 'others' }, true)).toContain('contaminated bye candidate');
  expect(alone({ type: 'bye', of: 'own' }, true)).toContain('unjudged(no-second) bye candidate');
});
