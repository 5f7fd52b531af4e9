import fc from 'fast-check';
import { exportJWK, generateKeyPair, type JWTPayload, SignJWT } from 'jose';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config/load.ts';
import type { IdentityConfig } from '../../src/config/schema.ts';
import {
  createIdentifier,
  createIdentityCache,
  type Identified,
  type IdentityKeys,
} from '../../src/traffic/identity.ts';

/** 2026-01-01, so that no test depends on the day. */
const NOW = 1_767_225_600_000;
const SECONDS = NOW / 1_000;
const SECRET = new TextEncoder().encode('a secret of thirty-two bytes, yes');

/** An identity section as a file would have it. */
function identity(text: string): IdentityConfig {
  return parseConfig(
    `listen: {}
upstreams: { legacy: { url: http://a/ }, candidate: { url: http://b/ } }
routes: [{ name: a, path: /a, protocol: http }]
identity: { ${text} }`,
    'test.yaml',
    {},
  ).identity;
}

const BEARER = 'sources: [{ from: bearer }]';
const VERIFIED = `${BEARER}, verify: { secretFile: unused }`;
const KEY_SET = `${BEARER}, verify: { jwksFile: unused }`;

const mint = (claims: JWTPayload = { sub: 'alice' }, key = SECRET) =>
  new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(key);

/** A token that nobody signed. */
const plain = (payload: unknown, header: unknown = { alg: 'none' }) =>
  [header, payload].map(part => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.') +
  '.AA';

interface Request {
  readonly headers?: readonly string[];
  readonly target?: string;
  readonly peer?: string;
}

interface Setting {
  readonly keys?: IdentityKeys;
  readonly trusted?: readonly string[];
}

async function who(config: string, request: Request, setting: Setting = {}): Promise<Identified> {
  const { keys = { identitySecret: SECRET }, trusted = [] } = setting;
  const identifier = createIdentifier(identity(config), keys, trusted, () => NOW);
  const { headers = [], target = '/', peer = '192.0.2.1' } = request;
  return identifier.identify({ rawHeaders: headers, target, peer });
}

const bearer = (token: string): Request => ({ headers: ['Authorization', `Bearer ${token}`] });
const named = (id: string, aliases: string[] = []) => ({ kind: 'user', subject: { id, aliases } });
const invalid = (why: string) => ({ kind: 'invalid', why });

describe('sources', () => {
  const alice = plain({ sub: 'alice' });
  const bob = plain({ sub: 'bob' });

  test('a request without a credential is anonymous', async () => {
    expect(await who('sources: []', bearer(alice))).toEqual({ kind: 'anonymous' });
    const all =
      'sources: [{from: subprotocol}, {from: bearer}, {from: query}, {from: cookie, name: s}]';
    expect(await who(all, {})).toEqual({ kind: 'anonymous' });
  });

  test('a subprotocol carries the token as it is or as base64url, in one field or several', async () => {
    const config = 'sources: [{ from: subprotocol }]';
    const offers = (...values: string[]) =>
      who(config, { headers: values.flatMap(value => ['Sec-WebSocket-Protocol', value]) });
    const encoded = Buffer.from(alice).toString('base64url');
    expect(await offers(`jwt-auth, jwt.${alice}`)).toMatchObject(named('alice'));
    expect(await offers(`jwt-auth,jwt.${encoded}`)).toMatchObject(named('alice'));
    expect(await offers('jwt-auth', `jwt.${encoded}`)).toMatchObject(named('alice'));
    expect(await offers(`jwt.${alice}, jwt.${bob}`)).toMatchObject(named('alice'));
    expect(await offers('jwt-auth, graphql-ws')).toEqual({ kind: 'anonymous' });
    expect(await offers('jwt.')).toMatchObject(invalid('malformed'));
    expect(await offers('jwt.!!')).toMatchObject(invalid('malformed'));
  });

  test('a bearer token counts in any spelling of the scheme, another scheme does not', async () => {
    for (const scheme of ['Bearer', 'bearer', 'BEARER']) {
      const headers = ['authorization', `${scheme}   ${alice} `];
      expect(await who(BEARER, { headers })).toMatchObject(named('alice'));
    }
    for (const value of ['Basic YTpi', 'Bearer', 'Bearer ', '']) {
      expect(await who(BEARER, { headers: ['Authorization', value] })).toEqual({
        kind: 'anonymous',
      });
    }
  });

  test('a query is read by its first name that is there, whatever else stands in it', async () => {
    const config = 'sources: [{ from: query, names: [token, jwt] }]';
    const target = (text: string) => who(config, { target: text });
    expect(await target(`/ws?a=%zz&jwt=${alice}&%=1`)).toMatchObject(named('alice'));
    expect(await target(`/ws?jwt=${alice}&token=${bob}`)).toMatchObject(named('bob'));
    expect(await target(`/ws?token=&jwt=${alice}`)).toMatchObject(named('alice'));
    expect(await target(`/ws/token=${alice}`)).toEqual({ kind: 'anonymous' });
    expect(await target('/ws?token=%ff')).toMatchObject(invalid('malformed'));
  });

  test('a cookie is found by its exact name, quoted or not', async () => {
    const cookie = (...values: string[]) =>
      who('sources: [{ from: cookie, name: session }]', {
        headers: values.flatMap(value => ['Cookie', value]),
      });
    expect(await cookie(`a=b; session=${alice};c`)).toMatchObject(named('alice'));
    expect(await cookie('a=b', `session="${alice}"`)).toMatchObject(named('alice'));
    expect(await cookie(`Session=${alice}; xsession=${alice}`)).toEqual({ kind: 'anonymous' });
  });

  test('a header names the user only when a trusted proxy says so', async () => {
    const config = 'sources: [{ from: header, name: X-User }]';
    const from = (peer: string, ...headers: string[]) =>
      who(config, { headers, peer }, { trusted: ['10.0.0.0/8', 'fd00::/8', '192.0.2.7'] });
    for (const peer of ['10.1.2.3', '::ffff:10.1.2.3', 'fd00::1', '192.0.2.7']) {
      expect(await from(peer, 'x-user', 'alice')).toMatchObject(named('alice'));
    }
    for (const peer of ['11.1.2.3', '::ffff:11.1.2.3', 'fe80::1', '', 'nonsense']) {
      expect(await from(peer, 'x-user', 'alice')).toEqual({ kind: 'anonymous' });
    }
    const utf8 = Buffer.from('älice').toString('latin1');
    expect(await from('10.0.0.1', 'x-user', utf8)).toMatchObject(named('älice'));
    expect(await from('10.0.0.1', 'x-user', '\xff')).toMatchObject(invalid('malformed'));
    expect(await from('10.0.0.1', 'x-user', 'a'.repeat(257))).toMatchObject(invalid('malformed'));
  });

  test('the first one that is present counts, even if it is invalid', async () => {
    const request = { headers: ['Authorization', 'Bearer broken'], target: `/?token=${alice}` };
    const config = 'sources: [{ from: bearer }, { from: query }]';
    expect(await who(config, request)).toMatchObject(invalid('malformed'));
    const reverse = 'sources: [{ from: query }, { from: bearer }]';
    expect(await who(reverse, request)).toMatchObject(named('alice'));
  });

  test('a credential that is there twice is malformed, since readers differ on which counts', async () => {
    const twice = ['Authorization', `Bearer ${alice}`, 'authorization', `Bearer ${bob}`];
    expect(await who(BEARER, { headers: twice })).toMatchObject(invalid('malformed'));
    const query = 'sources: [{ from: query }]';
    const target = `/?token=${alice}&token=${bob}`;
    expect(await who(query, { target })).toMatchObject(invalid('malformed'));
    const cookie = 'sources: [{ from: cookie, name: s }]';
    const headers = ['Cookie', `s=${alice}; s=${bob}`];
    expect(await who(cookie, { headers })).toMatchObject(invalid('malformed'));
  });

  test('a ticket is marked as single use, also when it is not what named the user', async () => {
    const config = 'sources: [{from: bearer}, {from: query, names: [ticket], singleUse: true}]';
    const target = '/ws?ticket=c0ffee';
    expect(await who(config, { target })).toEqual({
      kind: 'invalid',
      why: 'opaque',
      singleUse: true,
    });
    expect(await who(config, { target: `/ws?ticket=${bob}` })).toMatchObject({
      ...named('bob'),
      singleUse: true,
    });
    expect(await who(config, { ...bearer(alice), target })).toMatchObject({
      ...named('alice'),
      singleUse: true,
    });
    expect(await who(config, bearer(alice))).toMatchObject({ ...named('alice'), singleUse: false });
  });

  test('a token of more than 16 KiB is not looked at', async () => {
    const long = plain({ sub: 'alice', pad: 'x'.repeat(16_384) });
    expect(await who(BEARER, bearer(long))).toMatchObject(invalid('too-long'));
  });

  test('whatever a client sends, an answer comes and nothing is thrown', async () => {
    const config = `sources: [{from: subprotocol}, {from: bearer}, {from: query}, {from: cookie, name: s},
      {from: header, name: x-user}], verify: { secretFile: unused }`;
    const names = fc.constantFrom('Authorization', 'Sec-WebSocket-Protocol', 'Cookie', 'X-User');
    const values = fc.oneof(
      fc.string({ unit: 'binary-ascii' }),
      fc.string().map(text => `Bearer ${text}`),
      fc.string().map(text => `jwt.${text}`),
      fc.string().map(text => `s=${text}`),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(names, values), { maxLength: 4 }),
        fc.string(),
        async (fields, query) => {
          const request = { headers: fields.flat(), target: `/?token=${query}`, peer: '10.0.0.1' };
          const { kind } = await who(config, request, { trusted: ['10.0.0.0/8'] });
          expect(['user', 'anonymous', 'invalid']).toContain(kind);
        },
      ),
    );
  });
});

describe('claims', () => {
  const claim = (payload: unknown, config = '') =>
    who(`${BEARER}${config}`, bearer(plain(payload)));

  test('name the user as text or as a number', async () => {
    expect(await claim({ sub: 'alice' })).toMatchObject(named('alice'));
    expect(await claim({ sub: 42 })).toMatchObject(named('42'));
    expect(await claim({ uid: 'u1', sub: 's1' }, ', claim: uid')).toMatchObject(named('u1'));
  });

  test('that are no names are missing: two users must never become one', async () => {
    const odd = ['', null, true, {}, ['a'], 'a'.repeat(257), 'a\nb', 2 ** 53, -(2 ** 60)];
    for (const sub of [...odd, undefined]) {
      expect(await claim({ sub })).toMatchObject(invalid('claim-missing'));
    }
    expect(await claim({}, ', claim: toString')).toMatchObject(invalid('claim-missing'));
  });

  test('of further names are aliases; absent and odd ones, and the name itself, are left out', async () => {
    const payload = { sub: 'a', uid: 7, email: 'a@x', same: 'a', again: 'a@x', odd: {} };
    const aliases = ', aliases: [uid, email, same, again, odd, nope]';
    expect(await claim(payload, aliases)).toMatchObject(named('a', ['7', 'a@x']));
  });
});

describe('verification', () => {
  test('by a secret takes its own tokens and no others', async () => {
    const keys = { identitySecret: SECRET };
    expect(await who(VERIFIED, bearer(await mint()), { keys })).toMatchObject(named('alice'));
    const other = new TextEncoder().encode('another secret of thirty-two bytes');
    expect(
      await who(VERIFIED, bearer(await mint({ sub: 'alice' }, other)), { keys }),
    ).toMatchObject(invalid('signature'));
    const [head = '', , signature = ''] = (await mint()).split('.');
    const forged = [head, Buffer.from('{"sub":"bob"}').toString('base64url'), signature].join('.');
    expect(await who(VERIFIED, bearer(forged), { keys })).toMatchObject(invalid('signature'));
  });

  test('never takes a token that says it is not signed, or an algorithm that was not asked for', async () => {
    const none = plain({ sub: 'alice' });
    expect(await who(VERIFIED, bearer(none))).toMatchObject(invalid('signature'));
    expect(await who(VERIFIED, bearer(none.replace(/AA$/, '')))).toMatchObject({ kind: 'invalid' });
    const hs512 = await new SignJWT({ sub: 'alice' })
      .setProtectedHeader({ alg: 'HS512' })
      .sign(SECRET);
    expect(await who(VERIFIED, bearer(hs512))).toMatchObject(invalid('signature'));
    expect(await who(VERIFIED, bearer('a.b'))).toMatchObject(invalid('malformed'));
    expect(await who(VERIFIED, bearer('...'))).toMatchObject({ kind: 'invalid' });
  });

  test('asks for issuer and audience where the configuration names them', async () => {
    const config = `${BEARER}, verify: { secretFile: unused, issuer: us, audience: cutover }`;
    const verdict = async (claims: JWTPayload) => who(config, bearer(await mint(claims)));
    expect(await verdict({ sub: 'a', iss: 'us', aud: ['x', 'cutover'] })).toMatchObject(named('a'));
    expect(await verdict({ sub: 'a', iss: 'them', aud: 'cutover' })).toMatchObject(
      invalid('issuer'),
    );
    expect(await verdict({ sub: 'a', iss: 'us' })).toMatchObject(invalid('audience'));
  });

  test('and mere reading alike respect times, with 5 s for clocks that differ', async () => {
    for (const config of [VERIFIED, BEARER]) {
      const verdict = async (claims: JWTPayload) =>
        who(config, bearer(await mint({ sub: 'a', ...claims })));
      expect(await verdict({ exp: SECONDS + 60 })).toMatchObject({
        ...named('a'),
        expiresAt: NOW + 60_000,
      });
      expect(await verdict({})).toMatchObject({ expiresAt: null });
      expect(await verdict({ exp: SECONDS - 4 })).toMatchObject(named('a'));
      expect(await verdict({ exp: SECONDS - 5 })).toMatchObject(invalid('expired'));
      expect(await verdict({ nbf: SECONDS + 5 })).toMatchObject(named('a'));
      expect(await verdict({ nbf: SECONDS + 6 })).toMatchObject(invalid('not-yet-valid'));
    }
    expect(await who(BEARER, bearer(plain({ sub: 'a', exp: 'x' })))).toMatchObject(
      invalid('malformed'),
    );
  });

  describe('by a key set', async () => {
    const pair = () => generateKeyPair('ES256', { extractable: true });
    const [first, second, stranger] = await Promise.all([pair(), pair(), pair()]);
    const publicJwk = async (key: typeof first, kid: string) => ({
      ...(await exportJWK(key.publicKey)),
      kid,
    });
    const keys = { jwks: { keys: [await publicJwk(first, 'k1'), await publicJwk(second, 'k2')] } };
    const sign = (key: typeof first, kid?: string) =>
      new SignJWT({ sub: 'alice' })
        .setProtectedHeader({ alg: 'ES256', ...(kid && { kid }) })
        .sign(key.privateKey);

    test('takes a token of any key in it, named by kid or found by trying', async () => {
      for (const token of [await sign(first, 'k1'), await sign(second, 'k2'), await sign(second)]) {
        expect(await who(KEY_SET, bearer(token), { keys })).toMatchObject(named('alice'));
      }
    });

    test('takes no token of another key, and none signed with the public key as a secret', async () => {
      const [jwk] = keys.jwks.keys;
      const confused = new TextEncoder().encode(JSON.stringify(jwk));
      const wrong = [
        await sign(stranger),
        await sign(stranger, 'k1'),
        await sign(first, 'k3'),
        await mint({ sub: 'alice' }, confused),
      ];
      for (const token of wrong) {
        expect(await who(KEY_SET, bearer(token), { keys })).toMatchObject(invalid('signature'));
      }
    });
  });

  test('without the key it needs is refused when the identifier is made', () => {
    expect(() => createIdentifier(identity(VERIFIED), {}, [])).toThrow(/secret was not read/);
    expect(() => createIdentifier(identity(KEY_SET), {}, [])).toThrow(/key set was not read/);
  });
});

describe('the cache of a connection', () => {
  const facts = (token: string) => ({
    rawHeaders: ['Authorization', `Bearer ${token}`],
    target: '/',
    peer: '192.0.2.1',
  });
  const start = () => {
    const clock = { now: NOW };
    const keys = { identitySecret: SECRET };
    const identifier = createIdentifier(identity(VERIFIED), keys, [], () => clock.now);
    return { clock, identifier, cache: createIdentityCache() };
  };

  test('spares the second verification of exactly the same bytes', async () => {
    const { identifier, cache } = start();
    const token = await mint();
    await identifier.identify(facts(token), cache);
    expect(identifier.identify(facts(token), cache)).toMatchObject(named('alice'));
    expect(identifier.verifications).toBe(1);
    await identifier.identify(facts(token), createIdentityCache());
    expect(identifier.verifications).toBe(2);
  });

  test('never answers for another credential on the same connection', async () => {
    const { identifier, cache } = start();
    const token = await mint();
    await identifier.identify(facts(token), cache);
    const flipped = token.slice(0, -2) + (token.at(-2) === 'A' ? 'B' : 'A') + token.at(-1);
    expect(await identifier.identify(facts(flipped), cache)).toMatchObject(invalid('signature'));
    expect(await identifier.identify(facts(await mint({ sub: 'bob' })), cache)).toMatchObject(
      named('bob'),
    );
    expect(await identifier.identify({ ...facts(''), rawHeaders: [] }, cache)).toEqual({
      kind: 'anonymous',
    });
  });

  test('ends with the credential', async () => {
    const { clock, identifier, cache } = start();
    const token = await mint({ sub: 'alice', exp: SECONDS + 10 });
    await identifier.identify(facts(token), cache);
    clock.now = NOW + 14_999;
    expect(await identifier.identify(facts(token), cache)).toMatchObject(named('alice'));
    expect(identifier.verifications).toBe(1);
    clock.now = NOW + 15_000;
    expect(await identifier.identify(facts(token), cache)).toMatchObject(invalid('expired'));
    expect(identifier.verifications).toBe(2);
  });

  test('holds nothing for an identifier of another configuration', async () => {
    const { identifier, cache } = start();
    const token = await mint();
    await identifier.identify(facts(token), cache);
    const other = new TextEncoder().encode('another secret of thirty-two bytes');
    const keys = { identitySecret: other };
    const next = createIdentifier(identity(VERIFIED), keys, [], () => NOW);
    expect(await next.identify(facts(token), cache)).toMatchObject(invalid('signature'));
  });
});

test('no verdict on a credential that is wrong holds a byte of it', async () => {
  const token = await mint({ sub: 'hunter2', exp: 1 });
  for (const config of [VERIFIED, BEARER]) {
    const verdict = JSON.stringify(await who(config, bearer(token)));
    expect(verdict).toBe('{"kind":"invalid","why":"expired","singleUse":false}');
  }
});
