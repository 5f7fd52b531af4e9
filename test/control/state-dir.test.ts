import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readAdminToken } from '../../src/control/admin-token.ts';
import { openStateDir } from '../../src/control/state-dir.ts';

const HOLDER = new URL('./hold-state.ts', import.meta.url).pathname;

let root: string;
let dir: string;
const children: ChildProcess[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'cutover-state-'));
  dir = join(root, 'deep', 'state');
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
  await rm(root, { recursive: true, force: true });
});

/** A process that tries to hold `dir`; `line` is the first thing it says. */
async function holder(path: string) {
  const child = spawn(process.execPath, [HOLDER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  return { child, line };
}

describe('a state folder', () => {
  test('is made for its owner alone', async () => {
    const state = await openStateDir(dir);
    expect((await stat(dir)).mode & 0o777).toBe(0o700);
    await state.release();
  });

  test('can not be opened a second time in the same process until it is released', async () => {
    const state = await openStateDir(dir);
    await expect(openStateDir(dir)).rejects.toMatchObject({
      code: 'state-locked',
      message: expect.stringContaining(`is held by process ${process.pid}, which started at 2`),
    });
    await state.release();
    await state.release();
    const again = await openStateDir(dir);
    await again.release();
  });

  // The fault: it said to stop the other one first, and nothing of the way that loses nobody.
  test('is refused while another process holds it, whose id is told, and how to replace it', async () => {
    const { child, line } = await holder(dir);
    expect(line).toBe('held');
    await expect(openStateDir(dir)).rejects.toThrow(`${dir} is held by process ${child.pid}`);
    await expect(openStateDir(dir)).rejects.toThrow('let cutover start --take-over replace it');
    await expect(openStateDir(dir, { takeOver: true })).rejects.toThrow(/; send it SIGTERM$/);
    const second = await holder(dir);
    expect(second.line).toMatch(/^state-locked: /);
  });

  test('is free again when its holder was killed with -9, and the next one can hold it', async () => {
    const { child } = await holder(dir);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const state = await openStateDir(dir);
    expect((await holder(dir)).line).toMatch(new RegExp(`held by process ${process.pid},`));
    await state.release();
  });

  test('has one holder, however many ask at once', async () => {
    const all = await Promise.allSettled(Array.from({ length: 8 }, () => openStateDir(dir)));
    const held = all.flatMap(one => (one.status === 'fulfilled' ? [one.value] : []));
    expect(held).toHaveLength(1);
    await held[0]?.release();
  });

  test('that can not be written is a clear error', async () => {
    await writeFile(join(root, 'file'), '');
    await expect(openStateDir(join(root, 'file', 'state'))).rejects.toMatchObject({
      code: 'conflict',
      field: 'stateDir',
      message: expect.stringContaining('can not be written (ENOTDIR)'),
    });
    // /proc refuses new files even to root, as a read-only disk does.
    await expect(openStateDir('/proc/self')).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('make its folder writable'),
    });
  });

  test('whose lock is no database is a clear error, and nobody is let in', async () => {
    const state = await openStateDir(dir);
    await state.release();
    await writeFile(join(dir, 'lock.sqlite'), 'x'.repeat(4_096));
    await expect(openStateDir(dir)).rejects.toMatchObject({ code: 'conflict' });
  });
});

describe('the admin token', () => {
  test('is made once, readable by its owner alone, and stays', async () => {
    const state = await openStateDir(dir);
    const token = await state.adminToken();
    expect(token).toMatch(/^[\w-]{43}$/);
    expect((await stat(join(dir, 'admin.token'))).mode & 0o777).toBe(0o600);
    expect(await state.adminToken()).toBe(token);
    expect(await readAdminToken(dir)).toBe(token);
    await state.release();
    const next = await openStateDir(dir);
    expect(await next.adminToken()).toBe(token);
    await next.release();
    expect((await readdir(dir)).filter(name => name.startsWith('admin'))).toEqual(['admin.token']);
  });

  test('that others could read is put right, with a warning that does not hold it', async () => {
    const warnings: string[] = [];
    const state = await openStateDir(dir, { warn: message => warnings.push(message) });
    const token = await state.adminToken();
    await chmod(join(dir, 'admin.token'), 0o644);
    expect(await state.adminToken()).toBe(token);
    expect((await stat(join(dir, 'admin.token'))).mode & 0o777).toBe(0o600);
    expect(warnings).toEqual([expect.stringContaining('could be read by other users')]);
    expect(warnings.join()).not.toContain(token);
    await state.release();
  });

  test('that is empty or too short is refused, not used', async () => {
    const state = await openStateDir(dir);
    for (const text of ['', 'hunter2\n', `${'x'.repeat(40)} y`]) {
      await writeFile(join(dir, 'admin.token'), text);
      const refusal = state.adminToken();
      await expect(refusal).rejects.toThrow(/admin\.token holds no token: 32 to 256/);
      await expect(refusal).rejects.not.toThrow(/hunter2/);
    }
    await state.release();
  });

  test('of a proxy that never started is missed with a sentence', async () => {
    await expect(readAdminToken(root)).rejects.toThrow(/the proxy makes it when it starts/);
  });
});

describe('the key for pseudonyms', () => {
  test('is made once, readable by its owner alone, and stays', async () => {
    const state = await openStateDir(dir);
    const key = await state.pseudonymKey();
    expect(key).toHaveLength(32);
    expect((await stat(join(dir, 'pseudonym.key'))).mode & 0o777).toBe(0o600);
    expect(await state.pseudonymKey()).toEqual(key);
    await state.release();
    const next = await openStateDir(dir);
    expect(await next.pseudonymKey()).toEqual(key);
    await next.release();
  });

  test('that others could read is put right, and one that is damaged made anew, each with a warning', async () => {
    const warnings: string[] = [];
    const state = await openStateDir(dir, { warn: message => warnings.push(message) });
    const key = await state.pseudonymKey();
    await chmod(join(dir, 'pseudonym.key'), 0o644);
    expect(await state.pseudonymKey()).toEqual(key);
    expect((await stat(join(dir, 'pseudonym.key'))).mode & 0o777).toBe(0o600);
    await writeFile(join(dir, 'pseudonym.key'), 'half a k');
    const other = await state.pseudonymKey();
    expect(other).toHaveLength(32);
    expect(other).not.toEqual(key);
    expect(await state.pseudonymKey()).toEqual(other);
    expect(warnings).toEqual([
      expect.stringContaining('could be read by other users'),
      expect.stringContaining('holds no key and is made anew'),
    ]);
    await state.release();
  });

  test('that can not be kept is good for this process alone; nothing fails', async () => {
    const warnings: string[] = [];
    const state = await openStateDir(dir, { warn: message => warnings.push(message) });
    await mkdir(join(dir, 'pseudonym.key'));
    const [one, two] = [await state.pseudonymKey(), await state.pseudonymKey()];
    expect([one.length, two.length]).toEqual([32, 32]);
    expect(one).not.toEqual(two);
    expect(warnings[0]).toMatch(/pseudonym\.key can not be read \(EISDIR\): evidence of before/);
    await state.release();
  });
});
