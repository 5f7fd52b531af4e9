// Why an identifier says whose an event is, or why not.
import { expect, test } from 'vitest';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { type Explanation, explainEvent, type SentAs } from '../../src/rules/isolation/explain.ts';
import { Recipient } from '../../src/rules/isolation/recipient.ts';
import type { IsolationRules } from '../../src/rules/isolation/rules.ts';
import { isolationOf, USER } from './isolation-case.ts';

const RULES = compileRules({
  ...DEFAULT_RULES,
  replies: ['pong'],
  allow: [{ path: '/request_id', as: 'generated-id' }],
});

function ledger(value: unknown): string[] {
  const payload = Buffer.from(JSON.stringify(value));
  const { rules } = explainEvent(isolationOf(), RULES, new Recipient(USER), payload, value);
  return rules
    .filter(({ rule }) => rule === 'ledger')
    .map(({ path, says, why }) => `${path} ${says}: ${why.slice(0, 24)}`);
}

test('of every identifier it is said whether the ledger is asked, and why not', () => {
  const all = { thread_id: 't1', data: { request_id: 'r1' }, run_id: 7 };
  expect(ledger({ type: 'x', ...all })).toEqual([
    '/thread_id open: contaminated if legacy g',
    '/run_id clean: proves nothing: each ser',
    '/request_id clean: proves nothing: each ser',
  ]);
  expect(ledger({ type: 'pong', ...all })[0]).toBe('/thread_id clean: its type answers a clien');
  expect(ledger({ type: 'error_message', ...all })[0]).toBe(
    '/thread_id clean: its type reports a failu',
  );
  // One of a batch is enough.
  const batch = [
    { type: 'pong', thread_id: 't1' },
    { type: 'x', thread_id: 't1' },
    { type: 'pong', thread_id: 't1' },
  ];
  expect(ledger(batch)).toEqual(['/thread_id open: contaminated if legacy g']);
});

const MSGPACK = Buffer.from('82a6757365724964a6757365725f32', 'hex');
const WIDE = Buffer.from('{"userId":"user_2"}', 'utf16le');
const [PASSES, BY_ROUTE] = [
  'passes as text: its bytes show no foreign address',
  'passes (uninspectable',
];
const NO_FIELD = 'no JSON, and no field is named in it';
const NAMED = 'a routing field is named in it, and it is no JSON';

// The fault: bytes that showed no field's name were "clean", and no rule said why.
test.each([
  ['binary data', 'websocket', MSGPACK, 'binary data that is no JSON', BY_ROUTE, 'binary data'],
  ['data that is UTF-8 by chance', 'websocket', '\n\x03bob', 'binary data', BY_ROUTE, 'binary'],
  [
    'UTF-16 with a mark',
    'http',
    Buffer.concat([Buffer.from([255, 254]), WIDE]),
    'UTF-16',
    BY_ROUTE,
  ],
  ['UTF-16 without one', 'http', WIDE, 'text in UTF-16', BY_ROUTE],
  ['... of a WebSocket', 'websocket', WIDE, 'binary data that', BY_ROUTE, 'binary data'],
  ['... of a stream', 'sse', WIDE, 'text in UTF-16', PASSES],
  ['broken JSON', 'websocket', '{"type":"x","thread_id":"t1"', NO_FIELD, PASSES],
  ['... of an answer', 'http', '{"type":"x","thread_id":"t1"', NO_FIELD, PASSES],
  ['... that names another', 'websocket', '{"userId":"user_2"', NAMED, BY_ROUTE],
  ['... that names the user', 'sse', '{"userId":"user_1"', NAMED, PASSES],
  ['a text', 'websocket', 'hello', NO_FIELD, PASSES],
  ['a page', 'http', '<p>hello', NO_FIELD, BY_ROUTE],
  ['what is too long', 'http', `{"a":"${'x'.repeat(1_100_000)}"}`, 'longer', BY_ROUTE, 'longer'],
] as const)(
  'nobody can look into %s of a %s, and that is what each rule says',
  (_, protocol, event, what, lane, because?: string) => {
    const unread = because ?? 'no JSON object or array';
    const { says, rules } = explained(event, { protocol });
    expect(says).toBe('uninspectable');
    expect(rules).toMatchObject([
      { rule: 'routing', says: 'open', why: expect.stringContaining(what) },
      { rule: 'ledger', says: 'open', why: expect.stringContaining(`not read: ${unread}`) },
      { rule: 'fingerprint', says: 'open', why: expect.stringContaining(`not read: ${unread}`) },
      { rule: 'marker', says: 'clean' },
    ]);
    expect(rules[0]?.why).toContain(`; ${lane}`);
    expect(JSON.stringify(rules)).not.toMatch(/user_[12]/);
  },
);

test('... unless the lane withholds it, or somebody else is named in what it can read', () => {
  const blocked = explained(MSGPACK, undefined, { uninspectable: 'block' });
  expect(blocked.rules[0]?.why).toContain('; withheld where');
  // One JSON after another: the judge does not read it, the lane does.
  const lines = (user: string) => explained(`{"userId":"user_1"}\n{"userId":"${user}"}`);
  expect(lines('user_2').says).toBe('contaminated');
  expect(lines('user_1')).toMatchObject({
    says: 'uninspectable',
    rules: [{ says: 'clean' }, { says: 'clean' }, { rule: 'ledger', says: 'open' }, {}, {}],
  });
});

test('a rule that finds nothing to ask about says so', () => {
  expect(explained('[1]').rules).toMatchObject([
    { rule: 'routing', says: 'clean' },
    { rule: 'ledger', says: 'clean', why: expect.stringMatching(/^none of \/thread_id, /) },
    { rule: 'fingerprint', says: 'clean', why: 'no event is in it' },
    { rule: 'marker', says: 'clean' },
  ]);
  const [, named] = explained('{"type":"x"}', undefined, { identifiers: [] }).rules;
  expect(named?.why).toBe('the route names no identifiers');
});

function explained(event: string | Buffer, sent?: SentAs, isolation: Partial<IsolationRules> = {}) {
  const payload = Buffer.from(event as string);
  let value: unknown;
  try {
    value = JSON.parse(payload.toString());
  } catch {
    // No JSON.
  }
  const recipient = new Recipient(USER);
  return explainEvent(isolationOf(isolation), RULES, recipient, payload, value, sent);
}

const RECEIPT = { provenance: { receipt: ['recipient_id'], 'GET 2xx': ['userId'] } };
const spoken = ({ says, eventType, rules }: Explanation) => [
  eventType,
  says,
  ...rules.map(({ rule, says: what }) => `${rule} ${what}`),
];

// The fault: nobody could say what the stream or the answer calls the event, by which lane and judge go.
test('what stands beside an event says its type where it has none itself', () => {
  const of = (event: string, type: string) =>
    spoken(explained(event, { protocol: 'sse', type }, RECEIPT));
  const [open, marker] = ['fingerprint open', 'marker clean'];
  const receipt = '{"recipient_id":"user_2","thread_id":"t1","note":"read at last"}';
  expect(of(receipt, 'receipt')).toEqual([
    'receipt',
    'clean',
    'routing clean',
    'ledger open',
    open,
    marker,
  ]);
  for (const type of ['other', 'message', ''])
    expect(of(receipt, type).slice(1, 3)).toEqual(['contaminated', 'routing contaminated']);
  expect(of('{"type":"own","recipient_id":"user_2"}', 'receipt').slice(0, 2)).toEqual([
    'own',
    'contaminated',
  ]);
  // Answers to a client are told by it as well.
  expect(of('{"thread_id":"t1"}', 'pong')).toEqual([
    'pong',
    'clean',
    'routing clean',
    'ledger clean',
    'fingerprint clean',
    marker,
  ]);
  // What is no object is the data of one: read, but for addresses in what is no JSON.
  expect(of('[{"thread_id":"t1"}]', 'x')).toEqual([
    'x',
    'clean',
    'routing clean',
    'ledger clean',
    'fingerprint clean',
    marker,
  ]);
  expect(of('hello to all', 'x')).toEqual([
    'x',
    'uninspectable',
    'routing open',
    'ledger clean',
    open,
    marker,
  ]);
});

test('of an answer its method and status say it, and 400 and beyond says whose nothing is', () => {
  const of = (event: string, type: string) => explained(event, { protocol: 'http', type }, RECEIPT);
  const body = '{"userId":"user_2","thread_id":"t1"}';
  expect(spoken(of(body, 'GET 2xx')).slice(0, 4)).toEqual([
    'GET 2xx',
    'clean',
    'routing clean',
    'ledger open',
  ]);
  expect(of(body, 'POST 2xx').says).toBe('contaminated');
  const refused = of('{"thread_id":"t1"}', 'GET 4xx');
  expect(spoken(refused).slice(2, 5)).toEqual([
    'routing clean',
    'ledger clean',
    'fingerprint clean',
  ]);
  expect(
    refused.rules.map(({ why }) => why).filter(why => why.startsWith('an answer of 400')),
  ).toHaveLength(2);
  // Also on a route of streams: a page is withheld there as anywhere.
  const page = explained('<p>', { protocol: 'sse', type: 'GET 5xx' }, { uninspectable: 'block' });
  expect(page.rules[0]?.why).toContain('; withheld where');
});

// The fault: of an event that says too little to be anybody's own it was said that its content may be.
test('a content is somebody\u2019s own by a text of 12 characters, and else it is said that it is not', () => {
  const of = (event: object) => {
    const { rules } = explained(JSON.stringify({ type: 'x', ...event }), { protocol: 'websocket' });
    return rules.flatMap(({ rule, says, why }) =>
      rule === 'fingerprint' ? [`${says}: ${why}`] : [],
    );
  };
  const isNot = [
    expect.stringMatching(/^clean: no text of 12 characters is at its root or in its env/),
  ];
  expect(of({ text: 'hello there' })).toEqual(isNot);
  expect(of({ list: ['hello to all of you'], type: 'a longer name' })).toEqual(isNot);
  const isOwn = [expect.stringMatching(/^open: contaminated if legacy sent this content/)];
  expect(of({ text: 'hello to all' })).toEqual(isOwn);
  expect(of({ data: { text: 'hello to all' } })).toEqual(isOwn);
});
