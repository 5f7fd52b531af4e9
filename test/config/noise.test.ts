// Noise profiles as files: what is taken, and which sentence a mistake gets, at its line of its own file.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkConfig, loadConfig } from '../../src/config/load.ts';
import { problemText } from '../../src/config/problem.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'cutover-noise-'));
  await writeFile(
    path.join(folder, 'c.yaml'),
    `listen: {}
upstreams: { legacy: { url: http://a/ }, candidate: { url: http://b/ } }
routes:
  - { name: api, path: /api/*, protocol: http, noise: api.noise.yaml }
`,
  );
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const config = () => path.join(folder, 'c.yaml');
const FIELD = '{ eventType: "GET 2xx", path: /load, pairs: 100, differed: 30 }';
const profile = (fields: string, more = '') =>
  `version: 1\nroute: api\nmeasuredAt: "2026-11-26T02:00:00Z"\n${more}fields:\n  - ${fields}\n`;

async function said(text: string): Promise<string[]> {
  await writeFile(path.join(folder, 'api.noise.yaml'), text);
  const { problems } = await checkConfig(config(), {});
  return problems.map(each => problemText(each).replace(`${folder}/`, ''));
}

test('a profile is read with the configuration that names it', async () => {
  expect(await said(profile(FIELD))).toEqual([]);
  const { noise } = await loadConfig(config(), {});
  expect(noise).toEqual({
    api: {
      ...{ version: 1, route: 'api', measuredAt: Date.UTC(2026, 10, 26, 2) },
      fields: [{ eventType: 'GET 2xx', path: '/load', pairs: 100, differed: 30 }],
    },
  });
});

test.each([
  ['an unknown key', profile(FIELD, 'why: x\n'), '4:1 why: there is no key "why" here'],
  ['another version', profile(FIELD).replace('1', '2'), '1:10 version: must be 1'],
  ['another route', profile(FIELD).replace('route: api', 'route: sse'), '2:8 route: must be "api"'],
  ['no time', profile(FIELD).replace('2026', 'last '), '3:13 measuredAt: must be a time'],
  ['no pointer', profile(FIELD.replace('/load', 'load')), '5:35 fields[0].path: must be a JSON p'],
  ['too many', profile(FIELD.replace('30', '300')), '5:64 fields[0].differed: must be at most'],
  [
    'who an event is for',
    profile(FIELD.replace('/load', '/user_id')),
    '5:35 fields[0].path: names a user ("user_id")',
  ],
  ['everything', profile(FIELD.replace('/load', '/*')), '5:35 fields[0].path: covers the fields'],
  ['no YAML', '{', '1:2: '],
])('%s is refused at its place', async (_, text, sentence) => {
  const [first, ...more] = await said(text);
  expect(first).toContain(`api.noise.yaml:${sentence}`);
  expect(more).toEqual([]);
});

test('a file that is not there is told where it is named', async () => {
  const { problems } = await checkConfig(config(), {});
  expect(problems.map(problemText)).toEqual([
    expect.stringMatching(/c\.yaml:4:\d+ routes\[0\]\.noise: names a file that does not exist/),
  ]);
});
