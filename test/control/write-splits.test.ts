import { appendFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WriteSplits } from '../../src/control/write-splits.ts';
import type { WriteSplit } from '../../src/ports.ts';

const logger = pino({ level: 'silent' });
const split = (key: string): WriteSplit => ({
  route: 'broadcast',
  cause: 'second-refused',
  key,
  digest: null,
  bytes: 2,
  primary: { side: 'legacy', outcome: 200 },
  second: { side: 'candidate', outcome: 500 },
});
let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'cutover-splits-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('what is recorded before the folder is held is kept once it is, newest first', async () => {
  const splits = new WriteSplits(logger, () => new Date(0));
  splits.split(split('a'));
  splits.agreed('broadcast');
  expect(await splits.last(10)).toEqual([]);
  splits.keepIn(folder);
  splits.split(split('b'));
  expect((await splits.last(10)).map(({ key, at }) => [key, at])).toEqual([
    ['b', '1970-01-01T00:00:00.000Z'],
    ['a', '1970-01-01T00:00:00.000Z'],
  ]);
  expect(splits.counts().get('broadcast')).toEqual({ agreed: 1, splits: { 'second-refused': 2 } });
});

test('another process reads what this one kept, and passes over a line that a crash cut off', async () => {
  const before = new WriteSplits(logger);
  before.keepIn(folder);
  before.split(split('a'));
  await before.flush();
  await appendFile(path.join(folder, 'write-splits.jsonl'), '{"key":"torn');
  const after = new WriteSplits(logger);
  after.keepIn(folder);
  after.split(split('b'));
  expect((await after.last(10)).map(({ key }) => key)).toEqual(['b', 'a']);
});

test('a disk that refuses loses no count', async () => {
  const splits = new WriteSplits(logger);
  splits.keepIn(path.join(folder, 'is', 'not', 'there'));
  splits.split(split('a'));
  await splits.flush();
  expect(splits.unkept).toBeGreaterThan(0);
  expect(splits.counts().get('broadcast')?.splits).toEqual({ 'second-refused': 1 });
});
