// The audit trail: each record is on disk before its change is made, and none can be changed unnoticed.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import request from 'supertest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Admin, createAdmin } from '../../src/control/admin.ts';
import { Journal, verifyJournal } from '../../src/control/journal.ts';
import { cutover } from '../support/command.ts';
import { flagsFor, type Operated, operated, TOKEN } from '../support/operator.ts';
import { until } from '../support/until.ts';

const WRITER = new URL('./write-journal.ts', import.meta.url).pathname;

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'cutover-audit-'));
  file = path.join(folder, 'audit.jsonl');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const opened = async () => (await Journal.open<{ n: number }>(file)).journal;
async function written(count: number): Promise<string[]> {
  const journal = await opened();
  for (let n = 1; n <= count; n += 1) await journal.append({ n });
  return (await readFile(file, 'utf8')).trimEnd().split('\n');
}

describe('a journal', () => {
  test('is JSON in canonical form, each line with the hash of the one before, and goes on after a restart', async () => {
    const [first, second] = await written(2);
    expect(first).toBe(`{"n":1,"prev":"${'0'.repeat(64)}","seq":1}`);
    expect(second).toMatch(/^\{"n":2,"prev":"[0-9a-f]{64}","seq":2\}$/);
    await (await opened()).append({ n: 3 });
    expect(await verifyJournal(file)).toMatchObject({ entries: 3, fault: null });
    const newest: number[] = [];
    for await (const { n } of (await opened()).newest()) newest.push(n);
    expect(newest).toEqual([3, 2, 1]);
  });

  test.each<[string, (lines: string[]) => string[], number]>([
    ['one digit is another', l => l.map((x, i) => (i === 1 ? x.replace('"n":2', '"n":7') : x)), 3],
    ['a record in the middle is gone', l => l.toSpliced(1, 1), 2],
    ['two have changed places', ([a = '', b = '', c = '', ...l]) => [a, c, b, ...l], 2],
    ['one is there twice', l => l.toSpliced(1, 0, l[0] ?? ''), 2],
    ['a blank was put in', l => l.map((x, i) => (i === 3 ? x.replace('{', '{ ') : x)), 4],
    ['a line is no record', l => l.toSpliced(2, 0, 'hello'), 3],
  ])('tells where it was tampered with: %s', async (_what, tamper, line) => {
    const lines = await written(5);
    await writeFile(file, `${tamper(lines).join('\n')}\n`);
    expect((await verifyJournal(file)).fault?.line).toBe(line);
  });

  test('tells by its head that the end was cut off', async () => {
    const lines = await written(5);
    const { head } = await verifyJournal(file);
    await writeFile(file, `${lines.slice(0, 4).join('\n')}\n`);
    expect(await verifyJournal(file)).toMatchObject({ entries: 4, fault: null });
    expect((await verifyJournal(file)).head).not.toBe(head);
  });

  test.each([
    ['half a record', '{"n":4,"pr'],
    ['zeros, as some file systems leave', '\0'.repeat(700)],
    ['a line that is no JSON', 'what\nis this\n'],
  ])(
    '67: a tail of %s is kept beside it, and the chain goes on from the last whole record',
    async (_what, torn) => {
      const lines = await written(3);
      await writeFile(file, `${lines.join('\n')}\n${torn}`);
      const { journal, repair } = await Journal.open<{ n: number }>(file);
      expect(repair?.bytes).toBe(torn.length);
      expect(await readFile(repair?.keptIn ?? '', 'utf8')).toBe(torn);
      await journal.append({ n: 4 });
      expect(await verifyJournal(file)).toMatchObject({ entries: 4, fault: null });
    },
  );

  // The fault: it went on with the next number, which every check called tampering from then on.
  test.each([
    ['moved away', () => rename(file, `${file}.1`)],
    ['copied and emptied', () => copyFile(file, `${file}.1`).then(() => writeFile(file, ''))],
  ])(
    'whose file is %s begins a chain anew, which says where the old one ended',
    async (_how, rotate) => {
      const { journal } = await Journal.open<{ n: number; head?: string }>(file, {
        anew: ({ seq, head }) => ({ n: -seq, head }),
      });
      for (let n = 1; n <= 3; n += 1) await journal.append({ n });
      await rotate();
      await Promise.all([4, 5].map(n => journal.append({ n })));
      const old = await verifyJournal(`${file}.1`);
      expect(old).toMatchObject({ entries: 3, fault: null });
      expect(await verifyJournal(file)).toMatchObject({ entries: 3, fault: null });
      const [first] = (await readFile(file, 'utf8')).split('\n');
      expect(JSON.parse(first ?? '')).toMatchObject({ seq: 1, n: -3, head: old.head });
    },
  );

  test('whose end is cut off while it is open has a fault there for good', async () => {
    const journal = await opened();
    for (let n = 1; n <= 3; n += 1) await journal.append({ n });
    const [first] = (await readFile(file, 'utf8')).split('\n');
    await writeFile(file, `${first}\n`);
    await journal.append({ n: 4 });
    expect((await verifyJournal(file)).fault?.line).toBe(2);
  });

  test('67: its writer is killed with -9 again and again, and what it was told is written is there', async () => {
    let told = 0;
    for (let round = 0; round < 4; round += 1) {
      const child = spawn(process.execPath, [WRITER, file], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let text = '';
      child.stdout.on('data', chunk => {
        text += String(chunk);
      });
      await until('it has written some', () => text.split('\n').length > 20);
      child.kill('SIGKILL');
      await once(child, 'close');
      told = Number(text.trimEnd().split('\n').at(-1));
      const { entries, fault } = await verifyJournal(file);
      if (fault !== null) expect(fault.line).toBe(entries + 1);
      expect(entries).toBeGreaterThanOrEqual(told);
      await opened();
      expect((await verifyJournal(file)).fault).toBeNull();
    }
  });
});

describe('what an operator changes', () => {
  let op: Operated;
  let admin: Admin;
  beforeEach(async () => {
    op = await operated({ 'events.json': flagsFor('events', 'off') });
    admin = createAdmin({ ...op, token: TOKEN });
    await admin.ready();
  });
  afterEach(async () => {
    await admin.close();
    await op.close();
  });
  const post = (call: string, body: object, by = 'alice') =>
    request(admin.server)
      .post(`/api/v1${call}`)
      .set('authorization', `Bearer ${TOKEN}`)
      .set('x-cutover-by', by)
      .send(body);
  const trail = async () => (await op.audit.last(100)).reverse();
  const shadow = { stage: 'shadow', route: 'events', reason: 'week one' };

  test('is on record: who, what, why, and how it was before', async () => {
    await post('/stage', shadow).expect(200);
    await post('/stage', { ...shadow, stage: 'live', dryRun: true }).expect(200);
    await post('/pin', { user: 'u1', side: 'candidate', forS: 60, route: 'events' }).expect(200);
    await post('/unpin', { user: 'u1', route: 'events' }).expect(200);
    await post('/bypass', { state: 'on', reason: 'lost' }).expect(200);
    await post('/bypass', { state: 'off', reason: 'found' }).expect(200);
    const entries = await trail();
    expect(entries.map(({ by, action, reason }) => [by, action, reason])).toEqual([
      ['operator alice', 'stage', 'week one'],
      ['operator alice', 'pin', null],
      ['operator alice', 'unpin', null],
      ['operator alice', 'bypass-on', 'lost'],
      ['operator alice', 'bypass-off', 'found'],
    ]);
    expect(entries[0]?.details).toMatchObject({ stage: 'shadow', was: { events: 'off' } });
    expect(JSON.stringify(entries)).not.toContain('u1');
    expect(await op.audit.verify()).toMatchObject({ entries: 5, fault: null });
  });

  test('is on record in another file, where somebody has moved the one before away', async () => {
    await post('/stage', shadow).expect(200);
    const { head } = await op.audit.verify();
    const trailFile = path.join(op.stateDir, 'audit.jsonl');
    await rename(trailFile, `${trailFile}.1`);
    await post('/stage', { ...shadow, stage: 'off' }).expect(200);
    expect(await trail()).toMatchObject([
      { seq: 1, by: 'cutover', action: 'audit-begun-anew', details: { seq: 1, head } },
      { seq: 2, action: 'stage' },
    ]);
    expect(await op.audit.verify()).toMatchObject({ entries: 2, fault: null });
  });

  test('and was refused is on record too', async () => {
    await post('/stage', { stage: 'canary', percent: 400 }).expect(422);
    expect(await trail()).toMatchObject([
      { action: 'stage' },
      { action: 'stage-failed', details: { seq: 1, code: 'invalid-argument' } },
    ]);
  });

  test('is shown and verified by the API and by the command line', async () => {
    await post('/stage', shadow).expect(200);
    const { port } = await admin.listen();
    const tokenFile = path.join(op.dir, 'admin.token');
    await writeFile(tokenFile, TOKEN);
    const env = { CUTOVER_ADMIN: `http://127.0.0.1:${port}`, CUTOVER_TOKEN_FILE: tokenFile };
    const shown = await cutover(['audit', 'show'], { env, cwd: op.dir });
    expect(shown.stdout).toMatch(/1 +\S+Z +operator alice +stage +week one +\{/);
    const trailFile = path.join(op.stateDir, 'audit.jsonl');
    const good = await cutover(['audit', 'verify', '--file', trailFile], { env, cwd: op.dir });
    expect(good).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('the chain is whole: 1'),
    });
    await writeFile(trailFile, (await readFile(trailFile, 'utf8')).replace('week', 'weak'));
    await post('/stage', { ...shadow, stage: 'off' }).expect(200);
    const bad = await cutover(['audit', 'verify'], { env, cwd: op.dir });
    expect(bad).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^line 2: the record before/),
    });
  });

  // A folder where the file should be refuses even root, as a read-only disk does others.
  test.each([
    ['read-only', (place: string) => mkdir(place)],
    ['full', (place: string) => symlink('/dev/full', place)],
  ])(
    '66: on a disk that is %s is refused with a sentence, but for the bypass',
    async (_what, spoil) => {
      await spoil(path.join(op.stateDir, 'audit.jsonl'));
      op.audit.letGo();
      await op.audit.keepIn(op.stateDir);
      const { body } = await post('/stage', shadow).expect(409);
      expect(body.error.message).toMatch(
        /^nothing was changed, because .*audit\.jsonl.* \(E[A-Z]+\)/,
      );
      expect(op.flags.stage(op.proxy.loaded().config.routes[0] as never).name).toBe('off');
      await post('/bypass', { state: 'on', reason: 'lost' }).expect(200);
      expect(op.bypass.engaged?.reason).toBe('lost');
      await post('/bypass', { state: 'off', reason: 'found' }).expect(409);
      expect(op.bypass.engaged?.reason).toBe('lost');
      expect(op.audit.unkept).toBe(1);
      expect(op.audit.trouble?.message).toContain('audit.jsonl');
    },
  );

  // The fault: each of them opened the file by itself and wrote a record with the same number.
  test('66: once the disk takes it again, is one chain, however many ask at once', async () => {
    const trailFile = path.join(op.stateDir, 'audit.jsonl');
    await mkdir(trailFile);
    op.audit.letGo();
    await op.audit.keepIn(op.stateDir);
    expect(op.audit.trouble?.message).toContain('audit.jsonl');
    await rmdir(trailFile);
    const act = (action: string) => ({ by: 'operator', action, reason: null, details: {} });
    const kept = await Promise.all(['a', 'b', 'c'].map(action => op.audit.note(act(action))));
    expect(kept).toEqual([true, true, true]);
    expect(await op.audit.verify()).toMatchObject({ entries: 3, fault: null });
    expect(op.audit.trouble).toBeNull();
  });

  test('68: when the clock is set back is in the order in which it was done', async () => {
    const clock = [3, 1, 2].map(hour => new Date(hour * 3_600_000));
    const { Audit } = await import('../../src/control/audit.ts');
    const audit = new Audit(op.logger, () => clock.shift() as Date);
    await audit.keepIn(folder);
    for (const action of ['a', 'b', 'c']) {
      await audit.record({ by: 'operator', action, reason: null, details: {} });
    }
    expect((await audit.last(9)).map(({ seq, action }) => [seq, action])).toEqual([
      [3, 'c'],
      [2, 'b'],
      [1, 'a'],
    ]);
  });

  test('65: by two operators at once is on record twice, and the chain is whole', async () => {
    await Promise.all(
      ['alice', 'bob', 'carol'].map(by => post('/stage', { ...shadow, reason: by }, by)),
    );
    expect(new Set((await trail()).map(({ reason }) => reason))).toEqual(
      new Set(['alice', 'bob', 'carol']),
    );
    expect((await op.audit.verify()).fault).toBeNull();
  });

  test('by a command that makes the change itself is on record by the proxy, and nothing else is', async () => {
    const details = { url: 'http://u', project: 'p', environment: 'e', flags: ['a'] };
    await post('/audit', { action: 'flags-push', details }).expect(200);
    expect(await trail()).toMatchObject([{ by: 'operator alice', action: 'flags-push', details }]);
    const { body } = await post('/audit', { action: 'rollback', details }).expect(422);
    expect(body.error.field).toBe('action');
  });

  test('under a name that is none is refused', async () => {
    const { body } = await post('/stage', shadow, 'alice and bob').expect(422);
    expect(body.error.field).toBe('x-cutover-by');
  });

  test('and a torn end found at the start is told', async () => {
    await post('/stage', shadow).expect(200);
    op.audit.letGo();
    const trailFile = path.join(op.stateDir, 'audit.jsonl');
    await writeFile(trailFile, '{"by', { flag: 'a' });
    await op.audit.keepIn(op.stateDir);
    expect((await trail()).at(-1)).toMatchObject({
      action: 'audit-repaired',
      details: { bytes: 4 },
    });
    expect(op.logged.join('')).toContain('the end of the audit trail was no record');
    expect((await readdir(op.stateDir)).filter(name => name.includes('torn'))).toHaveLength(1);
  });
});
