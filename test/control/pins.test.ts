// Pins by the admin API: for all routes that read a flag, without a name in any log.

import request from 'supertest';
import { afterEach, expect, test } from 'vitest';
import { type Admin, createAdmin } from '../../src/control/admin.ts';
import { flagsFor, type Operated, operated, TOKEN } from '../support/operator.ts';

const SHARED = { serve: 'all.serve', shadow: 'all.shadow', kill: 'all.kill' };
const ROUTES: Parameters<typeof operated>[1] = [
  { name: 'events', path: '/ws', protocol: 'websocket', flags: SHARED },
  { name: 'sse', path: '/events', protocol: 'sse', flags: SHARED },
  { name: 'api', path: '/api/*', protocol: 'http' },
];

let op: Operated;
let admin: Admin;
afterEach(async () => {
  await admin.close();
  await op.close();
});

async function start(stage = 'off'): Promise<void> {
  op = await operated(
    { 'all.json': flagsFor('all', stage), 'api.json': flagsFor('api', 'live') },
    ROUTES,
  );
  admin = createAdmin({ ...op, token: TOKEN });
  await admin.ready();
}

const call = (method: 'get' | 'post', path: string, body?: object) =>
  request(admin.server)
    [method](`/api/v1${path}`)
    .set('authorization', `Bearer ${TOKEN}`)
    .send(body);
const pin = (body: object) => call('post', '/pin', { forS: 3_600, ...body });
const explain = async (user: string, route: string) =>
  (await call('get', `/explain?user=${user}&route=${route}`).expect(200)).body;

test('a pin holds for every route that reads the flag, and its end is told', async () => {
  await start();
  const { body } = await pin({ user: 'ann', side: 'candidate', route: 'sse' }).expect(200);
  expect(body).toMatchObject({ user: 'ann', side: 'candidate' });
  const leftS = (Date.parse(body.until) - Date.now()) / 1_000;
  expect(leftS).toBeGreaterThan(3_500);
  expect(leftS).toBeLessThanOrEqual(3_601);
  expect(body.flags).toEqual([
    {
      flag: 'all.serve',
      routes: ['events', 'sse'],
      files: ['all.json'],
      revision: op.flags.revision,
      decisions: ['events', 'sse'].map(route => ({
        route,
        primary: 'candidate',
        reason: 'serve-flag',
        sentence: 'the serve flag placed this user',
      })),
    },
  ]);
  expect(await explain('ann', 'events')).toMatchObject({
    decision: { primary: 'candidate', second: { side: 'legacy', role: 'standby' } },
    reason: 'serve-flag',
    sentence: `the serve flag pins this user there until ${body.until}`,
    pin: { flag: 'all.serve', side: 'candidate', until: body.until },
    stage: { name: 'off' },
  });
  expect(await explain('bob', 'events')).toMatchObject({
    decision: { primary: 'legacy' },
    sentence: 'the serve flag placed this user',
    pin: null,
  });
  expect((await explain('ann', 'api')).pin).toBeNull();
});

test('without a route all serve flags get it, and unpin takes it out of all', async () => {
  await start();
  await pin({ user: 'ann', side: 'legacy' }).expect(200);
  const { body } = await call('get', '/pin').expect(200);
  expect(
    body.flags.map(({ flag, pins }: { flag: string; pins: object[] }) => [flag, pins]),
  ).toEqual(
    ['all.serve', 'api.serve'].map(flag => [
      flag,
      [{ users: ['ann'], side: 'legacy', until: expect.any(String), over: false }],
    ]),
  );
  expect((await explain('ann', 'api')).decision.primary).toBe('legacy');
  const one = await call('get', '/pin?route=api').expect(200);
  expect(one.body.flags).toHaveLength(1);
  const gone = await call('post', '/unpin', { user: 'ann' }).expect(200);
  expect(gone.body.flags.map(({ files }: { files: string[] }) => files)).toEqual([
    ['all.json'],
    ['api.json'],
  ]);
  const again = await call('post', '/unpin', { user: 'ann' }).expect(200);
  expect(again.body.flags.map(({ files }: { files: string[] }) => files)).toEqual([[], []]);
  expect((await explain('ann', 'api')).decision.primary).toBe('candidate');
});

test('a pin under the kill flag is written, and it is told that it does not count yet', async () => {
  await start();
  await call('post', '/stage', { stage: 'killed', route: 'events' }).expect(200);
  const { body } = await pin({ user: 'ann', side: 'candidate', route: 'events' }).expect(200);
  expect(body.flags[0].decisions[0]).toMatchObject({ primary: 'legacy', reason: 'killed' });
  expect(await explain('ann', 'events')).toMatchObject({
    reason: 'killed',
    sentence: 'the kill flag is on',
    pin: { side: 'candidate' },
  });
});

test('a change of stage says that users are pinned, and leaves them where they are', async () => {
  await start('shadow');
  await pin({ user: 'ann', side: 'legacy', route: 'events' }).expect(200);
  const { body } = await call('post', '/stage', { stage: 'live', route: 'events' }).expect(200);
  expect(body.routes[0]).toMatchObject({ after: { name: 'live' }, pinned: ['all.serve'] });
  expect((await explain('ann', 'events')).decision.primary).toBe('legacy');
  expect((await explain('bob', 'events')).decision.primary).toBe('candidate');
});

test('a log says that somebody was pinned, and not who', async () => {
  await start();
  await pin({ user: 'secret-ann', side: 'candidate' }).expect(200);
  await call('post', '/unpin', { user: 'secret-ann' }).expect(200);
  const said = op.logged.join('');
  expect(said).toContain('an operator pinned a user');
  expect(said).toContain('an operator unpinned a user');
  expect(said).not.toContain('secret-ann');
});

test.each<[object, string]>([
  [{ side: 'candidate' }, 'user'],
  [{ user: '', side: 'candidate' }, 'user'],
  [{ user: 'a\u0007b', side: 'candidate' }, 'user'],
  [{ user: 'x'.repeat(257), side: 'candidate' }, 'user'],
  [{ user: 'ann' }, 'side'],
  [{ user: 'ann', side: 'left' }, 'side'],
  [{ user: 'ann', side: 'legacy', forS: 0 }, 'forS'],
  [{ user: 'ann', side: 'legacy', forS: 30 * 86_400 + 1 }, 'forS'],
  [{ user: 'ann', side: 'legacy', until: 'x' }, 'until'],
])('%j is refused, naming %s', async (body, field) => {
  await start();
  const { revision } = op.flags;
  const answer = await pin(body).expect(422);
  expect(answer.body.error).toMatchObject({ code: 'invalid-argument', field });
  expect(op.flags.revision).toBe(revision);
});

test('a route that is not there, and a name that can not be pinned, are said so', async () => {
  await start();
  await pin({ user: 'ann', side: 'legacy', route: 'nope' }).expect(404);
  await call('post', '/unpin', { user: 'ann', route: 'nope' }).expect(404);
  const odd = await pin({ user: ' ann', side: 'legacy' }).expect(409);
  expect(odd.body.error.message).toContain('begins or ends with a space');
});
