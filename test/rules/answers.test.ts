import { describe, expect, test } from 'vitest';
import { type Answer, judgeAnswers } from '../../src/rules/compare/answers.ts';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { type CompareRules, DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { bookFinding, emptyBooks, imbalance } from '../../src/rules/pairing/books.ts';

const OK: Answer = {
  status: 200,
  headers: { 'content-type': 'application/json' },
  body: { users: 3 },
  isCut: false,
  latencyMs: 12,
};

interface Given {
  readonly rules?: Partial<CompareRules>;
  readonly isWrite?: boolean;
  readonly asksForLess?: boolean;
  readonly ids?: IdClasses;
}

function finding(legacy: Partial<Answer>, candidate: Partial<Answer>, given: Given = {}) {
  const { rules = {}, isWrite = false, asksForLess = true, ids = new IdClasses() } = given;
  return judgeAnswers(compileRules({ ...DEFAULT_RULES, ...rules }), {
    ...{ route: 'api', id: 'q1', method: 'GET', isWrite, asksForLess, ids, subject: ['u'], at: 5 },
    legacy: { ...OK, ...legacy },
    candidate: { ...OK, ...candidate },
  });
}

function line(legacy: Partial<Answer>, candidate: Partial<Answer>, given: Given = {}): string {
  const { verdict, because, differences } = finding(legacy, candidate, given);
  const places = differences.map(({ kind, path }) => `${kind}:${path}`);
  return [because === null ? verdict : `${verdict}(${because})`, ...places].join(' ');
}

test.each<[CompareRules['allow'][number], string]>([
  [{ path: '/*/load', as: 'anything' }, 'noise value:/body/0/load'],
  [{ path: '/*/load', as: 'number', within: 1 }, 'match'],
  [{ path: '/0/load', as: 'number', within: 1 }, 'match'],
  [{ path: '/1/load', as: 'number', within: 1 }, 'mismatch value:/body/0/load'],
])('rules reach into a list that is the whole body: %j', (rule, expected) => {
  const [legacy, candidate] = [{ body: [{ id: 1, load: 0.3 }] }, { body: [{ id: 1, load: 0.4 }] }];
  expect(line(legacy, candidate, { rules: { allow: [rule] } })).toBe(expected);
});

describe('answers to one read', () => {
  test.each<[string, Partial<Answer>, Partial<Answer>]>([
    ['match', { latencyMs: 1 }, { latencyMs: 900 }],
    ['mismatch value:/status', { status: 200 }, { status: 204 }],
    ['mismatch value:/body/users', {}, { body: { users: 4 } }],
    ['mismatch value:/headers/content-type', {}, { headers: { 'content-type': 'text/html' } }],
    ['mismatch missing:/headers/content-type', {}, { headers: {} }],
    ['mismatch extra:/headers/content-type', { headers: {} }, {}],
    // The fault: two redirects to different places were a match.
    [
      'mismatch value:/headers/location',
      { status: 302, headers: { location: '/a' } },
      { status: 302, headers: { location: '/b' } },
    ],
    ['mismatch missing:/headers/location', { headers: { location: '/a' } }, { headers: {} }],
    ['match', { headers: { 'content-type': ['a', 'b'] } }, { headers: { 'content-type': 'a, b' } }],
    ['match', {}, { headers: { ...OK.headers, server: 'other' } }],
    ['match', { body: 'plain' }, { body: 'plain' }],
    ['mismatch value:/body', { body: 'plain' }, { body: 'Plain' }],
    ['match', { body: null }, { body: null }],
    ['mismatch value:/body/0', { body: [1] }, { body: [2] }],
    ['mismatch type:/body', { body: 'text' }, {}],
    ['unjudged(not-comparable)', { body: undefined, unread: 'not-comparable' }, {}],
    ['mismatch type:/body', { body: null }, {}],
    ['unjudged(too-large)', { body: undefined }, {}],
    ['mismatch value:/status', { body: undefined }, { status: 404 }],
    ['mismatch value:/isCut', {}, { isCut: true }],
    ['failed-alike', { isCut: true }, { isCut: true }],
    ['failed-alike', { status: 503 }, { status: 503 }],
    ['mismatch value:/status', { status: 503 }, { status: 500 }],
    ['unjudged(too-large)', { isMarked: true }, { body: undefined }],
    ['unjudged(not-comparable)', { status: 304, body: null, headers: {} }, {}],
    ['unjudged(not-comparable)', {}, { status: 304, body: null }],
    ['match', { status: 304, body: null }, { status: 304, body: null }],
    [
      'match',
      { status: 304, body: null, headers: { etag: 'W/"a1"' } },
      { headers: { etag: '"a1"' } },
    ],
    [
      'unjudged(not-comparable)',
      { status: 304, body: null, headers: { etag: '"a1"' } },
      { headers: { etag: '"b2"' } },
    ],
    ['mismatch value:/status type:/body', { status: 304, body: null }, { status: 404 }],
    // A range that one of them does not know, or an If-Range with the other one's tag.
    ['unjudged(not-comparable)', { status: 206, body: 'ab' }, { body: 'abcd' }],
    ['unjudged(not-comparable)', { body: 'abcd' }, { status: 206, body: 'ab' }],
    [
      'match',
      { status: 206, body: 'ab', headers: { etag: '"a1"' } },
      { body: 'abcd', headers: { etag: '"a1"' } },
    ],
    // The fault: of a part that broke off nothing was read.
    [
      'mismatch value:/isCut',
      { body: 'abcd', headers: { etag: '"a1"' } },
      { status: 206, body: 'a', headers: { etag: '"a1"' }, isCut: true },
    ],
    ['mismatch value:/isCut', { body: 'abcd' }, { status: 206, body: 'a', isCut: true }],
    ['mismatch value:/body', { status: 206, body: 'ab' }, { status: 206, body: 'cd' }],
    ['mismatch value:/status value:/body', { status: 206, body: 'ab' }, { status: 416, body: '' }],
    ['failed-alike', { status: 0, body: null }, { status: 0, body: null }],
    ['mismatch value:/status type:/body', {}, { status: 0, body: null }],
    ['match', { status: 404 }, { status: 404 }],
    ['failed-alike', { status: 401 }, { status: 401 }],
    ['failed-alike', { status: 429 }, { status: 429 }],
  ])('%s', (expected, legacy, candidate) => {
    expect(line(legacy, candidate)).toBe(expected);
  });
});

// The fault: a service that answers everybody with nothing, or a part, was the same as one that answers.
test('nobody gets less than he has asked for', () => {
  const whole = { asksForLess: false };
  const tagged = { headers: { etag: '"a1"' } };
  expect(line(tagged, { ...tagged, status: 304, body: null }, whole)).toBe(
    'mismatch value:/status type:/body',
  );
  expect(line({ body: 'ab' }, { status: 206, body: 'a' }, whole)).toBe(
    'mismatch value:/status value:/body',
  );
});

test('writes that went to both are the same if the classes of their status are', () => {
  const body = { legacy: { sent: 1 }, candidate: { successful_sends: 1, errors: [] } };
  const write = { isWrite: true };
  expect(line({ body: body.legacy }, { status: 202, body: body.candidate }, write)).toBe('match');
  expect(line({}, { status: 206, body: 'part' }, write)).toBe('match');
  expect(line({}, { status: 400 }, write)).toBe('mismatch value:/status');
  expect(line({ status: 500 }, { status: 503 }, write)).toBe('failed-alike');
});

test('a route says for itself what of an answer counts', () => {
  const answers = { status: 'class', headers: ['x-kind'], body: false } as const;
  expect(line({}, { status: 201, body: 7 }, { rules: { answers } })).toBe('match');
  expect(line({}, { headers: { 'x-kind': 'a' } }, { rules: { answers } })).toBe(
    'mismatch extra:/headers/x-kind',
  );
});

test('rules for bodies are those for events; their type is method and class of status', () => {
  const allow = [
    { path: '/at', types: ['GET 2xx'], as: 'anything' },
    { path: '/id', as: 'generated-id' },
  ] as const;
  const given = { rules: { allow }, ids: new IdClasses() };
  const answer = (id: string, at: number) => ({ body: { id, at } });
  expect(line(answer('l1', 1), answer('c1', 2), given)).toBe('noise value:/body/at');
  expect(line(answer('l1', 1), answer('c2', 1), given)).toBe('mismatch value:/body/id');
  expect(finding({}, {}, given)).toMatchObject({ eventType: 'GET 2xx', unit: 'q1', key: null });
  expect(finding({ status: 0 }, {}, given).eventType).toBe('GET none');
});

// The fault: an element at the same place was taken for the same one, and the user's next answers were mismatches
// for it, however equal.
test('two answers that differ teach no ids', () => {
  const rules = { allow: [{ path: '/items/*/id', as: 'generated-id' }] } as const;
  const given = { rules, ids: new IdClasses() };
  const items = (...all: string[]) => ({
    body: { items: all.map(id => ({ id, name: id[0] })) },
  });
  expect(line(items('a1', 'b1'), items('b2', 'a2'), given)).toBe(
    'mismatch value:/body/items/0/name value:/body/items/1/name',
  );
  for (let again = 0; again < 2; again += 1)
    expect(line(items('a1', 'b1'), items('a2', 'b2'), given)).toBe('match');
  expect(line(items('a1', 'b1'), items('a2', 'b3'), given)).toBe('mismatch value:/body/items/1/id');
});

test('answers are booked on both sides, and the books say so when something is wrong', () => {
  const books = emptyBooks();
  for (const status of [200, 404, 503]) bookFinding(books, finding({}, { status }));
  bookFinding(books, finding({ body: undefined }, {}));
  expect(books.legacy).toMatchObject({ seen: 4, match: 1, mismatch: 2, pending: 0 });
  expect(books.candidate.unjudged['too-large']).toBe(1);
  expect(imbalance(books)).toBeNull();

  const wrong = structuredClone(books);
  wrong.legacy.match++;
  expect(imbalance(wrong)).toBe('legacy has seen 4 events, its books hold 5');
  wrong.legacy.seen++;
  expect(imbalance(wrong)).toBe('match is a verdict on pairs, but legacy has 2, the candidate 1');
  const extra = structuredClone(books);
  extra.legacy.seen++;
  extra.legacy.extra++;
  expect(imbalance(extra)).toBe('only an event of the candidate can be extra');
  const missing = structuredClone(books);
  missing.candidate.seen++;
  missing.candidate.missing++;
  expect(imbalance(missing)).toBe('only an event of legacy can be missing');
});
