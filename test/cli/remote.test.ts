import { appendFile, readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Admin, createAdmin } from '../../src/control/admin.ts';
import type { WriteSplit } from '../../src/ports.ts';
import { SIDES, type Side } from '../../src/rules/decide.ts';
import type { Contamination } from '../../src/rules/isolation/incident.ts';
import { emptyIsolationBooks } from '../../src/rules/isolation/isolation-books.ts';
import { HASH_KEY_BYTES } from '../../src/rules/keyed-hash.ts';
import {
  bookFinding,
  bookLatencies,
  emptyBooks,
  imbalance,
} from '../../src/rules/pairing/books.ts';
import {
  type Finding,
  type UnjudgedReason,
  VERDICTS,
  type Verdict,
} from '../../src/rules/verdict.ts';
import { cutover } from '../support/command.ts';
import { flagsFor, type Operated, operated, TOKEN, users } from '../support/operator.ts';
import { until } from '../support/until.ts';

let op: Operated;
let admin: Admin;
let env: Record<string, string>;
const [ESC] = '\u001b';

beforeEach(async () => {
  op = await operated({ 'events.json': flagsFor('events', 'shadow') });
  admin = createAdmin({ ...op, token: TOKEN });
  const { port } = await admin.listen();
  const tokenFile = path.join(op.dir, 'admin.token');
  await writeFile(tokenFile, `${TOKEN}\n`);
  env = { CUTOVER_ADMIN: `http://127.0.0.1:${port}`, CUTOVER_TOKEN_FILE: tokenFile };
});
afterEach(async () => {
  await admin.close();
  await op.close();
});

const run = (...words: string[]) => cutover(words, { env, cwd: op.dir });

describe('stage', () => {
  test('shows where every route stands, for people and for programs', async () => {
    const told = await run('stage');
    expect(told).toMatchObject({ code: 0, stderr: '' });
    expect(told.stdout).toMatch(
      /^route {3}stage {3}candidate {2}shadow\nevents {2}shadow {2}0% +100%\n/,
    );
    expect(told.stdout).not.toContain(ESC);
    const json = JSON.parse((await run('stage', '--json')).stdout);
    expect(json.routes[0]).toMatchObject({ route: 'events', stage: { name: 'shadow' } });
  });

  test.each(['12.5%', '12.5'])(
    'canary %s edits the flag files and says what moved',
    async percent => {
      op.traffic.open('events', 'legacy', ...users(100));
      const { code, stdout, stderr } = await run('stage', 'canary', percent, '--route', 'events');
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      expect(stdout).toContain('events: shadow -> canary 12.5%');
      expect(stdout).toContain('candidate serves 0% -> 12.5% of the users');
      expect(stdout).toMatch(
        /100 open sessions, of which \d+ would move to candidate, 0 to legacy/,
      );
      expect(stdout).toContain('wrote events.json');
      const file = JSON.parse(await readFile(path.join(op.dir, 'events.json'), 'utf8'));
      const serve = file.features.find((flag: { name: string }) => flag.name === 'events.serve');
      expect(serve.strategies[0].variants[0].weight).toBe(125);
    },
  );

  // The fault: "live already, 100% -> 100%, no flag needed a change" of a route that had just been changed.
  test('a route whose flags another one shares says so, and where it was before', async () => {
    const { config } = op.proxy.loaded();
    const flags = {
      ...{ serve: 'events.serve', shadow: 'events.shadow' },
      ...{ kill: 'events.kill', isolation: 'events.isolation' },
    };
    op.state.config = { ...config, routes: config.routes.map(route => ({ ...route, flags })) };
    const { stdout } = await run('stage', 'live');
    expect(stdout).toMatch(
      /^api: shadow -> live\n {2}candidate serves 0% -> 100% of the users\n.*\n {2}its flags were written with those of another route; flags /m,
    );
    expect((await run('stage', 'live')).stdout).toMatch(
      /^api: live already\n.*\n.*\n {2}no flag needed a change; /m,
    );
  });

  test('--dry-run tells whom it would move and changes nothing', async () => {
    const before = op.flags.revision;
    const { code, stdout } = await run('stage', 'live', '--route', 'events', '--dry-run');
    expect(code).toBe(0);
    expect(stdout).toContain('(dry run: nothing was changed)');
    expect(stdout).toContain('would write events.json');
    expect(op.flags.revision).toBe(before);
  });

  test('killed refuses a stage until --unkill', async () => {
    await run('stage', 'killed', '--route', 'events');
    const refused = await run('stage', 'live', '--route', 'events');
    expect(refused).toMatchObject({ code: 1, stdout: '' });
    expect(refused.stderr).toMatch(/^kill flag events\.kill is on.*\n$/);
    const released = await run('stage', '--unkill', '--route', 'events');
    expect(released.stdout).toContain('killed (shadow beneath) -> shadow');
  });

  test.each([
    [['stage', 'canary', 'many'], 1, /^"many" is no percentage; write it as 12\.5% or 12\.5\n$/],
    [['stage', 'canary', '100%'], 1, /^100 % is not possible; allowed is 0\.1 to 99\.9.*\n$/],
    [['stage', 'canary'], 1, /^stage canary needs a percentage.*\n$/],
    [
      ['stage', 'sideways'],
      1,
      /^stage: must be one of off, shadow, canary, live, complete, killed\n$/,
    ],
    [
      ['stage', 'live', '--route', 'nope'],
      1,
      /^there is no route "nope"; routes are events, api\n$/,
    ],
    [['stage', '--dry-run'], 64, /^--dry-run goes with a stage\n$/],
    [['stage', 'live', '--bogus'], 64, /^error: unknown option '--bogus'\n\(add --help/],
    [['stage', 'canary', '5', 'now'], 64, /^error: too many arguments/],
    [['explain', '--user', 'u1'], 64, /^error: required option '--route <name>' not specified\n/],
    [['explain', '--route', 'nope'], 1, /^there is no route "nope"; routes are events, api\n$/],
    [['stage', '--config', 'nowhere.yaml', '--admin', 'a b'], 2, /^"a b" is no address/],
  ])('%j ends with %i and one sentence', async (words, code, stderr) => {
    const before = op.flags.revision;
    const ran = await run(...words);
    expect(ran).toMatchObject({ code, stdout: '' });
    expect(ran.stderr).toMatch(stderr);
    expect(ran.stderr).not.toContain('    at ');
    expect(op.flags.revision).toBe(before);
  });
});

describe('pin and unpin', () => {
  const pin = (...words: string[]) => run('pin', 'ann', 'candidate', '--route', 'events', ...words);

  test('puts a tester on a side, and lists who is on one', async () => {
    expect((await run('pin')).stdout).toMatch(/^nobody is pinned\n/);
    const pinned = await pin('--for', '30m');
    expect(pinned).toMatchObject({ code: 0, stderr: '' });
    expect(pinned.stdout).toMatch(
      /^ann: candidate until \S+Z, in (30 min( 1 s)?|29 min 5\d s)\n {2}events\.serve, read by events: wrote events\.json; flags file:/,
    );
    expect(pinned.stdout).not.toContain('warning');
    const listed = await run('pin');
    expect(listed.stdout).toMatch(/^user +side +how long +flag\nann +candidate +until \S+Z, in /);
  });

  test('explain and stage tell of a pin, and lint has nothing against it', async () => {
    await pin();
    const explained = await run('explain', '--user', 'ann', '--route', 'events');
    expect(explained.stdout).toMatch(/^ann on events: candidate, legacy as standby\n/);
    expect(explained.stdout).toMatch(/^because the serve flag pins this user there until \S+Z/m);
    expect(explained.stdout).toMatch(
      /^pin +candidate, until \S+Z, in (1 h( 1 s)?|59 min.*) \(events\.serve\)$/m,
    );
    const stage = await run('stage', 'canary', '5', '--route', 'events');
    expect(stage.stdout).toContain('single users are pinned by events.serve');
    const lint = await run('flags', 'lint', '.', '--json');
    expect(JSON.parse(lint.stdout).problems).toEqual([]);
  });

  test('unpin takes it back, and is no failure where there is none', async () => {
    await pin();
    expect((await run('unpin', 'ann')).stdout).toMatch(
      /^ann: not pinned any more\n {2}events\.serve: wrote events\.json/,
    );
    expect((await run('unpin', 'ann')).stdout).toMatch(/^ann: was not pinned\n/);
  });

  test('is JSON for programs', async () => {
    expect(JSON.parse((await pin('--json')).stdout)).toMatchObject({ user: 'ann', flags: [{}] });
    const { flags } = JSON.parse((await run('pin', '--json')).stdout);
    expect(flags[0]).toMatchObject({ flag: 'events.serve', pins: [{ users: ['ann'] }] });
    expect(JSON.parse((await run('unpin', 'ann', '--json')).stdout)).toMatchObject({ user: 'ann' });
  });

  test('says so where the pin does not count', async () => {
    await run('stage', 'killed', '--route', 'events');
    const { code, stdout } = await pin();
    expect(code).toBe(0);
    expect(stdout).toContain(
      'warning: on events legacy serves ann all the same, because the kill flag is on (killed)',
    );
  });

  test.each([
    [
      ['pin', 'ann'],
      64,
      /^name a side: cutover pin ann legacy\|candidate; .*lists who is pinned\n$/,
    ],
    [['pin', 'ann', 'left'], 1, /^side: .*\n$/],
    [
      ['pin', 'ann', 'legacy', '--for', 'ever'],
      1,
      /^"ever" is no time; write it as 30m, 1h or 2d\n$/,
    ],
    [['pin', 'ann', 'legacy', '--for', '31d'], 1, /^forS: .*2592000\n$/],
    [['pin', ' ann', 'legacy'], 1, /^a user whose name begins or ends with a space/],
    [['pin', 'ann', 'legacy', '--route', 'nope'], 1, /^there is no route "nope"/],
    [['unpin'], 64, /^error: missing required argument 'user'\n/],
  ])('%j ends with %i and one sentence', async (words, code, stderr) => {
    const before = op.flags.revision;
    const ran = await run(...words);
    expect(ran).toMatchObject({ code, stdout: '' });
    expect(ran.stderr).toMatch(stderr);
    expect(op.flags.revision).toBe(before);
  });
});

describe('looking', () => {
  test('status shows routes, sessions, failures, flags and warnings', async () => {
    op.traffic.open('events', 'legacy', 'a', 'b');
    op.metrics.observer.failed('events', 'candidate', 'upstream-timeout');
    for (const end of ['broken', 'refused', 'refused', 'ended'] as const)
      op.metrics.observer.secondLegEnded('events', 'candidate', 'shadow', end);
    op.metrics.observer.secondLegEnded('events', 'legacy', 'standby', 'closed');
    op.state.warnings = ['1,024 file descriptors are too few for 10,000 sessions'];
    const { code, stdout } = await run('status');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^cutover 0\.1\.0, up \d+ s, ready\n/);
    expect(stdout).toMatch(/^events +\/ws +shadow +2 +0 +- +upstream-timeout 1$/m);
    expect(stdout).toMatch(/^flags +file:[0-9a-f]{12}, read \d+ s ago, 0 errors, 1 warning /m);
    expect(stdout).toMatch(
      /^legs lost +events: closed 1 of legacy; refused 2, broken 1 of candidate$/m,
    );
    expect(stdout).toMatch(/^warning +1,024 file descriptors/m);
    const json = JSON.parse((await run('status', '--json')).stdout);
    expect(json).toMatchObject({ ready: true, routes: [{ name: 'events' }, { name: 'api' }] });
  });

  // The fault: what legacy sent twice was nowhere, nor what of the candidate was pending, unjudged or contaminated.
  test("status has the books of both services, and each one's add up to what it sent", async () => {
    const books = booksOfAllKinds();
    op.state.books.set('events', books);
    op.state.books.set('api', emptyBooks());
    const { stdout } = await run('status');
    const [, legacy = '', candidate = ''] =
      /^compared +events: legacy (.*)\n +events: candidate (.*)\n +api: legacy 0 seen, 0 match\n/m.exec(
        stdout,
      ) ?? [];
    for (const side of SIDES) {
      const { seen } = books[side];
      const text = { legacy, candidate }[side];
      // What is in brackets is part of what stands before them.
      const [said, ...parts] = text.replaceAll(/ \(.*?\)|, p50.*/g, '').split(', ');
      expect(said).toBe(`${seen} seen`);
      expect(
        parts.reduce((sum, part) => sum + Number.parseInt(part, 10), 0),
        text,
      ).toBe(seen);
    }
    expect(legacy).toMatch(/, 7 duplicate, .* unjudged \(too-large 8, overload 1\), p50 /);
    expect(candidate).toMatch(/, 6 extra, 9 duplicate, .* contaminated, 4 pending, 3 unjudged \(/);
    expect(candidate).toMatch(/ unjudged \(no-second 3\), p50 2[\d.]+ ms, p99 2[\d.]+ ms$/);
    const { stdout: help } = await run('status', '--help');
    expect(help).toContain('compared: ');
    expect(help).toContain('diverged: ');
  });

  test('status has the books of all routes together, also of those that are gone, where one route has not all', async () => {
    const of = (seen: number) => {
      const books = emptyBooks();
      const match = { verdict: 'match', because: null, sides: SIDES } as const;
      for (let i = 0; i < seen; i++) bookFinding(books, match as unknown as Finding);
      return books;
    };
    op.state.books.set('events', of(3));
    expect((await run('status')).stdout).not.toContain('all routes');
    op.state.books.set('gone', of(4));
    expect((await run('status')).stdout).toMatch(
      /^ +all routes: legacy 7 seen, 7 match\n +all routes: candidate 7 seen, 7 match$/m,
    );
    const { books } = JSON.parse((await run('status', '--json')).stdout);
    expect(books).toMatchObject({ legacy: { seen: 7 }, candidate: { match: 7 }, imbalance: null });
  });

  test('status --session has the books of one session; of none it is refused with a sentence', async () => {
    const books = booksOfAllKinds();
    op.state.sessionBooks.set('s_1', books);
    const shown = await run('status', '--session', 's_1');
    expect(shown).toMatchObject({ code: 0, stderr: '' });
    expect(shown.stdout).toMatch(
      /^legacy 8\d seen, 10 match, .*\ncandidate 8\d seen, 10 match, .*\n$/,
    );
    const json = JSON.parse((await run('status', '--session', 's_1', '--json')).stdout);
    expect(json).toMatchObject({
      session: 's_1',
      books: { legacy: { seen: books.legacy.seen, duplicate: 7 }, imbalance: null },
    });
    expect(await run('status', '--session', 's_2')).toEqual({
      ...{ code: 1, stdout: '' },
      stderr:
        'no session or event stream with this id is open and compared; the books of one that has ended are in those of its route\n',
    });
  });

  test('explain tells decision, reason, stage and flags', async () => {
    const { code, stdout } = await run('explain', '--user', 'u1', '--route', 'events');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^u1 on events: legacy, candidate as shadow\nbecause the serve flag/);
    expect(stdout).toMatch(/^ {2}events\.serve +legacy$/m);
    const json = await run('explain', '--user', 'u1', '--route', 'events', '--json');
    expect(JSON.parse(json.stdout)).toMatchObject({ user: 'u1', reason: 'serve-flag' });
  });

  test('flags list shows what each is for; control characters in a file do not reach the terminal', async () => {
    const flags = flagsFor('events', 'shadow').map(flag => ({
      ...flag,
      description: `${ESC}[2Jx`,
    }));
    await op.write('events.json', flags);
    const before = op.flags.revision;
    await expect.poll(() => op.flags.revision, { timeout: 10_000 }).not.toBe(before);
    const { code, stdout } = await run('flags', 'list');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^events\.shadow +on +shadow of events +100% +- +\?\[2Jx$/m);
    expect(stdout).not.toContain(ESC);
    const json = JSON.parse((await run('flags', 'list', '--json')).stdout);
    expect(json.flags[0]).toMatchObject({ name: 'events.serve', role: 'serve', percent: 0 });
  });
});

/** Of each verdict another number, and more of those that are of one side alone. */
function booksOfAllKinds() {
  const books = emptyBooks();
  const book = (
    count: number,
    verdict: Verdict,
    sides: readonly Side[],
    because: UnjudgedReason | null = null,
  ) => {
    for (let i = 0; i < count; i++) bookFinding(books, { verdict, because, sides } as Finding);
  };
  const ofPairs = ['match', 'noise', 'failed-alike', 'mismatch', 'out-of-order'] as const;
  for (const [i, verdict] of ofPairs.entries()) book(10 + i, verdict, SIDES);
  book(5, 'missing', ['legacy']);
  book(6, 'extra', ['candidate']);
  book(7, 'duplicate', ['legacy']);
  book(9, 'duplicate', ['candidate']);
  book(1, 'contaminated', ['candidate']);
  book(8, 'unjudged', ['legacy'], 'too-large');
  book(1, 'unjudged', ['legacy'], 'overload');
  book(3, 'unjudged', ['candidate'], 'no-second');
  books.candidate.seen += 4;
  books.candidate.pending += 4;
  bookLatencies(books, { legacy: 10, candidate: 20 });
  expect(imbalance(books)).toBeNull();
  for (const verdict of Object.keys(VERDICTS) as Verdict[]) {
    if (verdict === 'unjudged') continue;
    expect(books.legacy[verdict] + books.candidate[verdict], verdict).toBeGreaterThan(0);
  }
  return books;
}

describe('bypass', () => {
  const file = () => path.join(op.stateDir, 'bypass.json');

  test('on, and status says so; what an operator wrote does not steer the terminal', async () => {
    op.traffic.open('events', 'candidate', 'a', 'b');
    const on = await run('bypass', 'on', '--reason', `lost ${ESC}[2J`);
    expect(on).toMatchObject({ code: 0, stderr: '' });
    expect(on.stdout).toMatch(/^bypass: on since \d{4}-\S+Z: lost \?\[2J\n/);
    expect(on.stdout).toContain(
      'neither flagged nor compared; writes reach the candidate as well while',
    );
    expect(on.stdout).toContain('0 on legacy and 2 on candidate that are older');
    expect(JSON.parse(await readFile(file(), 'utf8')).reason).toContain('lost');
    const status = (await run('status')).stdout;
    expect(status).toMatch(/^cutover 0\.1\.0, up .*, ready, bypass on\n/);
    expect(status).toMatch(/^bypass +since \S+: lost \?\[2J; everything new goes/m);
    expect(status).toMatch(/^unrouted +neither flagged nor compared: /m);
    expect(status).not.toContain(ESC);
  });

  test('how it stands, for people and for programs', async () => {
    expect((await run('bypass')).stdout).toMatch(/^bypass: off; .* go where flags say\n$/);
    await op.bypass.engage(`lost ${ESC}[2J`);
    const json = JSON.parse((await run('bypass', '--json')).stdout);
    expect(json).toMatchObject({ engaged: { reason: `lost ${ESC}[2J` }, kept: true });
  });

  // The fault: it said that there was nothing new, and ended what was open.
  test('on again says so, and ends what is open, if asked to; off ends it', async () => {
    op.traffic.open('events', 'candidate', 'a', 'b');
    await op.bypass.engage('lost');
    const again = await run('bypass', 'on', '--reason', 'still', '--close-open');
    expect(again.stdout).toMatch(/^bypass: on already since .*: lost\n/);
    expect(again.stdout).toContain(
      '--close-open: what is open is being ended over 20 s, WebSockets with 1012: 2',
    );
    const off = await run('bypass', 'off', '--reason', 'fixed');
    expect(off.stdout).toMatch(/^bypass: off; /);
    await expect(readFile(file())).rejects.toThrow('ENOENT');
  });

  test.each([
    [['bypass', 'on'], 64, /^say why: --reason "…"\n$/],
    [['bypass', 'off'], 64, /^say why: --reason "…"\n$/],
    [['bypass', '--reason', 'x'], 64, /^--reason and --close-open go with on or off\n$/],
    [['bypass', '--close-open'], 64, /^--reason and --close-open go with on or off\n$/],
    [['bypass', 'on', '--reason', ' '], 1, /^reason: say why, for whoever asks later\n$/],
    [['bypass', 'sideways', '--reason', 'x'], 1, /^state: must be one of on, off\n$/],
    [['bypass', 'off', '--reason', 'x', '--close-open'], 1, /^closeOpen goes with state on;/],
  ])('%j ends with %i and one sentence, and changes nothing', async (words, code, stderr) => {
    const ran = await run(...words);
    expect(ran).toMatchObject({ code, stdout: '' });
    expect(ran.stderr).toMatch(stderr);
    expect(op.bypass.engaged).toBeNull();
  });
});

describe('writes', () => {
  const split = (key: string, route = 'api'): WriteSplit => ({
    ...{ route, key, cause: 'second-refused', digest: '0123456789abcdef', bytes: 34 },
    primary: { side: 'legacy', outcome: 201 },
    second: { side: 'candidate', outcome: 'upstream-timeout' },
  });

  test('shows where they go and what became of them', async () => {
    op.writes.begun('api', 'both');
    op.writes.begun('bypass', 'primary');
    op.writes.split(split('k'));
    const { code, stdout } = await run('writes');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^route +writes +now +alone +both +in flight +agreed +splits$/m);
    expect(stdout).toMatch(/^api +primary +primary +0 +1 +0 +0 +second-refused 1$/m);
    expect(stdout).toMatch(/^\(bypass\) +- +primary +1 +0 +0 +0 +-$/m);
    const json = JSON.parse((await run('writes', '--json')).stdout);
    expect(json.routes[0]).toMatchObject({ route: 'api', splits: { 'second-refused': 1 } });
  });

  test('splits are listed newest first, and what is in the file does not steer the terminal', async () => {
    expect((await run('writes', 'splits')).stdout).toBe('no splits\n');
    op.writes.split(split('older'));
    op.writes.split(split(`newer${ESC}[2J`));
    const { code, stdout } = await run('writes', 'splits');
    expect(code).toBe(0);
    const row = (key: string) =>
      `\\S+Z +api +second-refused +legacy 201 +candidate upstream-timeout +34 +${key} +0123456789ab`;
    expect(stdout).toMatch(new RegExp(`\n${row('newer\\?\\[2J')}\n${row('older')}\n$`));
    for (const words of [
      ['writes', 'splits', '--limit', '1', '--json'],
      ['writes', '--json', 'splits', '--limit', '1'],
    ]) {
      const { splits, unreadable } = JSON.parse((await run(...words)).stdout);
      expect([splits.length, splits[0].digest, unreadable]).toEqual([1, '0123456789abcdef', 0]);
    }
  });

  test('lines that are no records are passed over and told', async () => {
    op.writes.split(split('whole'));
    await op.writes.flush();
    await appendFile(path.join(op.stateDir, 'write-splits.jsonl'), '{"torn');
    const { stdout } = await run('writes', 'splits');
    expect(stdout).toContain('whole');
    expect(stdout).toContain('warning: lines of the file that are no records: 1');
  });

  test.each([
    [['writes', 'splits', '--limit', '0'], 1, /^limit: .*\n$/],
    [['writes', 'splits', '--limit', 'x'], 1, /^limit: .*\n$/],
    [['writes', 'splits', '--route', 'nope'], 1, /^there is no route "nope"/],
    [['writes', 'all'], 64, /^error: /],
  ])('%j ends with %i and one sentence', async (words, code, stderr) => {
    const ran = await run(...words);
    expect(ran).toMatchObject({ code, stdout: '' });
    expect(ran.stderr).toMatch(stderr);
  });
});

describe('isolation', () => {
  const found: Contamination = {
    ...{ rule: 'routing', route: 'events', session: 's1', side: 'candidate', isShown: true },
    ...{ path: '/userId', eventType: 'notice', onBoth: false, user: 'ann', owner: 'bob' },
    at: Date.parse('2026-01-02T03:04:05.000Z'),
  };

  test('status says what was looked at and found, and what wants a look', async () => {
    await admin.close();
    const books = emptyIsolationBooks();
    const { candidate } = books.sides;
    Object.assign(candidate, { fields: 12, foreign: 5, onBoth: 2, inDoubt: 3 });
    candidate.contaminated.routing = 4;
    candidate.uninspectable.binary = 6;
    candidate.crowded['told-early'] = 7;
    books.identityMismatch = true;
    const judge = { ...op.proxy.judge, isolationBooks: () => new Map([['events', books]]) };
    admin = createAdmin({ ...op, proxy: { ...op.proxy, judge }, token: TOKEN });
    env.CUTOVER_ADMIN = `http://127.0.0.1:${(await admin.listen()).port}`;
    op.incidents.contaminated(found);
    op.incidents.contaminated({ ...found, onBoth: true });

    const { code, stdout, stderr } = await run('isolation', 'status');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const lines = stdout.split('\n');
    expect(lines).toEqual(
      expect.arrayContaining([
        // The fault: what is done was "by side", and nothing said what that comes to.
        expect.stringMatching(/^events +legacy +observe +0 +0 +0 +0$/),
        expect.stringMatching(/^events +candidate +sanitize +12 +5 +2 +routing 4$/),
        expect.stringMatching(/^api +candidate +observe +0 +0 +0 +0$/),
        'events: 1 of candidate by routing, delivered',
        expect.stringMatching(/^events: 1 of notice name others at \/userId in both services/),
        expect.stringMatching(/^events: 3 of candidate name others in doubt/),
        'events: 6 of candidate not looked into, binary',
        'events: 7 of candidate too many at a time, told-early',
        expect.stringMatching(/^warning: events: identity-mismatch/),
      ]),
    );
    expect(stdout).not.toContain('warning: api');
    expect(stdout).not.toContain(ESC);
    const json = JSON.parse((await run('isolation', 'status', '--json')).stdout);
    expect(json.routes[0]).toMatchObject({ route: 'events', identityMismatch: true });

    const all = await run('status');
    expect(all.stdout).toMatch(
      /^contaminated +events: 1 of candidate by routing, delivered; identity-mismatch \(cutover isolation incidents\)$/m,
    );
    expect(all.stdout).toMatch(
      /addresses in legacy.s own events do not fit the names of its users/,
    );
  });

  test('incidents are listed newest first, and name nobody', async () => {
    expect(await run('isolation', 'incidents')).toMatchObject({
      ...{ code: 0, stdout: 'no incidents\n', stderr: '' },
    });
    await op.incidents.keepIn(op.stateDir, new Uint8Array(HASH_KEY_BYTES).fill(9));
    op.incidents.contaminated(found);
    op.incidents.contaminated({ ...found, rule: 'ledger', path: '', eventType: '', owner: null });
    await until('both are on record', async () => (await op.incidents.last(10)).length === 2);
    op.incidents.unkept = 3;

    const { code, stdout, stderr } = await run('isolation', 'incidents');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [head, second, secondNames, first, firstNames, unkept] = stdout.split('\n');
    for (const column of ['seq', 'rule', 'path', 'outcome'])
      expect(head).toMatch(new RegExp(`\\b${column}\\b`));
    expect(first).toMatch(
      /^1 +2026-01-02T03:04:05.000Z +events +candidate +routing +\/userId +notice +delivered$/,
    );
    expect(second).toMatch(/^2 +2026-01-02T03:04:05.000Z +events +candidate +ledger +- +- /);
    // The fault: all of it in one line took 190 columns.
    const names = (owner: string) =>
      new RegExp(`^ +user [0-9a-f]{16}  owner ${owner}  session s1  evidence -$`);
    expect(firstNames).toMatch(names('[0-9a-f]{16}'));
    expect(secondNames).toMatch(names('-'));
    expect(unkept).toBe('counted and not on record: 3');
    expect(stdout).not.toMatch(/ann|bob/);
    const limited = await run('isolation', 'incidents', '--limit', '1', '--json');
    expect(JSON.parse(limited.stdout)).toMatchObject({ unkept: 3, incidents: [{ seq: 2 }] });
    op.incidents.contaminated({ ...found, inDoubt: true });
    await until('it is on record', async () => (await op.incidents.last(10)).length === 3);
    const doubted = await run('isolation', 'incidents', '--limit', '1');
    expect(doubted.stdout).toMatch(/^3 .* routing +\/userId +notice +delivered, in doubt$/m);
  });
});

describe('finding the proxy', () => {
  const config = (port: number) =>
    `listen: {}\nadmin: { port: ${port} }\nstateDir: .\nupstreams:\n  legacy: { url: 'http://127.0.0.1:1' }\n  candidate: { url: 'http://127.0.0.1:2' }\nroutes: [{ name: events, path: /ws, protocol: websocket }]\n`;
  const port = () => (admin.server.address() as AddressInfo).port;

  // The fault: a file that the proxy itself had refused kept everybody from rolling it back.
  test.each([
    ['a field that is wrong', (good: string) => `${good}\nlimits: { keepAliveMs: soon }\n`],
    ['no services', (good: string) => good.replace(/^upstreams:(\n {2,}.*)*/m, '')],
  ])('a configuration with %s keeps nobody from the emergency lane', async (_what, spoil) => {
    await writeFile(path.join(op.dir, 'cutover.yaml'), spoil(config(port())));
    const ran = await cutover(['bypass', 'on', '--reason', 'x'], {
      env: { CUTOVER_TOKEN_FILE: env.CUTOVER_TOKEN_FILE ?? '' },
      cwd: op.dir,
    });
    expect(ran.stderr).toMatch(/^cutover\.yaml has mistakes \(cutover config check\); of it only/);
    expect(ran.code).toBe(0);
    expect(op.bypass.engaged).toMatchObject({ reason: 'x' });
  });

  test('address and token come from ./cutover.yaml, from --config, or from options', async () => {
    await writeFile(path.join(op.dir, 'cutover.yaml'), config(port()));
    await writeFile(path.join(op.dir, 'other.yaml'), config(port()));
    const { CUTOVER_TOKEN_FILE = '' } = env;
    env = {};
    expect(await run('stage')).toMatchObject({ code: 0, stderr: '' });
    expect((await run('stage', '--config', 'other.yaml')).code).toBe(0);
    const place = ['--admin', `127.0.0.1:${port()}`, '--token-file', CUTOVER_TOKEN_FILE];
    expect((await cutover(['stage', ...place], { cwd: '/' })).code).toBe(0);
  });

  test('no proxy there: 2, and what to do', async () => {
    await admin.close();
    // The port that it had may be another test's by now; none gets one of the system's own.
    const ran = await run('status', '--admin', 'http://127.0.0.1:2');
    expect(ran).toMatchObject({ code: 2, stdout: '' });
    expect(ran.stderr).toMatch(
      /^no proxy answers at http:.* \(connection refused\); is it running\?/,
    );
  });

  test('a token that is not that of the proxy: 1, naming the file and not the token', async () => {
    await writeFile(env.CUTOVER_TOKEN_FILE ?? '', 'another-token');
    const ran = await run('status');
    expect(ran.code).toBe(1);
    expect(ran.stderr).toContain(env.CUTOVER_TOKEN_FILE);
    expect(ran.stderr).not.toContain('another-token');
  });

  test.each([
    ['no token file', { CUTOVER_TOKEN_FILE: '/nowhere/admin.token' }, /admin\.token is not there/],
    ['a folder as token file', { CUTOVER_TOKEN_FILE: '/' }, /can not be read/],
    ['an empty token file', { CUTOVER_TOKEN_FILE: '/dev/null' }, /holds no admin token/],
    [
      'no configuration',
      { CUTOVER_TOKEN_FILE: undefined },
      /^cutover\.yaml: there is no such file; .* --config, or .* --admin and --token-file\n$/,
    ],
  ])('%s: 2, and which file it is about', async (_, change, stderr) => {
    const changed = Object.entries({ ...env, ...change }).filter(entry => entry[1] !== undefined);
    env = Object.fromEntries(changed) as Record<string, string>;
    const ran = await run('status');
    expect(ran).toMatchObject({ code: 2, stdout: '' });
    expect(ran.stderr).toMatch(stderr);
  });

  test('something else listens there: 2; a redirect does not get the token', async () => {
    const asked: (string | undefined)[] = [];
    const other = http.createServer((request, response) => {
      asked.push(request.headers.authorization);
      if (request.url === '/elsewhere') response.end('{"routes": []}');
      else if (request.url?.endsWith('/flags')) response.end('<html>');
      else response.writeHead(302, { location: '/elsewhere' }).end();
    });
    await new Promise<void>(resolve => other.listen(0, '127.0.0.1', resolve));
    env.CUTOVER_ADMIN = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
    const html = await run('flags', 'list');
    expect(html).toMatchObject({ code: 2, stdout: '' });
    expect(html.stderr).toContain('is not the admin API of a proxy');
    const moved = await run('stage');
    expect(moved).toMatchObject({ code: 2, stdout: '' });
    expect(asked).toHaveLength(2);
    other.close();
  });
});
