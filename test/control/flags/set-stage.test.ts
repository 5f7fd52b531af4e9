import { writeFileSync } from 'node:fs';
import {
  chmod,
  mkdir,
  readdir,
  readFile,
  rename,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { openFileSource } from '../../../src/control/flags/file-source.ts';
import { type FlagProvider, openFileFlags } from '../../../src/control/flags/provider.ts';
import { stageTarget } from '../../../src/rules/stage.ts';
import {
  everybody,
  feature,
  fileOf,
  folder,
  kill,
  pin,
  route,
  serve,
  shadow,
  silent,
  subject,
} from '../../support/flags.ts';
import { until } from '../../support/until.ts';

const events = route();
const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function open(files: Readonly<Record<string, string>> = {}) {
  const { dir, remove } = await folder(files);
  cleanups.push(remove);
  return { dir, flags: await follow(dir) };
}

async function follow(dir: string): Promise<FlagProvider> {
  const flags = await openFileFlags({ dir, routes: () => [events], logger: silent });
  cleanups.push(() => flags.close());
  return flags;
}

const canary = stageTarget('canary', 12.5);
const conflict = (message: string | RegExp) =>
  expect.objectContaining({ code: 'conflict', message: expect.stringMatching(message) });

test('a stage change edits the files, takes effect at once, and says what it did', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(0), shadow(0)) });
  const change = await flags.setStage(events, canary);
  expect(change).toMatchObject({
    route: 'events',
    before: { name: 'off' },
    after: { name: 'canary', serve: 125, shadow: 1000 },
    revision: flags.revision,
    files: ['events.json'],
  });
  expect(flags.stage(events)).toEqual(change.after);
  expect((await follow(dir)).revision).toBe(flags.revision);
});

test('other flags, their fields and the order of keys stay as they were', async () => {
  const other = { strategies: [], zeta: { b: 1, a: null }, name: 'other', enabled: false };
  const text = JSON.stringify({ meta: { etag: 'x' }, features: [other, serve(0)], version: 2 });
  const { dir, flags } = await open({ 'events.json': text });
  await flags.setStage(events, { serve: 1, shadow: 0, kill: false });
  const written = await readFile(join(dir, 'events.json'), 'utf8');
  const wanted = { meta: { etag: 'x' }, features: [other, serve(1), shadow(0)], version: 2 };
  expect(written).toBe(`${JSON.stringify(wanted, null, 2)}\n`);
});

test('flags that no file defines go into a file of the route', async () => {
  const { dir, flags } = await open();
  const change = await flags.setStage(events, stageTarget('shadow', 10));
  expect(change).toMatchObject({ files: ['events.json'], after: { name: 'shadow', shadow: 100 } });
  expect(await readdir(dir)).toEqual(['events.json']);
});

test('a file keeps its permissions, and nothing is left beside it', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(0), shadow(0)) });
  await chmod(join(dir, 'events.json'), 0o640);
  await flags.setStage(events, canary);
  expect((await stat(join(dir, 'events.json'))).mode & 0o777).toBe(0o640);
  expect(await readdir(dir)).toEqual(['events.json']);
});

test('flags in two files change as one: nobody sees the one without the other', async () => {
  const { flags } = await open({ 'a.json': fileOf(serve(0)), 'b.json': fileOf(shadow(0)) });
  const seen: string[] = [];
  flags.onChange(() => seen.push(flags.stage(events).name));
  // Shadowing starts before anybody is served by the candidate, and ends after.
  for (const [name, order] of [
    ['live', ['b.json', 'a.json']],
    ['off', ['a.json', 'b.json']],
    ['complete', ['a.json']],
    ['shadow', ['b.json', 'a.json']],
  ] as const) {
    const { after, files } = await flags.setStage(events, stageTarget(name));
    expect([after.name, files]).toEqual([name, order]);
  }
  expect(seen).toEqual(['live', 'off', 'complete', 'shadow']);
});

test('the file of the kill flag is written last when the kill flag is released', async () => {
  const { flags } = await open({
    'a.json': fileOf(shadow(0), kill(true)),
    'b.json': fileOf(serve(0)),
  });
  const { files } = await flags.setStage(events, stageTarget('live'), { unkill: true });
  expect(files).toEqual(['b.json', 'a.json']);
});

test('a file that somebody else changes during an edit is read again, and both changes stay', async () => {
  const { dir, remove } = await folder({ 'events.json': fileOf(serve(0)) });
  cleanups.push(remove);
  const source = await openFileSource({ dir, logger: silent });
  cleanups.push(() => source.close());
  let plans = 0;
  const { set } = await source.edit(({ features }) => {
    plans += 1;
    if (plans === 1) writeFileSync(join(dir, 'events.json'), fileOf(serve(0), feature('theirs')));
    expect(features).toHaveLength(plans);
    return { features: [serve(1)], newFile: 'new.json', holds: () => true };
  });
  expect(plans).toBe(2);
  expect(set.features).toEqual([serve(1), feature('theirs')]);
});

test('changes that come at the same time are made one after another, and none is lost', async () => {
  const { flags } = await open({ 'events.json': fileOf(serve(0), shadow(0)) });
  const other = route('other');
  const changes = await Promise.all([
    ...[1, 2, 3].map(share => flags.setStage(events, { serve: share, shadow: 1000, kill: false })),
    flags.setStage(other, stageTarget('live')),
    flags.setKill(events, true),
  ]);
  expect(changes.map(({ after }) => after.serve)).toEqual([1, 2, 3, 1000, 3]);
  expect(flags.stage(events)).toMatchObject({ name: 'killed', serve: 3 });
  expect(flags.stage(other).name).toBe('live');
});

test('an edit of the file that was not yet seen is kept', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(0), shadow(0)) });
  await writeFile(join(dir, 'events.json'), fileOf(serve(0), shadow(0), feature('new')));
  await flags.setStage(events, canary);
  expect(flags.features().map(({ name }) => name)).toEqual([
    'events.serve',
    'events.shadow',
    'new',
  ]);
});

test('nothing is written when the flags are as wanted', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(125), shadow(1000)) });
  const before = await stat(join(dir, 'events.json'), { bigint: true });
  expect(await flags.setStage(events, canary)).toMatchObject({ files: [], after: { serve: 125 } });
  expect((await stat(join(dir, 'events.json'), { bigint: true })).ctimeNs).toBe(before.ctimeNs);
});

test('a preview says what a change would do, and does not do it', async () => {
  const pinned = { ...serve(0), strategies: [pin(['ann'], 'candidate'), ...serve(0).strategies] };
  const { dir, flags } = await open({ 'events.json': fileOf(pinned) });
  const before = await readFile(join(dir, 'events.json'), 'utf8');
  expect(flags.planStage(events, canary)).toMatchObject({
    before: { name: 'off' },
    after: { name: 'canary', serve: 125, shadow: 1000 },
    flags: ['events.shadow', 'events.serve'],
    files: ['events.json'],
    pinned: ['events.serve'],
    problems: [],
  });
  expect(await readFile(join(dir, 'events.json'), 'utf8')).toBe(before);
  const { after } = await flags.setStage(events, canary);
  expect(flags.planStage(events, canary)).toMatchObject({ flags: [], after });
  expect(flags.facts(events, subject('ann'))?.serve).toBe('candidate');
});

test('a preview warns of a change that deals users out anew', async () => {
  const [base = everybody()] = serve(100).strategies;
  const percent = { ...base, parameters: { ...base.parameters, rollout: '50' } };
  const { flags } = await open({
    'events.json': fileOf({ ...serve(100), strategies: [percent] }, shadow(1000)),
  });
  expect(flags.stage(events).name).toBe('mixed');
  expect(flags.planStage(events, canary).problems).toMatchObject([
    { rule: 'reshuffle', file: 'events.json' },
  ]);
});

test('the kill switch is thrown and released alone, and shares stay', async () => {
  const { flags } = await open({ 'events.json': fileOf(serve(1000), shadow(1000)) });
  expect((await flags.setKill(events, true)).after).toMatchObject({ name: 'killed', serve: 1000 });
  expect(flags.facts(events, subject('ann'))?.kill).toBe(true);
  expect((await flags.setKill(events, false)).after.name).toBe('live');
});

test('a killed route changes stage only when the kill flag is released with it', async () => {
  const { flags } = await open({ 'events.json': fileOf(serve(0), shadow(0), kill(true)) });
  await expect(flags.setStage(events, canary)).rejects.toEqual(
    conflict(/kill flag events.kill is on/),
  );
  expect(() => flags.planStage(events, canary)).toThrow(/kill flag/);
  expect(flags.stage(events).serve).toBe(0);
  const { after } = await flags.setStage(events, canary, { unkill: true });
  expect(after).toMatchObject({ name: 'canary', kill: false });
});

test.each([-1, 1001, 0.5, Number.NaN])('a share of %d is an invalid argument', async share => {
  const { flags } = await open();
  const target = { serve: share, shadow: 0, kill: false };
  await expect(flags.setStage(events, target)).rejects.toMatchObject({
    code: 'invalid-argument',
    field: 'serve',
  });
});

test('a mounted ConfigMap is not written through its links', async () => {
  const { dir, remove } = await folder();
  cleanups.push(remove);
  await mkdir(join(dir, '..v1'));
  await writeFile(join(dir, '..v1', 'events.json'), fileOf(serve(0)));
  await symlink('..v1', join(dir, '..data'));
  await symlink('..data/events.json', join(dir, 'events.json'));
  const flags = await follow(dir);
  await expect(flags.setStage(events, canary)).rejects.toEqual(
    conflict(/events.json is a symbolic link/),
  );
  expect(await readFile(join(dir, 'events.json'), 'utf8')).toBe(fileOf(serve(0)));
});

test('when one of two files can not be written neither is', async () => {
  const elsewhere = await folder({ 'real.json': fileOf(shadow(1000)) });
  cleanups.push(elsewhere.remove);
  const { dir, flags } = await open({ 'a.json': fileOf(serve(1000)) });
  await symlink(join(elsewhere.dir, 'real.json'), join(dir, 'b.json'));
  await until('both are read', () => flags.stage(events).name === 'live');
  await expect(flags.setStage(events, stageTarget('off'))).rejects.toEqual(conflict('b.json'));
  expect(flags.stage(events).name).toBe('live');
  expect(await readFile(join(dir, 'a.json'), 'utf8')).toBe(fileOf(serve(1000)));
  expect((await readdir(dir)).sort()).toEqual(['a.json', 'b.json']);
});

test('a folder that may not be written is a conflict that says so', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(0), shadow(0)) });
  await chmod(dir, 0o555);
  // Root may write everywhere, so for the attempt this process is somebody else.
  const root = process.geteuid?.() === 0;
  if (root) process.seteuid?.(65_534);
  try {
    await expect(flags.setStage(events, canary)).rejects.toEqual(conflict(/can not be written/));
  } finally {
    if (root) process.seteuid?.(0);
    await chmod(dir, 0o755);
  }
  expect(flags.stage(events).name).toBe('off');
});

test('files that are garbage are not edited', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(0)) });
  await writeFile(join(dir, 'events.json'), 'garbage');
  await expect(flags.setStage(events, canary)).rejects.toEqual(conflict('events.json: '));
  expect(await readFile(join(dir, 'events.json'), 'utf8')).toBe('garbage');
});

test('while a file is being replaced by an editor its flags are not made a second time', async () => {
  const { dir, flags } = await open({ 'mine.json': fileOf(serve(0), shadow(0)) });
  await rename(join(dir, 'mine.json'), join(dir, 'mine.json~'));
  await expect(flags.setStage(events, canary)).rejects.toEqual(conflict('vanished'));
  await rename(join(dir, 'mine.json~'), join(dir, 'mine.json'));
  expect((await flags.setStage(events, canary)).files).toEqual(['mine.json']);
});

test('the shipped flags have nothing wrong with them and stand at off', async () => {
  const shipped = await readFile(new URL('../../../flags/events.json', import.meta.url), 'utf8');
  const { flags } = await open({ 'events.json': shipped });
  expect(flags.problems()).toEqual([]);
  expect(flags.stage(events)).toEqual({ name: 'off', serve: 0, shadow: 0, kill: false });
  await flags.setStage(events, canary);
  expect(flags.stage(events).name).toBe('canary');
});
