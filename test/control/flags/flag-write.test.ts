import { chmod, mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { documentText, writeFlagFiles } from '../../../src/control/flags/flag-write.ts';
import { feature, folder } from '../../support/flags.ts';

let place: Awaited<ReturnType<typeof folder>>;
beforeEach(async () => {
  place = await folder({ 'a.json': 'old a' });
});
afterEach(() => place.remove());

const writes = [
  { file: 'a.json', text: 'new a' },
  { file: 'b.json', text: 'new b' },
];
const read = (file: string) => readFile(join(place.dir, file), 'utf8');

test('all files are put in place', async () => {
  expect(await writeFlagFiles(place.dir, writes, async () => true)).toBe(true);
  expect([await read('a.json'), await read('b.json')]).toEqual(['new a', 'new b']);
  expect((await readdir(place.dir)).sort()).toEqual(['a.json', 'b.json']);
});

test('nothing is written, and nothing left behind, when somebody else was faster', async () => {
  expect(await writeFlagFiles(place.dir, writes, async () => false)).toBe(false);
  expect(await read('a.json')).toBe('old a');
  expect(await readdir(place.dir)).toEqual(['a.json']);
});

test('a file that was replaced already gets its old content and mode back when the next one fails', async () => {
  await chmod(join(place.dir, 'a.json'), 0o600);
  const blocked = writeFlagFiles(place.dir, writes, async () => {
    await mkdir(join(place.dir, 'b.json', 'inner'), { recursive: true });
    return true;
  });
  await expect(blocked).rejects.toMatchObject({ code: 'conflict' });
  expect(await read('a.json')).toBe('old a');
  expect((await stat(join(place.dir, 'a.json'))).mode & 0o777).toBe(0o600);
  await rm(join(place.dir, 'b.json'), { recursive: true });
  expect(await readdir(place.dir)).toEqual(['a.json']);
});

test('a file that was new is gone again when the next one fails', async () => {
  const blocked = writeFlagFiles(place.dir, writes.toReversed(), async () => {
    await rm(join(place.dir, 'a.json'));
    await mkdir(join(place.dir, 'a.json', 'inner'), { recursive: true });
    return true;
  });
  await expect(blocked).rejects.toMatchObject({ code: 'conflict' });
  expect(await readdir(place.dir)).toEqual(['a.json']);
});

test('edited features keep their places, new ones come last', () => {
  const [a, b, c] = ['a', 'b', 'c'].map(name => feature(name));
  if (a === undefined || b === undefined || c === undefined) throw new Error('no features');
  const text = documentText({ features: [a, b] }, [c, { ...a, enabled: false }]);
  expect(JSON.parse(text).features).toEqual([{ ...a, enabled: false }, b, c]);
  expect(text.endsWith('}\n')).toBe(true);
});
