// Whatever an Unleash server does, the last good flags stay in force, and the proxy says what is
// wrong. Rows 56 to 59 and 61 of the list of hostile cases.
import {
  chmod,
  chown,
  mkdir,
  readdir,
  readFile,
  rename,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import pino from 'pino';
import { afterEach, describe, expect, test } from 'vitest';
import { Evidence } from '../../../src/control/evidence/evidence.ts';
import { pollDelayMs } from '../../../src/control/flags/poll-delay.ts';
import { type FlagProvider, openUnleashFlags } from '../../../src/control/flags/provider.ts';
import { UnleashAdmin } from '../../../src/control/flags/unleash-admin.ts';
import { readiness } from '../../../src/control/health.ts';
import { evidenceConfig } from '../../support/evidence.ts';
import {
  feature,
  fileOf,
  folder,
  kill,
  route,
  serve,
  shadow,
  subject,
} from '../../support/flags.ts';
import { NOTHING_JUDGED } from '../../support/operator.ts';
import {
  json,
  type Script,
  status,
  type UnleashStub,
  unleashStub,
} from '../../support/unleash-stub.ts';
import { until } from '../../support/until.ts';

const TOKEN = 'default:development.a-secret-that-nobody-may-see';
/** Far below what a configuration may ask for: minutes become seconds. */
const POLL_MS = 10;
const events = route();

const cleanups: (() => Promise<unknown>)[] = [];
const strays: unknown[] = [];
const onStray = (reason: unknown) => void strays.push(reason);
process.on('unhandledRejection', onStray);
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  expect(strays.splice(0)).toEqual([]);
});

interface Scene {
  dir: string;
  stub: UnleashStub;
  logged: string[];
  backup: string;
  token: { value: string };
  follow(more?: Partial<Parameters<typeof openUnleashFlags>[0]>): Promise<FlagProvider>;
}

async function scene(): Promise<Scene> {
  const { dir, remove } = await folder();
  cleanups.push(remove);
  const stub = await unleashStub();
  cleanups.push(() => stub.down());
  const logged: string[] = [];
  const token = { value: TOKEN };
  const backup = join(dir, 'flags.backup');
  return {
    ...{ dir, stub, logged, backup, token },
    follow: async more => {
      const flags = await openUnleashFlags({
        url: stub.url,
        token: () => token.value,
        appName: 'cutover',
        pollMs: POLL_MS,
        timeoutMs: 1_000,
        maxBytes: 100_000,
        backupFile: backup,
        admin: null,
        routes: () => [events],
        logger: pino({ level: 'info' }, { write: line => void logged.push(line) }),
        ...more,
      });
      cleanups.push(() => flags.close());
      return flags;
    },
  };
}

/** A server with half of the users on the candidate, and a proxy that follows it. */
async function followed(more?: Parameters<Scene['follow']>[0]) {
  const place = await scene();
  place.stub.serve(serve(500), shadow(0), kill(false));
  const flags = await place.follow(more);
  expect(flags.stage(events).serve).toBe(500);
  return { ...place, flags };
}

const shareIs = (flags: FlagProvider, share: number) =>
  until(`the share is ${share}`, () => flags.stage(events).serve === share);
const outcomeIs = (flags: FlagProvider, outcome: string) =>
  until(`the last fetch ends as ${outcome}`, () => flags.remote?.lastFetch?.outcome === outcome);
const warningsOf = (flags: FlagProvider) =>
  readiness({
    flags,
    bypass: { engaged: null },
    rollbacks: { latch: { held: [], kept: true } },
    audit: { trouble: null },
    judge: NOTHING_JUDGED,
    traffic: () => null,
    state: () => 'held',
    lastReload: () => null,
    evidence: new Evidence(evidenceConfig(), pino({ level: 'silent' })),
  }).warnings.map(({ code }) => code);
const problemOf = (flags: FlagProvider, rule: string) =>
  flags.problems().find(problem => problem.rule === rule);

test('flags are followed, and an unchanged set costs the server a 304', async () => {
  const { flags, stub } = await followed();
  const first = stub.requests[0];
  expect(first?.url).toBe('/api/client/features');
  expect(first?.headers).toMatchObject({
    authorization: TOKEN,
    'unleash-appname': 'cutover',
    'unleash-instanceid': expect.stringMatching(/./),
    'unleash-connection-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
    'unleash-sdk': expect.stringMatching(/^cutover:\d/),
    'unleash-interval': String(POLL_MS),
  });
  await until('the set is confirmed', () => (flags.remote?.fetches.unchanged ?? 0) > 2);
  const { revision } = flags;
  stub.serve(serve(600));
  await shareIs(flags, 600);
  expect(flags.revision).not.toBe(revision);
  expect(flags.revision).toMatch(/^unleash:[0-9a-f]{12}$/);
  expect(flags.provider).toBe('unleash');
  expect(warningsOf(flags)).toEqual([]);
});

test('an archived flag is gone although others stay: that is the truth, and legacy serves', async () => {
  const { flags, stub } = await followed();
  stub.serve(kill(false));
  await until('the flag is missing', () => flags.facts(events, subject('u1'))?.serve === 'missing');
});

describe('the last good set stays (59)', () => {
  const bad: readonly [what: string, script: Script, outcome: string, says: RegExp][] = [
    ['garbage', json('<html>login</html>'), 'invalid', /line 1/],
    ['nothing', json(''), 'invalid', /the answer is empty/],
    ['a torn answer', json(fileOf(serve(0)).slice(0, 90)), 'invalid', /./],
    [
      'bytes that are no UTF-8',
      (_, response) => response.end(Buffer.from([0x7b, 0xff])),
      'invalid',
      /UTF-8/,
    ],
    ['another schema', json({ toggles: [] }), 'invalid', /./],
    ['an empty list', json({ version: 2, features: [] }), 'emptied', /never replaces/],
    [
      'a flag twice',
      json({ features: [serve(1), serve(2)] }),
      'invalid',
      /events\.serve is there twice/,
    ],
    ['500', status(500), 'status', /500/],
    ['a status without flags', status(204), 'status', /204/],
    ['a redirect', status(302, { location: 'http://127.0.0.1:1/' }), 'redirect', /redirects/],
    ['401', status(401), 'unauthorized', /401/],
    ['403', status(403), 'unauthorized', /403/],
    ['a reset', request => request.socket.destroy(), 'unreachable', /connection failed/],
    [
      'a body that ends too early',
      (request, response) => {
        response.writeHead(200, { 'content-length': '5000' });
        response.write('{"features":[');
        setImmediate(() => request.socket.destroy());
      },
      'unreachable',
      /connection failed/,
    ],
    [
      'a body that says it is huge',
      (_, response) =>
        void response.writeHead(200, { 'content-length': '100000001' }).flushHeaders(),
      'too-large',
      /longer than 100000 bytes/,
    ],
  ];
  test.each(bad)('at %s', async (_what, script, outcome, says) => {
    const { flags, stub, logged } = await followed();
    const { revision } = flags;
    stub.answer(script);
    await outcomeIs(flags, outcome);
    expect(flags.revision).toBe(revision);
    expect(flags.remote?.lastFetch).toMatchObject({
      ok: false,
      error: expect.stringMatching(says),
    });
    expect(flags.problems()[0]?.level).toBe('error');
    const code = ['invalid', 'emptied', 'too-large'].includes(outcome)
      ? 'flags-refused'
      : outcome === 'unauthorized'
        ? 'flags-unauthorized'
        : 'flags-unreachable';
    expect(warningsOf(flags)).toEqual([code]);
    // And it is asked on: what is good again is taken again.
    stub.serve(serve(700));
    await shareIs(flags, 700);
    expect(flags.remote?.lastFetch?.ok).toBe(true);
    expect(warningsOf(flags)).toEqual([]);
    expect(logged.join('')).not.toContain('a-secret');
  });

  test('at one invalid flag among good ones, which is named', async () => {
    const { flags, stub } = await followed();
    const broken = { name: 'payments.limit', enabled: 'yes', strategies: [] };
    stub.answer(json({ features: [serve(900), broken] }));
    await outcomeIs(flags, 'invalid');
    expect(problemOf(flags, 'schema')).toMatchObject({ flag: 'payments.limit', path: '/enabled' });
    expect(flags.stage(events).serve).toBe(500);
    expect(warningsOf(flags)).toEqual(['flags-refused']);
  });

  test('at an endless body, which is cut off at the limit', async () => {
    const { flags, stub } = await followed();
    let sent = 0;
    stub.answer((_request, response) => {
      const more = () => {
        while (!response.destroyed && response.write('x'.repeat(16_384))) sent += 16_384;
      };
      response.on('drain', more);
      more();
    });
    await outcomeIs(flags, 'too-large');
    const after = sent;
    expect(after).toBeLessThan(50_000_000);
    expect(flags.stage(events).serve).toBe(500);
  });

  test('at a slow drip, which ends with the time for the whole answer', async () => {
    const { flags, stub } = await followed({ timeoutMs: 200 });
    stub.answer((_request, response) => {
      response.write('{"version":2,"features":[');
      const drip = setInterval(() => response.write(' '), 20);
      response.on('close', () => clearInterval(drip));
    });
    await outcomeIs(flags, 'timeout');
    expect(flags.remote?.lastFetch?.error).toContain('200 ms');
    expect(flags.stage(events).serve).toBe(500);
  });

  test('a field that a newer server adds to its answer is no reason to refuse it', async () => {
    const { flags, stub } = await followed();
    stub.answer(json({ version: 3, features: [serve(400)], somethingNew: { a: 1 } }));
    await shareIs(flags, 400);
  });
});

test('a refused token is no end: asked again all the time, and a new one is taken while running (57)', async () => {
  const { flags, stub, token, logged } = await followed();
  stub.answer((request, response) => {
    const good = request.headers.authorization === 'default:development.new';
    (good ? json({ features: [serve(300)] }) : status(401))(request, response);
  });
  await until('it was asked often', () => (flags.remote?.fetches.unauthorized ?? 0) >= 5);
  // The alarm is told once, not at every look.
  expect(logged.filter(line => line.includes('"unauthorized"'))).toHaveLength(1);
  expect(problemOf(flags, 'unauthorized')).toMatchObject({ level: 'error', fix: /SIGHUP/ });
  token.value = 'default:development.new';
  await shareIs(flags, 300);
});

test('a server that fails a hundred times is noticed at once when it is back (58)', async () => {
  const { flags, stub, logged } = await followed({ pollMs: 2 });
  stub.answer(status(502));
  await until(
    'it failed a hundred times',
    () => (flags.remote?.fetches.status ?? 0) >= 100,
    25_000,
  );
  expect(flags.stage(events).serve).toBe(500);
  expect(logged.filter(line => line.includes('"status"'))).toHaveLength(1);
  const failed = flags.remote?.fetches.status ?? 0;
  stub.serve(serve(100));
  await shareIs(flags, 100);
  expect((flags.remote?.fetches.status ?? 0) - failed).toBeLessThan(2);
});

test('however often it failed, the next look comes within ten polls and 15 s', () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 5_000 }),
      fc.integer({ min: 1_000, max: 120_000 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (failures, pollMs, random) => {
        const delay = pollDelayMs(failures, pollMs, random);
        if (failures === 0) expect(delay).toBe(pollMs);
        else expect(delay).toBeLessThanOrEqual(Math.min(10 * pollMs, 15_000));
        expect(delay).toBeGreaterThan(0);
      },
    ),
  );
  expect(pollDelayMs(1, 1_000, 0)).toBeLessThan(pollDelayMs(1, 1_000, 1));
  expect(pollDelayMs(1, 1_000, 1)).toBeLessThan(pollDelayMs(3, 1_000, 1));
});

describe('asking at once', () => {
  test('finds a change long before the next poll is due', async () => {
    const { flags, stub } = await followed({ pollMs: 60_000 });
    stub.serve(serve(800));
    await expect(flags.remote?.refetch()).resolves.toMatchObject({ outcome: 'changed', ok: true });
    expect(flags.stage(events).serve).toBe(800);
    // A server that called us before its own cache knew is asked again soon.
    stub.serve(serve(810));
    await shareIs(flags, 810);
  });

  test('a hundred times makes two requests, one after the other', async () => {
    const { flags, stub } = await followed({ pollMs: 60_000 });
    const before = stub.requests.length;
    await Promise.all(Array.from({ length: 100 }, () => flags.remote?.refetch()));
    expect(stub.requests.length - before).toBe(2);
    expect(stub.atOnce.most).toBe(1);
  });
});

describe('a start without the server (56)', () => {
  /** A first life that knew flags, then a second one that finds nobody. */
  async function secondLife(between: (place: Scene) => Promise<unknown> = async () => undefined) {
    const place = await scene();
    place.stub.serve(serve(500), kill(false));
    const first = await place.follow();
    await first.close();
    await place.stub.down();
    await between(place);
    return { ...place, first, flags: await place.follow() };
  }

  test('goes on with the last good flags, says so, and takes new ones when it is back', async () => {
    const { flags, first, stub } = await secondLife();
    expect(flags.revision).toBe(first.revision);
    expect(flags.loadedAt).toBe(first.loadedAt);
    expect(flags.remote).toMatchObject({ confirmedAt: null, lastFetch: { ok: false } });
    expect(warningsOf(flags)).toEqual(['flags-unconfirmed', 'flags-unreachable']);
    await stub.up();
    stub.answer(json({ features: [] }));
    await outcomeIs(flags, 'emptied');
    expect(flags.stage(events).serve).toBe(500);
    stub.serve(serve(900));
    await shareIs(flags, 900);
    expect(warningsOf(flags)).toEqual([]);
  });

  // Everybody was flipped to legacy, and the backup overwritten: an empty set was only compared with
  // what was in memory, and at a start that is nothing.
  test('an empty list at the first look replaces neither flags nor backup (59)', async () => {
    const { flags, first, backup } = await secondLife(async ({ stub }) => {
      await stub.up();
      stub.answer(json({ version: 2, features: [] }));
    });
    expect(flags.revision).toBe(first.revision);
    expect(flags.stage(events).serve).toBe(500);
    expect(flags.remote?.lastFetch).toMatchObject({ ok: false, outcome: 'emptied' });
    expect(await readFile(backup, 'utf8')).toContain('events.serve');
  });

  test('knows nothing without a backup, so legacy serves', async () => {
    const { stub, follow } = await scene();
    await stub.down();
    const flags = await follow();
    expect(flags.facts(events, subject('u1'))).toBeNull();
    expect(flags.revision).toBe('none');
    expect(warningsOf(flags)).toEqual(['flags-unknown', 'flags-unreachable']);
  });

  test('a server that hangs holds a start up for its time limit and no longer', async () => {
    const { stub, follow } = await scene();
    stub.answer(() => undefined);
    const start = performance.now();
    const flags = await follow({ timeoutMs: 300 });
    expect(performance.now() - start).toBeLessThan(3_000);
    expect(flags.remote?.lastFetch?.outcome).toBe('timeout');
  });

  test('the backup is readable by nobody else, and its writing leaves nothing behind', async () => {
    const { backup, dir, first } = await secondLife();
    expect((await stat(backup)).mode & 0o777).toBe(0o600);
    expect(await readdir(dir)).toEqual(['flags.backup']);
    const text = await readFile(backup, 'utf8');
    expect(text).not.toContain('a-secret');
    expect(first.revision).not.toBe('none');
  });

  const planted: readonly [
    what: string,
    plant: (place: Scene) => Promise<unknown>,
    says: RegExp,
  ][] = [
    ['writable by a group', ({ backup }) => chmod(backup, 0o660), /other users may write/],
    ['writable by anybody', ({ backup }) => chmod(backup, 0o602), /other users may write/],
    [
      'a link to somewhere else',
      async ({ backup, dir }) => {
        await rename(backup, join(dir, 'elsewhere'));
        await symlink(join(dir, 'elsewhere'), backup);
      },
      /symbolic link/,
    ],
    [
      'a folder',
      async ({ backup, dir }) => {
        await rename(backup, join(dir, 'elsewhere'));
        await mkdir(backup);
      },
      /no regular file/,
    ],
    [
      'of a plausible shape, without its digest',
      ({ backup }) => writeFile(backup, fileOf(serve(1000))),
      /no backup|damaged/,
    ],
    [
      'torn',
      async ({ backup }) => writeFile(backup, (await readFile(backup, 'utf8')).slice(0, -20)),
      /damaged/,
    ],
    [
      'of another environment',
      async ({ token }) => {
        token.value = 'default:production.other';
      },
      /another server, project or environment/,
    ],
  ];
  test.each(planted)(
    'a backup that is %s is refused, and that is told',
    async (_what, plant, says) => {
      const { flags } = await secondLife(plant);
      expect(flags.revision).toBe('none');
      expect(problemOf(flags, 'backup')).toMatchObject({ message: expect.stringMatching(says) });
    },
  );

  test('a backup of another user is refused', async () => {
    const isRoot = process.getuid?.() === 0;
    const { flags, follow } = await secondLife(async ({ backup }) => {
      if (isRoot) await chown(backup, 65_534, 65_534);
    });
    // Whoever may give nothing away can still look at what belongs to root.
    const looked = isRoot ? flags : await follow({ backupFile: '/etc/passwd' });
    expect(problemOf(looked, 'backup')?.message).toContain('belongs to another user');
  });
});

test('a backup that can not be written is told, and the flags count all the same', async () => {
  const { follow, stub, dir } = await scene();
  stub.serve(serve(500));
  await writeFile(join(dir, 'file'), '');
  const flags = await follow({ backupFile: join(dir, 'file', 'flags.backup') });
  await until('the problem is there', () => problemOf(flags, 'backup'));
  expect(flags.stage(events).serve).toBe(500);
});

describe('closing', () => {
  const moments: readonly [when: string, script: Script][] = [
    ['a request that hangs', () => undefined],
    ['a request that is reset', request => setTimeout(() => request.socket.destroy(), 5)],
    ['a refusal', status(401)],
    ['a body that drips', (_, response) => void response.write('{')],
  ];
  test.each(moments)(
    'meets %s, and neither waits for it nor falls over it',
    async (_when, script) => {
      const { flags, stub } = await followed({ timeoutMs: 20_000 });
      const before = stub.requests.length;
      stub.answer(script);
      await until('a request is under way', () => stub.requests.length > before);
      const waiting = flags.remote?.refetch();
      const start = performance.now();
      await flags.close();
      expect(performance.now() - start).toBeLessThan(2_000);
      await expect(waiting).resolves.toBeDefined();
      const asked = stub.requests.length;
      await until('nobody is there any more', () => stub.atOnce.now === 0);
      expect(stub.requests.length).toBe(asked);
    },
  );
});

describe('a stage without a token for changes', () => {
  test('is refused with everything that is to be set by hand, in order', async () => {
    const { flags } = await followed();
    const change = flags.setStage(events, { serve: 125, shadow: 1000, kill: false });
    await expect(change).rejects.toMatchObject({ code: 'conflict' });
    const { message } = (await change.catch((error: unknown) => error)) as Error;
    expect(message).toContain('1. turn events.shadow on');
    expect(message).toContain('variants on 100% and off 0%');
    expect(message).toMatch(
      /2\. turn events\.serve on.*groupId events\.serve.*candidate 12\.5% and legacy 87\.5%/,
    );
    await expect(flags.setKill(events, true)).rejects.toThrow('1. turn events.kill on');
    expect(flags.stage(events).serve).toBe(500);
  });

  test('can be planned, and is done when nothing is to be changed', async () => {
    const { flags } = await followed();
    const plan = flags.planStage(events, { serve: 1000, shadow: 0, kill: false });
    expect(plan).toMatchObject({ files: ['unleash:events.serve'], after: { name: 'complete' } });
    await expect(
      flags.setStage(events, { serve: 500, shadow: 0, kill: false }),
    ).resolves.toMatchObject({ files: [] });
  });
});

describe('a stage with a token for changes', () => {
  /** A server whose admin API takes what `refuses` does not name; what it took is in `calls`. */
  async function changeable(refuses: (call: string) => boolean = () => false) {
    const place = await scene();
    const calls: string[] = [];
    const taken = json({ features: [serve(0), shadow(0), kill(false)] });
    place.stub.answer((request, response) => {
      const { method = '', url = '' } = request;
      if (url.startsWith('/api/client')) return taken(request, response);
      if (method === 'GET') {
        const environments = [{ name: 'development', enabled: false, strategies: [] }];
        return response.end(JSON.stringify({ environments }));
      }
      const call = `${method} ${url.slice('/api/admin/projects/default/features/'.length)}`;
      calls.push(call);
      return response.writeHead(refuses(call) ? 403 : 200).end();
    });
    const admin = new UnleashAdmin({
      url: place.stub.url,
      token: () => 'admin',
      project: 'default',
      environment: 'development',
      timeoutMs: 1_000,
    });
    return { ...place, calls, flags: await place.follow({ admin }) };
  }

  test('is written in the safe order, a flag at a time, and each is turned on last', async () => {
    const { flags, calls } = await changeable(call =>
      call.includes('serve/environments/development/on'),
    );
    const change = flags.setStage(events, { serve: 1000, shadow: 1000, kill: false });
    await expect(change).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(
        /^events\.shadow changed in Unleash, events\.serve did not: .*\(403\): the token of flags\.admin may not/,
      ),
    });
    const at = 'environments/development';
    expect(calls).toEqual([
      `POST events.shadow/${at}/strategies`,
      `POST events.shadow/${at}/on`,
      `POST events.serve/${at}/strategies`,
      `POST events.serve/${at}/on`,
    ]);
  });

  test('that the server takes and never shows is not called done', async () => {
    const { flags, calls } = await changeable();
    await expect(flags.setKill(events, true)).rejects.toThrow(
      /took the change, and 8 s later does not show it/,
    );
    expect(calls.at(-1)).toBe('POST events.kill/environments/development/on');
    expect(flags.stage(events).kill).toBe(false);
  });

  test('is not written at all while the flags are not known', async () => {
    const { flags, stub, calls } = await changeable();
    stub.answer(status(500));
    await expect(flags.setKill(events, true)).rejects.toThrow('the flags in Unleash are not known');
    expect(calls).toEqual([]);
  });
});

test('constraints on the environment and the application compare with what is configured (61)', async () => {
  const { stub, follow } = await scene();
  const constraint = { contextName: 'environment', operator: 'IN', values: ['staging'] };
  const strategies = [
    {
      name: 'default',
      parameters: {},
      constraints: [constraint],
      variants: [{ name: 'candidate', weight: 1000 }],
    },
  ];
  stub.serve(feature('events.serve', { strategies }));
  const here = await follow({ environment: 'staging' });
  const there = await follow({ environment: 'production' });
  expect(here.facts(events, subject('ü-名-👤'))?.serve).toBe('candidate');
  expect(there.facts(events, subject('ü-名-👤'))?.serve).toBe('legacy');
});
