import { describe, expect, test } from 'vitest';
import { broadcasterRules } from '../../src/broadcast/compare-rules.ts';
import { exactPrint } from '../../src/rules/compare/canonical.ts';
import { compare } from '../../src/rules/compare/compare.ts';
import { type CompiledRules, compileRules } from '../../src/rules/compare/compile.ts';
import { IdClasses } from '../../src/rules/compare/ids.ts';
import { instantMs } from '../../src/rules/compare/instant.ts';
import { isReported, type NoiseProfile } from '../../src/rules/compare/noise.ts';
import {
  type Allowance,
  type CompareRules,
  DEFAULT_RULES,
  PROVENANCE_FIELDS,
  ROUTING_FIELDS,
} from '../../src/rules/compare/rules.ts';
import { typeOf } from '../../src/rules/event-key.ts';

function refusal(rules: Partial<CompareRules>, profile: NoiseProfile | null = null): string {
  try {
    compileRules({ ...DEFAULT_RULES, ...rules }, profile);
  } catch (error) {
    if (error instanceof RangeError) return error.message;
    throw error;
  }
  return '';
}
const refusalOf = (allowance: Allowance) => refusal({ allow: [allowance] });

describe('a rule is refused, with its place and what would be right,', () => {
  const users = [
    'user_id',
    'sender_id',
    'creator_id',
    'owner_id',
    'recipient_id',
    'target_user_id',
  ];
  test.each([...users, 'userId', 'source_user_id', 'targetUserId'])('that would hide %s', name => {
    const itself = [`/${name}`, `/data/${name}`, `/a/*/${name}`];
    const inside = [`/${name}/*`, `/${name}/0`, `/*/${name}/id`, `/data/${name}/id`];
    for (const path of [...itself, ...inside]) {
      for (const allowance of [
        { path, as: 'anything' },
        { path, as: 'generated-id' },
        { path, as: 'any-order' },
        { path, as: 'time', withinMs: 1 },
      ] as const) {
        expect(refusalOf(allowance)).toBe(
          `allow[0].path names a user ("${name}"): who an event is for and whose it is must arrive untouched, so it can not be "${allowance.as}"`,
        );
      }
    }
    expect(refusalOf({ path: `/${name}`, as: 'candidate-adds' })).toBe('');
    expect(refusalOf({ path: `/${name}`, as: 'null-or-absent' })).toBe('');
  });

  test.each(['/*', '/0', '/data', '/payload', '/data/*', '/data/12', '/*/*', '/0/data'])(
    'that would hide them all: %s',
    path => {
      expect(refusalOf({ path, as: 'anything' })).toBe(
        'allow[0].path covers the fields that say who an event is for and whose it is; name single fields instead',
      );
      expect(refusalOf({ path: '/results/*', as: 'anything' })).toBe('');
    },
  );

  test('that would make another type the same event', () => {
    for (const path of ['/type', '/data/type']) {
      expect(refusalOf({ path, as: 'anything' })).toContain('is what an event is');
    }
    expect(refusalOf({ path: '/results/type', as: 'anything' })).toBe('');
  });

  test('that would excuse what the event key is made of', () => {
    expect(refusalOf({ path: '/run_id', as: 'generated-id' })).toMatch(
      /^allow\[0\]\.path is part of the event key \(key\.all\): .* so it can not be "generated-id"$/,
    );
    expect(refusalOf({ path: '/data/run_id', as: 'anything' })).not.toBe('');
    expect(refusalOf({ path: '/seq', as: 'generated-id' })).toBe('');
  });

  test('that is no rule', () => {
    expect(refusalOf({ path: 'a', as: 'anything' })).toBe(
      'allow[0].path must be a JSON pointer (RFC 6901), such as /event_id (got "a")',
    );
    expect(refusalOf({ path: '/a~2', as: 'anything' })).toContain('RFC 6901');
    expect(refusalOf({ path: '/a', as: 'time', withinMs: Number.NaN })).toContain('withinMs');
    expect(refusalOf({ path: '/a', as: 'number', within: -1 })).toContain('allow[0].within');
    expect(refusalOf({ path: '/a', as: 'any-order', by: 'id' })).toContain('allow[0].by');
    expect(refusalOf({ path: '/a', types: [''], as: 'anything' })).toContain('allow[0].types');
    expect(refusal({ envelopes: ['data', 'userId'] })).toContain('envelopes[1]');
    expect(refusal({ lanes: ['run_id'] })).toContain('lanes[0]');
    expect(refusal({ key: { ...DEFAULT_RULES.key, first: ['/seq', ''] } })).toContain(
      'key.first[1]',
    );
  });

  test('that a measurement made, where a person would not be believed either', () => {
    const field = { eventType: 'x', path: '/user_id', pairs: 100, differed: 50 };
    const profile: NoiseProfile = { version: 1, route: 'events', measuredAt: 0, fields: [field] };
    expect(refusal({}, profile)).toContain('profile.fields[0].path names a user');
  });
});

describe('a rule for whatever stands at a place is none for who is named there', () => {
  const kinds: Allowance[] = [
    { path: '', as: 'anything' },
    { path: '', as: 'generated-id' },
    { path: '', as: 'any-order' },
    { path: '', as: 'time', withinMs: 1e15 },
    { path: '', as: 'number', within: 1e9 },
  ];
  const found = (rules: CompiledRules, legacy: object, candidate: object) => {
    const known = { ids: new IdClasses(), subject: ['ann'] };
    const plan = rules.planOf(typeOf(legacy));
    const { differences } = compare(plan, legacy, candidate, known);
    // By that an event is known to be there twice.
    if (differences.length > 0)
      expect(exactPrint(plan, legacy)).not.toBe(exactPrint(plan, candidate));
    return differences.map(({ path }) => path);
  };
  const event = (name: string, value: unknown) => ({
    ...{ type: 'x', items: [{ a: 1, [name]: value }] },
    data: { context: { [name]: value } },
  });

  // The fault: a `*` was the name of any field, and `/items/*/*` mapped one user to another.
  test.each([...ROUTING_FIELDS, ...PROVENANCE_FIELDS, 'source_user_id'])('%s', name => {
    const places = [`/items/0/${name}`, `/data/context/${name}`];
    for (const kind of kinds) {
      const allow = ['/items/*/*', '/context/*', '/data/context/*'].map(path => ({
        ...kind,
        path,
      }));
      const rules = compileRules({ ...DEFAULT_RULES, allow });
      expect(found(rules, event(name, 7), event(name, 8))).toEqual(places);
      expect(found(rules, event(name, '2025-01-01T00:00:00Z'), event(name, 2))).toEqual(places);
      expect(found(rules, event(name, ['a', 'b']), event(name, ['b', 'a']))).toEqual(places);
      const deeper = ['/items/*/*/*', '/context/*/*'].map(path => ({ ...kind, path }));
      const inside = compileRules({ ...DEFAULT_RULES, allow: deeper });
      expect(found(inside, event(name, { id: 1 }), event(name, { id: 2 }))).toEqual(
        places.map(place => `${place}/id`),
      );
    }
    const fields = ['/items/*/*', '/context/*'].map(path => ({
      ...{ eventType: 'x', path, pairs: 100, differed: 50 },
    }));
    const profile: NoiseProfile = { version: 1, route: 'r', measuredAt: 0, fields };
    const noisy = compileRules(DEFAULT_RULES, profile);
    expect(found(noisy, event(name, 7), event(name, 8))).toEqual(places);
  });

  test('but for what a rule may say of him by name', () => {
    const rules = compileRules({
      ...DEFAULT_RULES,
      allow: [
        { path: '/items/*/*', as: 'null-or-absent' },
        { path: '/items/*/user_id', as: 'candidate-adds' },
        { path: '/context/*', as: 'candidate-adds' },
        { path: '/items/*/*', as: 'anything' },
      ],
    });
    const [none, hers] = [event('user_id', undefined), event('user_id', 'ann')];
    const his = event('user_id', 'bob');
    expect(found(rules, event('user_id', null), none)).toEqual(['/data/context/user_id']);
    expect(found(rules, none, hers)).toEqual([]);
    expect(found(rules, none, his)).toEqual(['/items/0/user_id', '/data/context/user_id']);
    const path = `/a${'/*'.repeat(60)}`;
    for (const as of ['candidate-adds', 'anything'] as const)
      compileRules({
        ...DEFAULT_RULES,
        allow: [
          { path, as },
          { path, as: 'null-or-absent' },
        ],
      });
  });
});

// The fault: an object that the candidate may add hid whom it named, at whatever depth.
test('what the candidate may add names nobody but him, wherever it does', () => {
  const rules = compileRules({
    ...DEFAULT_RULES,
    allow: [{ path: '/meta', as: 'candidate-adds' }],
  });
  const found = (meta: unknown) => {
    const known = { ids: new IdClasses(), subject: ['ann'] };
    const event = { type: 'x', seq: 1 };
    const added = compare(rules.planOf('x'), event, { ...event, meta }, known);
    return [added.differences.map(({ path }) => path), added.hasAdded];
  };
  for (const own of [{ user_id: 'ann' }, [{ tags: ['bob'] }], { a: { recipient_id: null } }, 'bob'])
    expect(found(own)).toEqual([[], true]);
  for (const others of [
    { user_id: 'bob' },
    { a: [{ b: { recipient_id: 'bob' } }] },
    { user_id: 'ann', owner_id: ['ann'] },
    JSON.parse(`${'['.repeat(100)}${']'.repeat(100)}`),
  ])
    expect(found(others)).toEqual([['/meta'], false]);
});

test('whatever the reference services differ in can be excused, for each of their entry points', () => {
  for (const entry of ['singleton', 'scoped', 'convenience'] as const) {
    expect(() => compileRules(broadcasterRules(entry))).not.toThrow();
  }
});

describe('noise', () => {
  // Diffy's rule: more than 20 % relative and 0.03 % absolute.
  test.each([
    // differed of 10,000 with the candidate, with legacy itself, reported
    [0, 0, false],
    [1, 0, false],
    [3, 0, false],
    [4, 0, true],
    [150, 100, false],
    [151, 100, true],
    [9, 6, false],
    [10, 6, true],
    [5_000, 5_000, false],
    [100, 200, false],
  ])('%d against %d of 10,000: reported %s', (differed, byItself, reported) => {
    const pairs = 10_000;
    expect(isReported({ pairs, differed }, { pairs, differed: byItself })).toBe(reported);
    const fewer = { pairs: 1_000, differed: byItself / 10 };
    expect(isReported({ pairs, differed }, fewer)).toBe(reported);
  });

  test('that was never measured excuses nothing', () => {
    expect(isReported({ pairs: 10, differed: 1 }, { pairs: 0, differed: 0 })).toBe(true);
  });

  test('of a profile excuses values, and neither what is absent nor another type', () => {
    const fields = [{ eventType: 'x', path: '/load/*/cpu', pairs: 100, differed: 97 }];
    const profile: NoiseProfile = { version: 1, route: 'r', measuredAt: 0, fields };
    const rules = compileRules(DEFAULT_RULES, profile);
    const found = (legacy: object, candidate: object) => {
      const known = { ids: new IdClasses(), subject: [] };
      const plan = rules.planOf(typeOf(legacy));
      const { differences, excused } = compare(plan, legacy, candidate, known);
      return [differences, excused].map(list => list.map(({ kind, path }) => `${kind} ${path}`));
    };
    const host = (cpu: unknown, name = 'a') => ({ type: 'x', load: [{ name, cpu }] });
    expect(found(host(1), host(2))).toEqual([[], ['value /load/0/cpu']]);
    expect(found(host(1), host(1))).toEqual([[], []]);
    expect(found(host(1), host('2'))).toEqual([['type /load/0/cpu'], []]);
    expect(found(host(1), host(undefined))).toEqual([['missing /load/0/cpu'], []]);
    expect(found(host([1]), host([2]))).toEqual([['value /load/0/cpu/0'], []]);
    expect(found(host(1), host(2, 'b'))).toEqual([['value /load/0/name'], ['value /load/0/cpu']]);
    expect(found({ ...host(1), type: 'y' }, { ...host(2), type: 'y' })[0]).not.toEqual([]);
  });
});

test('an instant is read from what services write, and from nothing else', () => {
  const at = 1_757_953_203_400;
  for (const value of [
    1_757_953_203.4,
    at,
    '2025-09-15T16:20:03.4Z',
    '2025-09-15T16:20:03.400000+00:00',
    '2025-09-15 16:20:03.400',
    '2025-09-15T18:50:03.4+0230',
    '2025-09-15T08:20:03.4-08',
  ]) {
    expect(instantMs(value)).toBeCloseTo(at, 3);
  }
  expect(instantMs('2025-09-15T16:20:03.400123Z')).toBeCloseTo(at + 0.123, 4);
  for (const value of [
    null,
    true,
    {},
    '',
    'yesterday',
    '2025-09-15',
    '2025-13-15T16:20:03Z',
    '2025-09-15T24:20:03Z',
    '2025-09-15T16:20:03+1',
    '2025-09-15T16:20:03+1:00',
    '2025-09-15T16:20:03 UTC',
    '2025-09-15x16:20:03Z',
    '+025-09-15T16:20:03Z',
    `2025-09-15T16:20:03.${'1'.repeat(100)}Z`,
  ]) {
    expect(instantMs(value), String(value)).toBeUndefined();
  }
});

test('generated ids are known one to one, and the oldest are forgotten', () => {
  const ids = new IdClasses();
  expect(ids.relation('a', 'l1', 'c1')).toBe('unknown');
  ids.learn('a', 'l1', 'c1');
  expect(ids.relation('a', 'l1', 'c1')).toBe('same');
  expect(ids.relation('a', 'l1', 'c2')).toBe('other');
  expect(ids.relation('a', 'l2', 'c1')).toBe('other');
  expect(ids.relation('b', 'l1', 'c2')).toBe('unknown');
  for (let n = 0; n < 256; n++) ids.learn('a', `l${n + 10}`, `c${n + 10}`);
  expect(ids.relation('a', 'l1', 'c2')).toBe('other');
  for (let n = 300; n < 600; n++) ids.learn('a', `l${n}`, `c${n}`);
  expect(ids.relation('a', 'l1', 'c2')).toBe('unknown');
  expect(ids.relation('a', 'l599', 'c599')).toBe('same');
});
