import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { exportJWK, generateKeyPair } from 'jose';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkConfig, loadConfig, parseConfig } from '../../src/config/load.ts';
import { soundParts } from '../../src/config/parts.ts';
import { ConfigError, problemText } from '../../src/config/problem.ts';
import { resolveSecrets } from '../../src/config/secrets.ts';

const TLS = new URL('../fixtures/tls/', import.meta.url).pathname;
const UPSTREAMS = 'upstreams: { legacy: { url: http://a/ }, candidate: { url: http://b/ } }\n';
const ROUTE = 'routes: [{ name: events, path: /ws, protocol: websocket }]\n';
const LEAST = `listen: {}\n${UPSTREAMS}${ROUTE}`;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutover-config-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function put(text: string | Uint8Array, name = 'cutover.yaml'): Promise<string> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  return path;
}

/** Problems of a text as lines without the file's name. */
function said(text: string, env = {}): string[] {
  try {
    parseConfig(text, 'c.yaml', env);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(problem => problemText(problem).replace('c.yaml:', ''));
  }
}

/** Problems and warnings of a file on disk, as lines without place. */
async function checked(text: string, env = {}) {
  const { ok, problems, warnings } = await checkConfig(await put(text), env);
  const lines = (list: typeof problems) => list.map(({ field, message }) => `${field}: ${message}`);
  return { ok, problems: lines(problems), warnings: lines(warnings) };
}

describe('a sound file', () => {
  test('gets every default, and can not be changed any more', () => {
    const config = parseConfig(LEAST, '/etc/c.yaml', {});
    expect(config.listen).toEqual({
      host: '0.0.0.0',
      port: 8080,
      trustedProxies: [],
      showSide: false,
    });
    expect(config.admin).toEqual({ host: '127.0.0.1', port: 8081 });
    expect(config.limits.maxSessions).toBe(10_000);
    expect(() => Object.assign(config.listen, { port: 1 })).toThrow(TypeError);
    expect(() => Object.assign(config.routes[0] ?? {}, { name: 'x' })).toThrow(TypeError);
  });

  test('names folders and files relative to itself', async () => {
    await put('s3cret\n', 'deep/keys/jwt');
    const file = await put(
      `${LEAST}stateDir: var\nflags: { dir: ../f }\nidentity: { verify: { secretFile: keys/jwt } }\n`,
      'deep/cutover.yaml',
    );
    const { config } = await loadConfig(file, {});
    expect(config.stateDir).toBe(join(folder, 'deep/var'));
    expect(config.flags).toMatchObject({ dir: join(folder, 'f') });
    expect(config.identity.verify).toEqual({ secretFile: join(folder, 'deep/keys/jwt') });
  });

  test('takes numbers and booleans from the environment', () => {
    const text = `listen: { port: "\${PORT}", host: "\${HOST}" }\n${UPSTREAMS}${ROUTE}identity:
  sources: [{ from: query, singleUse: "\${ONCE}" }]
limits: { maxSessions: "\${MAX:-77}" }\n`;
    const config = parseConfig(text, 'c.yaml', { PORT: '9', HOST: '127', ONCE: 'true' });
    expect(config.listen).toMatchObject({ port: 9, host: '127' });
    expect(config.identity.sources[0]).toMatchObject({ singleUse: true });
    expect(config.limits.maxSessions).toBe(77);
  });

  test('may live with the same path under two protocols', () => {
    const routes =
      'routes: [{name: a, path: /x, protocol: http}, {name: b, path: /x, protocol: websocket}]';
    expect(said(`listen: {}\n${UPSTREAMS}${routes}`)).toEqual([]);
  });
});

test('cutover.yaml, the example, is sound as it is', async () => {
  const example = new URL('../../cutover.yaml', import.meta.url).pathname;
  const { ok, problems } = await checkConfig(example, {});
  expect({ ok, problems }).toEqual({ ok: true, problems: [] });
  const { config } = await loadConfig(example, { CUTOVER_PORT: '18080' });
  expect(config.listen).toMatchObject({ host: '127.0.0.1', port: 18_080 });
  expect(config.routes.map(({ name, path, protocol }) => [name, path, protocol])).toEqual([
    ['events', '/ws', 'websocket'],
    ['sse', '/events', 'sse'],
    ['broadcast', '/broadcast', 'http'],
  ]);
  expect(config.upstreams.legacy.url).toBe('http://127.0.0.1:9001');
  expect(config.upstreams.candidate.url).toBe('http://127.0.0.1:9002');
});

describe('what is wrong', () => {
  test('is told all at once, each with line, column, field and what is allowed', () => {
    const text = `listen:
  port: 70000
  hots: x
${UPSTREAMS}routes:
  - name: Events
    path: ws
    protocol: websockets
log: { level: loud }
`;
    expect(said(text)).toEqual([
      '2:9 listen.port: must be at most 65535 (got 70000)',
      '3:3 listen.hots: there is no key "hots" here; did you mean "host"?',
      '6:11 routes[0].name: must start with a lower case letter and hold only lower case letters, digits and -, at most 40',
      '7:11 routes[0].path: must start with /; a * may stand after the last /',
      '8:15 routes[0].protocol: must be one of "websocket", "http", "sse" (got "websockets"); did you mean "websocket"?',
      '9:15 log.level: must be one of "debug", "info", "warn", "error", "silent" (got "loud")',
    ]);
  });

  test('is a missing field, told where it should stand', () => {
    expect(said(`listen: {}\n${UPSTREAMS}routes:\n  - name: a\n    path: /a\n`)).toEqual([
      '4:5 routes[0].protocol: is missing; it must be one of "websocket", "http", "sse"',
    ]);
    expect(said('')).toEqual(['1:1: must be a mapping (key: value) (got nothing)']);
  });

  test('is an unknown key without a near one, told with those that are known there', () => {
    expect(said(`${LEAST}admin: { banana: 1 }`)).toEqual([
      '4:10 admin.banana: there is no key "banana" here; known here: host, port',
    ]);
  });

  test('is told for the shape of an identity source or of verify that was meant', () => {
    const identity = (text: string) => said(`${LEAST}identity: { ${text} }`);
    expect(identity('sources: [{ from: cookie, nam: x }]')).toEqual([
      '4:23 identity.sources[0].name: is missing; it must be text',
      '4:39 identity.sources[0].nam: there is no key "nam" here; did you mean "name"?',
    ]);
    expect(identity('sources: [{ from: berer }]')[0]).toMatch(
      /got "berer"\); did you mean "bearer"/,
    );
    expect(identity('verify: { secretFile: x, isuer: y }')).toEqual([
      '4:38 identity.verify.isuer: there is no key "isuer" here; did you mean "issuer"?',
    ]);
    expect(identity('verify: { secretFile: x, jwksFile: y }')[0]).toMatch(/one of them/);
    expect(identity('verify: hunter2')[0]).toMatch(/must be the word unverified, or hold/);
  });

  test('are routes of one name, of one that is taken, of one path, or behind a wider one', () => {
    const routes = (...list: string[]) =>
      said(
        `listen: {}\n${UPSTREAMS}routes: [${list.map(text => `{${text}, protocol: http}`)}]`,
      ).map(line => line.replace(/^\S+ /, ''));
    expect(routes('name: a, path: /x', 'name: a, path: /y')).toEqual([
      'routes[1].name: must be unique; routes[0] has the name "a" too',
    ]);
    expect(routes('name: a, path: /x', 'name: b, path: /x')).toEqual([
      'routes[1].path: must differ from routes[0], which has the same path',
    ]);
    for (const name of ['bypass', 'unrouted', 'none']) {
      expect(routes(`name: ${name}, path: /x`)).toEqual([
        'routes[0].name: must be another one: in counts and logs it stands for what is on no route',
      ]);
    }
    for (const narrower of ['/x', '/x/y', '/x/y/*']) {
      expect(routes('name: a, path: /x/*', `name: b, path: ${narrower}`)).toEqual([
        'routes[1].path: is never reached: routes[0] covers it with "/x/*"; put the narrower route first',
      ]);
      expect(routes(`name: b, path: ${narrower}`, 'name: a, path: /x/*')).toEqual([]);
    }
    expect(routes('name: a, path: /*', 'name: b, path: /x/*')).toHaveLength(1);
    expect(routes('name: a, path: /x/*', 'name: b, path: /xy')).toEqual([]);
    expect(routes('name: a, path: /x*')[0]).toMatch(/a \* may stand after the last/);
  });

  test('is one port for clients and operator, unless the system chooses both', () => {
    const ports = (port: number) =>
      said(`listen: {port: ${port}}\nadmin: {port: ${port}}\n${UPSTREAMS}${ROUTE}`);
    expect(ports(8080)).toEqual([
      '2:15 admin.port: must be another port than listen.port (both are 8080)',
    ]);
    expect(ports(0)).toEqual([]);
  });

  test('is a URL with credentials, another scheme, or none', () => {
    const url = (text: string) => said(LEAST.replace('http://a/', text)).join();
    expect(url('"http://u:hunter2@a/"')).toMatch(/legacy\.url: must hold no credentials/);
    expect(url('"http://u:hunter2@a/"')).not.toContain('hunter2');
    expect(url('ftp://a/')).toMatch(/must be an http: or https: URL/);
    expect(url('a')).toMatch(/must be an http: or https: URL/);
  });

  // They once passed the check, and two Host fields, a second key and a mangled value were sent.
  test('is a header for a service that the proxy writes itself, or that HTTP can not carry', () => {
    const header = (text: string) =>
      said(LEAST.replace('url: http://a/', `url: http://a/, headers: { ${text} }`)).join();
    for (const name of [
      ...['Host', 'Connection', 'Keep-Alive', 'Transfer-Encoding', 'Content-Length', 'Via'],
      ...['Sec-WebSocket-Key', 'X-Cutover-Session', 'X_Cutover_Role', 'X-Forwarded-For'],
      ...['X-Request-Id', 'Traceparent'],
    ]) {
      expect(header(`X-Own: a, ${name}: b`)).toBe(
        `2:61 upstreams.legacy.headers.${name}: is set by the proxy itself, as the request needs it; for Host there is hostHeader`,
      );
    }
    for (const value of ['€uro', '\u{1f600}', '\\u0085', '\\r\\nX: y', '\\x00']) {
      expect(header(`X-Own: "${value}"`)).toMatch(
        /^2:\d+ upstreams\.legacy\.headers\.X-Own: must hold no control character and none beyond Latin-1/,
      );
    }
    expect(header('X-Own: "\\xe4\\t!"')).toBe('');
  });

  test('never hides a further problem in another part of the file', () => {
    const text = `listen: {prt: 1}\nadmin: {}\n${UPSTREAMS}routes: [{name: a, path: /x, protocol: http}, {name: a, path: /x, protocol: http}, {name: B}]`;
    expect(said(text).join('\n')).toMatch(
      /prt[\s\S]*must be unique[\s\S]*must differ[\s\S]*routes\[2\]\.name/,
    );
  });

  test('of a field whose variable is missing, only that is told', () => {
    expect(said(`listen: { port: "\${PORT}" }\n${UPSTREAMS}${ROUTE}`)).toEqual([
      `1:17 listen.port: the environment variable PORT is not set; set it, or give a default: \${PORT:-…}`,
    ]);
  });

  test('fills no log: a thousand problems are counted, not listed', () => {
    const keys = Array.from({ length: 1_000 }, (_, i) => `k${i}: 1\n`).join('');
    expect(() => parseConfig(LEAST + keys, 'c.yaml', {})).toThrow(/and 950 more problems$/);
  });

  test('never shows a text that came from the environment', () => {
    const spots = [
      (v: string) => `listen: { port: "${v}" }\n${UPSTREAMS}${ROUTE}`,
      (v: string) => LEAST.replace('http://a/', `"${v}"`),
      (v: string) => LEAST.replace('/ws', `"${v}"`),
      (v: string) => LEAST.replace('websocket', `"${v}"`),
      (v: string) => `${LEAST}log: { level: "${v}" }`,
      (v: string) => `${LEAST}identity: { sources: [{ from: "${v}" }], verify: "${v}" }`,
      (v: string) => LEAST.replace('url: http://a/', `url: http://a/, headers: { x: "a\\n${v}" }`),
    ];
    fc.assert(
      fc.property(fc.constantFrom(...spots), fc.constantFrom('', 'x'), (spot, before) => {
        const lines = said(spot(`${before}\${SECRET}`), { SECRET: 'HUN"TER2' });
        expect(lines.length).toBeGreaterThan(0);
        expect(lines.join()).not.toContain('TER2');
      }),
    );
  });
});

describe('the file itself', () => {
  test('may be missing, a folder, too large or no text, and each is told', async () => {
    const problem = async (path: string) =>
      expect((await checkConfig(path, {})).problems.map(({ message }) => message).join());
    // The fault: a configuration that is not there was said to name a file that is not there.
    (await problem(join(folder, 'no.yaml'))).toMatch(
      /^the configuration does not exist: .*no\.yaml$/,
    );
    (await problem(folder)).toBe('the configuration must be a regular file');
    (await problem(await put(`#${'x'.repeat(1_048_576)}`))).toBe(
      'the configuration has more than 1 MiB',
    );
    (await problem(await put(Uint8Array.of(0x61, 0x3a, 0xff)))).toMatch(/not UTF-8/);
    await expect(loadConfig(join(folder, 'no.yaml'), {})).rejects.toMatchObject({
      code: 'invalid-config',
    });
  });
});

describe('files that it names', () => {
  const verify = (what: string) => `${LEAST}identity: { verify: { ${what} } }`;
  const tls = `listen: { tls: { certFile: cert.pem, keyFile: key.pem } }\n${UPSTREAMS}${ROUTE}`;

  test('a secret loses the newline at its end and nothing else', async () => {
    await put(' s3cret \r\n', 'jwt');
    const { secrets } = await loadConfig(await put(verify('secretFile: jwt')), {});
    expect(new TextDecoder().decode(secrets.identitySecret)).toBe(' s3cret ');
    await put('s3cret\n\n', 'jwt');
    const again = await loadConfig(await put(verify('secretFile: jwt')), {});
    expect(new TextDecoder().decode(again.secrets.identitySecret)).toBe('s3cret\n');
  });

  test('an empty, missing or odd secret is a problem with its place', async () => {
    await put('\n', 'empty');
    await promisify(execFile)('mkfifo', [join(folder, 'pipe')]);
    const file = await put(verify('secretFile: empty'));
    const { problems } = await checkConfig(file, {});
    expect(problems.map(problemText)).toEqual([
      `${file}:4:35 identity.verify.secretFile: names an empty file; put the secret in it`,
    ]);
    expect((await checked(verify('secretFile: nope'))).problems[0]).toMatch(/does not exist/);
    expect((await checked(verify('secretFile: .'))).problems[0]).toMatch(/regular file/);
    expect((await checked(verify('secretFile: pipe'))).problems[0]).toMatch(/regular file/);
  });

  test('a certificate comes with its key, and with no other', async () => {
    await copyFile(join(TLS, 'cert.pem'), join(folder, 'cert.pem'));
    await copyFile(join(TLS, 'key.pem'), join(folder, 'key.pem'));
    const { secrets } = await loadConfig(await put(tls), {});
    expect(secrets.tls?.cert).toContain('BEGIN CERTIFICATE');
    await copyFile(join(TLS, 'other-key.pem'), join(folder, 'key.pem'));
    expect((await checked(tls)).problems).toEqual([
      'listen.tls.keyFile: names a key that does not belong to the certificate of certFile',
    ]);
    await put('hunter2', 'key.pem');
    expect((await checked(tls)).problems.join()).toMatch(
      /keyFile: names a file that is no PEM private key/,
    );
    expect((await checked(tls)).problems.join()).not.toContain('hunter2');
    await put('hunter2', 'cert.pem');
    expect((await checked(tls)).problems.join()).toMatch(
      /certFile: names a file without a PEM cert/,
    );
  });

  test('a certificate that has expired is a warning, since clients will refuse it', async () => {
    await copyFile(join(TLS, 'cert.pem'), join(folder, 'cert.pem'));
    await copyFile(join(TLS, 'key.pem'), join(folder, 'key.pem'));
    const parts = soundParts({ listen: { tls: { certFile: 'cert.pem', keyFile: 'key.pem' } } });
    const at = async (now: number) => (await resolveSecrets(parts, folder, now)).warnings;
    const end = Date.parse(new X509Certificate(await readFile(join(TLS, 'cert.pem'))).validTo);
    const path = ['listen', 'tls', 'certFile'];
    expect(await at(end - 15 * 86_400_000)).toEqual([]);
    expect(await at(end - 13 * 86_400_000)).toMatchObject([
      { path, message: 'expires within 14 days; renew it' },
    ]);
    expect(await at(end + 1)).toMatchObject([{ path, message: 'has expired; renew it' }]);
  });

  test('a private authority is read as certificates', async () => {
    await copyFile(join(TLS, 'cert.pem'), join(folder, 'ca.pem'));
    const text = LEAST.replace('url: http://b/', 'url: https://b/, caFile: ca.pem');
    const { secrets } = await loadConfig(await put(text), {});
    expect(secrets.ca).toEqual({ candidate: expect.stringContaining('BEGIN CERTIFICATE') });
    await put('-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n', 'ca.pem');
    expect((await checked(text)).problems).toEqual([
      'upstreams.candidate.caFile: names a file whose certificate 1 can not be parsed',
    ]);
  });

  test('a key set holds public keys and nothing else', async () => {
    const { publicKey, privateKey } = await generateKeyPair('ES256', { extractable: true });
    const jwk = await exportJWK(publicKey);
    const file = await put(verify('jwksFile: keys.json'));
    const jwks = async (content: unknown) => {
      await put(typeof content === 'string' ? content : JSON.stringify(content), 'keys.json');
      return (await checkConfig(file, {})).problems.map(({ message }) => message).join();
    };
    expect(await jwks({ keys: [jwk] })).toBe('');
    expect((await loadConfig(file, {})).secrets.jwks).toEqual({ keys: [jwk] });
    expect(await jwks('{"hunter2": ')).toBe('names a file that is not valid JSON');
    expect(await jwks({ keys: [] })).toMatch(/is no key set/);
    expect(await jwks({ keys: [jwk, { kty: 'EC', crv: 'P-256', x: 'AA' }] })).toMatch(
      /^keys\[1\] can not/,
    );
    expect(await jwks({ keys: [await exportJWK(privateKey)] })).toMatch(
      /^keys\[0\] is a private key/,
    );
    expect(await jwks({ keys: [{ kty: 'oct', k: 'aHVudGVyMg' }] })).toMatch(/shared secret/);
  });
});

describe('warnings', () => {
  test('are given for what works but is seldom meant', async () => {
    await put('short', 'jwt');
    const { ok, warnings } = await checked(
      `listen: {}\nadmin: { host: 0.0.0.0 }\n${UPSTREAMS.replace('http://b/', 'http://a')}${ROUTE}identity:
  sources: [{ from: bearer }, { from: header, name: x-user }]
  verify: { secretFile: jwt }\n`,
    );
    expect(ok).toBe(true);
    expect(warnings.join('\n')).toMatch(/^flags\.dir: there is no such folder/m);
    expect(warnings.join('\n')).toMatch(/^admin\.host: is not a loopback address/m);
    expect(warnings.join('\n')).toMatch(
      /^upstreams\.candidate\.url: is the same as that of legacy/m,
    );
    expect(warnings.join('\n')).toMatch(/^identity\.sources\[1\]: is never believed/m);
    expect(warnings.join('\n')).toMatch(
      /^identity\.verify\.secretFile: holds fewer than 32 bytes/m,
    );
  });

  test('are not given when all is well', async () => {
    await put('x'.repeat(32), 'jwt');
    await mkdir(join(folder, 'flags'));
    const text = `${LEAST}identity: { sources: [{ from: bearer }], verify: { secretFile: jwt } }`;
    expect(await checked(text)).toEqual({ ok: true, problems: [], warnings: [] });
  });
});
