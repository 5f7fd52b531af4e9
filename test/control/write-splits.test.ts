import { appendFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { inFlight, WriteSplits } from '../../src/control/write-splits.ts';
import type { WriteSplit } from '../../src/ports.ts';

const logger = pino({ level: 'silent' });
const split = (key: string, route = 'broadcast'): WriteSplit => ({
  route,
  cause: 'second-refused',
  key,
  digest: null,
  bytes: 2,
  primary: { side: 'legacy', outcome: 200 },
  second: { side: 'candidate', outcome: 500 },
});
const keysOf = async (splits: WriteSplits, most: number, route?: string) =>
  (await splits.last(most, route)).splits.map(({ key }) => key);
let folder: string;
const FILE = 'write-splits.jsonl';
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'cutover-splits-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('what is recorded before the folder is held is kept once it is, newest first', async () => {
  const splits = new WriteSplits(logger, () => new Date(0));
  splits.split(split('a'));
  splits.agreed('broadcast');
  expect(await splits.last(10)).toEqual({ splits: [], unreadable: 0 });
  splits.keepIn(folder);
  splits.split(split('b'));
  expect((await splits.last(10)).splits.map(({ key, at }) => [key, at])).toEqual([
    ['b', '1970-01-01T00:00:00.000Z'],
    ['a', '1970-01-01T00:00:00.000Z'],
  ]);
  expect(splits.counts().get('broadcast')).toMatchObject({
    agreed: 1,
    splits: { 'second-refused': 2 },
  });
});

test('another process reads what this one kept, and passes over a line that a crash cut off', async () => {
  const before = new WriteSplits(logger);
  before.keepIn(folder);
  before.split(split('a'));
  await before.flush();
  await appendFile(path.join(folder, FILE), '{"key":"torn');
  const after = new WriteSplits(logger);
  after.keepIn(folder);
  after.split(split('b'));
  expect(await keysOf(after, 10)).toEqual(['b', 'a']);
  expect((await after.last(10)).unreadable).toBe(1);
});

test('a disk that refuses loses no count', async () => {
  const splits = new WriteSplits(logger);
  splits.keepIn(path.join(folder, 'is', 'not', 'there'));
  splits.split(split('a'));
  await splits.flush();
  expect(splits.unkept).toBe(1);
  expect(splits.counts().get('broadcast')?.splits).toEqual({ 'second-refused': 1 });
});

test('a record after the disk refused one begins a line of its own', async () => {
  const splits = new WriteSplits(logger);
  const later = path.join(folder, 'later');
  splits.keepIn(later);
  splits.split(split('lost'));
  await splits.flush();
  await mkdir(later);
  await writeFile(path.join(later, FILE), '{"half a record');
  splits.split(split('kept'));
  expect(await keysOf(splits, 10)).toEqual(['kept']);
});

test('of a long file only as much is read as is asked for, of one route or all', async () => {
  const splits = new WriteSplits(logger);
  splits.keepIn(folder);
  for (let i = 0; i < 3_000; i += 1)
    splits.split(split(String(i), i % 1_000 === 0 ? 'rare' : 'usual'));
  await splits.flush();
  expect((await readFile(path.join(folder, FILE))).length).toBeGreaterThan(4 * 65_536);
  expect(await keysOf(splits, 3)).toEqual(['2999', '2998', '2997']);
  expect(await keysOf(splits, 10, 'rare')).toEqual(['2000', '1000', '0']);
  expect(await keysOf(splits, 10, 'none')).toEqual([]);
  expect(await keysOf(splits, 5_000)).toHaveLength(3_000);
});

test('when the file is full it becomes the older one, and both are read, newest first', async () => {
  const splits = new WriteSplits(logger);
  splits.keepIn(folder);
  splits.split(split('older'));
  await splits.flush();
  // Another 8 MiB, of lines that are no records.
  await appendFile(path.join(folder, FILE), 'x'.repeat(1_048_575).concat('\n').repeat(8));
  splits.split(split('newer'));
  await splits.flush();
  expect(await readFile(path.join(folder, 'write-splits.1.jsonl'), 'utf8')).toContain('"older"');
  const { splits: last, unreadable } = await splits.last(10);
  expect(last.map(({ key }) => key)).toEqual(['newer', 'older']);
  expect(unreadable).toBe(8);
});

test.each([
  ['no JSON', 'nonsense'],
  ['another kind of JSON', '["a"]'],
  ['a record that lacks something', '{"at":"x","route":"broadcast"}'],
  ['zeroes, as a crashed disk leaves them', '\0\0\0\0'],
  ['half a character', Buffer.from([0xe2, 0x82])],
])('a line with %s is passed over and counted', async (_what, line) => {
  const splits = new WriteSplits(logger);
  splits.keepIn(folder);
  splits.split(split('a'));
  await splits.flush();
  await appendFile(path.join(folder, FILE), line);
  await appendFile(path.join(folder, FILE), '\n');
  splits.split(split('b'));
  expect(await splits.last(10)).toMatchObject({
    splits: [{ key: 'b' }, { key: 'a' }],
    unreadable: 1,
  });
});

test('records come back whole wherever the pieces in which the file is read are cut', async () => {
  const splits = new WriteSplits(logger);
  splits.keepIn(folder);
  // Two bytes a character, so that cuts fall into characters as well.
  const keys = Array.from({ length: 800 }, (_, i) => `${i}-${'ä'.repeat(i % 200)}`);
  for (const key of keys) splits.split(split(key));
  expect(await keysOf(splits, 800)).toEqual(keys.reverse());
});

test('a write to both is in flight until both have taken it, neither has, or they part', () => {
  const splits = new WriteSplits(logger);
  for (let i = 0; i < 5; i += 1) splits.begun('broadcast', 'both');
  splits.begun('broadcast', 'primary');
  splits.agreed('broadcast');
  splits.split(split('a'));
  splits.split({ ...split('b'), cause: 'overload' });
  // Went to one service only, and is over for all that is known here.
  splits.split({ ...split('c'), cause: 'too-large' });
  const counts = splits.counts().get('broadcast');
  expect(counts).toMatchObject({ both: 5, primary: 1, agreed: 1 });
  expect(counts && inFlight(counts)).toBe(2);
});

test('once the folder is another’s, records are counted and no longer written', async () => {
  const splits = new WriteSplits(logger);
  splits.keepIn(folder);
  splits.split(split('a'));
  await splits.letGo();
  splits.split(split('b'));
  await splits.flush();
  expect(await readFile(path.join(folder, FILE), 'utf8')).not.toContain('"b"');
  expect(await keysOf(splits, 10)).toEqual(['a']);
  expect(splits.unkept).toBe(1);
  expect(splits.counts().get('broadcast')?.splits).toEqual({ 'second-refused': 2 });
});
