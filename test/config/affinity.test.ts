import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { checkConfig } from '../../src/config/load.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'cutover-config-'));
});
afterEach(() => rm(folder, { recursive: true }));

/** What is said of a file with this route and this way to verify. */
async function said(route: string, verify: string): Promise<{ wrong: string[]; odd: string[] }> {
  const file = join(folder, 'cutover.yaml');
  await writeFile(join(folder, 'jwt'), 'x'.repeat(32));
  await writeFile(
    file,
    `listen: {}
flags: { dir: . }
upstreams: { legacy: { url: 'http://127.0.0.1:1' }, candidate: { url: 'http://127.0.0.1:2' } }
routes: [{ name: a, path: /a, ${route} }]
identity: { sources: [{ from: bearer }], verify: ${verify} }
`,
  );
  const { problems, warnings } = await checkConfig(file, {});
  const lines = (list: typeof problems) => list.map(({ field, message }) => `${field}: ${message}`);
  return { wrong: lines(problems), odd: lines(warnings) };
}

test('affinity by credential is for verified users of http and sse, and says so elsewhere', async () => {
  const verified = '{ secretFile: jwt }';
  for (const protocol of ['http', 'sse']) {
    const fine = await said(`protocol: ${protocol}, affinity: credential`, verified);
    expect(fine).toEqual({ wrong: [], odd: [] });
  }
  const socket = await said('protocol: websocket, affinity: credential', verified);
  expect(socket.wrong).toEqual([
    'routes[0].affinity: is for http and sse: a WebSocket has a connection of its own',
  ]);
  const unverified = await said('protocol: http, affinity: credential', 'unverified');
  expect(unverified.wrong).toEqual([]);
  expect(unverified.odd).toContain(
    'routes[0].affinity: does nothing: only verified users share connections, and identity.verify is unverified',
  );
  const odd = await said('protocol: http, affinity: user', verified);
  expect(odd.wrong.join()).toMatch(
    /^routes\[0\]\.affinity: must be one of "connection", "credential"/,
  );
});
