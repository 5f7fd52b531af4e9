import { expect, test } from 'vitest';
import { groupsText } from '../../src/cli/evidence-text.ts';
import type { KeptGroup } from '../../src/control/evidence/kept.ts';

const kept = (id: number, verdict: 'missing' | 'extra', count: number, eventType = 'chat') =>
  ({
    ...{ id, verdict, count, eventType, route: 'events', kind: '', path: '' },
    ...{ firstAt: 0, lastAt: 0, examples: 5 },
  }) as KeptGroup;

// The fault: events that each service gives an id and a time of its own were so many missing and as many extra ones,
// and nothing said that a rule was wanting.
test('where a type is missing about as often as it is extra, the list says that they may be the same ones', () => {
  const groups = [kept(1, 'missing', 100), kept(2, 'extra', 97)];
  expect(groupsText({ groups, total: 2 })).toMatch(
    /chat of events is missing about as often as it is extra: .* 1 and 2 .*compare\.allow.*compare\.key; .*wrong users/,
  );
});

test('... not where far fewer are extra, or those of another type', () => {
  const groups = [kept(1, 'missing', 100), kept(2, 'extra', 40), kept(3, 'extra', 100, 'note')];
  expect(groupsText({ groups, total: 3 })).not.toContain('about as often');
});

test('of another user\u2019s data it says what told, and where in the event', () => {
  const foreign = [
    { rule: 'routing', path: '/target_user_id' },
    { rule: 'fingerprint', path: '' },
  ] as const;
  const group: KeptGroup = { ...kept(1, 'missing', 3), verdict: 'contaminated', foreign };
  expect(groupsText({ groups: [group], total: 1 })).toContain(
    'routing /target_user_id, fingerprint  3',
  );
  expect(groupsText({ groups: [{ ...group, foreign: [] }], total: 1 })).toContain(
    'the event as a whole',
  );
});
