import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { Bypass } from '../../src/control/bypass.ts';
import { hanging } from '../support/hanging.ts';
import { until } from '../support/until.ts';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'cutover-bypass-'));
  file = path.join(folder, 'bypass.json');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const at = (ms: number) => () => new Date(ms);

test('it is off at first; engaged, it is so after a restart as well, until it is ended', async () => {
  const bypass = await Bypass.open(folder, at(0));
  expect(bypass.engaged).toBeNull();
  await bypass.engage('events lost');
  const engaged = { reason: 'events lost', at: '1970-01-01T00:00:00.000Z' };
  expect(bypass).toMatchObject({ engaged, kept: true });
  expect((await Bypass.open(folder)).engaged).toEqual(engaged);
  await bypass.release();
  expect(bypass.engaged).toBeNull();
  expect((await Bypass.open(folder)).engaged).toBeNull();
});

// The fault: it had the reason of now and the time of before.
test('engaged again it has the reason and the time from which it has held', async () => {
  let now = 0;
  const bypass = await Bypass.open(folder, () => new Date(now));
  await bypass.engage('first');
  now = 60_000;
  await bypass.engage('second');
  expect(bypass.engaged).toEqual({ reason: 'first', at: '1970-01-01T00:00:00.000Z' });
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(bypass.engaged);
});

test('it is engaged before the disk has taken it', async () => {
  const bypass = await Bypass.open(folder);
  const engaging = bypass.engage('now');
  expect(bypass.engaged?.reason).toBe('now');
  await engaging;
});

test('a folder that refuses does not keep anybody from legacy, and is told', async () => {
  const bypass = await Bypass.open(path.join(folder, 'not there'));
  await bypass.engage('now');
  expect(bypass.engaged?.reason).toBe('now');
  expect(bypass.kept).toBe(false);
  // What the disk says is of no account as long as it was not told.
  await bypass.follow();
  expect(bypass.engaged?.reason).toBe('now');
  await bypass.release();
  expect(bypass).toMatchObject({ engaged: null, kept: true });
});

test.each([
  ['torn', '{"reason":"half'],
  ['empty', ''],
  ['no record', '[]'],
  ['lacking the time', '{"reason":"x"}'],
])('a file that is %s counts as engaged: legacy is the safe side', async (_what, text) => {
  await writeFile(file, text);
  expect((await Bypass.open(folder)).engaged?.reason).toContain('damaged');
});

test('it stays if a restart would bring it back, and says which file', async () => {
  const bypass = await Bypass.open(folder);
  await bypass.engage('now');
  await rm(file);
  // Something that can not be removed as a file is.
  await mkdir(path.join(file, 'inside'), { recursive: true });
  await expect(bypass.release()).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('bypass.json'),
  });
  expect(bypass.engaged?.reason).toBe('now');
});

test('of two operators at once the later one has the last word, in memory and on disk', async () => {
  const bypass = await Bypass.open(folder);
  for (let round = 0; round < 20; round += 1) {
    await Promise.all([bypass.engage('a'), bypass.release(), bypass.engage('b')]);
    expect(bypass.engaged?.reason).toBe('b');
    expect(JSON.parse(await readFile(file, 'utf8')).reason).toBe('b');
    await Promise.all([bypass.engage('c'), bypass.release()]);
    expect(bypass.engaged).toBeNull();
    expect((await Bypass.open(folder)).engaged).toBeNull();
  }
});

test('a process that does not hold the folder follows the one that does', async () => {
  const holder = await Bypass.open(folder);
  const other = await Bypass.open(folder);
  const changes: string[] = [];
  const told = (name: string, bypass: Bypass) => () =>
    void changes.push(`${name} ${bypass.engaged === null ? 'off' : 'on'}`);
  holder.onChange(told('holder', holder));
  other.onChange(told('other', other));
  await holder.engage('events lost');
  await other.follow();
  await holder.engage('events lost, still');
  await other.follow();
  expect(other.engaged).toEqual(holder.engaged);
  await holder.release();
  await other.follow();
  expect(other.engaged).toBeNull();
  await other.follow();
  await holder.release();
  expect(changes).toEqual(['holder on', 'other on', 'holder off', 'other off']);
});

test('66: where the disk hangs it holds, and says within seconds that it is not kept', async () => {
  const bypass = await Bypass.open(folder);
  const goOn = await hanging(file, () => bypass.follow());
  await bypass.engage('now');
  expect(bypass).toMatchObject({ engaged: { reason: 'now' }, kept: false });
  await goOn();
  await until('it is kept', () => bypass.kept);
  expect((await Bypass.open(folder)).engaged?.reason).toBe('now');
});

// The fault: whoever asked waited for as long as the disk did.
test('66: where the disk hangs it is not ended, which is said within seconds, and later neither', async () => {
  const bypass = await Bypass.open(folder);
  await bypass.engage('now');
  const goOn = await hanging(file, () => bypass.follow());
  await expect(bypass.release()).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringMatching(/^the bypass stays: .* \(the disk does not answer\)$/),
  });
  expect(bypass.engaged?.reason).toBe('now');
  await goOn();
  await bypass.engage('still');
  expect(bypass).toMatchObject({ engaged: { reason: 'now' }, kept: true });
  expect((await Bypass.open(folder)).engaged?.reason).toBe('now');
});
