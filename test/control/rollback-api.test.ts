import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import path from 'node:path';
import request from 'supertest';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Admin, createAdmin } from '../../src/control/admin.ts';
import { readiness } from '../../src/control/health.ts';
import { verifyJournal } from '../../src/control/journal.ts';
import { Latch } from '../../src/control/latch.ts';
import { commandNow, type Proof, Proofs } from '../../src/control/proofs.ts';
import { rollbackBySignal } from '../../src/control/rollback-signal.ts';
import { statusOf } from '../../src/control/status.ts';
import { hanging, hangingFile } from '../support/hanging.ts';
import {
  FakeProgress,
  flagsFor,
  type Operated,
  operated,
  TOKEN,
  users,
} from '../support/operator.ts';
import { until } from '../support/until.ts';

let op: Operated;
let admin: Admin;
beforeEach(async () => {
  op = await operated({
    'events.json': flagsFor('events', 'live'),
    'api.json': flagsFor('api', 'shadow'),
  });
  admin = createAdmin({ ...op, token: TOKEN });
  await admin.ready();
});
afterEach(async () => {
  await admin.close();
  await op.close();
});

const get = (call: string) =>
  request(admin.server).get(`/api/v1${call}`).set('authorization', `Bearer ${TOKEN}`);
const post = (call: string, body: object, by = 'alice') =>
  request(admin.server)
    .post(`/api/v1${call}`)
    .set('authorization', `Bearer ${TOKEN}`)
    .set('x-cutover-by', by)
    .send(body);
const reason = 'events lost';
const decided = () => {
  const [events] = op.proxy.loaded().config.routes;
  return events && op.proxy.decide(events, { id: 'u1', aliases: [] }).decision;
};
const actions = async () => (await op.audit.last(50)).reverse().map(({ action }) => action);
const spoil = async (name: string) => {
  await rm(path.join(op.stateDir, name), { force: true });
  await mkdir(path.join(op.stateDir, name));
};

test('a rollback holds, moves what is open, is on disk and on record, and yields a proof', async () => {
  op.traffic.open('events', 'candidate', ...users(3));
  const { body } = await post('/rollback', { reason }).expect(200);
  expect(body).toMatchObject({
    scope: '*',
    changed: true,
    epoch: 1,
    latch: { scope: '*', state: 'latched', reason, by: 'operator alice' },
    kept: true,
    audited: true,
    proof: { id: '1', state: 'running', sessions: { affected: 3, inPlace: 3 } },
  });
  expect(decided()).toMatchObject({
    primary: 'legacy',
    reason: 'latched',
    second: { side: 'candidate' },
  });
  expect(op.traffic.rollbacks).toMatchObject([{ routes: ['events', 'api'], sever: false }]);
  const [{ progress } = { progress: null }] = op.traffic.rollbacks;
  if (progress === null) throw new Error('nothing was rolled back');
  progress.lastCandidateByteAt = performance.now();
  progress.queuedBytes = 77;
  progress.end();
  await until('the proof is there', async () => (await get('/proofs/1')).body.state === 'complete');
  const proof = (await get('/proofs/1').expect(200)).body;
  expect(proof).toMatchObject({
    by: 'operator alice',
    reason,
    queuedBytes: 77,
    stillOnCandidate: 0,
  });
  const { command, lastCandidateByte, tookMs } = proof;
  expect(lastCandidateByte.afterMs).toBeGreaterThanOrEqual(0);
  expect(lastCandidateByte.monotonicMs - command.monotonicMs).toBeCloseTo(
    lastCandidateByte.afterMs,
    3,
  );
  expect(Date.parse(lastCandidateByte.at) - Date.parse(command.at)).toBeLessThan(tookMs + 2);
  expect((await get('/proofs').expect(200)).body.proofs).toEqual([proof]);
  // After a restart as well.
  await until(
    'it is kept',
    async () => (await readFile(path.join(op.stateDir, 'proofs.jsonl'), 'utf8')) !== '',
  );
  const later = new Proofs(op.logger);
  await later.keepIn(op.stateDir);
  expect(await later.find('1')).toEqual(proof);
  expect(await actions()).toEqual(['rollback']);
});

test('the answers are as docs/rollback.md says', async () => {
  const page = await readFile(path.join(import.meta.dirname, '../../docs/rollback.md'), 'utf8');
  /** Names in the answer's braces, in the row of that call. */
  const said = (call: string): string[] => {
    const [, body = ''] =
      new RegExp(`\\| \`${call}\` \\|[^|]*\\| \`\\{(.*?)\\}\`[^}]*\\|\\n`).exec(page) ?? [];
    const names = body.replaceAll(/: \{[^}]*\}|: [^{},]*(?:, complete or partly)?|, …/g, '');
    return names.split(', ');
  };
  op.traffic.open('events', 'candidate', ...users(1));
  op.guardrails.look();
  const status = (await get('/status').expect(200)).body;
  const rolled = (await post('/rollback', { reason }).expect(200)).body;
  expect(Object.keys(rolled)).toEqual(said('POST /api/v1/rollback'));
  expect(Object.keys(rolled.latch).join(', ')).toBe('epoch, scope, state, reason, by, at');
  expect(page).toContain('`{epoch, scope, state, reason, by, at}`');
  expect(Object.keys((await get('/latch').expect(200)).body)).toEqual(said('GET /api/v1/latch'));
  const proof = (await get(`/proofs/${rolled.proof.id}`).expect(200)).body;
  for (const name of said('GET /api/v1/proofs/ID')) expect(proof).toHaveProperty(name);
  for (const name of ['sessions', 'answers']) {
    expect(page).toContain(`${name}: {${Object.keys(proof[name]).join(', ')}}`);
  }
  expect(Object.keys((await get('/proofs').expect(200)).body)).toEqual(said('GET /api/v1/proofs'));
  /** What the table behind that sentence has: where a field is, and the names in its braces. */
  const table = (sentence: string): { field: string; names: string[] | null }[] => {
    const [, rest = ''] = page.split(`\n${sentence}\n\n`);
    const [rows = ''] = rest.split('\n\n', 1);
    return [...rows.matchAll(/^\| `([^`]+)` \|(?: `\{([^}]*)\}`)?/gm)].map(
      ([, field = '', names]) => ({ field, names: names?.split(', ') ?? null }),
    );
  };
  const progress = op.traffic.rollbacks[0]?.progress as FakeProgress;
  progress.lastCandidateByteAt = performance.now();
  const answers = {
    'What the proof says:': (await get(`/proofs/${rolled.proof.id}`).expect(200)).body,
    'What the status says of a rollback, beforehand and meanwhile:': status,
  };
  for (const [sentence, answer] of Object.entries(answers)) {
    const rows = table(sentence);
    expect(rows.length).toBeGreaterThan(7);
    for (const { field, names } of rows) {
      const at = field.replaceAll('[]', '[0]');
      expect(answer, field).toHaveProperty(at);
      if (names === null) continue;
      const value = at
        .split(/[.[\]]+/)
        .filter(Boolean)
        .reduce((whole, name) => whole[name], answer);
      expect(Object.keys(value), field).toEqual(names);
    }
  }
  const released = (await post('/release', { reason }).expect(200)).body;
  expect(Object.keys(released)).toEqual(said('POST /api/v1/release'));
  await request(admin.server).post('/api/v1/rollback').send({ reason }).expect(401);
  await post('/rollback', []).expect(422);
  const malformed = request(admin.server).post('/api/v1/rollback').type('json').send('{');
  await malformed.set('authorization', `Bearer ${TOKEN}`).expect(400);
  expect(decided()).toMatchObject({ primary: 'candidate' });
});

test('68: a proof counts by a clock that never steps, whatever the one on the wall does meanwhile', async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  try {
    op.traffic.open('events', 'candidate', ...users(1));
    await post('/rollback', { reason }).expect(200);
    vi.setSystemTime(Date.now() - 3_600_000);
    const progress = op.traffic.rollbacks[0]?.progress as FakeProgress;
    progress.lastCandidateByteAt = performance.now();
    progress.end();
    const through = async () => {
      const { body } = await get('/proofs/1');
      return body.state === 'complete' ? body : undefined;
    };
    const { command, lastCandidateByte, tookMs } = await until('it is through', through);
    expect(lastCandidateByte.afterMs).toBeGreaterThanOrEqual(0);
    expect(tookMs).toBeGreaterThanOrEqual(lastCandidateByte.afterMs);
    expect(tookMs).toBeLessThan(60_000);
    expect(Date.parse(lastCandidateByte.at)).toBeGreaterThanOrEqual(Date.parse(command.at));
  } finally {
    vi.useRealTimers();
  }
});

// The fault: from the hundredth repeat on, and after a restart, two proofs had one number.
test('however often a rollback is asked for again, no two proofs have one number, after a restart neither', async () => {
  const { entry } = op.rollbacks.latch.hold('latched', {
    scope: '*',
    reason,
    by: 'operator alice',
  });
  const proven = (proofs: Proofs) => {
    const progress = new FakeProgress();
    progress.end();
    const watched = { entry, command: commandNow(new Date()), progress };
    return proofs.watch({ ...watched, paceMs: () => 0, leftOnCandidate: () => 1 }).id;
  };
  const ids = Array.from({ length: 150 }, () => proven(op.rollbacks.proofs));
  expect(ids.slice(0, 2)).toEqual(['1', '1.2']);
  expect(new Set(ids).size).toBe(150);
  await until('all are kept', async () => {
    const kept = await readFile(path.join(op.stateDir, 'proofs.jsonl'), 'utf8').catch(() => '');
    return kept.split('\n').length > 150;
  });
  const later = new Proofs(op.logger);
  await later.keepIn(op.stateDir);
  expect([proven(later), proven(later)]).toEqual(['1.151', '1.152']);
});

// The fault: a file that could not be opened at the start was never opened again, and no proof kept.
test('66: where the disk refuses at the start the next proof is kept once it does no more, and has a number of its own', async () => {
  const { entry } = op.rollbacks.latch.hold('latched', {
    ...{ scope: '*', reason, by: 'operator alice' },
  });
  const file = path.join(op.stateDir, 'proofs.jsonl');
  const aside = path.join(op.stateDir, 'aside');
  const proven = (proofs: Proofs, epoch: number) => {
    const progress = new FakeProgress();
    progress.end();
    const watched = { entry: { ...entry, epoch }, command: commandNow(new Date()), progress };
    proofs.watch({ ...watched, paceMs: () => 0, leftOnCandidate: () => 1 });
  };
  const kept = async () => {
    const text = await readFile(file, 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter(Boolean)
      .map(line => JSON.parse(line).id);
  };
  const before = new Proofs(op.logger);
  await before.keepIn(op.stateDir);
  proven(before, 1);
  await until('it is kept', async () => (await kept()).length === 1);
  await rename(file, aside);
  await mkdir(file);
  const proofs = new Proofs(op.logger);
  await proofs.keepIn(op.stateDir);
  proven(proofs, 2);
  await until('the next is not kept', () => proofs.unkept === 1);
  await rm(file, { recursive: true });
  await rename(aside, file);
  proven(proofs, 3);
  await until('the one after it is', async () => (await kept()).length === 2);
  proven(proofs, 1);
  await until('and the last', async () => (await kept()).length === 3);
  expect(await kept()).toEqual(['1', '3', '1.2']);
  expect((await verifyJournal(file)).fault).toBeNull();
  expect(proofs.unkept).toBe(1);
});

// The fault: it was watched for as long as its slowest route takes, though all of them share one queue.
test('a rollback of several routes is watched for as long as all of them take, and some', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    op.traffic.movesPerS = 1;
    op.traffic.open('events', 'candidate', ...users(10));
    op.traffic.open('api', 'candidate', ...users(10));
    const { proof } = await op.rollbacks.rollback({ reason, by: 'operator' });
    const state = async () => (await op.rollbacks.proofs.find(proof?.id ?? ''))?.state;
    await vi.advanceTimersByTimeAsync(34_000);
    expect(await state()).toBe('running');
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await state()).toBe('complete');
  } finally {
    vi.useRealTimers();
  }
});

test('a rollback is answered once all whom it concerns are found, and tells how many those are', async () => {
  let allFound: () => void = () => undefined;
  op.traffic.found = new Promise(resolve => {
    allFound = resolve;
  });
  op.traffic.open('events', 'candidate', 'u1', 'u2', 'u3');
  let isAnswered = false;
  const asked = op.rollbacks.rollback({ reason, by: 'operator' }).finally(() => {
    isAnswered = true;
  });
  const onRecord = async () => (await get('/audit')).body.entries.length > 0;
  await until('it is on record', onRecord);
  expect(isAnswered).toBe(false);
  const progress = op.traffic.rollbacks[0]?.progress;
  if (progress !== undefined) progress.sessions.affected = 5;
  allFound();
  expect((await asked).proof).toMatchObject({ state: 'running', sessions: { affected: 5 } });
});

// The fault: the answer hung on that without a limit, and so did the end of a proof.
test('where they are not all found within seconds it is answered all the same, and comes to its end', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const entry = {
      epoch: 7,
      scope: '*',
      state: 'latched',
      reason,
      by: 'operator',
      at: '',
    } as const;
    const progress = new FakeProgress(new Promise<void>(() => undefined));
    const asked = { paceMs: () => 1_000, leftOnCandidate: () => 2 };
    const begun = op.rollbacks.proofs.watch({
      entry,
      command: commandNow(new Date()),
      progress,
      ...asked,
    });
    let answer: Proof | null = null;
    void op.rollbacks.proofs.onceFound(begun).then(proof => {
      answer = proof;
    });
    await vi.advanceTimersByTimeAsync(2_000);
    expect(answer).toBeNull();
    await vi.advanceTimersByTimeAsync(2_000);
    expect(answer).toMatchObject({ id: begun.id, state: 'running' });
    await vi.advanceTimersByTimeAsync(20_000);
    expect(await op.rollbacks.proofs.find(begun.id)).toMatchObject({
      state: 'partly',
      stillOnCandidate: 2,
    });
  } finally {
    vi.useRealTimers();
  }
});

test('a release lets flags decide again, and moves sessions back', async () => {
  await post('/rollback', { reason });
  const { body } = await post('/release', { reason: 'fixed' }).expect(200);
  expect(body).toMatchObject({ scope: '*', changed: true, epoch: 2, held: [] });
  expect(decided()).toMatchObject({ primary: 'candidate', reason: 'serve-flag' });
  expect(op.traffic.reconsidered).toBe(1);
  expect(await actions()).toEqual(['rollback', 'release']);
});

test('65: asked again it is the same answer, and says so; both are on record', async () => {
  op.traffic.open('events', 'candidate', 'u1');
  const first = (await post('/rollback', { reason })).body;
  const [second, third] = await Promise.all([
    post('/rollback', { reason: 'mine' }, 'bob'),
    post('/rollback', { reason: 'mine, too' }, 'carol'),
  ]);
  for (const { body } of [second, third]) {
    expect(body).toMatchObject({ changed: false, latch: first.latch, proof: { id: '1' } });
  }
  expect(op.traffic.rollbacks).toHaveLength(1);
  expect((await op.audit.last(9)).map(({ by }) => by)).toEqual(
    expect.arrayContaining(['operator alice', 'operator bob', 'operator carol']),
  );
  // What a failing legacy left on the candidate is tried again, with a proof of its own.
  op.traffic.rollbacks[0]?.progress.end();
  await until('it is over', async () => (await get('/proofs/1')).body.state !== 'running');
  op.traffic.open('events', 'candidate', 'u2');
  expect((await post('/rollback', { reason })).body).toMatchObject({
    changed: false,
    proof: { id: '1.2' },
  });
  expect(await post('/release', { reason }).then(({ body }) => body.changed)).toBe(true);
  expect(await post('/release', { reason }).then(({ body }) => body.changed)).toBe(false);
});

test('64, 65: whoever names the epoch that he saw is refused if something was said since', async () => {
  await post('/rollback', { reason, epoch: 0 }).expect(200);
  // The same once more, as a queue might deliver it: held already.
  await post('/rollback', { reason, epoch: 0 }).expect(200);
  const { body } = await post('/release', { reason, epoch: 0 }).expect(409);
  expect(body.error.message).toBe(
    'the latch is at epoch 1, not 0: operator alice said latched of * (events lost)',
  );
  // More than what is held is something new.
  await post('/rollback', { reason, epoch: 0, sever: true }).expect(409);
  expect(op.rollbacks.latch.held).toMatchObject([{ state: 'latched' }]);
  await post('/release', { reason, epoch: 1 }).expect(200);
  await post('/rollback', { reason, epoch: 0 }).expect(409);
  expect(decided()?.primary).toBe('candidate');
});

// The fault: on record it had been released.
test('a release that a rollback overtakes is on record as one that was not done', async () => {
  await post('/rollback', { reason }).expect(200);
  const releasing = op.rollbacks.release({ reason: 'fixed', by: 'operator bob' });
  const rolledBack = op.rollbacks.rollback({ reason, by: 'operator alice' });
  expect(await releasing).toMatchObject({ changed: false, held: [{ scope: '*' }] });
  await rolledBack;
  const records = await op.audit.last(50);
  const release = records.find(({ action }) => action === 'release');
  expect(records.find(({ action }) => action === 'release-failed')).toMatchObject({
    ...{ by: 'operator bob', reason: 'fixed' },
    details: { seq: release?.seq, code: 'conflict' },
  });
  // Of what nobody holds there is nothing to take back.
  await post('/release', { reason }).expect(200);
  await post('/release', { reason }).expect(200);
  expect((await actions()).slice(-2)).toEqual(['release', 'release']);
});

test('a route is rolled back and released by itself', async () => {
  await post('/rollback', { reason, route: 'api' }).expect(200);
  expect(decided()?.primary).toBe('candidate');
  await post('/rollback', { reason, route: 'events' }).expect(200);
  await post('/rollback', { reason }).expect(200);
  const { body } = await post('/release', { reason }).expect(200);
  expect(body.held.map(({ scope }: { scope: string }) => scope)).toEqual(['api', 'events']);
  expect(decided()?.reason).toBe('latched');
  await post('/release', { reason, route: 'events' }).expect(200);
  expect(decided()?.primary).toBe('candidate');
});

test('severed, the candidate is shown nothing, and writes go to legacy alone', async () => {
  await post('/rollback', { reason, sever: true }).expect(200);
  expect(decided()).toMatchObject({
    primary: 'legacy',
    reason: 'severed',
    second: null,
    writeTo: 'primary',
  });
  expect(op.traffic.rollbacks).toMatchObject([{ sever: true }]);
});

// The fault: heard together with a rollback that severs, one that does not cost its routes the candidate as well.
test('of what another process has said each route is severed as that says', async () => {
  const { latch } = op.rollbacks;
  latch.onFollowed(before => op.rollbacks.follow(before));
  const other = await Latch.open(op.stateDir);
  await other.hold('severed', { scope: 'events', reason, by: 'operator' }).written;
  await other.hold('latched', { scope: 'api', reason, by: 'operator' }).written;
  await latch.follow();
  await until('both are heard', () => op.traffic.rollbacks.length === 2);
  expect(op.traffic.rollbacks).toMatchObject([
    { routes: ['events'], sever: true },
    { routes: ['api'], sever: false },
  ]);
});

test('from complete it must be asked for twice', async () => {
  await op.write('events.json', flagsFor('events', 'complete'));
  await until(
    'it is complete',
    () => op.flags.stage(op.proxy.loaded().config.routes[0] as never).name === 'complete',
  );
  const { body } = await post('/rollback', { reason, route: 'events' }).expect(409);
  expect(body.error).toMatchObject({
    field: 'acceptStale',
    message: expect.stringMatching(/^events: the stage is complete/),
  });
  expect(decided()?.primary).toBe('candidate');
  // The fault: one such route kept all others where they were.
  const partly = (await post('/rollback', { reason, epoch: 0 }).expect(200)).body;
  expect(partly).toMatchObject({ scope: '*', changed: true, stale: ['events'] });
  // What can be released.
  expect([partly.latch.scope, partly.held]).toEqual(['api', [partly.latch]]);
  expect(partly.proof).toMatchObject({ scope: 'api', state: 'running' });
  expect(op.traffic.rollbacks).toMatchObject([{ routes: ['api'] }]);
  expect((await get('/latch')).body.held).toMatchObject([{ scope: 'api', state: 'latched' }]);
  expect(decided()?.primary).toBe('candidate');
  const again = (await post('/rollback', { reason, epoch: 0 }).expect(200)).body;
  expect(again).toMatchObject({
    changed: false,
    stale: ['events'],
    proof: { id: partly.proof.id },
  });
  const whole = (await post('/rollback', { reason, acceptStale: true }).expect(200)).body;
  expect(whole).toMatchObject({ changed: true, stale: [] });
  expect(decided()?.primary).toBe('legacy');
  await post('/rollback', { reason }).expect(200);
});

test('what complete gives up is said before, and with it, and by no other stage', async () => {
  const complete = { route: 'events', stage: 'complete' };
  const warned = async (body: object) =>
    (await post('/stage', body).expect(200)).body.routes.flatMap(
      ({ warnings }: { warnings: string[] }) => warnings,
    );
  const said = [expect.stringMatching(/^legacy hears of nothing any more.*--accept-stale/)];
  expect(await warned({ ...complete, dryRun: true })).toEqual(said);
  expect(await warned({ route: 'events', stage: 'canary', percent: 5 })).toEqual([]);
  expect(await warned(complete)).toEqual(said);
  expect(await warned(complete)).toEqual([]);
});

test('by signal all others go at once, and a second one takes those that are complete', async () => {
  await op.write('events.json', flagsFor('events', 'complete'));
  const [events] = op.proxy.loaded().config.routes;
  await until('it is complete', () => op.flags.stage(events as never).name === 'complete');
  const signal = rollbackBySignal(op.rollbacks, op.logger);
  const scopes = () => op.rollbacks.latch.held.map(({ scope }) => scope);
  await signal();
  expect(scopes()).toEqual(['api']);
  await signal();
  expect(scopes()).toEqual(['api', '*']);
});

// The fault: the first one counted only once it was on disk.
test('... also one that comes before the first one is through', async () => {
  await op.write('events.json', flagsFor('events', 'complete'));
  const [events] = op.proxy.loaded().config.routes;
  await until('it is complete', () => op.flags.stage(events as never).name === 'complete');
  const signal = rollbackBySignal(op.rollbacks, op.logger);
  await Promise.all([signal(), signal()]);
  expect(op.rollbacks.latch.held.map(({ scope }) => scope)).toEqual(['api', '*']);
});

test('nobody moves forward while a rollback holds; back, and to be compared, he may', async () => {
  await post('/rollback', { reason, route: 'api' }).expect(200);
  const { body } = await post('/stage', { route: 'api', stage: 'canary', percent: 5 }).expect(409);
  expect(body.error.message).toMatch(
    /^a rollback holds api on legacy since \S+ \(operator alice: events lost\); first cutover release --route api --reason …$/,
  );
  await post('/stage', { route: 'api', stage: 'live', dryRun: true }).expect(409);
  await post('/stage', { route: 'api', stage: 'shadow', percent: 50 }).expect(200);
  await post('/stage', { route: 'events', stage: 'canary', percent: 5 }).expect(200);
});

describe('66: where the state folder can not be written', () => {
  test('a rollback holds and says that it is not kept; there is no release, and no way forward', async () => {
    await spoil('latch.jsonl');
    const { body } = await post('/rollback', { reason, route: 'events' }).expect(200);
    expect(body).toMatchObject({ changed: true, kept: false, audited: true });
    expect(decided()?.primary).toBe('legacy');
    const refused = await post('/release', { reason, route: 'events' }).expect(409);
    expect(refused.body.error.message).toMatch(/^the latch stays/);
    const forward = await post('/stage', { route: 'api', stage: 'canary', percent: 5 }).expect(409);
    expect(forward.body.error.message).toMatch(
      /^the state folder can not be written \(it refused the last one\)/,
    );
    expect(decided()?.primary).toBe('legacy');
    expect(readiness(op.proxy).warnings.map(({ code }) => code)).toEqual([
      'latched',
      'latch-unkept',
    ]);
    await rm(path.join(op.stateDir, 'latch.jsonl'), { recursive: true });
    await post('/release', { reason, route: 'events' }).expect(200);
    expect((await actions()).filter(action => !action.startsWith('stage'))).toEqual([
      ...['rollback', 'release', 'release-failed', 'release'],
    ]);
  });

  // The fault: it was noticed by the rollback that could not be kept, when it was too late.
  test('no stage goes forward, not even on trial, whatever rolled back before; and back it goes', async () => {
    await spoil('latch.jsonl');
    const canary = { route: 'api', stage: 'canary', percent: 5 };
    for (const body of [
      canary,
      { ...canary, dryRun: true },
      { ...canary, stage: 'live', percent: undefined },
    ]) {
      const refused = await post('/stage', body).expect(409);
      expect(refused.body.error).toMatchObject({
        field: 'stage',
        message: 'the state folder can not be written (EISDIR), so a rollback could not be kept',
      });
    }
    await post('/stage', { route: 'api', stage: 'off' }).expect(200);
    await rm(path.join(op.stateDir, 'latch.jsonl'), { recursive: true });
    await post('/stage', { ...canary, dryRun: true }).expect(200);
    expect((await readdir(op.stateDir)).filter(name => name.includes('probe'))).toEqual([]);
  });

  test('a rollback that can not be put on record is done and says so; a release is refused', async () => {
    await spoil('audit.jsonl');
    const { body } = await post('/rollback', { reason }).expect(200);
    expect(body).toMatchObject({ changed: true, kept: true, audited: false });
    const refused = await post('/release', { reason }).expect(409);
    expect(refused.body.error.message).toMatch(
      /^nothing was changed, because it can not be put on record/,
    );
    expect(decided()?.primary).toBe('legacy');
    expect(readiness(op.proxy).warnings.map(({ code }) => code)).toEqual([
      'latched',
      'audit-unkept',
    ]);
  });
});

// The fault: curl and the command gave up first, and said that nobody answers.
test('66: where the disk hangs a rollback holds and says so within seconds; what needs a record is refused', async () => {
  const { latch } = op.rollbacks;
  const goOn = [
    await hanging(path.join(op.stateDir, 'latch.jsonl'), () => latch.follow()),
    await hanging(path.join(op.stateDir, 'audit.jsonl'), () =>
      // It does not come to its end in time either.
      op.audit.verify().catch(() => null),
    ),
  ];
  const rollback = () => post('/rollback', { reason, route: 'events' });
  const [first, second, stage] = await Promise.all([
    rollback(),
    rollback(),
    post('/stage', { route: 'api', stage: 'off' }),
  ]);
  const bodies = [first.body, second.body];
  for (const body of bodies) expect(body).toMatchObject({ kept: false, audited: false });
  expect(bodies.map(({ changed }) => changed).sort()).toEqual([false, true]);
  expect(decided()?.primary).toBe('legacy');
  expect(stage.status).toBe(409);
  expect(stage.body.error.message).toMatch(/^nothing was changed, .*the disk does not answer/);
  for (const end of goOn) await end();
  await until('it is on disk', () => latch.kept);
  expect((await Latch.open(op.stateDir)).on('events')).toBe('latched');
  await until('all is on record', async () => (await actions()).length === 4);
  expect((await actions()).sort()).toEqual(['rollback', 'rollback', 'stage', 'stage-failed']);
  expect(op.flags.stage(op.proxy.loaded().config.routes[1] as never).name).toBe('shadow');
}, 30_000);

test('a guardrail rolls back by the same call', async () => {
  const done = await op.rollbacks.rollback({
    reason: '5xx at 12 %',
    by: 'guardrail candidate-5xx',
  });
  expect(done).toMatchObject({ changed: true, latch: { by: 'guardrail candidate-5xx' } });
  expect(await op.metrics.text()).toContain('cutover_rollbacks_total{by="guardrail"} 1');
});

test('status, readiness and metrics show it', async () => {
  op.traffic.open('events', 'candidate', 'u1', 'u2');
  const before = await statusOf(op.proxy, op.metrics, Date.now());
  expect(before.routes[0]?.rollback).toMatchObject({
    warm: 2,
    toDial: 0,
    notMovable: 0,
    paceMs: 0,
  });
  expect(before.latch).toMatchObject({ held: [], epoch: 0 });
  await post('/rollback', { reason, route: 'events' });
  op.traffic.rollbacks[0]?.progress.end();
  await until('it is over', async () => (await get('/proofs/1')).body.state === 'complete');
  const after = await statusOf(op.proxy, op.metrics, Date.now());
  expect(after.latch).toMatchObject({ held: [{ scope: 'events', reason }], epoch: 1, kept: true });
  expect((await get('/latch').expect(200)).body).toEqual(after.latch);
  expect(readiness(op.proxy)).toMatchObject({ ready: true, warnings: [{ code: 'latched' }] });
  const text = await op.metrics.text();
  expect(text).toContain('cutover_latched{scope="events",state="latched"} 1');
  expect(text).toContain('cutover_rollbacks_total{by="operator"} 1');
  expect(text).toMatch(/cutover_rollback_last_seconds 0\.\d/);
});

describe('bad input', () => {
  test.each([
    ['/rollback', {}, 'reason', 422],
    ['/rollback', { reason: ' ' }, 'reason', 422],
    ['/rollback', { reason: 'x'.repeat(501) }, 'reason', 422],
    ['/rollback', { reason, scope: '*' }, 'scope', 422],
    ['/rollback', { reason, sever: 'yes' }, 'sever', 422],
    ['/rollback', { reason, epoch: -1 }, 'epoch', 422],
    ['/rollback', { reason, route: 'nope' }, 'route', 404],
    ['/release', { reason, sever: true }, 'sever', 422],
    ['/release', { route: 'events' }, 'reason', 422],
    ['/release', { reason, route: 'nope' }, 'route', 404],
  ] as const)(
    '%s %j is refused, naming the field, and changes nothing',
    async (call, body, field, status) => {
      const answer = await post(call, body).expect(status);
      expect(answer.body.error.field).toBe(field);
      expect(op.rollbacks.latch.epoch).toBe(0);
    },
  );

  test('of proofs', async () => {
    expect((await get('/proofs/x').expect(422)).body.error.field).toBe('id');
    expect((await get('/proofs/9').expect(404)).body.error.field).toBe('id');
    expect((await get('/proofs?limit=0').expect(422)).body.error.field).toBe('limit');
  });

  test('without the token nothing is told or changed', async () => {
    await request(admin.server).post('/api/v1/rollback').send({ reason }).expect(401);
    await request(admin.server).get('/api/v1/latch').expect(401);
    expect(op.rollbacks.latch.epoch).toBe(0);
  });
});

// The fault: whoever asked what was done waited for ever, and with him one of the threads that look up names.
test('66: where the disk hangs, what is to be read of it is refused within seconds, and what is known is told', async () => {
  op.traffic.open('events', 'candidate', 'u1');
  await post('/rollback', { reason, route: 'events' }).expect(200);
  op.traffic.rollbacks[0]?.progress.end();
  const state = (name: string) => path.join(op.stateDir, name);
  await until('it is over', async () => (await get('/proofs/1')).body.state === 'complete');
  // Behind the write of the proof.
  await get('/proofs/99').expect(404);
  const goOn = [await hangingFile(state('audit.jsonl')), await hangingFile(state('proofs.jsonl'))];
  const [trail, verified, proofs, last, old] = await Promise.all([
    get('/audit'),
    get('/audit/verify'),
    get('/proofs'),
    get('/proofs?limit=1'),
    get('/proofs/99'),
  ]);
  for (const { status, body } of [trail, verified, old]) {
    expect(status).toBe(409);
    expect(body.error.message).toMatch(/can not be read \(the disk does not answer\)$/);
  }
  const unread = 'proofs.jsonl in the state folder can not be read (the disk does not answer)';
  expect(proofs.body).toMatchObject({ unread, proofs: [{ id: '1' }] });
  expect(last.body).toMatchObject({ unread: null, proofs: [{ id: '1' }] });
  // Nobody waits behind those that do.
  await get('/audit').expect(409);
  for (const end of goOn) await end();
  await until('it answers again', async () => (await get('/audit')).status === 200);
  expect((await get('/audit/verify').expect(200)).body).toMatchObject({ entries: 1, fault: null });
  await until('and so do proofs', async () => (await get('/proofs/99')).status === 404);
});
