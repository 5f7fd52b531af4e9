// Books over the admin API: of one session, as the judge's own thread has them, and of all routes.
import pino from 'pino';
import request from 'supertest';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Admin, createAdmin } from '../../src/control/admin.ts';
import { Judge } from '../../src/judge/judge.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import { flagsFor, type Operated, operated, TOKEN } from '../support/operator.ts';
import { until } from '../support/until.ts';

let op: Operated;
let judge: Judge;
let admin: Admin;

beforeEach(async () => {
  op = await operated({ 'events.json': flagsFor('events', 'shadow') });
  judge = new Judge({ rules: {}, evidence: null, logger: pino({ level: 'silent' }) });
  admin = createAdmin({ ...op, proxy: { ...op.proxy, judge }, token: TOKEN });
  await admin.ready();
});
afterEach(async () => {
  await admin.close();
  await judge.close();
  await op.close();
});

const get = (call: string) =>
  request(admin.server).get(`/api/v1${call}`).set('authorization', `Bearer ${TOKEN}`);

/** An event stream with so many events of each side's. */
function stream(route: string, id: string, counts: Record<Side, number>) {
  const tap = judge.tap.stream({ route, id, format: 'sse', subject: null });
  for (const side of SIDES) tap.legOpened(side);
  for (const side of SIDES) {
    for (let seq = 1; seq <= counts[side]; seq++) {
      tap.bytes(side, Buffer.from(`data: {"type":"step","run_id":"${id}","seq":${seq}}\n\n`));
    }
  }
  return tap;
}

// The fault: the judge could tell, and nobody could ask it.
test('a session that is open has its own books, until it ends; those of all routes stand in status', async () => {
  expect((await get('/status').expect(200)).body.books).toBeNull();
  const [one] = [
    stream('events', 's_1', { legacy: 2, candidate: 3 }),
    stream('events', 's_2', { legacy: 5, candidate: 5 }),
    stream('api', 's_3', { legacy: 1, candidate: 1 }),
  ];
  const { session, books } = await until('all is read', async () => {
    const { body } = await get('/books?session=s_1');
    return body.books?.candidate.seen === 3 && body;
  });
  expect(session).toBe('s_1');
  expect(books).toMatchObject({
    legacy: { seen: 2, match: 2 },
    candidate: { seen: 3, match: 2 },
    imbalance: null,
  });
  const all = await until('status has it', async () => {
    const { body } = await get('/status').expect(200);
    return body.books?.candidate.seen === 9 && body.books;
  });
  expect(all).toMatchObject({ legacy: { seen: 8, match: 8 }, candidate: { match: 8 } });
  one?.close();
  const gone = await until('it has ended', async () => {
    const { status, body } = await get('/books?session=s_1');
    return status === 404 && body.error;
  });
  expect(gone).toMatchObject({
    ...{ code: 'not-found', field: 'session' },
    message: expect.stringMatching(/^no session or event stream with this id is open/),
  });
  await get('/books?session=s_2').expect(200);
});

test('a judge that does not run does not say that there is no such session', async () => {
  stream('events', 's_1', { legacy: 1, candidate: 1 });
  await judge.close();
  const { body } = await get('/books?session=s_1').expect(409);
  expect(body.error.message).toBe('the judge begins anew; ask again');
});

test.each([
  ['/books', 'session'],
  ['/books?session=', 'session'],
  [`/books?session=${'s'.repeat(101)}`, 'session'],
  ['/books?session=a&session=b', 'session'],
  ['/books?session=a&route=events', 'route'],
])('%s is refused, naming %s', async (call, field) => {
  const { body } = await get(call).expect(422);
  expect(body.error).toMatchObject({ field, message: expect.stringMatching(/./) });
});

test('is for whoever has the token', async () => {
  await request(admin.server).get('/api/v1/books?session=s_1').expect(401);
});
