// Whose fault a run brought to light: the verdict is about the candidate alone.
import { expect, test } from 'vitest';
import type { KeptGroup } from '../../src/control/evidence/kept.ts';
import type { Side } from '../../src/rules/decide.ts';
import { emptyBooks } from '../../src/rules/pairing/books.ts';
import {
  comparisonReport,
  kindsToTell,
  type RunFacts,
  reportText,
} from '../../src/runs/comparison-report.ts';

/** A run of 100 pairs, some of which are contaminated; and in how many events each service was to blame. */
function reported(
  contaminated: number,
  contaminations: Record<Side, number>,
  more: Partial<RunFacts> = {},
) {
  const books = emptyBooks();
  for (const side of ['legacy', 'candidate'] as const) {
    Object.assign(books[side], { seen: 100, contaminated, match: 100 - contaminated });
  }
  return comparisonReport({
    ...{ startedAt: '2025-01-01T00:00:00.000Z', endedAt: '2025-01-01T00:01:00.000Z' },
    ...{ legacy: 'http://l', candidate: 'http://c', scenario: 'golden-path', users: 1, forMs: 1 },
    unnamed: 0,
    visits: { done: 10, 'login-failed': 0, 'broken-off': 0, 'out-of-order': 0 },
    ...{
      mostlyBroken: null,
      strangeRuns: 0,
      obstacles: [],
      secondLegs: [],
      keptSessions: [],
      books: { events: books },
      contaminations,
    },
    ...{ rates: [], kinds: 0, findings: [], ...more },
  });
}

test('data of another user that the candidate sent is exit 2, and legacy\u2019s own is told beside it', () => {
  const report = reported(3, { legacy: 1, candidate: 2 });
  expect(report).toMatchObject({
    ...{ verdict: 'contaminated', exitCode: 2, contaminations: { legacy: 1, candidate: 2 } },
    reasons: [
      'the candidate sent data of another user in 2 events',
      'legacy sent data of another user in 1 event',
    ],
  });
  expect(reportText(report)).toContain('- legacy sent data of another user in 1 event\n');
});

test('what legacy alone sent is no contamination by the candidate, but they are not equal', () => {
  expect(reported(1, { legacy: 1, candidate: 0 })).toMatchObject({
    ...{ verdict: 'divergent', exitCode: 1 },
    reasons: ['legacy sent data of another user in 1 event, and the candidate did not'],
  });
});

test('where the names do not fit nobody is to blame, and nothing is equal', () => {
  const { verdict, reasons } = reported(4, { legacy: 0, candidate: 0 });
  expect([verdict, ...reasons]).toEqual([
    'divergent',
    expect.stringMatching(/^4 events held data of another user, and neither service is to blame: /),
  ]);
});

test('what both sent him alike is in no count, and is equal', () => {
  expect(reported(0, { legacy: 0, candidate: 0 })).toMatchObject({ verdict: 'equal', exitCode: 0 });
});

// The fault: where one user of 200 was refused each time, less than 1 % of all events was not seen, and that was equal.
test.each([
  ['refused', 'the candidate refused 1 session that legacy let in'],
  ['closed', 'the candidate closed 1 session that legacy kept'],
  ['broken-off', 'the candidate broke off 1 session that legacy kept (1011, or a connection lost)'],
  ['let-in', 'the candidate let in 1 session that legacy refused'],
] as const)(
  'one session with which the candidate does otherwise (%s) is a difference',
  (cause, told) => {
    const keptSessions = [{ route: 'events', cause, count: 1 }];
    const report = reported(0, { legacy: 0, candidate: 0 }, { keptSessions });
    expect(report).toMatchObject({ verdict: 'divergent', exitCode: 1, reasons: [told] });
  },
);

test('of one that could not be shown to it, nothing can be told', () => {
  const keptSessions = [
    { route: 'events', cause: 'failed', count: 1 } as const,
    { route: 'events', cause: 'slow', count: 2 } as const,
    { route: 'events', cause: 'unframeable', count: 1 } as const,
  ];
  expect(reported(0, { legacy: 0, candidate: 0 }, { keptSessions })).toMatchObject({
    ...{ verdict: 'unknown', exitCode: 3 },
    reasons: ['the candidate was not shown all of every session: failed 1, slow 2, unframeable 1'],
  });
});

// The fault: a heartbeat between the candidate's end and legacy's, a second later, was a difference.
test('of one that both end, legacy with more, nothing can be told', () => {
  const keptSessions = [{ route: 'events', cause: 'sooner', count: 2 } as const];
  expect(reported(0, { legacy: 0, candidate: 0 }, { keptSessions })).toMatchObject({
    ...{ verdict: 'unknown', exitCode: 3 },
    reasons: [
      'the candidate ended 2 sessions up to 5 s before legacy, which had said more by then',
    ],
  });
});

test('what both refuse, or end, is no difference, however their connections ended', () => {
  const secondLegs = (['refused', 'closed', 'broken-off', 'failed'] as const).map(cause => ({
    ...{ route: 'events', cause, count: 1 },
  }));
  const report = reported(0, { legacy: 0, candidate: 0 }, { secondLegs });
  expect(report).toMatchObject({ verdict: 'equal', reasons: [] });
  expect(reportText(report)).toContain(
    'did not last: refused 1, closed 1, broken-off 1, failed 1.',
  );
});

test('a run of which more than 0.1 % may be missing for want of a write could not tell', () => {
  const books = emptyBooks();
  for (const side of ['legacy', 'candidate'] as const) {
    Object.assign(books[side], { seen: 1_000, match: 1_000 });
  }
  const reasons = () =>
    reported(0, { legacy: 0, candidate: 0 }, { books: { events: books } }).reasons;
  const leave = (count: number) => {
    books.legacy.unjudged['write-left-out'] = count;
    books.legacy.seen = 1_000 + count;
  };
  leave(2);
  expect(reasons()).toEqual([]);
  leave(3);
  expect(reasons()).toEqual([
    '3 of 2003 events could not be judged, since one service was not given writes that may have caused them',
  ]);
});

// The fault: where tokens are no JWTs nobody's data is told from another's, and EQUAL was all that was said.
test('of how many users nobody could tell whose data is whose is said, and changes no verdict', () => {
  const nobody = { legacy: 0, candidate: 0 };
  const report = reported(0, nobody, { users: 12, unnamed: 10 });
  expect(report).toMatchObject({ verdict: 'equal', exitCode: 0, reasons: [], unnamed: 10 });
  expect(reportText(report)).toContain(
    'The tokens of 10 of 12 users name nobody: whether they were sent data of another user was not looked at.\n',
  );
  expect(reportText(reported(0, nobody))).not.toContain('name nobody');
});

// The fault: of more than 100 kinds the rarest were left out without a word, another user's data among them.
test('the first 100 kinds are told, with another user\u2019s data before all else, and of how many', () => {
  const group = (id: number, verdict: KeptGroup['verdict'], count: number): KeptGroup => ({
    ...{ id, route: 'events', eventType: `type ${id}`, verdict, kind: '', path: '' },
    ...{ count, firstAt: 0, lastAt: 0, examples: 0 },
  });
  const frequent = Array.from({ length: 120 }, (_, i) => group(i, 'missing', 10 + i));
  const found = [...frequent, group(120, 'noise', 999), group(121, 'contaminated', 1)];
  const { kinds, told } = kindsToTell(found);
  expect([kinds, told.length]).toEqual([121, 100]);
  expect(told.slice(0, 3).map(({ id }) => id)).toEqual([121, 119, 118]);
  const text = (groups: readonly KeptGroup[]) => {
    const findings = groups.map(each => ({ group: each, examples: [] }));
    return reportText(reported(0, { legacy: 0, candidate: 0 }, { kinds, findings }));
  };
  expect(text(told)).toMatch(/\n\n100 of 121 kinds are told\.\n\n/);
  expect(text(frequent.concat(told.slice(0, 1)))).not.toContain('kinds are told');
});

// The fault: up to 1 % of all events were a number, and nobody was told what they had been left out for.
test('what could not be judged is told with its reasons, however little it is', () => {
  const books = emptyBooks();
  Object.assign(books.legacy, { seen: 1_003, match: 1_000 });
  Object.assign(books.candidate, { seen: 1_001, match: 1_000 });
  Object.assign(books.legacy.unjudged, { 'no-second': 2, 'session-ended': 1 });
  books.candidate.unjudged['session-ended'] = 1;
  const report = reported(0, { legacy: 0, candidate: 0 }, { books: { events: books } });
  expect(report.verdict).toBe('equal');
  expect(reportText(report)).toContain('match 1000, unjudged 4 (no-second 2, session-ended 2).\n');
});

// The fault: what another comparison, or anybody else, had legacy send to the same users was missing from the candidate,
// and nothing said what that might be.
test('where legacy sent runs that nobody here began, a difference says so, and equal stays equal', () => {
  const books = emptyBooks();
  Object.assign(books.legacy, { seen: 110, match: 100, missing: 10 });
  Object.assign(books.candidate, { seen: 100, match: 100 });
  const none = { legacy: 0, candidate: 0 };
  const found = reported(0, none, { strangeRuns: 2, books: { events: books } });
  expect(found).toMatchObject({ verdict: 'divergent', exitCode: 1 });
  expect(found.reasons).toEqual([
    'the candidate differs: missing 10',
    expect.stringMatching(/^legacy sent events of 2 runs that nobody here began, /),
  ]);
  expect(reported(0, none, { strangeRuns: 2 })).toMatchObject({ verdict: 'equal', reasons: [] });
});

// The fault: whoever did not know Cutover read `missing` and did not know where, and of another user's data not even what
// told of it.
test('a report says what its verdicts mean, where another user\u2019s data was, and where the events are', () => {
  const group = (id: number, verdict: KeptGroup['verdict'], more: Partial<KeptGroup> = {}) => ({
    group: {
      ...{ id, verdict, count: 1, route: 'events', eventType: 'chat', kind: '', path: '' },
      ...{ firstAt: 0, lastAt: 0, examples: 1, ...more },
    } as KeptGroup,
    examples: [],
  });
  const foreign = [{ rule: 'routing', path: '/target_user_id' }] as const;
  const findings = [group(1, 'contaminated', { foreign }), group(2, 'missing')];
  const none = { legacy: 0, candidate: 0 };
  const text = reportText(reported(0, none, { kinds: 2, findings }));
  expect(text).toContain('| 1 | events | chat | contaminated | routing /target_user_id |');
  expect(text).toContain('\n- contaminated: data of another user was in it\n');
  expect(text).toContain('\n- missing: legacy sent it, the candidate did not\n');
  expect(text).toContain('in report.json, under `findings`');
});
