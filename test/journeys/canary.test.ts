// hostile.md, row 78: a canary of one user's in the answer to another. It is told of within that one request, takes
// everybody back, and stands in no record as it is; data that is everybody's is no alarm.
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { afterEach, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import type { Incident } from '../../src/control/incidents.ts';
import { startProxy } from '../../src/main.ts';
import { admin, featuresFor, SECRET, tokenFor } from '../support/stack.ts';
import { until } from '../support/until.ts';

/** Her name is the canary: it is nowhere else in the world. */
const ANN = 'canary-7f3a9b52e1';
const BOB = 'user_1002';

const open: (() => Promise<unknown> | unknown)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

/** An API of accounts, and of what is everybody's. */
async function api(name: string) {
  const state = { leaks: 0 };
  const server = http.createServer((request, response) => {
    const token = request.headers.authorization?.split('.')[1] ?? '';
    const { sub } = JSON.parse(Buffer.from(token, 'base64url').toString()) as { sub: string };
    const isLeak = request.url === '/account' && sub === BOB && state.leaks > 0;
    if (isLeak) state.leaks -= 1;
    const whose = isLeak ? ANN : sub;
    const account = {
      ...{ target_user_id: whose, thread_id: `thread-${whose}` },
      text: `what ${whose} has said to nobody else`,
    };
    const catalogue = {
      ...{ type: 'catalogue', thread_id: 'thread-of-all', author: { user_id: ANN } },
      // So that there is a difference to look into.
      edition: name,
      text: 'everybody may read of the offers of this week',
    };
    response.setHeader('content-type', 'application/json').setHeader('x-served-by', name);
    response.end(JSON.stringify(request.url === '/account' ? account : catalogue));
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  open.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { ...state, state, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

test.each(['live', 'shadow'])(
  '78: with stage %s',
  async stage => {
    const [legacy, candidate] = [await api('legacy'), await api('candidate')];
    const folder = await mkdtemp(path.join(tmpdir(), 'cutover-test-'));
    open.push(() => rm(folder, { recursive: true, force: true }));
    await mkdir(path.join(folder, 'flags'));
    await writeFile(path.join(folder, 'secret'), SECRET);
    const features = featuresFor(stage);
    await writeFile(
      path.join(folder, 'flags', 'events.json'),
      JSON.stringify({ version: 2, features }),
    );
    await writeFile(
      path.join(folder, 'cutover.yaml'),
      `listen: { host: 127.0.0.1, port: 0 }
admin: { port: 0 }
upstreams: { legacy: { url: '${legacy.url}' }, candidate: { url: '${candidate.url}' } }
routes: [{ name: events, path: /*, protocol: http }]
identity: { sources: [{ from: bearer }], verify: { secretFile: secret } }
`,
    );
    const logged: string[] = [];
    const proxy = await startProxy({
      loaded: await loadConfig(path.join(folder, 'cutover.yaml'), {}),
      env: {},
      logger: pino({ level: 'info' }, { write: line => void logged.push(line) }),
    });
    open.push(() => proxy.close());
    const ask = async (user: string, what: string) => {
      const headers = { authorization: `Bearer ${await tokenFor(user)}` };
      const answer = await fetch(`${proxy.listen}${what}`, { headers });
      return { by: answer.headers.get('x-served-by'), text: await answer.text() };
    };
    const incidents = async () =>
      (await admin(proxy, folder, '/incidents')).body.incidents as Incident[];
    const isHeld = async () => {
      const { body } = await admin(proxy, folder, '/latch');
      return (body.held as unknown[]).length > 0;
    };
    for (let n = 0; n < 30; n += 1) {
      for (const user of [ANN, BOB])
        await Promise.all(['/account', '/offers'].map(p => ask(user, p)));
    }
    const seen = () => proxy.judge.books().get('events')?.candidate;
    await until('all are compared', () => seen()?.match === 60 && seen()?.mismatch === 60);
    expect([await incidents(), await isHeld(), seen()?.contaminated]).toEqual([[], false, 0]);

    const primary = stage === 'live' ? 'candidate' : 'legacy';
    expect((await ask(BOB, '/account')).by).toBe(primary);
    candidate.state.leaks = 1;
    const leaked = await ask(BOB, '/account');
    const [incident] = await until('it is on record', async () => {
      const found = await incidents();
      return found.length > 0 ? found : undefined;
    });
    const outcome = stage === 'live' ? 'delivered' : 'not-shown';
    expect(incident).toMatchObject({
      rule: 'routing',
      side: 'candidate',
      path: '/target_user_id',
      outcome,
    });
    expect(leaked.text.includes(ANN)).toBe(stage === 'live');
    // Where the candidate serves, everybody is back; where it does not, there is nowhere to go back to.
    if (stage === 'live') {
      await until('everybody is back', isHeld);
      expect((await ask(BOB, '/account')).by).toBe('legacy');
    }
    const evidence = await until('evidence is kept', async () => {
      const { body } = await admin(proxy, folder, '/evidence?verdict=contaminated');
      return JSON.stringify(body).includes('contaminated') ? JSON.stringify(body) : undefined;
    });
    expect(await incidents()).toHaveLength(1);
    await proxy.close();
    const files = await readdir(path.join(folder, 'state'), {
      recursive: true,
      withFileTypes: true,
    });
    const kept = await Promise.all(
      files
        .filter(file => file.isFile())
        .map(file => readFile(path.join(file.parentPath, file.name), 'latin1')),
    );
    for (const text of [...kept, ...logged, evidence]) {
      expect(text).not.toContain(ANN);
      expect(text).not.toContain(BOB);
    }
  },
  60_000,
);
