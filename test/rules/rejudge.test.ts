// What was kept, judged again by other rules.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { judgeAnswers } from '../../src/rules/compare/answers.ts';
import { compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { type Allowance, DEFAULT_RULES } from '../../src/rules/compare/rules.ts';
import { keyedHash } from '../../src/rules/keyed-hash.ts';
import { Pairing } from '../../src/rules/pairing/pairing.ts';
import { Redactor } from '../../src/rules/redaction.ts';
import { type Rejudged, rejudge } from '../../src/rules/rejudge.ts';
import type { Difference, Finding } from '../../src/rules/verdict.ts';

const hash = keyedHash(new Uint8Array(32).fill(7));
const kept = (finding: Finding, paths: string[] = []): Finding => {
  const redactor = new Redactor({ paths, envelopes: ['data', 'payload', 'body'], hash });
  const redacted = redactor.finding(finding, redactor.learn(finding.legacy, finding.candidate));
  // As it comes back from the disk.
  return JSON.parse(JSON.stringify(redacted));
};
const rulesWith = (...allow: Allowance[]) => compileRules({ ...DEFAULT_RULES, allow });

function pairOf(legacy: unknown, candidate: unknown): Finding {
  return {
    ...{ verdict: 'mismatch', because: null, route: 'events', eventType: 'note', key: null },
    ...{ unit: 'run', session: 's', sides: ['legacy', 'candidate'], differences: [], at: 0 },
    ...{ legacy, candidate },
  };
}

const differs = (path: string): Difference => ({ kind: 'value', path, legacy: 1, candidate: 2 });

/** As found by rules that allowed nothing, and judged again by these. */
function again(
  legacy: object,
  candidate: object,
  allow: Allowance[] = [],
  paths: string[] = [],
): Rejudged {
  const found = pairOf({ type: 'note', ...legacy }, { type: 'note', ...candidate });
  const names = new Set([...Object.keys(legacy), ...Object.keys(candidate)]);
  const differences = [...names].map(name => differs(`/${name}`));
  const finding = kept({ ...found, differences }, paths);
  return rejudge(finding, rulesWith(...allow), new IdClasses()) ?? expect.fail();
}

describe('by other rules', () => {
  test('what was not allowed may be, and the other way round', () => {
    const time: Allowance = { path: '/timestamp', as: 'time', withinMs: 1_000 };
    const [legacy, candidate] = [
      { timestamp: 1_757_953_203.4 },
      { timestamp: '2025-09-15T16:20:03Z' },
    ];
    expect(again(legacy, candidate, [time]).verdict).toBe('match');
    expect(again(legacy, candidate)).toMatchObject({
      verdict: 'mismatch',
      differences: [{ kind: 'type', path: '/timestamp' }],
    });
    const anything: Allowance = { path: '/timestamp', as: 'anything' };
    expect(again(legacy, candidate, [anything]).verdict).toBe('noise');
  });

  test('a `*` stands for no field that names a user', () => {
    const allow: Allowance[] = [{ path: '/context/*', as: 'anything' }];
    const about = (user_id: string, load: number) => ({ context: { user_id, load } });
    expect(again(about('user_1', 1), about('user_1', 2), allow).verdict).toBe('noise');
    expect(again(about('user_1', 1), about('user_2', 1), allow)).toMatchObject({
      verdict: 'mismatch',
      differences: [{ path: '/context/user_id' }],
    });
  });

  test('ids that a service makes up are mapped one to one within a session', () => {
    const rules = rulesWith({ path: '/event_id', as: 'generated-id' });
    const ids = new IdClasses();
    const judge = (a: string, b: string) =>
      rejudge(kept(pairOf({ event_id: a }, { event_id: b })), rules, ids)?.verdict;
    expect([judge('a', 'x'), judge('b', 'y'), judge('a', 'x'), judge('a', 'y')]).toEqual([
      ...['match', 'match', 'match', 'mismatch'],
    ]);
  });

  test('an HTTP answer, by status, headers and body', () => {
    const answer = (status: number, body: unknown) => ({
      ...{
        status,
        headers: { 'content-type': 'application/json' },
        body,
        isCut: false,
        latencyMs: 3,
      },
    });
    const judge = (method: string, a: object, b: object, ...allow: Allowance[]) =>
      rejudge(
        kept({ ...pairOf(a, b), eventType: `${method} 2xx` }),
        rulesWith(...allow),
        new IdClasses(),
      );
    const body = { user_id: 'user_1001', at: 1 };
    expect(judge('GET', answer(200, body), answer(200, body))?.verdict).toBe('match');
    expect(judge('GET', answer(200, body), answer(201, body))?.differences).toMatchObject([
      { path: '/status' },
    ]);
    expect(judge('POST', answer(200, body), answer(201, null))?.verdict).toBe('match');
    const later = { ...body, at: 2 };
    const at: Allowance = { path: '/at', as: 'number', within: 5 };
    expect(judge('GET', answer(200, body), answer(200, later), at)?.verdict).toBe('match');
    expect(judge('GET', answer(200, body), answer(200, later))?.differences).toMatchObject([
      { path: '/body/at' },
    ]);
    const other = { ...body, user_id: 'user_1002' };
    expect(judge('GET', answer(200, body), answer(200, other))?.differences).toMatchObject([
      { kind: 'value', path: '/body/user_id', legacy: { $r: 'user' } },
    ]);
  });
});

describe('what was redacted', () => {
  test('is the same if it was, and differs if it did, in value or in type', () => {
    const user = (user_id: unknown) => ({ user_id, text: `of ${user_id}` });
    expect(again(user('user_1001'), user('user_1001')).verdict).toBe('match');
    expect(again(user('user_1001'), user('user_1002')).differences).toMatchObject([
      { kind: 'value', path: '/user_id', legacy: { $r: 'user', h: hash('user_1001') } },
      { kind: 'value', path: '/text', candidate: { $r: 'user', s: expect.any(String) } },
    ]);
    expect(again({ user_id: 1001 }, { user_id: '1001' }).differences).toMatchObject([
      { kind: 'type', path: '/user_id', legacy: { t: 'number' }, candidate: { t: 'string' } },
    ]);
    expect(again({ user_id: null }, { user_id: 'user_1001' }).differences).toMatchObject([
      { kind: 'type', path: '/user_id', legacy: null },
    ]);
  });

  test.each<[Allowance, unknown, unknown]>([
    [{ path: '/secret', as: 'number', within: 1 }, 1234, 1235],
    [{ path: '/secret', as: 'time', withinMs: 10 }, '2025-09-15T16:20:03Z', '2025-09-15T16:20:04Z'],
    [{ path: '/user_id', as: 'candidate-adds' }, undefined, 'user_1001'],
  ])('can not be judged by %j', (allowance, legacy, candidate) => {
    const at = (value: unknown) => {
      const name = allowance.path.slice(1);
      return value === undefined ? {} : { [name]: value, other: 1 };
    };
    expect(again({ ...at(legacy), other: 1 }, at(candidate), [allowance])).toMatchObject({
      verdict: 'unjudged',
      because: 'redacted',
    });
    // Nor does it hide that something else differs.
    expect(
      again({ ...at(legacy), other: 1 }, { ...at(candidate), other: 2 }, [allowance]),
    ).toMatchObject({
      verdict: 'mismatch',
      because: null,
    });
  });

  test("is the session's own user, where the candidate alone names him and that was no difference", () => {
    const adds: Allowance = { path: '/user_id', as: 'candidate-adds' };
    const [legacy, candidate] = [
      { user_id: null, at: 1 },
      { user_id: 'user_1001', at: 2 },
    ];
    const found = { ...pairOf(legacy, candidate), differences: [differs('/at')] };
    const judge = (finding: Finding, ...allow: Allowance[]) =>
      rejudge(kept(finding), rulesWith(adds, ...allow), new IdClasses());
    const at: Allowance = { path: '/at', as: 'number', within: 1 };
    expect(judge(found, at)?.verdict).toBe('match');
    // Nobody knows whose it is where it was reported, nor in what was.
    const meta = { owner_id: 'user_1001' };
    const extra = { kind: 'extra', path: '/meta', candidate: meta } as const;
    const whole = { ...pairOf({}, { meta }), differences: [extra] };
    expect(judge(whole, { path: '/meta', as: 'candidate-adds' })).toMatchObject({
      ...{ verdict: 'unjudged', because: 'redacted' },
    });
    const reported = { ...found, differences: [differs('/at'), differs('/user_id')] };
    expect(judge(reported, at)).toMatchObject({ verdict: 'unjudged', because: 'redacted' });
  });

  test('is the same where it was, whatever a rule would need of it', () => {
    const allow: Allowance[] = [{ path: '/secret', as: 'number', within: 1 }];
    expect(again({ secret: 1234 }, { secret: 1234 }, allow).verdict).toBe('match');
  });

  test('and was too deep, or beyond what a number holds, is not called a match', () => {
    const deep = JSON.parse(`${'{"a":'.repeat(70)}1${'}'.repeat(70)}`);
    expect(again({ deep }, { deep })).toMatchObject({ verdict: 'unjudged', because: 'too-deep' });
    const huge = { n: Number.POSITIVE_INFINITY };
    expect(again(huge, huge)).toMatchObject({ verdict: 'unjudged', because: 'not-comparable' });
  });

  test('forged by an event, is nothing but a part of the event', () => {
    const forged = { note: { $r: 'user', t: 'string', n: 9, h: hash('user_1001') } };
    expect(
      again({ ...forged, user_id: 'user_1001' }, { note: 'x', user_id: 'user_1001' }),
    ).toMatchObject({
      verdict: 'mismatch',
      differences: [{ kind: 'type', path: '/note' }],
    });
  });
});

describe('what can not be judged again', () => {
  test.each([
    [
      'one event alone',
      { verdict: 'missing' as const, candidate: null, sides: ['legacy' as const] },
    ],
    ['a doubled one', { verdict: 'duplicate' as const, sides: ['candidate' as const] }],
    ['a place in the order', { verdict: 'out-of-order' as const }],
    ['data of another user', { verdict: 'contaminated' as const }],
    ['a read beside a write', { verdict: 'unjudged' as const, because: 'beside-write' as const }],
    [
      'an answer of who lacks a write',
      { verdict: 'unjudged' as const, because: 'write-left-out' as const },
    ],
    ['events that were not kept', { legacy: undefined, candidate: undefined }],
  ])('%s', (_, rest) => {
    const finding = { ...pairOf({ a: 1 }, { a: 1 }), ...rest };
    expect(rejudge(finding, rulesWith(), new IdClasses())).toBeNull();
  });
});

test('a user who is called 0 hides a key of that name, and no index', () => {
  const one = { user_id: '0', list: ['a'], seen: { 0: 1 } };
  const other = { user_id: '0', list: ['b'], seen: { 0: 2 } };
  const differences = [differs('/list/0'), differs('/seen/0')];
  const finding = kept({ ...pairOf(one, other), differences });
  const seen = `/seen/$r:user:${hash('0')}`;
  expect(finding.differences.map(({ path }) => path)).toEqual(['/list/0', seen]);
  const judged = rejudge(finding, rulesWith(), new IdClasses());
  expect(judged?.differences.map(({ path }) => path)).toEqual(['/list/0', seen]);
});

test.each([
  [1, 2, 'value'],
  ['1', 2, 'type'],
  [1, '2', 'type'],
])('%j, which is who the user is, and %j differ in %s', (legacy, candidate, kind) => {
  const user_id = String(legacy);
  const finding = kept(pairOf({ user_id, at: legacy }, { user_id, at: candidate }));
  const judged = rejudge(finding, rulesWith(), new IdClasses());
  expect(judged?.differences).toMatchObject([{ kind, path: '/at' }]);
});

describe('by the rules that were in force', () => {
  const leaf = fc.oneof(
    fc.constantFrom(
      'user_1001',
      'user_1002',
      'a@example.com',
      'b@example.com',
      1,
      2,
      null,
      true,
      'x',
      // As are the indexes of arrays.
      '0',
      '1',
    ),
    fc.string({ maxLength: 5 }),
  );
  const names = fc.constantFrom('user_id', 'note', 'token', 'at', 'data', 'list');
  const value = fc.letrec(tie => ({
    any: fc.oneof(
      { depthSize: 'small' },
      leaf,
      fc.array(tie('any'), { maxLength: 3 }),
      fc.dictionary(names, tie('any'), { maxKeys: 4, noNullPrototype: true }),
    ),
  })).any;
  const event = fc.dictionary(names, value, { maxKeys: 5, noNullPrototype: true });
  const allow: Allowance[] = [
    { path: '/note', as: 'anything' },
    { path: '/list', as: 'any-order' },
    { path: '/data/at', as: 'generated-id' },
  ];

  test('the verdict is the one that was found, with the differences at the same places', () => {
    const rules = rulesWith(...allow);
    const pairs = fc.oneof(
      event.map(each => [each, each] as const),
      fc.tuple(event, event),
      fc.tuple(event, names, leaf).map(([a, name, b]) => [a, { ...a, [name]: b }] as const),
    );
    let compared = 0;
    fc.assert(
      fc.property(pairs, ([legacy, candidate]) => {
        const found: Finding[] = [];
        const pairing = new Pairing({
          ...{ route: 'events', session: 's', rules, subject: [], ids: new IdClasses() },
          ...{ windowMs: 1_000, maxPending: 10, onFinding: finding => found.push(finding) },
        });
        pairing.legOpened('legacy', 0);
        pairing.legOpened('candidate', 0);
        pairing.event('legacy', { type: 'note', run_id: 'r', seq: 1, ...legacy }, 1);
        pairing.event('candidate', { type: 'note', run_id: 'r', seq: 1, ...candidate }, 2);
        pairing.end(3);
        const [finding, ...more] = found;
        if (finding === undefined || more.length > 0) return;
        const judged = rejudge(kept(finding), rules, new IdClasses());
        compared += 1;
        const places = ({ differences }: Rejudged) =>
          differences.map(({ kind, path }) => [kind, path]);
        expect([judged?.verdict, judged && places(judged)]).toEqual([
          finding.verdict,
          places(kept(finding)),
        ]);
      }),
      { numRuns: 1_000 },
    );
    expect(compared).toBeGreaterThan(900);
  });

  test('an answer is judged as it was', () => {
    const ids = new IdClasses();
    const answer = (body: unknown) => ({
      ...{ status: 200, headers: {}, body, isCut: false, latencyMs: 1 },
    });
    const finding = judgeAnswers(rulesWith(), {
      ...{ route: 'api', id: 'r', method: 'GET', isWrite: false, ids, subject: [], at: 0 },
      ...{ legacy: answer({ email: 'a@b.cd' }), candidate: answer({ email: 'a@b.ce' }) },
    });
    expect(rejudge(kept(finding), rulesWith(), ids)).toMatchObject({
      verdict: finding.verdict,
      differences: [{ path: '/body/email' }],
    });
  });
});
