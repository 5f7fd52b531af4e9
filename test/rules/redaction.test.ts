// What is kept of a finding can be compared, and can not be read.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { PROVENANCE_FIELDS, ROUTING_FIELDS } from '../../src/rules/compare/rules.ts';
import { type EvidenceBatch, EvidenceBatcher } from '../../src/rules/evidence-batch.ts';
import { keyedHash } from '../../src/rules/keyed-hash.ts';
import { redactedBatch } from '../../src/rules/redacted-batch.ts';
import { Redactor } from '../../src/rules/redaction.ts';
import { UnitTracker } from '../../src/rules/unit-tracker.ts';
import type { Difference, Finding } from '../../src/rules/verdict.ts';

const hash = keyedHash(new Uint8Array(32).fill(7));

function redactor(paths: string[] = []): Redactor {
  return new Redactor({ paths, envelopes: ['data', 'payload'], hash });
}

function redacted(event: unknown, rules = redactor()): unknown {
  return rules.event(event, rules.learn(event));
}

function finding(
  legacy: unknown,
  candidate: unknown,
  differences: readonly Difference[] = [],
): Finding {
  return {
    ...{
      verdict: 'mismatch',
      because: null,
      route: 'events',
      eventType: 'x',
      key: null,
      unit: 'r',
    },
    ...{ session: 's', legacy, candidate, sides: ['legacy', 'candidate'], differences, at: 0 },
  };
}

function redact(given: Finding, rules = redactor()): Finding {
  return rules.finding(given, rules.learn(given.legacy, given.candidate));
}

const JWT = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyXzEwMDEifQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ';

describe('what is taken for sensitive', () => {
  test.each([
    ['user_id', 'user_1001', 'user'],
    ['userId', 'u', 'user'],
    ['Target-User-ID', 4711, 'user'],
    ['recipient_ids', ['a', 'b'], 'user'],
    ['owner_id', 'x', 'user'],
    ['source_user_id', 'x', 'user'],
    ['password', 'a', 'credential'],
    ['apiKey', 'a', 'credential'],
    ['X-Api-Key', 'a', 'credential'],
    ['set-cookie', ['a=b'], 'credential'],
    ['refreshToken', 'a', 'credential'],
    ['secrets', { db: 'a' }, 'credential'],
    ['ticket', 123, 'credential'],
    ['user', 'alice', 'user'],
    ['x-user', 'alice', 'user'],
    ['userName', 'alice', 'user'],
    ['recipient', 'alice', 'user'],
    ['from', 'alice', 'user'],
    ['to', ['alice', 'bob'], 'user'],
    ['customer_id', 'c', 'user'],
    ['participants', ['alice'], 'user'],
    ['participant_ids', [7], 'user'],
    ['user', 1001, 'user'],
    ['pass', 'a', 'credential'],
    ['password_hash', 'a', 'credential'],
    ['bearer', 'a', 'credential'],
    ['verificationCode', 'a', 'credential'],
    ['signature', 'a', 'credential'],
    ['X-Session', 'a', 'credential'],
    ['email', 'not even one', 'email'],
    ['contactEmail', 'x', 'email'],
  ])('a field %s', (name, value, redaction) => {
    const text = JSON.stringify(redacted({ [name]: value }));
    expect(text).toContain(`"$r":"${redaction}"`);
    for (const raw of [value].flat().filter(part => typeof part !== 'object')) {
      expect(text).not.toContain(`:${JSON.stringify(raw)}`);
    }
  });

  test.each([
    ['a JSON Web Token', JWT],
    ['a bearer token', 'Bearer abcdef-123'],
    ['basic credentials', 'Basic dXNlcjpwYXNz'],
    ['a key of its issuer', `sk-${'a'.repeat(24)}`],
    ['a long hexadecimal number', '0123456789abcdef0123456789abcdef'],
    ['long base64', 'aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3aB3=='],
    ['a password in a URL', 'postgres://admin:hunter2@db/x', 'hunter2'],
    ['a token in a query', 'GET /ws?token=abc123&x=1', 'abc123'],
    ['a code in a query', 'GET /reset?code=abc123&x=1', 'abc123'],
    ['a signature in HTML', '<a href="/f?x=1&amp;sig=abc123">', 'abc123'],
    ['a pin', 'pin: 9931x', '9931x'],
    ['JSON in a text', '{"password": "open sesame", "x": 1}', 'sesame'],
    ['JSON in JSON in a text', '{\\"password\\": \\"open sesame\\"}', 'sesame'],
    ['a header in a text', 'authorization: Digest a b c\r\nx: y', 'Digest'],
    ['a private key', '-----BEGIN RSA PRIVATE KEY-----\nAAA\n', 'AAA'],
    ['an e-mail address', 'alice.o+x@sub.example.com'],
    ['an e-mail address in a URL', 'to=alice%40example.com', 'alice'],
  ])('%s in a text, which is shown without it', (_, secret, part = secret) => {
    const value = redacted({ note: `before ${secret}` });
    expect(value).toMatchObject({ note: { t: 'string', n: 7 + secret.length } });
    expect(JSON.stringify(value)).not.toContain(part);
    expect(JSON.stringify(value)).toContain('"s":"before ');
  });

  test.each([
    'the tokens: 512 of them',
    'a secretary',
    'basic understanding of it',
    'it will pass, with code: 404',
    '2025-09-15T16:20:02+00:00',
    '0b7f6a3e-6f0c-4a34-9f43-8a0a0f1d2c3b',
    '/usr/local/lib/node_modules/some/very/long/path/of/files',
    'tool_executing',
  ])('not %j', text => {
    expect(redacted({ note: text })).toEqual({ note: text });
  });

  test.each([
    ['tokens', 512],
    ['max_tokens', 4096],
    ['users', 3],
    ['to', 10],
    ['secret', null],
    ['user_id', ''],
    ['token', true],
    ['run_id', 'run_9'],
    ['thread_id', 'thread_55'],
  ])('not a field %s that is %j', (name, value) => {
    expect(redacted({ [name]: value })).toEqual({ [name]: value });
  });

  test('in the type of an event the shortest name is one, as a word', () => {
    const known = redactor().learn({ user_id: 'bo', sender_id: 'abby' });
    const types = ['inbox:bo', 'bo', 'box.abbynormal', 'inbox.abby', 'bo@b.cd'];
    expect(
      types.map(type =>
        redactor()
          .type(type, known)
          .replaceAll(/[0-9a-f]{16}/g, '#'),
      ),
    ).toEqual(['inbox:<user #>', '<user #>', 'box.abbynormal', 'inbox.<user #>', '<email #>']);
  });

  test('configured paths, read through envelopes; what * stands for is data too', () => {
    const event = {
      message: 'a',
      data: { message: 'b', other: 'c' },
      balances: { alice: { amount: 170, open: true }, bob: { amount: 180, open: false } },
    };
    const rules = redactor(['/message', '/balances/*']);
    const text = JSON.stringify(redacted(event, rules));
    expect(text).toContain('"other":"c"');
    expect(text).not.toMatch(/"a"|"b"|alice|bob|170|180|true|false|"n":[45]/);
    expect(text).toContain('"amount"');
  });

  test('every field that says who must receive an event, or who made it', () => {
    for (const name of [...ROUTING_FIELDS, ...PROVENANCE_FIELDS]) {
      expect(redacted({ [name]: 'x' })).toMatchObject({ [name]: { $r: 'user' } });
    }
  });

  test('a user id wherever else it stands in the pair: texts, keys, names, differences', () => {
    const given: Finding = {
      ...finding(
        { user_id: 'user_1001', data: { said: 'I am user_1001.', seen: { user_1001: 1 } } },
        { data: { said: 'user_1001' } },
        [
          { kind: 'value', path: '/said', legacy: 'I am user_1001.', candidate: 'user_1001' },
          { kind: 'missing', path: '/seen/user_1001', legacy: 1 },
        ],
      ),
      key: 'k1:said:user_1001',
      unit: 'run-user_1001',
      eventType: 'said-user_1001',
    };
    const kept = redact(given);
    expect(JSON.stringify(kept)).not.toContain('user_1001');
    expect(kept.key).toBe(`k1:said:<user ${hash('user_1001')}>`);
    expect(kept.differences[0]).toMatchObject({
      legacy: { $r: 'user', s: `I am <user ${hash('user_1001')}>.` },
      candidate: { $r: 'user', t: 'string', n: 9, h: hash('user_1001') },
    });
    expect(kept.differences[1]?.path).toBe(`/seen/$r:user:${hash('user_1001')}`);
  });

  test("a difference that tells its place in another form than the event's own", () => {
    const given = finding({ data: { note: 'private' } }, { data: { note: 'secret' } }, [
      { kind: 'value', path: '/note', legacy: 'private', candidate: 'secret' },
    ]);
    expect(JSON.stringify(redact(given, redactor(['/data/note'])))).not.toMatch(/private|secret/);
  });

  // Nothing in it says that these are names: only the session knows.
  test('the names of the user whose events they are, wherever they stand, and nothing of them is kept', () => {
    const event = { greeting: 'hello wanda_77', by_name: { wanda_77: { n: 1 } }, n: 7, id: 4711 };
    const differences = [
      { kind: 'value', path: '/by_name/wanda_77/n', legacy: 1, candidate: 2 } as const,
    ];
    const given: EvidenceBatch = {
      groups: [
        {
          ...{ route: 'r', eventType: 'x', verdict: 'mismatch', kind: 'value' },
          ...{ path: '/by_name/wanda_77/n', count: 1, firstAt: 0, lastAt: 0 },
        },
      ],
      examples: [
        {
          ...{ finding: finding(event, event, differences), groups: [0], cut: false },
          subject: ['wanda_77', '7', '4711'],
        },
      ],
      ...{ units: [], dropped: {} },
    };
    const batch = redactedBatch(given, () => redactor());
    expect(JSON.stringify(batch)).not.toMatch(/wanda|4711/);
    // One digit is in every number.
    expect(batch.examples[0]?.finding.legacy).toMatchObject({ n: 7, id: { $r: 'user' } });
  });

  // The fault: the session's own names came last, when there was no room for them, and short ones were looked for in
  // no text.
  test.each([
    ['alice_1001', 300],
    ['bob', 0],
    ['jo', 300],
  ])('the name %s beside %i other values that are sensitive, in texts and keys', (name, others) => {
    const members = Array.from({ length: others }, (_, n) => ({ user_id: `member-${n}` }));
    const legacy = { members, text: `hello ${name}!`, [`box:${name}`]: 1, a: `${name}ethan` };
    const example = { finding: finding(legacy, {}), groups: [], cut: false, subject: [name] };
    const given: EvidenceBatch = { ...{ groups: [], units: [], dropped: {} }, examples: [example] };
    const kept = redactedBatch(given, () => redactor()).examples[0]?.finding.legacy;
    expect(kept).toMatchObject({ text: { $r: 'user', s: `hello <user ${hash(name)}>!` } });
    expect(Object.keys(kept as object)).toContain(`$r:user:${hash(`box:${name}`)}`);
    // As a part of another word a short one is chance.
    if (name.length < 8) expect(kept).toMatchObject({ a: `${name}ethan` });
  });

  test('the groups of a batch, and the types of its units', () => {
    const legacy = { user_id: 'alice', seen: { alice: 1 } };
    const group = {
      ...{ route: 'r', eventType: 'to bob@example.com', verdict: 'mismatch' as const },
    };
    const given: EvidenceBatch = {
      groups: [{ ...group, kind: 'missing', path: '/seen/alice', count: 1, firstAt: 0, lastAt: 0 }],
      examples: [{ finding: finding(legacy, {}), groups: [0], cut: false, subject: [] }],
      units: [
        { route: 'r', eventType: 'bob@example.com', of: 'run', hour: 0, units: 1, diverged: 0 },
      ],
      dropped: {},
    };
    const batch = redactedBatch(given, () => redactor());
    expect(JSON.stringify(batch)).not.toMatch(/alice|bob/);
  });
});

// The fifth event of a kind is only counted, and units end when their events are long gone: a service that puts
// the user into the type, or a key that is his name, had him written down in the clear.
test('a user in the type of an event, or in a path, is on no disk when no example comes along that tells', () => {
  const batcher = new EvidenceBatcher();
  const tracker = new UnitTracker();
  const said: string[] = [];
  for (let n = 0; n < 9; n += 1) {
    for (const name of ['bob', 'ann.lee']) {
      const place = [{ kind: 'extra', path: `/seen/${name}`, candidate: 1 }] as const;
      const one = { ...finding({}, {}, place), eventType: `inbox:${name}`, unit: 's' };
      batcher.add(one, [name]);
      tracker.add(one, [name]);
    }
    const batch = batcher.take(n === 8 ? tracker.take(Number.POSITIVE_INFINITY) : []);
    if (batch !== null) said.push(JSON.stringify(redactedBatch(batch, () => redactor())));
  }
  expect(said).toHaveLength(9);
  expect(said.at(-1)).toContain('"examples":[]');
  expect(said.at(-1)).toContain('"of":"session"');
  expect(said.join('\n')).not.toMatch(/bob|ann|lee/);
});

describe('what is left in its place', () => {
  test('class, type, length and keyed hash', () => {
    expect(redacted({ user_id: 'user_1001' })).toEqual({
      user_id: { $r: 'user', t: 'string', n: 9, h: hash('user_1001') },
    });
  });

  test('a number and its text differ in type alone', () => {
    const { a_user_id: a, b_user_id: b } = redacted({
      a_user_id: 1001,
      b_user_id: '1001',
    }) as Record<string, { t: string; h: string }>;
    expect([a?.t, b?.t]).toEqual(['number', 'string']);
    expect(a?.h).toBe(b?.h);
  });

  test('an event that holds what looks like a redacted value is told from one', () => {
    const forged = { $r: 'email', t: 'string', n: 1, h: 'x', '$$r:user:x': 1 };
    expect(redacted(forged)).toEqual({
      ...{ $$r: 'email', t: 'string', n: 1, h: 'x', '$$$r:user:x': 1 },
    });
  });

  test('bytes, what is too long or too deep, and numbers that JSON has not', () => {
    const deep = JSON.parse(`${'['.repeat(5_000)}${']'.repeat(5_000)}`);
    const value = redacted({
      bytes: new Uint8Array([1, 2]),
      long: 'lorem '.repeat(10_000),
      deep,
      big: 2n ** 70n,
      endless: Number.POSITIVE_INFINITY,
    }) as Record<string, { s?: string }>;
    expect(value).toMatchObject({
      bytes: { $r: 'binary', n: 2 },
      long: { $r: 'long', t: 'string', n: 60_000 },
      big: { $r: 'long', t: 'number', s: String(2n ** 70n) },
      endless: { $r: 'long', t: 'number', s: 'Infinity' },
    });
    expect(value.long?.s?.length).toBeLessThan(600);
    const text = JSON.stringify(value);
    expect(text).toContain('{"$r":"deep","t":"array","n":1}');
    expect(text.length).toBeLessThan(2_000);
  });

  test('a secret at the end of what is shown of a long text is not cut in two', () => {
    for (let length = 1_500; length < 2_100; length += 7) {
      const value = redacted({
        x: `${'<'.repeat(length)} alice@example.com ${'>'.repeat(9_000)}`,
      });
      expect(JSON.stringify(value)).not.toContain('alic');
    }
    // So many that the whole of what is searched is shown.
    const filler = `${`${JWT} `.repeat(17)}${' '.repeat(16)}`;
    for (let shift = 0; shift < 400; shift += 1) {
      const value = redacted({
        x: `${filler}${' '.repeat(shift)}alice@example.com${'>'.repeat(9_000)}`,
      });
      expect(JSON.stringify(value)).not.toContain('alic');
    }
  });

  test('a key named __proto__ is a key', () => {
    const value = redacted(JSON.parse('{"__proto__": {"user_id": "alice"}}'));
    expect(JSON.stringify(value)).toMatch(/^\{"__proto__":\{"user_id":\{"\$r":"user"/);
  });
});

describe('of any two events', () => {
  const id = fc.stringMatching(/^[a-z]{3}_[0-9]{4,8}$/);
  const secret = fc.stringMatching(/^[A-Za-z0-9]{12,20}$/);
  const name = fc.oneof(
    fc.constantFrom('type', 'note', 'data', 'items', 'user_id', 'token', '$r', '__proto__', 'h'),
    fc.string({ maxLength: 6 }),
  );
  const json = (leaf: fc.Arbitrary<unknown>) =>
    fc.letrec(tie => ({
      value: fc.oneof(
        { depthSize: 'small', withCrossShrink: true },
        leaf,
        fc.array(tie('value'), { maxLength: 4 }),
        fc.dictionary(name, tie('value'), { maxKeys: 5, noNullPrototype: true }),
      ),
    })).value;
  const plainLeaf = fc.oneof(
    fc.string(),
    fc.string({ unit: 'binary' }),
    fc.emailAddress(),
    fc.constantFrom('', 'a', 'b', null, true, false, 0, 1, 2 ** 53, '<user 1>'),
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(x => (x === 0 ? 0 : x)),
  );
  const sameJson = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

  test('they are equal after it exactly if they were before', () => {
    const pair = fc.oneof(
      json(plainLeaf).map(value => [value, value] as const),
      fc.tuple(json(plainLeaf), json(plainLeaf)),
      fc.tuple(plainLeaf, plainLeaf).map(([a, b]) => [{ user_id: a }, { user_id: b }] as const),
      fc
        .tuple(plainLeaf, plainLeaf, fc.emailAddress())
        .map(([a, b, mail]) => [{ note: `${a} ${mail}` }, { note: `${b} ${mail}` }] as const),
    );
    fc.assert(
      fc.property(pair, ([a, b]) => {
        const kept = redact(finding(structuredClone(a), structuredClone(b)));
        expect(sameJson(kept.legacy, kept.candidate)).toBe(sameJson(a, b));
      }),
      { numRuns: 2_000 },
    );
  });

  test('no e-mail address, secret or user id survives anywhere', () => {
    const planted = fc.record({ id, secret, mail: fc.emailAddress() });
    const texts = ({ id, secret, mail }: { id: string; secret: string; mail: string }) =>
      fc.constantFrom(
        ...[`${id}`, `by ${id}, today`, `<${mail}>`, mail, `cc ${mail} and ${id}`],
        ...[`Bearer ${secret}`, `?token=${secret}&x=1`, `secret ${secret}.`, secret],
      );
    fc.assert(
      fc.property(
        planted.chain(given =>
          fc.record({
            given: fc.constant(given),
            legacy: json(fc.oneof(texts(given), fc.integer())),
            candidate: json(fc.oneof(texts(given), fc.integer())),
            text: texts(given),
          }),
        ),
        ({ given, legacy, candidate, text }) => {
          const marked = { user_id: given.id, auth: { api_key: given.secret }, legacy };
          const kept = redact({
            ...finding(marked, candidate, [
              { kind: 'value', path: '/somewhere', legacy, candidate: text },
              { kind: 'extra', path: `/seen/${given.id}`, candidate },
            ]),
            key: `k1:x:${text}`,
            unit: text,
            eventType: text,
          });
          const written = JSON.stringify(kept);
          for (const raw of Object.values(given)) expect(written).not.toContain(raw);
        },
      ),
      { numRuns: 2_000 },
    );
  });

  test('whatever text there is, it is read in linear time', () => {
    const nasty = [
      'a@',
      'a.',
      '@a',
      'Bearer ',
      'eyJaaaaaaaa.',
      '://',
      'token="',
      '\\"',
      'A1a',
      '%40',
    ];
    for (const part of nasty) {
      const started = performance.now();
      redacted({ x: part.repeat(100_000), [part.repeat(100_000)]: 1 });
      expect(performance.now() - started, part).toBeLessThan(1_000);
    }
  });
});
