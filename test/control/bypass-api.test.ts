import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import request from 'supertest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Admin, createAdmin } from '../../src/control/admin.ts';
import { readiness } from '../../src/control/health.ts';
import { statusOf } from '../../src/control/status.ts';
import { flagsFor, type Operated, operated, TOKEN } from '../support/operator.ts';

let op: Operated;
let admin: Admin;
beforeEach(async () => {
  op = await operated({ 'events.json': flagsFor('events', 'live') });
  admin = createAdmin({ ...op, token: TOKEN });
  await admin.ready();
});
afterEach(async () => {
  await admin.close();
  await op.close();
});

const get = (query = '') =>
  request(admin.server).get(`/api/v1/bypass${query}`).set('authorization', `Bearer ${TOKEN}`);
const post = (body: unknown) =>
  request(admin.server)
    .post('/api/v1/bypass')
    .set('authorization', `Bearer ${TOKEN}`)
    .send(body as object);
const on = { state: 'on', reason: 'events lost' };

test('it is engaged and ended, for traffic, for whoever asks, and in the log', async () => {
  expect((await get().expect(200)).body).toMatchObject({ engaged: null, kept: true });
  const engaged = (await post(on).expect(200)).body;
  expect(engaged).toMatchObject({
    engaged: { reason: 'events lost', at: expect.stringMatching(/^\d{4}-.*Z$/) },
    changed: true,
    kept: true,
    ending: null,
    note: expect.stringContaining('neither flagged nor compared'),
  });
  const [events] = op.proxy.loaded().config.routes;
  const decided = () => events && op.proxy.decide(events, { id: 'u1', aliases: [] }).decision;
  expect(decided()).toMatchObject({ primary: 'legacy', reason: 'bypass' });
  expect((await get().expect(200)).body.engaged).toEqual(engaged.engaged);
  const ended = (await post({ state: 'off', reason: 'fixed' }).expect(200)).body;
  expect(ended).toMatchObject({ engaged: null, changed: true });
  expect(decided()).toMatchObject({ primary: 'candidate', reason: 'serve-flag' });
  const log = op.logged.join('');
  expect(log).toMatch(/"reason":"events lost".*an operator engaged the bypass/);
  expect(log).toMatch(/"reason":"fixed".*an operator ended the bypass/);
});

test('what is so already is told as no change', async () => {
  expect((await post({ state: 'off', reason: 'why not' })).body).toMatchObject({ changed: false });
  await post(on);
  const again = (await post({ ...on, reason: 'still' })).body;
  expect(again).toMatchObject({ changed: false, engaged: { reason: 'events lost' } });
});

test('what is open is counted: what came through it, and what is older', async () => {
  op.traffic.open('events', 'legacy', 'a', 'b');
  op.traffic.open('events', 'candidate', 'c');
  op.traffic.of('api', 'candidate').streamsOpen = 1;
  op.traffic.open('bypass', 'legacy', 'd');
  op.traffic.open('unrouted', 'legacy', 'e');
  expect((await get()).body.open).toEqual({ bypass: 1, legacy: 2, candidate: 2 });
});

test('closeOpen ends what is open, over the time of a drain; without it nothing is ended', async () => {
  op.traffic.open('events', 'candidate', 'a', 'b', 'c');
  await post(on).expect(200);
  expect(op.traffic.endings).toEqual([]);
  const { body } = await post({ ...on, closeOpen: true }).expect(200);
  expect(body.ending).toEqual({ count: 3, overMs: 20_000 });
  expect(op.traffic.endings).toEqual([20_000]);
  // Whoever has not been told by then stays.
  expect(op.traffic.endingsStopped).toBe(0);
  await post({ ...on, state: 'off' }).expect(200);
  expect(op.traffic.endingsStopped).toBe(1);
});

test('status, health and metrics show it', async () => {
  expect(await op.metrics.text()).toContain('cutover_bypass_engaged 0');
  await post(on).expect(200);
  op.traffic.open('bypass', 'legacy', 'a');
  op.traffic.of('bypass', 'legacy').requests = 7;
  const status = await statusOf(op.proxy, op.metrics, Date.now());
  expect(status.bypass).toMatchObject({
    engaged: { reason: 'events lost' },
    legacy: { openSessions: 1, requests: 7 },
  });
  expect(readiness(op.proxy)).toMatchObject({
    ready: true,
    warnings: [{ code: 'bypass-engaged' }],
  });
  expect(await op.metrics.text()).toContain('cutover_bypass_engaged 1');
});

describe('bad input', () => {
  test.each([
    ['no reason', { state: 'on' }, 'reason'],
    ['an empty reason', { state: 'on', reason: '' }, 'reason'],
    ['a reason of blanks', { state: 'on', reason: '  \n ' }, 'reason'],
    ['a reason that is a novel', { state: 'on', reason: 'x'.repeat(501) }, 'reason'],
    ['no state', { reason: 'x' }, 'state'],
    ['another state', { state: 'maybe', reason: 'x' }, 'state'],
    ['a word too much', { ...on, route: 'events' }, 'route'],
    ['closeOpen with off', { state: 'off', reason: 'x', closeOpen: true }, 'closeOpen'],
  ])('%s is refused, naming the field, and changes nothing', async (_what, body, field) => {
    const answer = await post(body).expect(422);
    expect(answer.body.error).toMatchObject({ code: 'invalid-argument', field });
    expect(op.bypass.engaged).toBeNull();
  });

  test('without the token nothing is told or changed', async () => {
    await request(admin.server).get('/api/v1/bypass').expect(401);
    await request(admin.server).post('/api/v1/bypass').send(on).expect(401);
    expect(op.bypass.engaged).toBeNull();
  });

  test('a query is not understood', async () => {
    expect((await get('?state=on').expect(422)).body.error.field).toBe('state');
  });

  test('an end that a restart would undo is a conflict, and the bypass stays', async () => {
    // A folder where the file should be can neither be written nor removed.
    await mkdir(path.join(op.stateDir, 'bypass.json', 'inside'), { recursive: true });
    expect((await post(on).expect(200)).body).toMatchObject({ changed: true, kept: false });
    const { body } = await post({ state: 'off', reason: 'x' }).expect(409);
    expect(body.error).toMatchObject({ code: 'conflict' });
    expect(op.bypass.engaged?.reason).toBe('events lost');
  });
});

test('a reason is kept as it was given', async () => {
  const reason = 'Zoë said: "stop" \u001b[2J\n<b>';
  await post({ state: 'on', reason }).expect(200);
  const kept = JSON.parse(await readFile(path.join(op.stateDir, 'bypass.json'), 'utf8'));
  expect(kept.reason).toBe(reason);
});
