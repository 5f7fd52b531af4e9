// Everybody back to legacy at once, as an operator does it: by command, by script, by signal; with open
// WebSockets that notice nothing, and over whatever happens to the process.
import { once } from 'node:events';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import pino from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import type { WebSocket } from 'ws';
import { type RunningBroadcaster, startBroadcaster } from '../../src/broadcast/server.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Proof } from '../../src/control/proofs.ts';
import type { Status } from '../../src/control/status.ts';
import type { Judge } from '../../src/judge/judge.ts';
import { startProxy } from '../../src/main.ts';
import { cutover, startCommand } from '../support/command.ts';
import { hangingAppends, hangingOpens } from '../support/hanging.ts';
import { type ProxyProcess, proxyProcess } from '../support/process.ts';
import { script } from '../support/script.ts';
import {
  admin,
  featuresFor,
  login,
  place,
  SECRET,
  type Stack,
  sidesOf,
  stack,
} from '../support/stack.ts';
import { until } from '../support/until.ts';

/** Catches a hang: processes on a machine that may be busy. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

/** Its bit in a mask of signals (signal 12 on Linux). */
const SIGUSR2 = 1n << 11n;
const reason = 'events lost, "incident" 4711\\';

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

async function user(listen: string, name: string): Promise<WebSocket> {
  const socket = await login(listen, name);
  open.push({ close: () => socket.terminate() });
  return socket;
}

const users = (listen: string, count: number) =>
  Promise.all(Array.from({ length: count }, (_, i) => user(listen, `user_${1001 + i}`)));
const warm = (up: Stack, count: number) =>
  until(
    'all second legs stand',
    () => up.proxy.traffic.rollbackOutlook(new Set(['events'])).warm === count,
  );

describe('an operator', () => {
  let up: Stack;
  let env: Record<string, string>;
  beforeAll(async () => {
    up = await stack({ stage: ['live'] });
    env = {
      CUTOVER_ADMIN: await up.proxy.admin,
      CUTOVER_TOKEN_FILE: path.join(up.folder, 'state', 'admin.token'),
      CUTOVER_BY: 'alice',
    };
  });
  afterAll(() => up.close());
  const api = (call: string, body?: object) => admin(up.proxy, up.folder, call, body);

  test('rolls back by script: all open WebSockets are on legacy, and the proof says so; again it is already so', async () => {
    const sockets = await users(up.proxy.listen, 30);
    await warm(up, 30);
    const dry = await script('rollback', ['--reason', reason, '--dry-run'], env);
    expect(dry).toMatchObject({ code: 0, stdout: expect.stringContaining('would POST') });
    expect(new Set(sidesOf(up.proxy).values())).toEqual(new Set(['candidate']));

    const done = await script('rollback', ['--reason', reason], env);
    expect(done).toMatchObject({ code: 0, stderr: 'held on legacy\n' });
    const proof = JSON.parse(done.stdout) as Proof;
    expect(proof).toMatchObject({
      ...{ scope: '*', reason, by: 'operator alice', state: 'complete', stillOnCandidate: 0 },
      sessions: { affected: 30, inPlace: 30, closed: 0, failed: 0, pending: 0 },
    });
    expect(proof.tookMs).toBeLessThan(2_000);
    expect(new Set(sidesOf(up.proxy).values())).toEqual(new Set(['legacy']));
    expect(sockets.every(({ readyState }) => readyState === 1)).toBe(true);

    const again = await script('rollback', ['--reason', 'me too'], env);
    expect(again).toMatchObject({ code: 0, stderr: 'held on legacy already\n' });
    expect(JSON.parse(again.stdout)).toEqual(proof);
    const held = await cutover(['rollback', '--reason', 'me too'], { env });
    expect(held).toMatchObject({ code: 0, stderr: '' });
    expect(held.stdout).toMatch(/^everything is held on legacy already, since .*operator alice/);
    expect(held.stdout).toContain('30: 30 moved in place');
    const shown = await cutover(['status'], { env });
    expect(shown.stdout).toMatch(/ready, rolled back\n/);
    expect(shown.stdout).toMatch(/latch +everything latched since/);

    expect(await script('release', ['--reason', 'found it'], env)).toMatchObject({
      code: 0,
      stderr: 'released\n',
    });
    expect(await script('release', ['--reason', 'found it'], env)).toMatchObject({
      ...{ code: 0, stderr: 'it was not held\n' },
    });
    await until(
      'all are on the candidate again',
      () => new Set(sidesOf(up.proxy).values()).has('legacy') === false,
    );
    expect(sockets.every(({ readyState }) => readyState === 1)).toBe(true);
    expect((await cutover(['proof', '1', '--json'], { env })).stdout).toContain(
      '"state": "complete"',
    );
  });

  test.each<[string, string, string[], Record<string, string>, number, RegExp]>([
    ['without a reason', 'rollback', [], {}, 64, /^say why/],
    ['with a word too much', 'rollback', ['now'], {}, 64, /^now is not understood/],
    ['without a value', 'release', ['--reason'], {}, 64, /^--reason needs a value/],
    ['without a route', 'ramp', ['10'], {}, 64, /^name a route/],
    [
      'with a wait that is none',
      'ramp',
      ['--route', 'events', '--wait', 'x', '1'],
      {},
      64,
      /^--wait/,
    ],
    [
      'of a route that is none',
      'rollback',
      ['--reason', 'x', '--route', 'nope'],
      {},
      1,
      /there is no route "nope"/,
    ],
    [
      'where nobody listens',
      'rollback',
      ['--reason', 'x'],
      { CUTOVER_ADMIN: 'http://127.0.0.1:1' },
      2,
      /nobody answers/,
    ],
    [
      'without a token file',
      'release',
      ['--reason', 'x'],
      { CUTOVER_TOKEN_FILE: '/nope' },
      2,
      /\/nope can not be read/,
    ],
    [
      'with another token',
      'release',
      ['--reason', 'x', '--token-file', '/etc/hostname'],
      {},
      1,
      /valid credential/,
    ],
    [
      'by a step that is none',
      'ramp',
      ['--route', 'events', '--wait', '0', '500'],
      {},
      1,
      /500 % is not possible/,
    ],
    // The fault: an hour of steps went by before that one was read.
    [
      'by a later step that is none',
      'ramp',
      ['--route', 'events', '--wait', '0', '10', '500'],
      {},
      1,
      /500 % is not possible/,
    ],
    [
      'by a step that no number begins with',
      'ramp',
      ['--route', 'events', '.5'],
      {},
      64,
      /^\.5 is not understood/,
    ],
    [
      'with a token file in which nothing stands',
      'rollback',
      ['--reason', 'x', '--token-file', '/dev/null'],
      {},
      2,
      /\/dev\/null holds no token/,
    ],
  ])(
    '%s (%s) is told what is wrong, by exit code as well',
    async (_what, name, words, other, code, message) => {
      const ran = await script(name, words, { ...env, ...other });
      expect(ran).toMatchObject({ code, stdout: '' });
      expect(ran.stderr).toMatch(message);
      expect((await api('/latch')).body.held).toEqual([]);
    },
  );

  // The fault: it said "held on legacy", and ended with 0, whoever it was that answered 200.
  test.each<[string, string[]]>([
    ['rollback', ['--reason', 'x']],
    ['rollback', ['--reason', 'x', '--dry-run']],
    ['release', ['--reason', 'x']],
    ['ramp', ['--route', 'events', '--wait', '0', '10']],
  ])(
    '%s %j at an address where something else answers says so, and ends with 2',
    async (name, words) => {
      for (const status of [200, 404]) {
        const other = http.createServer((_incoming, response) => {
          response.writeHead(status).end('{"status":"ok"}');
        });
        await once(other.listen(0, '127.0.0.1'), 'listening');
        open.push(other);
        const { port } = other.address() as AddressInfo;
        const ran = await script(name, words, {
          ...env,
          CUTOVER_ADMIN: `http://127.0.0.1:${port}`,
        });
        expect(ran).toEqual({
          ...{ code: 2, stdout: '' },
          stderr: `no proxy's admin API answers at http://127.0.0.1:${port} (status ${status})\n`,
        });
      }
    },
  );

  // The faults: each was refused, as malformed, by 404 or for the name.
  test('an address with a slash, a token file of another system and a name with a blank keep nobody from a rollback', async () => {
    const file = path.join(up.folder, 'token.txt');
    const token = await readFile(path.join(up.folder, 'state', 'admin.token'), 'utf8');
    await writeFile(file, `\r\n ${token.trim()} \r\n`);
    const odd = {
      CUTOVER_ADMIN: `${env['CUTOVER_ADMIN']}/`,
      CUTOVER_TOKEN_FILE: file,
      CUTOVER_BY: 'Älice "the\u001b[2J" Smith',
    };
    expect(await script('rollback', ['--reason', 'x'], odd)).toMatchObject({
      ...{ code: 0, stderr: 'held on legacy\n' },
      stdout: expect.stringContaining('"by":"operator lice.the[2J.Smith"'),
    });
    expect((await script('release', ['--reason', 'x'], odd)).code).toBe(0);
  });

  test('a name that is none keeps nobody from a rollback by the API, and does from all else', async () => {
    const ask = async (call: string) => {
      const token = await readFile(path.join(up.folder, 'state', 'admin.token'), 'utf8');
      return fetch(`${await up.proxy.admin}/api/v1${call}`, {
        method: 'POST',
        headers: {
          ...{ authorization: `Bearer ${token.trim()}`, 'content-type': 'application/json' },
          'x-cutover-by': 'Alice Smith',
        },
        body: JSON.stringify({ reason }),
      });
    };
    const held = await ask('/rollback');
    expect([held.status, await held.json()]).toMatchObject([200, { latch: { by: 'operator' } }]);
    expect((await ask('/release')).status).toBe(422);
    expect((await api('/release', { reason })).status).toBe(200);
  });

  // The fault: it went through all steps while nobody could be seen on the candidate, and ended with 0.
  test('does not ramp up under a bypass', async () => {
    await api('/stage', { stage: 'shadow', route: 'events' });
    await api('/bypass', { state: 'on', reason });
    const ran = await script('ramp', ['--route', 'events', '--wait', '0', '10', '100'], env);
    expect(ran).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringContaining('bypass off'),
    });
    expect(JSON.stringify((await api('/stage')).body)).not.toContain('canary');
    await api('/bypass', { state: 'off', reason });
  });

  // The fault: what an operator had taken back by hand was sent forward again by the next step.
  test('stops to ramp up where somebody else has changed the stage', async () => {
    await api('/stage', { stage: 'shadow', route: 'events' });
    const ramping = script('ramp', ['--route', 'events', '--wait', '2', '10', '20'], env);
    await until('it has begun', async () =>
      JSON.stringify((await api('/stage')).body).includes('canary 10%'),
    );
    await api('/stage', { stage: 'off', route: 'events' });
    expect(await ramping).toMatchObject({
      ...{ code: 1, stdout: '10 %\n' },
      stderr:
        'refused: events: somebody else has changed the stage meanwhile: it is off, and not canary 10%\n',
    });
    expect(JSON.stringify((await api('/stage')).body)).not.toContain('canary');
  });

  test('ramps up step by step; a rollback in the middle stops it', async () => {
    const dry = await script('ramp', ['--route', 'events', '--dry-run', '10', '100'], env);
    expect(dry).toMatchObject({
      code: 0,
      stdout: '10 %: would be allowed now\n100 %: would be allowed now\n',
    });
    await api('/stage', { stage: 'shadow', route: 'events' });
    const ramping = script('ramp', ['--route', 'events', '--wait', '2', '10', '20', '30'], env);
    await until('it has begun', async () =>
      JSON.stringify((await api('/stage')).body).includes('canary 10%'),
    );
    await api('/rollback', { reason, route: 'events' });
    expect(await ramping).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('a rollback holds'),
    });
    expect(JSON.stringify((await api('/stage')).body)).not.toContain('canary 20%');
    await api('/release', { reason, route: 'events' });
    const whole = await script('ramp', ['--route', 'events', '--wait', '0', '20', '100'], env);
    expect(whole).toMatchObject({ code: 0, stdout: '20 %\n100 %\n100 % for 0 s: done\n' });
    expect(whole.stderr).toMatch(/^stage complete is yours to set: .*--accept-stale/);
    expect(JSON.stringify((await api('/stage')).body)).toContain('"text":"live"');
  });

  // The fault: nobody looked any more once everybody was on the candidate.
  test('ramps up, and watches the last step for as long: a rollback then is no success', async () => {
    await api('/stage', { stage: 'canary', percent: 50, route: 'events' });
    const ramping = script('ramp', ['--route', 'events', '--wait', '2', '100'], env);
    await until('it is there', async () =>
      JSON.stringify((await api('/stage')).body).includes('"text":"live"'),
    );
    await api('/rollback', { reason, route: 'events' });
    expect(await ramping).toMatchObject({
      ...{ code: 1, stdout: '100 %\n' },
      stderr: expect.stringContaining('a rollback holds'),
    });
    await api('/release', { reason, route: 'events' });
  });

  test('72: a proxy that takes over follows a rollback and a release of the one that holds the folder', async () => {
    const loaded = await loadConfig(path.join(up.folder, 'cutover.yaml'), {});
    const next = await startProxy({
      loaded,
      env: {},
      logger: pino({ level: 'silent' }),
      takeOver: true,
    });
    open.push(next);
    const socket = await user(next.listen, 'user_1001');
    const side = () => sidesOf(next).get('user_1001');
    expect(side()).toBe('candidate');
    await api('/rollback', { reason });
    await until('its session is on legacy', () => side() === 'legacy');
    await api('/release', { reason });
    await until('and back', () => side() === 'candidate', 20_000);
    expect(socket.readyState).toBe(1);
    // The other way round as well: the signal of one who took the wrong process, or a guardrail of the new one.
    await user(up.proxy.listen, 'user_1002');
    const there = () => sidesOf(up.proxy).get('user_1002');
    expect(there()).toBe('candidate');
    await next.rollBackBySignal();
    await until('its users are on legacy as well', () => there() === 'legacy');
    expect((await api('/release', { reason })).body).toMatchObject({ changed: true, held: [] });
    await until('all are back', () => there() === 'candidate' && side() === 'candidate', 20_000);
  });
});

test('53: with legacy down the script ends with 3, sessions stay, and go as soon as legacy is back', async () => {
  const up = await stack({ stage: ['live'], timeoutMs: 500 });
  open.push(up);
  const sockets = await users(up.proxy.listen, 3);
  await warm(up, 3);
  const { port } = new URL(up.services.legacy.url);
  await up.services.legacy.close();
  const env = {
    CUTOVER_ADMIN: await up.proxy.admin,
    CUTOVER_TOKEN_FILE: path.join(up.folder, 'state', 'admin.token'),
  };
  const ran = await script('rollback', ['--reason', reason], env);
  expect(ran).toMatchObject({
    code: 3,
    stderr: expect.stringContaining('something is left on the candidate'),
  });
  expect(JSON.parse(ran.stdout)).toMatchObject({
    state: 'partly',
    sessions: { affected: 3, failed: 3 },
    stillOnCandidate: 3,
  });
  expect(sockets.every(({ readyState }) => readyState === 1)).toBe(true);
  open.push(
    await startBroadcaster({ kind: 'legacy', keys: { secret: SECRET }, port: Number(port) }),
  );
  await until(
    'they are on legacy',
    () => !new Set(sidesOf(up.proxy).values()).has('candidate'),
    60_000,
  );
  expect(sockets.every(({ readyState }) => readyState === 1)).toBe(true);
  const again = await script('rollback', ['--reason', reason], env);
  expect(again.code).toBe(0);
});

/** Users who keep account of what backends post for them, step by step. */
async function readers(listen: string, names: readonly string[]) {
  const read = new Map<string, number[]>(names.map(name => [name, []]));
  const sockets = await Promise.all(
    names.map(async name => {
      const socket = await user(listen, name);
      return socket.on('message', data => {
        const { type, step_id } = JSON.parse(String(data)) as { type: string; step_id: number };
        if (type === 'notice') read.get(name)?.push(step_id);
      });
    }),
  );
  let posted = 0;
  return {
    sockets,
    read,
    /** The next step of everybody's run. */
    post: async () => {
      posted += 1;
      for (const name of names) {
        const event = { type: 'notice', run_id: 'r', step_id: posted };
        await fetch(`${listen}/broadcast`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ user_id: name, event }),
        });
      }
    },
    /** Each of them has each step once, in order. */
    haveAll: async (of: readonly string[] = names) => {
      const steps = Array.from({ length: posted }, (_, i) => i + 1);
      const had = () => of.map(name => read.get(name) ?? []);
      await until('all have all', () => had().every(({ length }) => length >= posted));
      expect(had()).toEqual(of.map(() => steps));
    },
  };
}
const NAMES = ['user_1001', 'user_1002', 'user_1003'];

/** A proxy whose services run here, but for one: that is a process, which a signal can end. */
async function withKillable(side: 'legacy' | 'candidate', ...stage: [string, number?]) {
  const kinds = { legacy: 'legacy', candidate: 'ssot' } as const;
  const other = side === 'legacy' ? 'candidate' : 'legacy';
  const here = await startBroadcaster({ kind: kinds[other], keys: { secret: SECRET } });
  open.push(here);
  const urls = { legacy: 'http://127.0.0.1:1', candidate: 'http://127.0.0.1:1', [other]: here.url };
  const where = await place(urls);
  open.push(where);
  const child = startCommand(['broadcaster', kinds[side], '--secret-file', 'secret'], {
    cwd: where.folder,
  });
  open.push({ close: () => child.kill('SIGKILL') });
  let said = '';
  child.stdout.on('data', chunk => {
    said += chunk;
  });
  const url = await until('it listens', () => /broadcaster: (http\S+)/.exec(said)?.[1], 30_000);
  const file = path.join(where.folder, 'cutover.yaml');
  const config = await readFile(file, 'utf8');
  await writeFile(file, config.replace('http://127.0.0.1:1', url));
  await where.editFlags(...stage);
  const proxy = await startProxy({
    loaded: await loadConfig(file, {}),
    env: {},
    logger: pino({ level: 'silent' }),
  });
  open.push(proxy);
  return { proxy, kill: () => child.kill('SIGKILL') };
}

test('53: with the candidate killed by -9 under load its sessions go on with legacy, each event once', async () => {
  const { proxy, kill } = await withKillable('candidate', 'live');
  const { sockets, post, haveAll } = await readers(proxy.listen, NAMES);
  await until(
    'all are warm',
    () => proxy.traffic.rollbackOutlook(new Set(['events'])).warm === NAMES.length,
  );
  for (let i = 0; i < 5; i += 1) await post();
  const posting = post();
  kill();
  await posting;
  await until('all are on legacy', () => !new Set(sidesOf(proxy).values()).has('candidate'));
  for (let i = 0; i < 5; i += 1) await post();
  await haveAll();
  expect(sockets.map(({ readyState }) => readyState)).toEqual(NAMES.map(() => 1));
});

test('53: with legacy killed by -9 under load its users lose their connection, those of the candidate have each event once', async () => {
  const { proxy, kill } = await withKillable('legacy', 'canary', 50);
  const names = Array.from({ length: 8 }, (_, i) => `user_${1001 + i}`);
  const { sockets, post, haveAll } = await readers(proxy.listen, names);
  const sides = sidesOf(proxy);
  const on = (side: string) => names.filter(name => sides.get(name) === side);
  expect([on('legacy').length > 0, on('candidate').length > 0]).toEqual([true, true]);
  const codes: Record<string, number> = {};
  for (const [index, socket] of sockets.entries()) {
    socket.on('close', code => Object.assign(codes, { [names[index] ?? '']: code }));
  }
  for (let i = 0; i < 5; i += 1) await post();
  const posting = post();
  kill();
  await posting;
  await until('its users are told', () => Object.keys(codes).length === on('legacy').length);
  for (let i = 0; i < 5; i += 1) await post();
  await haveAll(on('candidate'));
  expect(codes).toEqual(Object.fromEntries(on('legacy').map(name => [name, 1006])));
  await until('they are gone', () => sidesOf(proxy).size === on('candidate').length);
  expect([...sidesOf(proxy).keys()].toSorted()).toEqual(on('candidate'));
});

test('with a judge that dies over and over a rollback is complete, and everybody gets each event once', async () => {
  const up = await stack({ stage: ['live'], timeoutMs: 10_000 });
  open.push(up);
  const { post, haveAll } = await readers(up.proxy.listen, NAMES);
  await warm(up, NAMES.length);
  // Rules that no configuration lets through end every thread that begins.
  (up.proxy.judge as Judge).setRules({ events: null as never });
  await until(
    'one after another has died',
    () => up.logged.filter(line => line.includes('the judge failed')).length >= 2,
  );
  for (let i = 0; i < 5; i += 1) await post();
  const { body } = await admin(up.proxy, up.folder, '/rollback', { reason });
  const { id } = body.proof as Proof;
  for (let i = 0; i < 5; i += 1) await post();
  const proof = await until('it is through', async () => {
    const { body: known } = await admin(up.proxy, up.folder, `/proofs/${id}`);
    return known.state === 'running' ? undefined : known;
  });
  expect(proof).toMatchObject({
    ...{ state: 'complete', stillOnCandidate: 0 },
    sessions: { affected: 3, inPlace: 3 },
  });
  await haveAll();
});

describe('a process', () => {
  let legacy: RunningBroadcaster;
  let candidate: RunningBroadcaster;
  beforeAll(async () => {
    legacy = await startBroadcaster({ kind: 'legacy', keys: { secret: SECRET } });
    candidate = await startBroadcaster({ kind: 'ssot', keys: { secret: SECRET } });
  });
  afterAll(async () => {
    await legacy.close();
    await candidate.close();
  });

  async function folder(stage: string, legacyUrl = legacy.url): Promise<string> {
    const where = await place({ legacy: legacyUrl, candidate: candidate.url });
    open.push(where);
    await writeFile(
      path.join(where.folder, 'flags', 'events.json'),
      JSON.stringify({ version: 2, features: featuresFor(stage) }),
    );
    return where.folder;
  }
  async function start(at: string): Promise<ProxyProcess> {
    const proxy = await proxyProcess(at);
    open.push(proxy);
    return proxy;
  }
  const latchFile = async (at: string) =>
    readFile(path.join(at, 'state', 'latch.jsonl'), 'utf8').catch(() => '');
  const sideOf = (proxy: ProxyProcess, name: string) =>
    until('a session of his has ended', async () => {
      const socket = await login(proxy.listen, name);
      socket.close(1000);
      await once(socket, 'close');
      const ended = proxy
        .log()
        .split('\n')
        .findLast(line => line.includes('session ended'));
      return ended === undefined
        ? undefined
        : (JSON.parse(ended) as { side: string; reason: string });
    });

  test('is rolled back by SIGUSR2 while it starts; that holds over kill -9, from the first client on', async () => {
    const at = await folder('live');
    const proxy = await start(at);
    proxy.child.kill('SIGUSR2');
    await until('it is on disk', async () => (await latchFile(at)).includes('signal SIGUSR2'));
    expect(await sideOf(proxy, 'user_1')).toMatchObject({ side: 'legacy', reason: 'latched' });
    proxy.child.kill('SIGKILL');
    await proxy.ended();
    const next = await start(at);
    expect(await sideOf(next, 'user_1')).toMatchObject({ side: 'legacy', reason: 'latched' });
  });

  // The faults: until all modules were loaded and the configuration read, the signal ended the process; and until the
  // admin port was open, here with a token file that does not answer, clients were served by the candidate.
  test('is rolled back by SIGUSR2 before its modules are loaded', async () => {
    const at = await folder('live');
    await writeFile(
      path.join(at, 'hold.mjs'),
      `import { existsSync } from 'node:fs';
      import { registerHooks } from 'node:module';
      const idle = new Int32Array(new SharedArrayBuffer(4));
      registerHooks({
        load(url, context, next) {
          while (url.endsWith('/src/main.ts') && !existsSync('go')) Atomics.wait(idle, 0, 0, 10);
          return next(url, context);
        },
      });`,
    );
    await mkdir(path.join(at, 'state'), { mode: 0o700 });
    await hangingOpens(path.join(at, 'state', 'admin.token'));
    const env = { NODE_OPTIONS: '--import ./hold.mjs' };
    const child = startCommand(['start', '--config', 'cutover.yaml'], { cwd: at, env });
    open.push({ close: () => child.kill('SIGKILL') });
    let end: string | null = null;
    child.on('exit', (code, signal) => {
      end = `${code ?? signal}`;
    });
    let log = '';
    child.stdout.on('data', chunk => {
      log += chunk;
    });
    await until('it listens for the signal', async () => {
      const status = await readFile(`/proc/${child.pid}/status`, 'utf8');
      return (BigInt(`0x${/SigCgt:\s*(\S+)/.exec(status)?.[1]}`) & SIGUSR2) !== 0n;
    });
    child.kill('SIGUSR2');
    await writeFile(path.join(at, 'go'), '');
    await until('it is on disk', async () => {
      if (end !== null) throw new Error(`it ended with ${end}`);
      return (await latchFile(at)).includes('signal SIGUSR2');
    });
    const listen = await until('it lets clients in', () => /"address":"([^"]+)"/.exec(log)?.[1]);
    (await login(listen, 'user_1')).close(1000);
    await until('its session is logged', () => /"session ended"/.test(log));
    expect(log).toMatch(/"side":"legacy","reason":"latched".*"session ended"/);
    expect(log).not.toContain('"started"');
  });

  test('in stage complete is rolled back by a second signal', async () => {
    const at = await folder('complete');
    const proxy = await start(at);
    const socket = await user(proxy.listen, 'user_1');
    proxy.child.kill('SIGUSR2');
    await until('it is refused', () => /send the signal again/.test(proxy.log()));
    expect(await latchFile(at)).toBe('');
    proxy.child.kill('SIGUSR2');
    await until('it is through', () => /"state":"complete".*a rollback is over/.test(proxy.log()));
    expect(proxy.log()).toMatch(/"affected":1,"inPlace":0,"redialled":1/);
    expect(socket.readyState).toBe(1);
  });

  test('that was complete before it was killed, and is live after it, is not rolled back by one signal either', async () => {
    const at = await folder('complete');
    const proxy = await start(at);
    const stale = async () =>
      readFile(path.join(at, 'state', 'stale.json'), 'utf8').catch(() => '');
    await until('it is kept', async () => (await stale()).includes('events'));
    proxy.child.kill('SIGKILL');
    await proxy.ended();
    const flags = JSON.stringify({ version: 2, features: featuresFor('live') });
    await writeFile(path.join(at, 'flags', 'events.json'), flags);
    const next = await start(at);
    next.child.kill('SIGUSR2');
    await until('it is refused', () => /send the signal again/.test(next.log()));
    expect(await latchFile(at)).toBe('');
    next.child.kill('SIGUSR2');
    await until('it is on disk', async () => (await latchFile(at)).includes('signal SIGUSR2'));
  });

  // The fault: names are looked up by the threads that files are written by, of which Node has four.
  test('66: where the disk hangs, whoever comes after a rollback is served by a legacy that has to be looked up', async () => {
    const at = await folder('live', legacy.url.replace('127.0.0.1', 'localhost'));
    const proxy = await start(at);
    const address = await proxy.admin();
    const token = (await readFile(path.join(at, 'state', 'admin.token'), 'utf8')).trim();
    const ask = async (call: string, init: RequestInit = {}) => {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
      const answer = await fetch(`${address}/api/v1${call}`, { ...init, headers });
      return (await answer.json()) as { routes?: Status['routes'] };
    };
    const state = (name: string) => path.join(at, 'state', name);
    for (const name of ['latch.jsonl', 'audit.jsonl', 'proofs.jsonl']) {
      const end = await hangingAppends(state(name));
      open.push({ close: end });
    }
    await hangingOpens(state('stale.json.new'));
    const flags = JSON.stringify({ version: 2, features: featuresFor('complete') });
    await writeFile(path.join(at, 'flags', 'events.json'), flags);
    await until('it is complete', async () => (await ask('/status')).routes?.[0]?.staleSince);
    const body = JSON.stringify({ reason, acceptStale: true });
    const said = await ask('/rollback', { method: 'POST', body });
    expect(said).toMatchObject({ changed: true, kept: false, audited: false });
    await until('it is through', () => /a rollback is over/.test(proxy.log()));
    const socket = await user(proxy.listen, 'user_1');
    expect(socket.readyState).toBe(1);
    const { routes } = await ask('/status');
    expect(routes?.[0]?.legacy.openSessions).toBe(1);
  });

  test('67: killed between the write of a rollback and its acknowledgement holds after a restart', async () => {
    const at = await folder('live');
    const proxy = await start(at);
    const address = await proxy.admin();
    const token = (await readFile(path.join(at, 'state', 'admin.token'), 'utf8')).trim();
    const asking = fetch(`${address}/api/v1/rollback`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ reason }),
    }).catch(() => null);
    await until('it is being written', async () => (await latchFile(at)) !== '');
    proxy.child.kill('SIGKILL');
    await Promise.all([proxy.ended(), asking]);
    const next = await start(at);
    expect(await sideOf(next, 'user_1')).toMatchObject({ side: 'legacy', reason: 'latched' });
  });
});
