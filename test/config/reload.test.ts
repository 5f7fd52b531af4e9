import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { reloadConfig } from '../../src/config/reload.ts';

const text = (listen: string, rest = '') =>
  `listen: { ${listen} }
upstreams: { legacy: { url: http://a/ }, candidate: { url: http://b/ } }
routes: [{ name: events, path: /ws, protocol: websocket }]
${rest}`;

let folder: string;
let file: string;
const write = (content: string) => writeFile(file, content);
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutover-reload-'));
  file = join(folder, 'cutover.yaml');
  await write(text('port: 8080'));
});
afterEach(() => rm(folder, { recursive: true }));

test('a changed file is taken over when no fixed field changed', async () => {
  const current = await loadConfig(file, {});
  await write(text('port: 8080', 'limits: { maxSessions: 5 }'));
  const next = await reloadConfig(current, {});
  expect(next.config.limits.maxSessions).toBe(5);
});

test('a change that needs a restart is refused as a whole, with a list of the fields', async () => {
  const current = await loadConfig(file, {});
  await write(text('port: 9, host: 127.0.0.1', 'admin: { port: 7 }\nlimits: { maxSessions: 5 }'));
  await expect(reloadConfig(current, {})).rejects.toMatchObject({
    code: 'conflict',
    message:
      'the configuration stays as it was: only a restart can change listen.host (0.0.0.0 -> 127.0.0.1), listen.port (8080 -> 9), admin.port (8081 -> 7)',
  });
  await write(text('port: 8080', 'stateDir: elsewhere'));
  await expect(reloadConfig(current, {})).rejects.toThrow(/stateDir \(/);
});

test('a bad file is refused, and what was loaded stays as it was', async () => {
  const current = await loadConfig(file, {});
  const before = JSON.stringify(current.config);
  await write(text('port: 8080', 'limits: { maxSesions: 5 }'));
  await expect(reloadConfig(current, {})).rejects.toMatchObject({
    code: 'invalid-config',
    field: 'limits.maxSesions',
  });
  expect(JSON.stringify(current.config)).toBe(before);
});
