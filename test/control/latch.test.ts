import {
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Latch } from '../../src/control/latch.ts';
import { hanging, hangingFile } from '../support/hanging.ts';
import { until } from '../support/until.ts';

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'cutover-latch-'));
  file = path.join(folder, 'latch.jsonl');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const all = { scope: '*', reason: 'events lost', by: 'operator alice' };
const again = () => Latch.open(folder);
const lines = async () => (await readFile(file, 'utf8')).trimEnd().split('\n');

test('it holds before the disk has taken it, is there after a restart, and its release too', async () => {
  const latch = await again();
  const { written, entry } = latch.hold('latched', all);
  expect(latch.on('events')).toBe('latched');
  expect(await written).toBe(true);
  expect((await again()).held).toEqual([entry]);
  expect(entry).toMatchObject({ ...all, epoch: 1, state: 'latched' });
  await latch.release({ ...all, reason: 'fixed' });
  expect(latch.on('events')).toBeNull();
  expect(await again()).toMatchObject({ held: [], epoch: 2 });
  expect(await lines()).toHaveLength(2);
});

test('said again it stays as it was said, and nothing is written; severed is more than latched', async () => {
  const latch = await again();
  const first = latch.hold('latched', all);
  const second = latch.hold('latched', { ...all, reason: 'another', by: 'operator bob' });
  expect(second).toMatchObject({ changed: false, entry: first.entry });
  expect(latch.hold('severed', all)).toMatchObject({ changed: true, entry: { epoch: 2 } });
  const third = latch.hold('latched', all);
  expect(third).toMatchObject({ changed: false, entry: { state: 'severed' } });
  await third.written;
  expect(await lines()).toHaveLength(2);
  expect((await again()).on('events')).toBe('severed');
});

test('release of everything keeps what routes have of their own', async () => {
  const latch = await again();
  void latch.hold('latched', { ...all, scope: 'events' }).written;
  void latch.hold('latched', all).written;
  await latch.release(all);
  for (const each of [latch, await again()]) {
    expect([each.on('events'), each.on('api')]).toEqual(['latched', null]);
  }
  expect(await latch.release(all)).toMatchObject({ changed: false });
});

test('68: the clock does not matter', async () => {
  let now = 7_200_000;
  const latch = await Latch.open(folder, { now: () => new Date(now) });
  void latch.hold('latched', all).written;
  now = 0;
  await latch.release(all);
  expect((await again()).on('events')).toBeNull();
});

// Neither can be written, to root as well.
test.each([
  ['read-only', () => mkdir(file)],
  ['full', () => symlink('/dev/full', file)],
])(
  '66: on a disk that is %s it holds in memory and says so; it is not released, and written later',
  async (_what, spoil) => {
    const latch = await again();
    await spoil();
    expect(await latch.hold('latched', all).written).toBe(false);
    expect(latch).toMatchObject({ kept: false });
    expect(latch.on('events')).toBe('latched');
    await expect(latch.release(all)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(/^the latch stays: latch\.jsonl .* \(E[A-Z]+\)$/),
    });
    expect(latch.on('events')).toBe('latched');
    await rm(file, { recursive: true });
    expect(await latch.follow()).toBe(true);
    expect((await again()).on('events')).toBe('latched');
    await latch.release(all);
    expect((await again()).on('events')).toBeNull();
  },
);

// The fault: whoever asked waited for as long as the disk did.
describe('66: on a disk that hangs', () => {
  const refused = {
    code: 'conflict',
    message:
      'the latch stays: latch.jsonl in the state folder can not be written (the disk does not answer)',
  };

  test('a release is refused within seconds, and what was refused is not in force later, after a restart neither', async () => {
    const latch = await again();
    await latch.hold('severed', { ...all, scope: 'events' }).written;
    const goOn = await hangingFile(file);
    const release = () => latch.release({ ...all, scope: 'events', reason: 'fixed' });
    // The first one is being written, the others wait behind it.
    await Promise.all([1, 2].map(() => expect(release()).rejects.toMatchObject(refused)));
    const third = expect(release()).rejects.toMatchObject(refused);
    expect(await latch.unkeepable()).toBe('the disk does not answer');
    await third;
    expect([latch.on('events'), latch.kept]).toEqual(['severed', false]);
    await goOn();
    await until('it is on disk', () => latch.kept);
    expect(await latch.unkeepable()).toBeNull();
    expect(latch.held).toMatchObject([{ state: 'severed', reason: all.reason, by: all.by }]);
    expect((await again()).held).toEqual(latch.held);
    // Held, the first of the releases, and held again.
    expect(await lines()).toHaveLength(3);
    await release();
    expect((await again()).on('events')).toBeNull();
  }, 30_000);

  test('a release that only waits for others is not carried out later', async () => {
    const latch = await again();
    await latch.hold('latched', all).written;
    const goOn = await hanging(file, () => latch.follow());
    await expect(latch.release(all)).rejects.toMatchObject(refused);
    await goOn();
    expect(await latch.follow()).toBe(true);
    expect(latch.on('events')).toBe('latched');
    expect(await lines()).toHaveLength(1);
  }, 30_000);
});

test.each([
  ['torn', '{"epoch":1,"scope":"ev', /damaged/],
  ['garbage', 'hello\n', /damaged/],
])(
  '67: a file that is %s holds everything and says why, until it is released',
  async (_what, text, reason) => {
    await writeFile(file, text);
    const latch = await again();
    expect(latch.on('events')).toBe('latched');
    expect(latch.held[0]?.reason).toMatch(reason);
    expect(latch.damaged).toBe(1);
    await latch.release(all);
    expect((await again()).on('events')).toBeNull();
  },
);

test('a file that can not be read holds everything and says why', async () => {
  await mkdir(file);
  const latch = await again();
  expect(latch.held).toMatchObject([{ scope: '*', reason: expect.stringMatching(/EISDIR/) }]);
  await expect(latch.release(all)).rejects.toMatchObject({ code: 'conflict' });
});

test('65: of a rollback and a release at once the later one has the last word, in memory and on disk', async () => {
  const latch = await again();
  for (let round = 0; round < 20; round += 1) {
    const releasing = latch.release(all);
    const { written } = latch.hold('latched', all);
    await Promise.all([releasing, written]);
    expect(latch.on('events')).toBe('latched');
    expect((await again()).on('events')).toBe('latched');
    await latch.release(all);
    expect((await again()).on('events')).toBeNull();
  }
});

test('65: a rollback of what holds already has the last word over a release that is under way', async () => {
  for (const turns of [0, 1, 2, 3, 5, 10, 20, 50, 100]) {
    const latch = await again();
    await latch.hold('latched', all).written;
    const asOf = latch.moment();
    const releasing = latch.release(all, asOf);
    for (let turn = 0; turn < turns; turn += 1) await new Promise(resolve => setImmediate(resolve));
    const { written } = latch.hold('latched', all);
    await Promise.all([releasing, written]);
    expect(latch.on('events')).toBe('latched');
    expect((await again()).on('events')).toBe('latched');
    await latch.release(all);
  }
});

test('65: ... and over one that waits to be put on record', async () => {
  const latch = await again();
  await latch.hold('latched', all).written;
  const asOf = latch.moment();
  latch.hold('latched', all);
  expect(await latch.release(all, asOf)).toMatchObject({ changed: false });
  expect(latch.on('events')).toBe('latched');
});

test('a file that has grown long is left with the last word on each scope, and holds what it held', async () => {
  const entry = (epoch: number, scope: string, state: string) =>
    JSON.stringify({ epoch, scope, state, reason: 'x', by: 'operator alice', at: '2026-11-26' });
  const many = Array.from({ length: 1_200 }, (_, i) =>
    entry(i + 1, '*', i % 2 === 0 ? 'latched' : 'released'),
  );
  const long = [entry(1, 'api', 'severed'), ...many, entry(2_000, 'events', 'latched')];
  await writeFile(file, `${long.join('\n')}\n`);
  // Of a replacement that a power cut interrupted.
  await writeFile(`${file}.new`, '{"epoch":9999,"sco');
  const latch = await again();
  const { held } = latch;
  expect(held).toMatchObject([
    { scope: 'api', state: 'severed', epoch: 1 },
    { scope: 'events', state: 'latched', epoch: 2_000 },
  ]);
  await latch.compact();
  expect(await lines()).toHaveLength(3);
  expect(await again()).toMatchObject({ held, epoch: 2_000, damaged: 0 });
  expect(await readdir(folder)).toEqual(['latch.jsonl']);
  await latch.release({ ...all, scope: 'events' });
  expect((await again()).held).toEqual(held.slice(0, 1));
  const short = await lines();
  await latch.compact();
  expect(await lines()).toEqual(short);
});

test('67: a long file with a torn end holds everything afterwards as well, and is kept beside', async () => {
  const released = JSON.stringify({ ...all, epoch: 1, state: 'released', at: '2026-11-26' });
  const text = `${`${released}\n`.repeat(1_100)}{"epoch":2,"scope":"ev`;
  await writeFile(file, text);
  const latch = await again();
  await latch.compact();
  expect(await lines()).toHaveLength(1);
  expect((await again()).on('events')).toBe('latched');
  expect(await readFile(`${file}.damaged`, 'utf8')).toBe(text);
});

test('66: a long file that can not be replaced stays, and so does what it holds', async () => {
  const entry = { ...all, epoch: 1, state: 'latched', at: '2026-11-26' };
  await writeFile(file, `${JSON.stringify(entry)}\n`.repeat(1_100));
  await mkdir(`${file}.new`);
  const latch = await again();
  await latch.compact();
  expect(await lines()).toHaveLength(1_100);
  expect(latch).toMatchObject({ kept: true });
  expect((await again()).on('events')).toBe('latched');
});

test('72: a process that does not hold the folder follows the one that does', async () => {
  const [holder, other] = [await again(), await Latch.open(folder, { shared: true })];
  const heard: boolean[] = [];
  other.onFollowed(() => heard.push(other.on('events') !== null));
  await holder.hold('latched', all).written;
  await other.follow();
  await other.follow();
  await holder.release(all);
  await other.follow();
  expect(heard).toEqual([true, false]);
});

// The fault: the process that holds the folder never looked, and kept its users on the candidate; a release there
// said that nothing was held, and a restart rolled everybody back.
test('... and the one that holds it hears a rollback of one that does not, and releases it', async () => {
  const [holder, other] = [await again(), await Latch.open(folder, { shared: true })];
  const heard: (string | null)[] = [];
  holder.onFollowed(() => heard.push(holder.on('events')));
  await other.hold('latched', all).written;
  expect(await holder.follow()).toBe(true);
  await holder.release(all);
  await Promise.all([holder.follow(), other.follow()]);
  // What it said itself is no news to it.
  expect(heard).toEqual(['latched']);
  expect([holder.held, other.held, (await again()).held]).toEqual([[], [], []]);
  expect(await lines()).toHaveLength(2);
});

const aside = () => rename(file, `${file}.aside`);
const back = async () => {
  await rm(file, { recursive: true });
  await rename(`${file}.aside`, file);
};

// The fault: a lack of descriptors for a moment rolled everything back, for good.
test('a look that fails changes nothing: neither what holds nor what is released', async () => {
  const latch = await again();
  await latch.hold('latched', { ...all, scope: 'api' }).written;
  await latch.hold('latched', all).written;
  await latch.release(all);
  await aside();
  await mkdir(file);
  expect(await latch.follow()).toBe(false);
  expect([latch.on('events'), latch.on('api'), latch.damaged]).toEqual([null, 'latched', 0]);
  await back();
  expect(await latch.follow()).toBe(true);
  expect([latch.on('events'), latch.on('api'), latch.damaged]).toEqual([null, 'latched', 0]);
});

test.each([
  ['opened', () => again()],
  [
    'taken over',
    async () => {
      const latch = await Latch.open(folder, { shared: true });
      await latch.take();
      return latch;
    },
  ],
])(
  'a file that could not be read when it was %s holds what it says once it can, and no more',
  async (_when, begin) => {
    const before = await again();
    await before.hold('severed', { ...all, scope: 'api' }).written;
    await aside();
    await mkdir(file);
    const latch = await begin();
    expect(latch.on('events')).toBe('latched');
    const told: unknown[] = [];
    latch.onFollowed(() => told.push(latch.on('events')));
    await back();
    expect(await latch.follow()).toBe(true);
    expect([told, latch.on('events'), latch.on('api'), latch.damaged]).toEqual([
      [null],
      null,
      'severed',
      0,
    ]);
    expect(await lines()).toHaveLength(1);
  },
);

// The fault: `kept: true` of a file that was gone, and a restart held nothing.
test.each([
  ['deleted', () => rm(file)],
  ['emptied', () => writeFile(file, '')],
  ['made shorter', async () => writeFile(file, `${(await lines()).slice(0, 1).join('\n')}\n`)],
])('what holds is written anew where its file was %s', async (_what, spoil) => {
  const latch = await again();
  await latch.hold('latched', { ...all, scope: 'events' }).written;
  await latch.release({ ...all, scope: 'events' });
  await latch.hold('severed', all).written;
  const { held } = latch;
  await spoil();
  const said = latch.hold('latched', all);
  expect([said.changed, await said.written]).toEqual([false, true]);
  expect((await again()).held).toEqual(held);
});

test('a line that another process is writing at the moment is no damage, and one that stays so is', async () => {
  const holder = await again();
  await holder.hold('latched', { ...all, scope: 'api' }).written;
  await writeFile(file, '{"epoch":2,', { flag: 'a' });
  const other = await Latch.open(folder, { shared: true });
  expect(other.on('events')).toBeNull();
  await other.take();
  expect(other.on('events')).toBe('latched');
});
