import request from 'supertest';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Admin, createAdmin } from '../../src/control/admin.ts';
import { statusOf } from '../../src/control/status.ts';
import type { WriteSplit } from '../../src/ports.ts';
import { flagsFor, type Operated, operated, TOKEN } from '../support/operator.ts';

let op: Operated;
let admin: Admin;
beforeEach(async () => {
  op = await operated({ 'api.json': flagsFor('api', 'canary', 10) }, [
    { name: 'api', path: '/api/*', protocol: 'http', writes: 'both' },
  ]);
  admin = createAdmin({ ...op, token: TOKEN });
  await admin.ready();
});
afterEach(async () => {
  await admin.close();
  await op.close();
});

const get = (path: string) =>
  request(admin.server).get(`/api/v1${path}`).set('authorization', `Bearer ${TOKEN}`);
const split = (key: string, route = 'api'): WriteSplit => ({
  ...{ route, key, cause: 'second-refused', digest: 'd'.repeat(64), bytes: 2 },
  primary: { side: 'legacy', outcome: 200 },
  second: { side: 'candidate', outcome: 'upstream-timeout' },
});
function someWrites() {
  for (let i = 0; i < 3; i += 1) op.writes.begun('api', 'both');
  op.writes.begun('api', 'primary');
  op.writes.begun('bypass', 'primary');
  op.writes.agreed('api');
  op.writes.split(split('k1'));
}
const API = {
  ...{ route: 'api', mode: 'both', writeTo: 'both' },
  ...{ primary: 1, both: 3, inFlight: 1, agreed: 1 },
  splits: { 'second-refused': 1, 'primary-refused': 0, 'too-large': 0, overload: 0 },
};

test('each route shows how its writes are meant, where they go now, and what became of them', async () => {
  someWrites();
  const { body } = await get('/writes').expect(200);
  expect(body).toMatchObject({
    routes: [API, { route: 'bypass', mode: null, writeTo: 'primary', primary: 1, both: 0 }],
    unkept: 0,
  });
  expect((await statusOf(op.proxy, op.metrics, Date.now())).writes).toEqual(body);
});

// The fault: what is open on the candidate has writes past all routes reach it, and it said primary.
test('where they go now in a bypass follows what is open on the candidate', async () => {
  someWrites();
  const now = async () => (await get('/writes')).body.routes;
  expect(await now()).toMatchObject([{ writeTo: 'both' }, { route: 'bypass', writeTo: 'primary' }]);
  // As the decider says where a session has a leg there: test/control/legs-on.test.ts.
  const { decide } = op.proxy;
  vi.spyOn(op.proxy, 'decide').mockImplementation((route, subject) => {
    const decided = decide(route, subject);
    return { ...decided, decision: { ...decided.decision, writeTo: 'both' } };
  });
  await op.bypass.engage('why not');
  expect(await now()).toMatchObject([{ writeTo: 'both' }, { route: 'bypass', writeTo: 'both' }]);
});

test('where they go now follows the stage and the bypass', async () => {
  const now = async () => (await get('/writes')).body.routes[0].writeTo;
  expect(await now()).toBe('both');
  await op.bypass.engage('why not');
  expect(await now()).toBe('primary');
  await op.bypass.release();
  const [api] = op.proxy.loaded().config.routes;
  if (api !== undefined) await op.flags.setStage(api, { serve: 0, shadow: 0, kill: false });
  expect(await now()).toBe('primary');
});

test('metrics count them by where they went, and splits by cause', async () => {
  someWrites();
  const text = await op.metrics.text();
  for (const line of [
    'cutover_writes_total{route="api",to="both"} 3',
    'cutover_writes_total{route="api",to="primary"} 1',
    'cutover_writes_in_flight{route="api"} 1',
    'cutover_write_splits_total{route="api",cause="second-refused"} 1',
    'cutover_write_splits_unkept_total 0',
  ]) {
    expect(text).toContain(line);
  }
});

test('splits are listed newest first, as many as are asked for, of one route or all', async () => {
  for (let i = 0; i < 30; i += 1) op.writes.split(split(`k${i}`, i % 2 === 0 ? 'api' : 'gone'));
  const keys = async (query: string) =>
    (await get(`/writes/splits${query}`).expect(200)).body.splits.map(({ key }: WriteSplit) => key);
  expect(await keys('')).toEqual(Array.from({ length: 20 }, (_, i) => `k${29 - i}`));
  expect(await keys('?limit=2')).toEqual(['k29', 'k28']);
  expect(await keys('?route=api&limit=2')).toEqual(['k28', 'k26']);
  const { body } = await get('/writes/splits?limit=1').expect(200);
  expect(body).toEqual({
    splits: [{ ...split('k29', 'gone'), at: expect.stringMatching(/^\d{4}-.*Z$/) }],
    unreadable: 0,
  });
});

test.each([
  ['/writes/splits?limit=0', 422, 'limit'],
  ['/writes/splits?limit=1001', 422, 'limit'],
  ['/writes/splits?limit=many', 422, 'limit'],
  ['/writes/splits?limit=1.5', 422, 'limit'],
  ['/writes/splits?since=1', 422, 'since'],
  ['/writes/splits?route=nope', 404, 'route'],
  ['/writes?route=api', 422, 'route'],
])('%s is refused, naming the field', async (path, status, field) => {
  expect((await get(path).expect(status)).body.error.field).toBe(field);
});

test('without the token nothing is told', async () => {
  await request(admin.server).get('/api/v1/writes').expect(401);
  await request(admin.server).get('/api/v1/writes/splits').expect(401);
});
