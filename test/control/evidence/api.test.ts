// Evidence as the operator's side shows it: over the admin API, in status, readiness and metrics.
import path from 'node:path';
import request from 'supertest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Admin, createAdmin } from '../../../src/control/admin.ts';
import type { KeptFinding } from '../../../src/control/evidence/kept.ts';
import { differs, feeder, finding, KEY } from '../../support/evidence.ts';
import { flagsFor, type Operated, operated, TOKEN } from '../../support/operator.ts';
import { until } from '../../support/until.ts';

let op: Operated;
let admin: Admin;
let feed: ReturnType<typeof feeder>;

beforeEach(async () => {
  op = await operated({ 'events.json': flagsFor('events', 'shadow') });
  admin = createAdmin({ ...op, token: TOKEN });
  await admin.ready();
  feed = feeder(op.evidence);
});
afterEach(async () => {
  await admin.close();
  await op.close();
});

const get = (call: string) =>
  request(admin.server).get(`/api/v1${call}`).set('authorization', `Bearer ${TOKEN}`);

describe('kept evidence', () => {
  beforeEach(async () => {
    op.evidence.keepIn(op.dir, KEY);
    await feed.keep(
      finding({ differences: [differs('/data/x', 'a@b.example', 2)], unit: 'run 1' }),
      finding({ eventType: 'pong', verdict: 'match', differences: [], unit: 'run 2' }),
      finding({ route: 'api', verdict: 'missing', candidate: null, differences: [] }),
    );
    await feed.endUnits();
  });

  test('is listed by kind, narrowed down, and paged', async () => {
    const all = (await get('/evidence').expect(200)).body;
    expect(all).toMatchObject({ total: 3, groups: [{ route: 'api' }, {}, { eventType: 'pong' }] });
    const some = '/evidence?route=events&type=agent_started&verdict=mismatch&path=/data';
    expect((await get(some).expect(200)).body).toMatchObject({ total: 1, groups: [{ id: 1 }] });
    const page = (await get('/evidence?limit=1&offset=1').expect(200)).body;
    expect(page).toMatchObject({ total: 3, groups: [{ id: 1 }] });
  });

  test('is shown with examples, redacted, and exported', async () => {
    const { body } = await get('/evidence/1').expect(200);
    expect(body).toMatchObject({
      group: { id: 1, path: '/data/x', count: 1 },
      examples: [{ id: 1, differences: [{ legacy: { $r: 'email', n: 11 }, candidate: 2 }] }],
    });
    const first = (await get('/evidence/findings?limit=2').expect(200)).body;
    expect(first).toMatchObject({ findings: [{ id: 1 }, { id: 2 }], after: 2 });
    const rest = (await get('/evidence/findings?after=2').expect(200)).body;
    expect(rest).toMatchObject({ findings: [{ id: 3, candidate: null }], after: null });
  });

  test('an incident names the evidence of its event, and evidence the incident', async () => {
    await op.incidents.keepIn(op.dir, KEY);
    const at = Date.now();
    const leak = { verdict: 'contaminated', differences: [] } as const;
    await feed.keep(
      finding({ ...leak, session: 's_7', at: at - 60_000 }),
      finding({ ...leak, session: 's_7', at: at + 40 }),
      // The fault: what is nearest was taken for it, of whatever type it is.
      finding({ ...leak, session: 's_7', eventType: 'pong', at }),
    );
    // An answer's type is its own, whatever the event in it says.
    await feed.keep(finding({ ...leak, session: 'r#1', eventType: 'GET none', at }));
    for (const session of ['s_7', 's_8', 'r#1']) {
      op.incidents.contaminated({
        ...{ rule: 'routing', route: 'events', session, side: 'candidate', isShown: null, at },
        ...{ path: '/userId', eventType: 'agent_started', onBoth: false, user: 'a', owner: 'b' },
      });
    }
    const listed = await until('both are on record', async () => {
      const { body } = await get('/incidents').expect(200);
      return body.incidents.length === 3 ? body.incidents : undefined;
    });
    expect(listed).toMatchObject([
      { session: 'r#1', evidence: { group: 6, example: 7 } },
      { session: 's_8', evidence: null },
      { session: 's_7', seq: 1, evidence: { group: 4, example: 5 } },
    ]);
    const { body } = await get('/evidence/4').expect(200);
    expect(body.examples.map(({ id, incidents }: KeptFinding) => [id, incidents])).toEqual([
      [4, []],
      [5, [1]],
    ]);
    // The fault: what told of it, and where in the event, neither of the two said.
    const foreign = [{ rule: 'routing', path: '/userId' }];
    expect(body.group).toMatchObject({ verdict: 'contaminated', foreign });
    const { groups } = (await get('/evidence').expect(200)).body;
    expect(groups).toContainEqual(expect.objectContaining({ verdict: 'contaminated', foreign }));
    expect(groups).toContainEqual(expect.not.objectContaining({ foreign: expect.anything() }));
  });

  test('is summed up: rates by route and type, and how many more it takes', async () => {
    const { body } = await get('/evidence/summary?route=events&threshold=0.5').expect(200);
    expect(body).toMatchObject({ threshold: 0.5, since: null });
    expect(body.rates).toMatchObject([
      { eventType: null, units: 2, diverged: 1, rate: 0.5, kinds: { mismatch: 1, match: 1 } },
      { eventType: 'agent_started', units: 1, diverged: 1 },
      { eventType: 'pong', units: 1, diverged: 0, rate: 0 },
    ]);
    expect(body.rates[0].cleanUnitsLeft).toBeGreaterThan(0);
    const later = await get('/evidence/summary?since=2100-01-01T00:00:00Z').expect(200);
    expect(later.body.rates).toEqual([]);
  });

  // The fault: with another candidate, or rules that excuse it, what was counted before held for weeks.
  test('is counted anew when an operator says so, on record; kinds and examples stay, and the guardrail lets go', async () => {
    const bad = Array.from({ length: 40 }, (_, i) => finding({ unit: `run ${i + 10}` }));
    await feed.keep(...bad);
    await feed.endUnits();
    /** So many seconds of looks, in each of which evidence may answer. */
    const look = async (seconds: number) => {
      for (let i = 0; i < seconds; i++) {
        op.clock.ms += 1_000;
        op.guardrails.look();
        await op.evidence.ask('group', 1);
      }
    };
    await look(12);
    expect(() => op.guardrails.refuseForward('events')).toThrow(/cutover evidence restart/);
    const post = (body: object) =>
      request(admin.server)
        .post('/api/v1/evidence/restart')
        .set('authorization', `Bearer ${TOKEN}`)
        .send(body);
    await post({ route: 'events' }).expect(422);
    await post({ route: 'nope', reason: 'x' }).expect(404);
    const { body } = await post({ route: 'events', reason: 'mended' }).expect(200);
    expect(body).toEqual({ units: 42, diverged: 41 });
    const { rates } = (await get('/evidence/summary').expect(200)).body;
    expect(rates.map(({ route }: { route: string }) => route)).toEqual(['api', 'api']);
    expect((await get('/evidence/1').expect(200)).body.group.count).toBe(1);
    expect(await op.audit.last(1)).toMatchObject([
      { action: 'evidence-restart', reason: 'mended', details: { scope: 'events' } },
    ]);
    await look(165);
    expect(() => op.guardrails.refuseForward('events')).not.toThrow();
  });

  test('shows in status, by route, and in metrics', async () => {
    const { body } = await get('/status').expect(200);
    expect(body.routes[0].divergence).toMatchObject({ units: 2, diverged: 1, threshold: 0.001 });
    expect(body.routes[1].divergence).toMatchObject({ units: 1, diverged: 1 });
    expect(body.evidence).toMatchObject({
      ...{ thread: 'running', restarts: 0, kept: 3, dropped: {}, trouble: null, setAside: null },
      use: { rows: 3, groups: 3 },
    });
    const text = await op.metrics.text();
    expect(text).toMatch(/^cutover_evidence_kept_total 3$/m);
    expect(text).toMatch(/^cutover_evidence_rows 3$/m);
    expect(text).toMatch(/^cutover_evidence_bytes \d{4,}$/m);
    expect(text).toMatch(/^cutover_evidence_dropped_total\{cause="disk-full"\} 0$/m);
  });

  test.each([
    ['/evidence?verdict=wrong', 422, 'verdict'],
    ['/evidence?limit=501', 422, 'limit'],
    ['/evidence?limit=x', 422, 'limit'],
    ['/evidence?offset=-1', 422, 'offset'],
    ['/evidence?path=data', 422, 'path'],
    ['/evidence?bogus=1', 422, 'bogus'],
    ['/evidence/findings?limit=101', 422, 'limit'],
    ['/evidence/findings?after=1.5', 422, 'after'],
    ['/evidence/summary?threshold=0', 422, 'threshold'],
    ['/evidence/summary?threshold=1', 422, 'threshold'],
    ['/evidence/summary?since=yesterday', 422, 'since'],
    ['/evidence/x', 422, 'id'],
    ['/evidence/4711', 404, 'id'],
    ['/evidence?route=evnets', 404, 'route'],
    ['/evidence/findings?route=evnets', 404, 'route'],
    ['/evidence/summary?route=evnets', 404, 'route'],
  ])('%s is refused with %i, naming %s', async (call, status, field) => {
    const { body } = await get(call).expect(status);
    expect(body.error).toMatchObject({ field, message: expect.stringMatching(/./) });
  });

  test('is there under the name of a route that the configuration no longer has', async () => {
    await feed.keep(finding({ route: 'gone', verdict: 'match', differences: [], unit: 'run 3' }));
    await feed.endUnits();
    expect((await get('/evidence/summary?route=gone').expect(200)).body.rates).not.toEqual([]);
    expect((await get('/evidence?route=gone').expect(200)).body).toMatchObject({ total: 1 });
  });

  test('is for whoever has the token', async () => {
    for (const call of ['/evidence', '/evidence/1', '/evidence/findings', '/evidence/summary']) {
      await request(admin.server).get(`/api/v1${call}`).expect(401);
    }
  });
});

describe('evidence that can not be had', () => {
  test('is refused with a sentence; status is answered all the same', async () => {
    const { body } = await get('/evidence').expect(409);
    expect(body.error.message).toBe('evidence can not be read: its thread does not run');
    const status = (await get('/status').expect(200)).body;
    expect(status.routes[0].divergence).toBeNull();
    expect(status.evidence).toMatchObject({ thread: 'waiting', use: null });
  });

  test('is a warning of readiness, not a reason to send no clients', async () => {
    op.evidence.keepIn(path.join(op.dir, 'gone'), KEY);
    await until('it is known', () => op.evidence.state.trouble);
    const { body } = await request(admin.server).get('/readyz').expect(200);
    expect(body.warnings).toMatchObject([{ code: 'evidence-unkept' }]);
    const status = (await get('/status').expect(200)).body;
    expect(status.evidence.trouble).toMatchObject({ cause: 'read-only' });
  });
});
