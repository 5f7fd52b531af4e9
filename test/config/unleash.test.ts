// The section `flags` when an Unleash server decides.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { configJsonSchema } from '../../src/config/json-schema.ts';
import { checkConfig, loadConfig, parseConfig } from '../../src/config/load.ts';
import { ConfigError } from '../../src/config/problem.ts';
import { reloadConfig } from '../../src/config/reload.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutover-config-'));
});
afterEach(() => rm(folder, { recursive: true }));

const text = (flags: string) => `listen: {}
upstreams: { legacy: { url: http://a/ }, candidate: { url: http://b/ } }
routes: [{ name: events, path: /ws, protocol: websocket }]
flags: ${flags}
`;
const parse = (flags: string) => parseConfig(text(flags), join(folder, 'cutover.yaml'), {}).flags;

async function put(content: string, name = 'cutover.yaml'): Promise<string> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  return path;
}

/** What is wrong with a section, as `field: message`. */
function wrong(flags: string): string {
  try {
    parse(flags);
    return '';
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.problems.map(({ field, message }) => `${field}: ${message}`).join('\n');
  }
}

test('a section without a provider is still about files', () => {
  expect(parse('{ dir: f }')).toEqual({ provider: 'file', dir: join(folder, 'f') });
  expect(parse('{}')).toEqual({ provider: 'file', dir: join(folder, 'flags') });
});

test('the least is an address and a token file; all files are relative to the configuration', () => {
  expect(parse('{ provider: unleash, url: https://u.example/base, tokenFile: t }')).toEqual({
    provider: 'unleash',
    url: 'https://u.example/base',
    tokenFile: join(folder, 't'),
    appName: 'cutover',
    pollMs: 1_000,
    timeoutMs: 5_000,
    maxBytes: 16 * 1024 * 1024,
  });
  const more = 'hookTokenFile: h, backupDir: b, admin: { tokenFile: a }';
  expect(parse(`{ provider: unleash, url: 'http://u', tokenFile: t, ${more} }`)).toMatchObject({
    hookTokenFile: join(folder, 'h'),
    backupDir: join(folder, 'b'),
    admin: { tokenFile: join(folder, 'a'), environment: 'development', project: 'default' },
  });
});

test.each([
  [
    '{ provider: unleach }',
    'flags.provider: must be one of "file", "unleash" (got "unleach"); did you mean "unleash"?',
  ],
  ['{ provider: unleash, tokenFile: t }', 'flags.url: is missing'],
  ['{ provider: unleash, url: http://u }', 'flags.tokenFile: is missing'],
  ['{ provider: unleash, url: http://a:b@u, tokenFile: t }', 'flags.url: must hold no credentials'],
  [
    '{ provider: unleash, url: http://u, tokenFile: t, pollMs: 999 }',
    'flags.pollMs: must be at least 1000',
  ],
  [
    '{ provider: unleash, url: http://u, tokenFile: t, timeoutMs: 10 }',
    'flags.timeoutMs: must be at least 1000',
  ],
  ['{ provider: unleash, url: http://u, tokenFile: t, pollms: 2000 }', 'did you mean "pollMs"?'],
  ['{ provider: unleash, url: http://u, tokenFile: t, dir: f }', 'there is no key "dir" here'],
  ['{ dri: f }', 'did you mean "dir"?'],
  ['{ provider: unleash, url: http://u, tokenFile: t, project: "a b" }', 'flags.project: must be'],
])('%s is refused, saying what would be right', (flags, message) => {
  expect(wrong(flags)).toContain(message);
});

test('tokens are read into the secrets and nowhere else', async () => {
  await put('default:development.client-secret\n', 'keys/client');
  await put('*:*.admin-secret', 'keys/admin');
  await put('a-hook-secret-that-is-long-enough', 'keys/hook');
  const file = await put(
    text(
      '{ provider: unleash, url: http://u, tokenFile: keys/client, hookTokenFile: keys/hook, admin: { tokenFile: keys/admin } }',
    ),
  );
  const { config, secrets } = await loadConfig(file, {});
  expect(secrets.unleash).toEqual({
    client: 'default:development.client-secret',
    admin: '*:*.admin-secret',
    hook: 'a-hook-secret-that-is-long-enough',
  });
  expect(JSON.stringify(config)).not.toContain('-secret');
});

test('a token file that is missing, empty, or no token is told without its content', async () => {
  await put('', 'empty');
  await put('two words', 'words');
  await put('short', 'hook');
  const file = await put(
    text(
      '{ provider: unleash, url: http://u, tokenFile: nowhere, hookTokenFile: empty, admin: { tokenFile: words } }',
    ),
  );
  const { problems } = await checkConfig(file, {});
  const lines = problems.map(({ field, message }) => `${field}: ${message}`).join('\n');
  expect(lines).toContain('flags.tokenFile: names a file that does not exist');
  expect(lines).toContain('flags.hookTokenFile: names an empty file');
  expect(lines).toContain('flags.admin.tokenFile: names a file that holds no token');
  expect(lines).not.toContain('two words');
  await put(text('{ provider: unleash, url: http://u, tokenFile: hook, hookTokenFile: hook }'));
  const { ok, warnings } = await checkConfig(file, {});
  expect(ok).toBe(true);
  const doubtful = warnings.map(({ field, message }) => `${field}: ${message}`).join('\n');
  expect(doubtful).toContain('flags.hookTokenFile: holds fewer than 24 characters');
  expect(doubtful).toContain('flags.url: is http:');
});

test('another server needs a restart; another token in the same file does not', async () => {
  await put('one', 't');
  const file = await put(text('{ provider: unleash, url: http://u, tokenFile: t }'));
  const current = await loadConfig(file, {});
  await put('two', 't');
  expect((await reloadConfig(current, {})).secrets.unleash?.client).toBe('two');
  await put(text('{ provider: unleash, url: http://v, tokenFile: t, admin: { tokenFile: t } }'));
  await expect(reloadConfig(current, {})).rejects.toThrow(
    /flags\.url \(http:\/\/u -> http:\/\/v\), flags\.admin \(none -> \{/,
  );
  await put(text('{ dir: f }'));
  await expect(reloadConfig(current, {})).rejects.toThrow('flags.provider (unleash -> file)');
});

test('editors know both kinds', () => {
  const schema = JSON.stringify(configJsonSchema().properties?.flags);
  for (const key of ['hookTokenFile', 'backupDir', '"dir"', 'maxBytes'])
    expect(schema).toContain(key);
});
