// A disk that is full, read-only or damaged costs evidence and nothing else: the counts say what was
// lost and why, and keeping goes on when the disk lets it.
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdtempSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open, readdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { differs, evidence, finding, type TestEvidence } from '../../support/evidence.ts';
import { until } from '../../support/until.ts';

let folder: string;
let kept: TestEvidence;
beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'cutover-disk-'));
});
afterEach(async () => {
  await kept?.close();
  rmSync(folder, { recursive: true, force: true });
});

const big = (i: number) =>
  finding({
    differences: [differs(`/${'abcdefghijklmnopqrst'[i % 20]}`, 1, 2)],
    legacy: ramble(i),
  });
/** 40 kB that do not look like a secret. */
const ramble = (i: number) => Array.from({ length: 40 }, () => `${'lorem '.repeat(166)}${i}`);
const groups = async () => (await kept.evidence.ask('groups', { limit: 500, offset: 0 })).groups;
const found = async () => (await groups()).reduce((sum, { count }) => sum + count, 0);

/** A file that could not be opened is tried again every few seconds. How many findings it took. */
async function keepUntilKept(): Promise<number> {
  let findings = 0;
  await until(
    'one is kept',
    async () => {
      findings += 1;
      await kept.keep(finding());
      return kept.evidence.state.kept > 0;
    },
    60_000,
  );
  return findings;
}

describe.skipIf(process.getuid?.() !== 0)('a small disk (as root alone: it is mounted)', () => {
  let disk: string;
  const mount = (options: string) => execFileSync('mount', ['-o', options, disk]);
  beforeEach(() => {
    disk = path.join(folder, 'disk');
    execFileSync('mkdir', [disk]);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=2m', 'none', disk]);
  });
  afterEach(async () => {
    await kept.close();
    execFileSync('umount', [disk]);
  });

  test('that is full loses examples by that cause, no count, and nothing that was kept', async () => {
    kept = await evidence({ folder: disk });
    for (let i = 0; i < 100; i += 1) await kept.keep(big(i));
    const { state } = kept.evidence;
    expect(state.trouble?.cause).toBe('disk-full');
    expect(state.dropped['disk-full']).toBeGreaterThan(30);
    expect(state.kept + state.dropped['disk-full']).toBe(100);
    expect(kept.logged.join('')).toContain('evidence is not kept');
    expect(kept.logged.join('').match(/evidence is not kept/g)).toHaveLength(1);
    // What was kept can be read, and the rest is counted when there is room again.
    expect(await found()).toBe(state.kept);
    execFileSync('mount', ['-o', 'remount,size=64m', disk]);
    await kept.keep(big(0));
    expect(kept.evidence.state.trouble).toBeNull();
    expect(await found()).toBe(101);
    expect(kept.logged.join('')).toContain('evidence is kept again');
  });

  test('that is full from the beginning, with no room for the file at all', async () => {
    writeFileSync(path.join(disk, 'other'), '');
    expect(() => writeFileSync(path.join(disk, 'other'), Buffer.alloc(3 * 1024 * 1024))).toThrow(
      'ENOSPC',
    );
    kept = await evidence({ folder: disk });
    await kept.keep(finding());
    expect(kept.evidence.state).toMatchObject({
      kept: 0,
      use: null,
      trouble: { cause: 'disk-full' },
    });
    await expect(groups()).rejects.toThrow(/^evidence can not be read: the disk, or what/);
    rmSync(path.join(disk, 'other'));
    const more = await keepUntilKept();
    expect(await found()).toBe(1 + more);
  });

  test('that becomes read-only, and writable again', async () => {
    kept = await evidence({ folder: disk });
    await kept.keep(finding());
    await kept.evidence.close();
    mount('remount,ro');
    kept = await evidence({ folder: disk });
    await kept.keep(finding());
    expect(kept.evidence.state).toMatchObject({
      ...{ kept: 0, trouble: { cause: 'read-only' } },
      dropped: { 'read-only': 1, failed: 0, 'disk-full': 0 },
    });
    mount('remount,rw');
    const more = await keepUntilKept();
    expect(kept.evidence.state.trouble).toBeNull();
    expect(await found()).toBe(2 + more);
  });
});

describe('a damaged file is set aside, and a new one begun', () => {
  const file = () => path.join(folder, 'evidence.sqlite');
  beforeEach(async () => {
    kept = await evidence({ folder });
    await kept.keep(...Array.from({ length: 20 }, (_, i) => big(i)));
    await kept.close();
  });
  const begins = async () => {
    kept = await evidence({ folder });
    await kept.keep(finding());
    expect(kept.evidence.state).toMatchObject({
      ...{ kept: 1, trouble: null, setAside: { file: `${file()}.damaged` } },
      dropped: { corrupt: 0 },
    });
    expect(await found()).toBe(1);
    expect(statSync(`${file()}.damaged`).size).toBeGreaterThan(0);
    expect(await readdir(folder)).not.toContain('evidence.sqlite-journal');
  };

  test('a header of garbage', async () => {
    await overwrite(file(), 0, 100);
    await begins();
  });

  test('pages of garbage in the middle', async () => {
    await overwrite(file(), 8_192, statSync(file()).size - 20_000);
    await begins();
  });

  test('half of it gone', async () => {
    truncateSync(file(), Math.floor(statSync(file()).size / 2));
    await begins();
  });

  test('damaged while it is in use', async () => {
    kept = await evidence({ folder });
    // More than SQLite has in its memory.
    for (let i = 0; i < 8; i += 1) await kept.keep(...Array.from({ length: 20 }, (_, n) => big(n)));
    await overwrite(file(), 4_096, statSync(file()).size - 4_096);
    await kept.evidence.ask('findings', { limit: 500, after: 0 });
    expect(kept.evidence.state.setAside).not.toBeNull();
    const before = kept.evidence.state.kept;
    await kept.keep(finding({ eventType: 'after' }));
    expect(kept.evidence.state).toMatchObject({ trouble: null, kept: before + 1 });
    expect((await groups()).map(({ eventType }) => eventType)).toContain('after');
  });
});

test('a torn log beside the file loses what was in it and no more', async () => {
  kept = await evidence({ folder });
  await kept.keep(finding());
  await kept.close();
  appendFileSync(path.join(folder, 'evidence.sqlite-wal'), 'x'.repeat(5_000));
  kept = await evidence({ folder });
  await kept.keep(finding());
  expect(kept.evidence.state).toMatchObject({ trouble: null, setAside: null });
  expect(await found()).toBe(2);
});

test('a file of the version before is brought to this one: what it counted stands as sessions', async () => {
  kept = await evidence({ folder });
  await kept.keep(finding());
  await kept.close();
  const database = new DatabaseSync(path.join(folder, 'evidence.sqlite'));
  database.exec(`
    DROP TABLE units;
    CREATE TABLE units (
      route TEXT NOT NULL, event_type TEXT NOT NULL, hour INTEGER NOT NULL,
      units INTEGER NOT NULL, diverged INTEGER NOT NULL, PRIMARY KEY (route, event_type, hour)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX units_hour ON units (hour);
    INSERT INTO units VALUES ('events', '', ${Math.floor(Date.now() / 3_600_000)}, 5, 1);
    PRAGMA user_version = 1;`);
  database.close();
  kept = await evidence({ folder });
  await kept.keep(finding({ unit: 'run 1' }));
  await kept.endUnits();
  const { rates } = await kept.evidence.ask('summary', { since: null, threshold: 0.01 });
  expect(rates).toMatchObject([
    { eventType: null, of: 'run', units: 1 },
    { eventType: null, of: 'session', units: 5, diverged: 1 },
    { eventType: 'agent_started', of: 'run', units: 1 },
  ]);
  expect(await found()).toBe(2);
});

test('a file of a later version is left as it is, under another name', async () => {
  const database = new DatabaseSync(path.join(folder, 'evidence.sqlite'));
  database.exec('CREATE TABLE later (x); INSERT INTO later VALUES (1); PRAGMA user_version = 4711');
  database.close();
  kept = await evidence({ folder });
  await kept.keep(finding());
  expect(kept.evidence.state).toMatchObject({ kept: 1, trouble: null });
  const aside = new DatabaseSync(path.join(folder, 'evidence.sqlite.newer'));
  expect(aside.prepare('SELECT x FROM later').get()).toEqual({ x: 1 });
  aside.close();
});

test('a folder that is not there any more', async () => {
  kept = await evidence({ folder: path.join(folder, 'gone') });
  await kept.keep(finding());
  expect(kept.evidence.state).toMatchObject({ kept: 0, use: null, thread: 'running' });
  expect(kept.evidence.state.trouble?.cause).toBe('read-only');
});

async function overwrite(file: string, from: number, bytes: number): Promise<void> {
  const handle = await open(file, 'r+');
  await handle.write(Buffer.alloc(bytes, 'garbage '), 0, bytes, from);
  await handle.close();
}
