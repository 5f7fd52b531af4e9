import { chmod, readFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import request from 'supertest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Admin, createAdmin } from '../../src/control/admin.ts';
import type { RouteChange } from '../../src/control/stage-change.ts';
import { CutoverError } from '../../src/errors.ts';
import { SIDES } from '../../src/rules/decide.ts';
import {
  FakeTraffic,
  flagsFor,
  type Operated,
  operated,
  TOKEN,
  user,
  users,
} from '../support/operator.ts';

let op: Operated;
let admin: Admin;

beforeEach(async () => {
  op = await operated({ 'events.json': flagsFor('events', 'shadow') });
  admin = createAdmin({ ...op, token: TOKEN });
  await admin.ready();
});
afterEach(async () => {
  await admin.close();
  await op.close();
});

const get = (path: string) => request(admin.server).get(path);
const authorized = (path: string) => get(path).set('authorization', `Bearer ${TOKEN}`);
const post = (body: unknown) =>
  request(admin.server)
    .post('/api/v1/stage')
    .set('authorization', `Bearer ${TOKEN}`)
    .send(body as object);
const setStage = async (body: unknown): Promise<RouteChange[]> =>
  (await post(body).expect(200)).body.routes;

describe('machines, without a token', () => {
  test('/livez answers', async () => {
    await get('/livez').expect(200, { alive: true });
  });

  test('/readyz is 200 while new connections are served and 503 with the reason while not', async () => {
    expect((await get('/readyz').expect(200)).body.ready).toBe(true);
    op.traffic.draining = true;
    const { body } = await get('/readyz').expect(503);
    expect(body).toMatchObject({ ready: false, reasons: [{ code: 'draining' }] });
  });

  test('/metrics is Prometheus text', async () => {
    op.metrics.observer.requestDone('api', 'legacy', 200, 5, 'service');
    const { text, headers } = await get('/metrics').expect(200);
    expect(headers['content-type']).toContain('text/plain; version=0.0.4');
    expect(text).toContain('cutover_requests_total{route="api",side="legacy",status="2xx"} 1');
  });

  test('no answer may be cached, sniffed, or read by pages of other origins', async () => {
    for (const path of ['/livez', '/api/v1/status', '/nothing']) {
      const { headers } = await get(path).set('origin', 'http://evil.example');
      expect(headers).toMatchObject({
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
      });
      expect(headers).not.toHaveProperty('access-control-allow-origin');
    }
  });
});

describe('access', () => {
  test.each([
    ['no token', undefined],
    ['a wrong token', `Bearer ${TOKEN.slice(0, -1)}x`],
    ['a longer token', `Bearer ${TOKEN}x`],
    ['an empty token', 'Bearer '],
    ['another scheme', `Basic ${TOKEN}`],
    ['two tokens', `Bearer ${TOKEN} ${TOKEN}`],
  ])(
    '%s is refused without detail, on paths that exist and on those that do not',
    async (_, value) => {
      for (const path of ['/api/v1/status', '/api/v1/nothing', '/api/v1/explain?route=%']) {
        const asked = value === undefined ? get(path) : get(path).set('authorization', value);
        const { body, headers } = await asked.expect(401);
        expect(body).toEqual({
          error: { code: 'unauthorized', message: 'A valid credential is required.' },
        });
        expect(headers['www-authenticate']).toBe('Bearer');
      }
    },
  );

  test('a refused change changes nothing', async () => {
    await request(admin.server).post('/api/v1/stage').send({ stage: 'live' }).expect(401);
    expect(op.flags.stage(op.proxy.loaded().config.routes[0] ?? expect.fail()).name).toBe('shadow');
  });

  test.each(['localhost:8081', '127.0.0.1:8081', '[::1]:8081', '10.0.0.7', 'LOCALHOST'])(
    'a request for host %s is served',
    async host => {
      await authorized('/api/v1/status').set('host', host).expect(200);
    },
  );

  test.each([
    'evil.example',
    'evil.example:8081',
    '127.0.0.1.evil.example',
    'localhost@evil',
    '',
    '[::1',
  ])(
    'a request for host "%s" is refused, token or not: a page may have rebound its name',
    async host => {
      const { body } = await authorized('/api/v1/status').set('host', host).expect(400);
      expect(body.error.code).toBe('bad-request');
    },
  );

  test('tokens, users and queries stay out of the log', async () => {
    await authorized('/api/v1/explain?user=user-4711&route=events').expect(200);
    await get('/api/v1/status').set('authorization', 'Bearer wrong-token-here').expect(401);
    await setStage({ stage: 'live', route: 'events' });
    const log = op.logged.join('');
    expect(log).toContain('an operator set the stage');
    for (const secret of [TOKEN, 'wrong-token-here', 'user-4711'])
      expect(log).not.toContain(secret);
  });
});

describe('reading', () => {
  test('status tells routes and their stages', async () => {
    const { body } = await authorized('/api/v1/status').expect(200);
    expect(body.routes.map((route: { name: string }) => route.name)).toEqual(['events', 'api']);
    expect(body.routes[0].stage.text).toBe('shadow');
  });

  test('flags are listed with the route and role that each has', async () => {
    const { body } = await authorized('/api/v1/flags').expect(200);
    expect(body.revision).toBe(op.flags.revision);
    expect(body.flags).toContainEqual(
      expect.objectContaining({
        name: 'events.shadow',
        routes: ['events'],
        role: 'shadow',
        percent: 100,
      }),
    );
  });

  test('lint tells problems with what to do about them', async () => {
    const { body } = await authorized('/api/v1/flags/lint').expect(200);
    expect(body.problems).toContainEqual(
      expect.objectContaining({ flag: 'api.serve', rule: 'missing-flag', fix: expect.any(String) }),
    );
  });

  test('stage tells one route or all', async () => {
    const all = await authorized('/api/v1/stage').expect(200);
    expect(all.body.routes).toHaveLength(2);
    const one = await authorized('/api/v1/stage?route=events').expect(200);
    expect(one.body.routes).toEqual([
      { route: 'events', stage: expect.objectContaining({ name: 'shadow', shadowPercent: 100 }) },
    ]);
  });

  test('explain gives the very decision that traffic gets, with reason, flags and revision', async () => {
    await setStage({ route: 'events', stage: 'canary', percent: 50 });
    const [events] = op.proxy.loaded().config.routes;
    for (const id of users(20)) {
      const { body } = await authorized(`/api/v1/explain?user=${id}&route=events`).expect(200);
      const { decision, revision } = op.proxy.decide(given(events), user(id));
      expect(body.decision).toEqual(decision);
      expect(body).toMatchObject({
        reason: 'serve-flag',
        sentence: 'the serve flag placed this user',
        stage: { text: 'canary 50%' },
        flags: { revision, serve: { name: 'events.serve', says: decision.primary } },
      });
    }
  });

  test('explain without a user is about somebody anonymous; a name is taken as it is', async () => {
    const { body } = await authorized('/api/v1/explain?route=events').expect(200);
    expect(body).toMatchObject({ user: null, reason: 'anonymous' });
    const name = 'Zoë/../%00 "x"';
    const odd = await authorized(`/api/v1/explain?route=events&user=${encodeURIComponent(name)}`);
    expect(odd.body.user).toBe(name);
  });

  test('explain for a route without flags says that the flag is missing', async () => {
    const { body } = await authorized('/api/v1/explain?route=api&user=u1').expect(200);
    expect(body).toMatchObject({ reason: 'serve-flag-missing', decision: { primary: 'legacy' } });
  });
});

describe('setting the stage', () => {
  test('writes the flag files, takes effect at once, and tells who moves', async () => {
    op.traffic.open('events', 'legacy', ...users(200));
    const [change] = await setStage({ route: 'events', stage: 'canary', percent: 12.5 });
    expect(change).toMatchObject({
      route: 'events',
      before: { text: 'shadow' },
      after: { text: 'canary 12.5%' },
      files: ['events.json'],
      revision: op.flags.revision,
      dryRun: false,
      moves: { openSessions: 200, wouldMoveToLegacy: 0, shareBefore: 0, shareAfter: 12.5 },
    });
    const [events] = op.proxy.loaded().config.routes;
    const moved = users(200).filter(
      id => op.proxy.decide(given(events), user(id)).decision.primary === 'candidate',
    );
    expect(moved.length).toBeGreaterThan(5);
    expect(change?.moves.wouldMoveToCandidate).toBe(moved.length);
    const file = JSON.parse(await readFile(path.join(op.dir, 'events.json'), 'utf8'));
    const serve = file.features.find((f: { name: string }) => f.name === 'events.serve');
    expect(serve.strategies[0].variants[0]).toMatchObject({ name: 'candidate', weight: 125 });
  });

  test('a dry run tells the same and changes nothing', async () => {
    op.traffic.open('events', 'legacy', ...users(200));
    const before = await readFile(path.join(op.dir, 'events.json'), 'utf8');
    const [dry] = await setStage({ route: 'events', stage: 'canary', percent: 30, dryRun: true });
    expect(await readFile(path.join(op.dir, 'events.json'), 'utf8')).toBe(before);
    expect(dry).toMatchObject({ dryRun: true, revision: op.flags.revision });
    const [real] = await setStage({ route: 'events', stage: 'canary', percent: 30 });
    expect(real?.moves.wouldMoveToCandidate).toBeGreaterThan(20);
    expect({ ...dry, dryRun: false, revision: real?.revision }).toEqual(real);
  });

  test('going forward says which addresses that both services send the lane will rewrite', async () => {
    const shared = { rule: 'routing', path: '/recipient_id', session: 's', isShown: null } as const;
    const of = { user: 'ann', owner: 'bob', onBoth: true, at: 0 } as const;
    for (const route of ['events', 'api'])
      for (const side of SIDES)
        op.incidents.contaminated({ ...shared, ...of, route, side, eventType: 'outbox' });
    const [forward] = await setStage({
      route: 'events',
      stage: 'canary',
      percent: 30,
      dryRun: true,
    });
    expect(forward?.warnings).toEqual([
      expect.stringMatching(
        /^events of type outbox name others at \/recipient_id, and legacy's do as well \(1\): .* rewritten, /,
      ),
    ]);
    // Answers of HTTP are left alone, and so is everybody on a way back.
    const [answers] = await setStage({ route: 'api', stage: 'canary', percent: 30, dryRun: true });
    expect(answers?.warnings).toEqual([]);
    await setStage({ route: 'events', stage: 'canary', percent: 30 });
    const [back] = await setStage({ route: 'events', stage: 'shadow', dryRun: true });
    expect(back?.warnings).toEqual([]);
    const { body } = await authorized('/api/v1/isolation').expect(200);
    expect(body.routes[0].shared).toEqual([
      { eventType: 'outbox', path: '/recipient_id', count: 1, prevented: 0 },
    ]);
  });

  test('going back counts whom it would take back to legacy', async () => {
    await setStage({ route: 'events', stage: 'live' });
    op.traffic.open('events', 'candidate', 'a', 'b', 'c');
    const [change] = await setStage({ route: 'events', stage: 'shadow' });
    expect(change?.moves).toMatchObject({ wouldMoveToLegacy: 3, wouldMoveToCandidate: 0 });
  });

  test('it says what becomes of what is open, which a limit of WebSockets does not end elsewhere', async () => {
    const notes = async (stage: string) => {
      const changes = await setStage({ stage, dryRun: true });
      return (route: string) => changes.find(each => each.route === route)?.moves.note;
    };
    op.traffic.open('events', 'legacy', 'a');
    const live = await notes('live');
    expect(live('events')).toMatch(/^open ones stay open and move/);
    expect(live('api')).toBe('answers under way are finished; new requests follow at once');
    // The fault: open ones were said to move where none does.
    expect((await notes('shadow'))('events')).toBe('new ones follow at once');
  });

  test('without a route it is for all of them, and flags that no file had get one', async () => {
    const changes = await setStage({ stage: 'shadow', percent: 10 });
    expect(changes.map(({ route, after, files }) => [route, after.text, files])).toEqual([
      ['events', 'shadow 10%', ['events.json']],
      ['api', 'shadow 10%', ['api.json']],
    ]);
  });

  // The fault: the second route was said to have been in the new stage before.
  test('routes that share flags all tell the stage from before the command', async () => {
    const { config } = op.proxy.loaded();
    const flags = {
      ...{ serve: 'events.serve', shadow: 'events.shadow' },
      ...{ kill: 'events.kill', isolation: 'events.isolation' },
    };
    op.state.config = { ...config, routes: config.routes.map(route => ({ ...route, flags })) };
    op.traffic.open('api', 'legacy', 'a', 'b');
    const changes = await setStage({ stage: 'live' });
    expect(changes).toMatchObject([
      { before: { text: 'shadow' }, after: { text: 'live' }, files: ['events.json'] },
      {
        ...{ before: { text: 'shadow' }, after: { text: 'live' }, files: [] },
        moves: { wouldMoveToCandidate: 2, shareBefore: 0, shareAfter: 100 },
      },
    ]);
    const again = await setStage({ stage: 'live' });
    expect(again.map(({ before }) => before.text)).toEqual(['live', 'live']);
  });

  test('killed throws the kill flag alone; a stage is refused until unkill is asked for', async () => {
    await setStage({ route: 'events', stage: 'canary', percent: 20 });
    op.traffic.open('events', 'candidate', 'a', 'b');
    const dry = await setStage({ route: 'events', stage: 'killed', dryRun: true });
    const [killed] = await setStage({ route: 'events', stage: 'killed' });
    expect(dry[0]?.moves).toEqual(killed?.moves);
    expect(killed).toMatchObject({
      after: { text: 'killed (canary 20% beneath)', kill: true },
      moves: { wouldMoveToLegacy: 2, shareBefore: 20, shareAfter: 0 },
    });
    const { body } = await post({ route: 'events', stage: 'live' }).expect(409);
    expect(body.error).toMatchObject({ code: 'conflict' });
    expect(body.error.message).toContain('events.kill');
    const [back] = await setStage({ route: 'events', unkill: true });
    expect(back?.after.text).toBe('canary 20%');
    await setStage({ route: 'events', stage: 'killed' });
    const [live] = await setStage({ route: 'events', stage: 'live', unkill: true });
    expect(live).toMatchObject({ before: { name: 'killed' }, after: { text: 'live' } });
  });

  test('one killed route among all keeps every other from being changed', async () => {
    await setStage({ route: 'api', stage: 'killed' });
    await post({ stage: 'live' }).expect(409);
    const { body } = await authorized('/api/v1/stage');
    expect(body.routes[0].stage.text).toBe('shadow');
  });

  test('users whom a flag singles out are told by the flag that does it', async () => {
    const pinned = flagsFor('events', 'shadow').map(flag => ({
      ...flag,
      strategies: [
        {
          name: 'default',
          constraints: [{ contextName: 'userId', operator: 'IN', values: ['x'] }],
        },
        ...flag.strategies,
      ],
    }));
    await admin.close();
    await op.close();
    op = await operated({ 'events.json': pinned });
    admin = createAdmin({ ...op, token: TOKEN });
    await admin.ready();
    const [change] = await setStage({ route: 'events', stage: 'canary', percent: 1, dryRun: true });
    expect(change?.pinned).toContain('events.serve');
  });
});

describe('bad input', () => {
  test.each([
    [{ stage: 'canary', percent: 0 }, 'percent'],
    [{ stage: 'canary', percent: 100 }, 'percent'],
    [{ stage: 'canary', percent: 12.55 }, 'percent'],
    [{ stage: 'canary' }, 'percent'],
    [{ stage: 'canary', percent: '12.5' }, 'percent'],
    [{ stage: 'live', percent: 50 }, 'percent'],
    [{ stage: 'killed', percent: 50 }, 'percent'],
    [{ stage: 'killed', unkill: true }, 'unkill'],
    [{ stage: 'sideways' }, 'stage'],
    [{}, 'stage'],
    [{ percent: 5, unkill: true }, 'stage'],
    [{ stage: 'live', force: true }, 'force'],
    // The fault: what no stage is ever called was told as somebody else's change.
    [{ stage: 'live', from: 'bogus' }, 'from'],
    [{ stage: 'live', from: 'canary' }, 'from'],
    [{ stage: 'live', from: 'canary 5' }, 'from'],
    [{ stage: 'live', from: 'canary 5.0%' }, 'from'],
    [{ stage: 'live', from: 'Shadow' }, 'from'],
    [{ stage: 'live', from: 'killed' }, 'from'],
    [{ stage: 'live', from: 'killed (live)' }, 'from'],
    [{ stage: 'live', dryRun: 'yes' }, 'dryRun'],
    // The fault: they were told in a library's words.
    [{ stage: 'live', reason: '' }, 'reason', 'reason: must not be empty'],
    [{ stage: 'live', dryRun: 1 }, 'dryRun', 'dryRun: must be true or false'],
    [{ stage: 'x' }, 'stage', 'stage: must be one of off, shadow, canary, live, complete, killed'],
    [
      { stage: 'live', reason: 'x'.repeat(501) },
      'reason',
      'reason: must have at most 500 characters',
    ],
    [[], undefined],
  ])(
    '%j is refused, naming the field, and nothing is changed',
    async (body: object, field?: string, message?: string) => {
      const before = op.flags.revision;
      const { error } = (await post(body).expect(422)).body;
      expect(error.code).toBe('invalid-argument');
      expect(error.field).toBe(field);
      expect(error.message.length).toBeGreaterThan(10);
      if (message !== undefined) expect(error.message).toBe(message);
      expect(op.flags.revision).toBe(before);
    },
  );

  test('a from that is no stage is told how it is written', async () => {
    const { error } = (await post({ stage: 'live', from: 'canary 5' }).expect(422)).body;
    expect(error.message).toContain('such as off, "canary 5%"');
  });

  test.each(['off', 'shadow 12.5%', 'canary 5%', 'live', 'mixed', 'killed (canary 0.1% beneath)'])(
    'a from that is another stage is a conflict: %s',
    async from => {
      const { error } = (await post({ stage: 'live', from }).expect(409)).body;
      expect(error).toMatchObject({ code: 'conflict', field: 'from' });
    },
  );

  test('an unknown route is refused, naming those that exist', async () => {
    const answers = [
      await post({ stage: 'live', route: 'nope' }).expect(404),
      await authorized('/api/v1/stage?route=nope').expect(404),
      await authorized('/api/v1/explain?route=nope&user=u').expect(404),
    ];
    for (const { body } of answers) {
      expect(body.error).toMatchObject({ code: 'no-such-route', field: 'route' });
      expect(body.error.message).toContain('events, api');
    }
  });

  test.each([
    ['/api/v1/explain?user=u', 'route'],
    ['/api/v1/explain?user=&route=events', 'user'],
    [`/api/v1/explain?user=${'u'.repeat(257)}&route=events`, 'user'],
    ['/api/v1/explain?user=a&user=b&route=events', 'user'],
    ['/api/v1/explain?user=a&route=events&token=x', 'token'],
    ['/api/v1/status?route=events', 'route'],
  ])('%s is refused, naming the field', async (path, field) => {
    const { body } = await authorized(path).expect(422);
    expect(body.error).toMatchObject({ code: 'invalid-argument', field });
  });

  test.each([
    ['malformed JSON', 400, 'application/json', '{"stage": "secret-word'],
    ['an empty body', 400, 'application/json', ''],
    ['another type', 415, 'text/plain', 'secret-word'],
    ['a body of more than 64 KiB', 413, 'application/json', JSON.stringify('x'.repeat(65_536))],
  ])('%s is refused with a sentence and no echo', async (_, status, type, body) => {
    const answer = await request(admin.server)
      .post('/api/v1/stage')
      .set('authorization', `Bearer ${TOKEN}`)
      .set('content-type', type)
      .send(body)
      .expect(status);
    expect(answer.body.error.code).toBe('bad-request');
    expect(answer.text).not.toContain('secret-word');
  });

  test('unknown paths, methods and broken escapes are answered in the same shape', async () => {
    for (const asked of [get('/'), get('/metrics/x'), authorized('/api/v1/nope')]) {
      expect((await asked.expect(404)).body.error.code).toBe('not-found');
    }
    const put = request(admin.server).put('/api/v1/stage').set('authorization', `Bearer ${TOKEN}`);
    expect((await put.expect(404)).body.error.code).toBe('not-found');
    const { body } = await authorized('/%').expect(400);
    expect(body.error.code).toBe('bad-request');
  });

  test('bytes that are no HTTP get a 400 in the same shape, and the connection ends', async () => {
    const { port } = await admin.listen();
    const socket = net.connect(port, '127.0.0.1');
    socket.end('NO HTTP AT ALL\r\n\r\n');
    const answer = Buffer.concat(await Array.fromAsync(socket)).toString();
    expect(answer).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(answer).toContain('{"error":{"code":"bad-request"');
  });

  test('a flags folder that can not be written is a conflict that names it', async context => {
    if (process.getuid?.() === 0) {
      // Root writes anywhere; a directory in place of the file refuses everybody.
      await op.write('events.json', '{"version":2,"features":[]');
      const { body } = await post({ route: 'events', stage: 'live' }).expect(409);
      expect(body.error.code).toBe('conflict');
      expect(body.error.message).toContain('events.json');
      return;
    }
    context.onTestFinished(() => chmod(op.dir, 0o755));
    await chmod(op.dir, 0o555);
    const { body } = await post({ route: 'events', stage: 'live' }).expect(409);
    expect(body.error.code).toBe('conflict');
    expect(body.error.message).toContain(op.dir);
  });

  test('a failure of the proxy itself is told without detail and logged', async () => {
    op.state.traffic = Object.assign(new FakeTraffic(), {
      counters: () => {
        throw new Error('inner detail');
      },
    });
    const { text } = await authorized('/api/v1/status').expect(500);
    expect(JSON.parse(text).error).toEqual({ code: 'internal', message: 'The proxy failed.' });
    expect(op.logged.join('')).toContain('the admin API failed');
  });
});

test('two admin APIs at one address: the second is told that the address is taken', async () => {
  const { port } = await admin.listen();
  const loaded = op.proxy.loaded();
  const config = { ...loaded.config, admin: { host: '127.0.0.1', port } };
  const second = createAdmin({
    ...op,
    proxy: { ...op.proxy, loaded: () => ({ ...loaded, config }) },
    token: TOKEN,
  });
  const failure = await second.listen().catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(CutoverError);
  expect(failure).toMatchObject({ code: 'conflict' });
  await second.close();
});

function given<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('it is not there');
  return value;
}
