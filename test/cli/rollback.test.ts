import { symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { type Admin, createAdmin } from '../../src/control/admin.ts';
import { cutover } from '../support/command.ts';
import { flagsFor, type Operated, operated, TOKEN, users } from '../support/operator.ts';
import { SCRIPTS, script } from '../support/script.ts';
import { until } from '../support/until.ts';

let op: Operated;
let admin: Admin;
let env: Record<string, string>;
beforeAll(async () => {
  op = await operated({ 'events.json': flagsFor('events', 'live') });
  admin = createAdmin({ ...op, token: TOKEN });
  const { port } = await admin.listen();
  const tokenFile = path.join(op.dir, 'admin.token');
  await writeFile(tokenFile, `${TOKEN}\n`);
  env = { CUTOVER_ADMIN: `http://127.0.0.1:${port}`, CUTOVER_TOKEN_FILE: tokenFile };
});
afterAll(async () => {
  await admin.close();
  await op.close();
});
beforeEach(() => {
  op.traffic.sessions.length = 0;
});
const run = (...words: string[]) => cutover(words, { env, cwd: op.dir });

test('rollback waits for its proof and ends with 3 if something is left; release says what still holds', async () => {
  op.traffic.open('events', 'candidate', ...users(3));
  const { rollBack } = op.traffic;
  op.traffic.rollBack = (routes, how) => {
    const progress = rollBack.call(op.traffic, routes, how) as ReturnType<typeof rollBack> & {
      sessions: { failed: number };
    };
    progress.sessions.failed = 1;
    setTimeout(() => progress.end(), 50);
    return progress;
  };
  const ran = await run('rollback', '--reason', 'lost \u001b[2J', '--route', 'events');
  expect(ran).toMatchObject({
    code: 3,
    stderr: expect.stringMatching(/^something is left on the candidate/),
  });
  expect(ran.stdout).toMatch(
    /^route events is held on legacy\nrollback 1 of route events: partly\n/,
  );
  expect(ran.stdout).toContain('lost ?[2J');
  expect(ran.stdout).toMatch(
    /last candidate byte +none was handed to a client after the command; 0 bytes waited in the proxy then/,
  );
  const released = await run('release', '--reason', 'found it');
  expect(released).toMatchObject({ code: 3, stderr: 'still held on legacy: events\n' });
  expect(released.stdout).toMatch(
    /^everything was not held, so nothing was changed\n {2}held on legacy: events, since/,
  );
  // The fault: the script called that "not held", and ended with 0.
  const byScript = await script('release', ['--reason', 'found it'], env);
  expect(byScript).toMatchObject({
    ...{ code: 3, stderr: 'nothing was changed\nstill held on legacy: events\n' },
    stdout: expect.stringContaining('"changed":false'),
  });
  expect((await run('release', '--reason', 'x', '--route', 'events')).stdout).toMatch(
    /flags decide again/,
  );
  expect((await run('proof')).stdout).toMatch(/^rollback 1 of route events: partly/);
  op.traffic.rollBack = rollBack;
});

test('a release that somebody overtakes with a rollback says what holds and ends with 3, by script as well', async () => {
  const { doing } = op.audit;
  await op.rollbacks.rollback({ reason: 'lost', by: 'operator alice', route: 'events' });
  await op.rollbacks.rollback({ reason: 'lost', by: 'operator alice' });
  op.audit.doing = async (act, does) => {
    await op.rollbacks.rollback({ reason: 'leak, "scope":"none"', by: 'operator bob' });
    return doing.call(op.audit, act, does) as ReturnType<typeof does>;
  };
  const ran = await run('release', '--reason', 'x');
  expect(ran).toMatchObject({ code: 3, stderr: 'still held on legacy: events, *\n' });
  expect(ran.stdout).toMatch(/^everything was rolled back again meanwhile \(operator /);
  const byScript = await script('release', ['--reason', 'x'], env);
  expect(byScript).toMatchObject({
    code: 3,
    stderr: 'nothing was changed\nstill held on legacy: events *\n',
  });
  op.audit.doing = doing;
  const released = await script('release', ['--reason', 'x'], env);
  expect(released).toMatchObject({ code: 3, stderr: 'released\nstill held on legacy: events\n' });
  expect((await script('release', ['--reason', 'x', '--route', 'events'], env)).code).toBe(0);
});

test('a route in stage complete stays where it is, and is named with what takes it along', async () => {
  const { rollBack } = op.traffic;
  op.traffic.rollBack = (routes, how) => {
    const progress = rollBack.call(op.traffic, routes, how);
    setTimeout(() => progress.end(), 20);
    return progress;
  };
  await op.write('events.json', flagsFor('events', 'complete'));
  const [events] = op.proxy.loaded().config.routes;
  await until('it is complete', () => op.flags.stage(events as never).name === 'complete');
  const killed = await run('stage', 'killed', '--route', 'events');
  expect(killed).toMatchObject({ code: 1, stderr: expect.stringContaining('--accept-stale') });
  const ran = await run('rollback', '--reason', 'lost');
  expect(ran).toMatchObject({
    code: 3,
    stderr: expect.stringContaining('NOT rolled back: events;'),
  });
  expect(ran.stderr).toContain('--accept-stale');
  expect(ran.stdout).toMatch(/^everything but events is held on legacy\n/);
  const again = await script('rollback', ['--reason', 'lost'], env);
  expect(again.code).toBe(3);
  expect(again.stderr).toMatch(
    /^held on legacy already\nNOT rolled back: events; .*--accept-stale/,
  );
  const whole = await script('rollback', ['--reason', 'lost', '--accept-stale'], env);
  expect(whole).toMatchObject({ code: 0, stderr: 'held on legacy\n' });
  op.traffic.rollBack = rollBack;
  await run('release', '--reason', 'x');
  await run('release', '--reason', 'x', '--route', 'api');
  await op.write('events.json', flagsFor('events', 'live'));
});

// The fault: the command ended with 2, as if nothing had happened, and the script with 3.
test.each([
  ['script', /it holds, and nobody answers any more about its proof \S+\n$/],
  ['command', /^it holds, and its proof \S+ can not be had: no proxy answers/],
])(
  'where the proxy goes away before the proof is there, the %s says that it holds, and ends with 3',
  async (by, message) => {
    const other = createAdmin({ ...op, token: TOKEN });
    const { port } = await other.listen();
    const there = { ...env, CUTOVER_ADMIN: `http://127.0.0.1:${port}` };
    const words = ['--reason', 'lost', '--route', 'api'];
    const { proofs } = op.rollbacks;
    const find = vi.spyOn(proofs, 'find');
    const asking =
      by === 'script'
        ? script('rollback', words, there)
        : cutover(['rollback', ...words], { env: there, cwd: op.dir });
    await until('it waits for the proof', () => find.mock.calls.length > 0);
    find.mockRestore();
    await other.close();
    expect(await asking).toMatchObject({ code: 3, stderr: expect.stringMatching(message) });
    op.traffic.rollbacks.at(-1)?.progress.end();
    await run('release', '--reason', 'x', '--route', 'api');
  },
);

// The fault: of a proxy that failed the script said that there was none, and not that it may hold.
test('where the proxy fails in the middle of it, script and command end with 1, and the script says what is not known', async () => {
  const rollBack = vi.spyOn(op.traffic, 'rollBack').mockImplementation(() => {
    throw new Error('a fault');
  });
  const words = ['--reason', 'lost', '--route', 'api'];
  const byScript = await script('rollback', words, env);
  expect(byScript).toMatchObject({
    ...{ code: 1, stdout: '' },
    stderr: 'it may have been done, or not: The proxy failed.\n',
  });
  expect(op.rollbacks.latch.on('api')).toBe('latched');
  await run('release', '--reason', 'x', '--route', 'api');
  expect((await run('rollback', ...words)).code).toBe(1);
  rollBack.mockRestore();
  await run('release', '--reason', 'x', '--route', 'api');
});

// The fault: a link to a script looked for what the scripts share beside the link, and ended with 2, "nobody answers".
test('a script may be a link', async () => {
  for (const name of ['rollback', 'release', 'ramp']) {
    const link = path.join(op.dir, name);
    await symlink(path.join(SCRIPTS, name), link);
    expect(await script(link, ['--help'], {})).toMatchObject({
      ...{ code: 0, stderr: '', stdout: expect.stringContaining(`usage: scripts/${name}`) },
    });
  }
});

test.each<[string[], number, RegExp]>([
  [['rollback'], 64, /^say why: --reason/],
  [['release'], 64, /^say why: --reason/],
  [['rollback', '--reason', 'x', '--route', 'nope'], 1, /^there is no route "nope"/],
  [['rollback', '--reason', 'x', '--admin', '127.0.0.1:1'], 2, /^no proxy answers/],
  [['proof', '99'], 1, /^there is no proof with the number 99/],
])('%j ends with %i and one sentence, and changes nothing', async (words, code, message) => {
  const before = op.rollbacks.latch.epoch;
  const ran = await run(...words);
  expect(ran).toMatchObject({ code, stdout: '' });
  expect(ran.stderr).toMatch(message);
  expect(op.rollbacks.latch.epoch).toBe(before);
});
