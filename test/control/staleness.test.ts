// What legacy missed in stage `complete`. The fault: any other stage made everybody forget it, took users back unasked,
// and guardrails too.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createAdmin } from '../../src/control/admin.ts';
import { changeStage, type StageRequest } from '../../src/control/stage-change.ts';
import { Staleness } from '../../src/control/staleness.ts';
import { statusOf } from '../../src/control/status.ts';
import { flagsFor, type Operated, operated, TOKEN } from '../support/operator.ts';
import { until } from '../support/until.ts';

let op: Operated;
beforeEach(async () => {
  op = await operated({ 'events.json': flagsFor('events', 'live') });
});
afterEach(() => op.close());

const set = async (stage: string, more: Partial<StageRequest> = {}) => {
  const [change] = await changeStage(op.proxy, { route: 'events', stage, ...more });
  return change?.warnings;
};
const rollback = (acceptStale = false) =>
  op.rollbacks.rollback({ route: 'events', reason: 'lost', by: 'operator alice', acceptStale });
const release = () =>
  op.rollbacks.release({ route: 'events', reason: 'found', by: 'operator alice' });
const since = () => op.rollbacks.staleSince('events');
const edited = async (stage: string) => {
  await op.write('events.json', flagsFor('events', stage, stage === 'canary' ? 50 : undefined));
  const [events] = op.proxy.loaded().config.routes;
  await until(`it is ${stage}`, () => op.flags.stage(events as never).name === stage);
};
const refused = { code: 'conflict', field: 'acceptStale' };
const NOT_FORGOTTEN = [
  expect.stringMatching(/^legacy has not heard of everything since 20\S+Z: .*--accept-stale/),
];

test.each([['canary', 5], ['shadow'], ['off'], ['killed']] as const)(
  'from complete nobody is taken to legacy by stage %s unless that is asked for, not even on trial',
  async (stage, percent?) => {
    await set('complete');
    for (const dryRun of [true, false]) {
      await expect(set(stage, { percent, dryRun })).rejects.toMatchObject({
        ...refused,
        message: expect.stringMatching(/^events: legacy has not heard of everything since 20\S+Z/),
      });
    }
    expect(await set(stage, { percent, dryRun: true, acceptStale: true })).toEqual([]);
    expect(since()).not.toBeNull();
    expect(await set(stage, { percent, acceptStale: true })).toEqual([]);
    expect(since()).toBeNull();
  },
);

test('a stage in which legacy stands by again does not make up for it: a rollback has to be asked for twice, and no guardrail does it', async () => {
  await set('complete');
  expect(await set('live')).toEqual(NOT_FORGOTTEN);
  await expect(rollback()).rejects.toMatchObject(refused);
  op.guardrails.look();
  op.guardrails.contaminated('events');
  expect(op.rollbacks.latch.on('events')).toBeNull();
  expect(op.guardrails.of('events').holds).toBe(true);
  const { routes } = await statusOf(op.proxy, op.metrics, Date.now());
  expect(routes.map(({ staleSince }) => staleSince)).toEqual([since(), null]);
  await expect(set('canary', { percent: 50 })).rejects.toMatchObject(refused);
  expect(await set('live', { acceptStale: true })).toEqual([]);
  op.guardrails.look();
  expect(op.rollbacks.latch.on('events')).toBe('latched');
});

test('a rollback that was asked for twice ends it; a release into complete begins it anew', async () => {
  await set('complete');
  await rollback(true);
  expect(since()).toBeNull();
  await set('live');
  await release();
  await rollback();
  await edited('complete');
  expect(since()).toBeNull();
  await release();
  await edited('live');
  expect(since()).not.toBeNull();
});

test('flags that somebody edits by himself are taken at their word: it ends once legacy serves everybody', async () => {
  await edited('complete');
  await edited('canary');
  expect(since()).not.toBeNull();
  await edited('shadow');
  await edited('canary');
  expect(since()).toBeNull();
});

const file = () => path.join(op.stateDir, 'stale.json');
const kept = async () => JSON.parse(await readFile(file(), 'utf8')) as unknown;
const restarted = async () => {
  const staleness = new Staleness(op.logger);
  await staleness.keepIn(op.stateDir);
  return staleness.since('events');
};

test('it is there after a restart, and so is its end', async () => {
  await set('complete');
  await until('it is kept', async () => JSON.stringify(await kept()).includes('events'));
  expect(await restarted()).toBe(since());
  await rollback(true);
  await until('its end is kept', async () => JSON.stringify(await kept()) === '{}');
  expect(await restarted()).toBeNull();
});

test('who takes over believes what the one before was told last', async () => {
  await writeFile(file(), '{}');
  const next = new Staleness(op.logger);
  next.begin('events');
  await next.keepIn(op.stateDir);
  expect(next.since('events')).toBeNull();
  expect(await kept()).toEqual({});
});

test.each(['{"events":', '[]', '{"events":7}', '{"events":"soon"}'])(
  'a file that says %s keeps nobody from legacy, and is told',
  async text => {
    await writeFile(file(), text);
    expect(await restarted()).toBeNull();
    expect(op.logged.join('')).toContain('it is not known where legacy is stale');
  },
);

test('66: on a disk that refuses it holds until the process ends, and is told', async () => {
  await rm(file(), { force: true });
  await mkdir(file());
  await set('complete');
  await until('it is told', () => op.logged.join('').includes('a restart will not know'));
  await expect(rollback()).rejects.toMatchObject(refused);
});

test('the API takes it, and names the field where it is none', async () => {
  await set('complete');
  const admin = createAdmin({ ...op, token: TOKEN });
  const { port } = await admin.listen();
  const post = async (body: object) => {
    const answer = await fetch(`http://127.0.0.1:${port}/api/v1/stage`, {
      method: 'POST',
      headers: { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' },
      body: JSON.stringify({ route: 'events', stage: 'shadow', ...body }),
    });
    const { error } = (await answer.json()) as { error?: { field: string } };
    return [answer.status, error?.field];
  };
  expect(await post({ acceptStale: 'yes' })).toEqual([422, 'acceptStale']);
  expect(await post({})).toEqual([409, 'acceptStale']);
  expect(await post({ acceptStale: true })).toEqual([200, undefined]);
  await admin.close();
});
