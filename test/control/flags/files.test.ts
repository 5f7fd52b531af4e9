import { writeFileSync } from 'node:fs';
import { mkdir, rename, rm, symlink, truncate, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { type FlagProvider, openFileFlags } from '../../../src/control/flags/provider.ts';
import { editShare } from '../../../src/rules/flag-edit.ts';
import type { FeatureLike } from '../../../src/rules/flag-shape.ts';
import {
  feature,
  fileOf,
  folder,
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

const shareIs = (flags: FlagProvider, share: number) =>
  until(`the share is ${share}`, () => flags.stage(events).serve === share);
const ruleIs = (flags: FlagProvider, rule: string) =>
  until(`the problem is ${rule}`, () => flags.problems().find(problem => problem.rule === rule));

// `config check` says that until the folder is there legacy serves everybody; a start refused it.
test('a folder that is not there is told by name, nothing is known, and it is followed once it is', async () => {
  const { dir, remove } = await folder();
  cleanups.push(remove);
  const later = join(dir, 'deployed', 'later');
  const flags = await follow(later);
  expect(flags.facts(events, subject('u'))).toBeNull();
  expect(flags.problems()).toMatchObject([
    { level: 'error', message: `the flags folder ${later} is not there` },
  ]);
  await expect(flags.setStage(events, { serve: 1, shadow: 0, kill: false })).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining(later),
  });
  await mkdir(later, { recursive: true });
  await writeFile(join(later, 'events.json'), fileOf(serve(1000)));
  await shareIs(flags, 1000);
  expect(flags.problems()).toEqual([]);
  // Watched by now, and not only looked at now and then.
  await writeFile(join(later, 'events.json'), fileOf(serve(0)));
  await shareIs(flags, 0);
});

test('a file in the place of the folder is told as that', async () => {
  const { dir, remove } = await folder({ 'events.json': fileOf(serve(0)) });
  cleanups.push(remove);
  const flags = await follow(join(dir, 'events.json'));
  expect(flags.problems()).toMatchObject([{ message: expect.stringContaining('is no folder') }]);
});

test('20 edits of a file take effect, each within a second', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(0)) });
  let slowestMs = 0;
  for (let share = 10; share <= 200; share += 10) {
    const start = performance.now();
    await writeFile(join(dir, 'events.json'), fileOf(serve(share)));
    await shareIs(flags, share);
    slowestMs = Math.max(slowestMs, performance.now() - start);
  }
  console.log(`slowest of 20 file edits: ${slowestMs.toFixed(1)} ms to effect`);
  expect(slowestMs).toBeLessThan(1_000);
});

test('an editor that moves the old file away and a new one in is followed, with nothing lost between', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(10)) });
  const seen: unknown[] = [];
  flags.onChange(() => seen.push(flags.stage(events).serve));
  const path = join(dir, 'events.json');
  await rename(path, `${path}~`);
  const change = flags.setStage(events, { serve: 30, shadow: 0, kill: false });
  await expect(change).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('vanished'),
  });
  expect(flags.stage(events).serve).toBe(10);
  await writeFile(path, fileOf(serve(20)));
  await shareIs(flags, 20);
  expect(seen).toEqual([20]);
});

test("editors' lock and swap files beside the flags do not matter", async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(10)) });
  await symlink('nobody@nowhere.1', join(dir, '.#events.json'));
  await writeFile(join(dir, '.events.json.swp'), 'x');
  await writeFile(join(dir, 'events.json'), fileOf(serve(20)));
  await shareIs(flags, 20);
});

test('a ConfigMap that swaps its ..data link is followed', async () => {
  const { dir, remove } = await folder();
  cleanups.push(remove);
  const mount = async (version: string, share: number) => {
    await mkdir(join(dir, version));
    await writeFile(join(dir, version, 'events.json'), fileOf(serve(share)));
    await symlink(version, join(dir, '..data_tmp'));
    await rename(join(dir, '..data_tmp'), join(dir, '..data'));
  };
  await mount('..v1', 10);
  await symlink('..data/events.json', join(dir, 'events.json'));
  const flags = await follow(dir);
  expect(flags.stage(events).serve).toBe(10);
  await mount('..v2', 20);
  await rm(join(dir, '..v1'), { recursive: true });
  await shareIs(flags, 20);
});

test('a ConfigMap that is swapped again and again is never seen half old, half new', async () => {
  const { dir, remove } = await folder();
  cleanups.push(remove);
  const mount = async (round: number) => {
    const version = `..v${round}`;
    await mkdir(join(dir, version));
    await writeFile(join(dir, version, 'a.json'), fileOf(serve(round)));
    await writeFile(join(dir, version, 'b.json'), fileOf(shadow(round)));
    await symlink(version, join(dir, '..data_tmp'));
    await rename(join(dir, '..data_tmp'), join(dir, '..data'));
  };
  await mount(1);
  for (const file of ['a.json', 'b.json']) await symlink(`..data/${file}`, join(dir, file));
  const flags = await follow(dir);
  const mixed: unknown[] = [];
  flags.onChange(() => {
    const { serve, shadow } = flags.stage(events);
    if (serve !== shadow) mixed.push([serve, shadow]);
  });
  const rounds = 300;
  for (let round = 2; round <= rounds; round++) await mount(round);
  await shareIs(flags, rounds);
  expect(mixed).toEqual([]);
});

test('an edit right after the start is not missed', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(10)) });
  const start = performance.now();
  // In the same turn, before the watch can be in place; the first sweep is two seconds away.
  writeFileSync(join(dir, 'events.json'), fileOf(serve(20)));
  await shareIs(flags, 20);
  expect(performance.now() - start).toBeLessThan(1_500);
});

test('a change that the watch can not see is found by the sweep', async () => {
  // The file lies elsewhere: editing it there changes nothing in the watched folder.
  const elsewhere = await folder({ 'real.json': fileOf(serve(10)) });
  cleanups.push(elsewhere.remove);
  const { dir, remove } = await folder();
  cleanups.push(remove);
  await symlink(join(elsewhere.dir, 'real.json'), join(dir, 'events.json'));
  const flags = await follow(dir);
  // The watch reads once more when it is set up; from the second change on only sweeps can tell.
  for (const share of [20, 30]) {
    await writeFile(join(elsewhere.dir, 'real.json'), fileOf(serve(share)));
    await shareIs(flags, share);
  }
});

test('a folder that is replaced by another of its name is followed on', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(10)) });
  const other = await folder({ 'events.json': fileOf(serve(20)) });
  await rename(dir, `${dir}.old`);
  cleanups.push(() => rm(`${dir}.old`, { recursive: true }));
  await rename(other.dir, dir);
  await shareIs(flags, 20);
  const start = performance.now();
  for (let share = 30; share <= 70; share += 10) {
    await writeFile(join(dir, 'events.json'), fileOf(serve(share)));
    await shareIs(flags, share);
  }
  // By sweeps alone this would take four times two seconds.
  expect(performance.now() - start).toBeLessThan(6_000);
});

test('a truncated file changes nothing and is named with its line; mending it takes effect', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(10)) });
  const { revision } = flags;
  const text = fileOf(serve(500));
  await writeFile(join(dir, 'events.json'), text.slice(0, text.length / 2));
  const problem = await ruleIs(flags, 'syntax');
  expect(problem).toMatchObject({ level: 'error', file: 'events.json' });
  expect(problem.message).toMatch(/line \d+/);
  await truncate(join(dir, 'events.json'));
  await until(
    'the empty file is named',
    () => flags.problems()[0]?.message === 'the file is empty',
  );
  expect(flags.revision).toBe(revision);
  expect(flags.facts(events, subject('ann'))?.serve).toBe('legacy');
  await writeFile(join(dir, 'events.json'), text);
  await shareIs(flags, 500);
  expect(flags.problems()).not.toContainEqual(expect.objectContaining({ rule: 'syntax' }));
});

test('bad files at the start leave nothing known, until they are mended', async () => {
  const { dir, flags } = await open({ 'events.json': '{"features": [}' });
  expect(flags.revision).toBe('none');
  expect(flags.facts(events, subject('ann'))).toBeNull();
  expect(flags.problems()).toMatchObject([
    { rule: 'syntax', message: expect.stringContaining('line 1') },
  ]);
  await writeFile(join(dir, 'events.json'), fileOf(serve(10)));
  await shareIs(flags, 10);
});

const garbage: [string, string, object][] = [
  [
    'a value of the wrong type',
    '{"features": [{"name": "f", "enabled": "yes", "strategies": []}]}',
    { rule: 'schema', path: '/features/0/enabled', message: expect.stringContaining('boolean') },
  ],
  [
    'a flag without strategies',
    '{"features": [{"name": "f", "enabled": true}]}',
    { rule: 'schema', path: '/features/0/strategies' },
  ],
  [
    'a fraction as weight',
    fileOf(serve(1)).replace('"weight": 1,', '"weight": 0.5,'),
    { rule: 'schema', path: '/features/0/strategies/0/variants/0/weight' },
  ],
  ['no features', '{"version": 2}', { rule: 'schema', path: '/features' }],
  ['fields of another format', '{"features": [], "events": []}', { rule: 'schema', path: '' }],
  ['a list', '[]', { rule: 'schema', path: '' }],
  ['a flag twice', fileOf(serve(1), serve(2)), { rule: 'duplicate', path: '/features/1' }],
];
test.each(garbage)('refused with file and place: %s', async (_, text, expected) => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(10)) });
  const { revision } = flags;
  await writeFile(join(dir, 'events.json'), text);
  const problem = await until('it is refused', () =>
    flags.problems().find(p => p.level === 'error'),
  );
  expect(problem).toMatchObject({ file: 'events.json', ...expected });
  expect(flags.revision).toBe(revision);
});

test('content that is nested beyond reason is refused', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(10)) });
  const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
  const text = fileOf(serve(20)).replace('"enabled"', `"deep": ${deep}, "enabled"`);
  await writeFile(join(dir, 'events.json'), text);
  expect(await ruleIs(flags, 'unreadable')).toMatchObject({ file: 'events.json' });
  expect(flags.stage(events).serve).toBe(10);
});

test('what is not text, no file, a dangling link or a loop is refused by name', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(10)) });
  const odd = join(dir, 'odd.json');
  const refused = async (rule: string, reason: RegExp) => {
    const problem = await until(`${reason}`, () =>
      flags.problems().find(p => p.rule === rule && reason.test(p.message)),
    );
    expect(problem.file).toBe('odd.json');
    expect(flags.stage(events).serve).toBe(10);
    await rm(odd, { recursive: true });
    await until('it is forgotten', () => !flags.problems().some(p => p.rule === rule));
  };
  await writeFile(odd, Buffer.from([0x7b, 0xff, 0xfe, 0x7d]));
  await refused('encoding', /UTF-8/);
  await mkdir(odd);
  await refused('unreadable', /regular file/);
  await symlink('nowhere', odd);
  await refused('unreadable', /ENOENT/);
  await symlink('odd.json', odd);
  await refused('unreadable', /ELOOP/);
  await writeFile(odd, '');
  await truncate(odd, 17 * 1024 * 1024);
  await refused('too-large', /bytes/);
});

test('more files than anybody has are refused unread', async () => {
  const many = Object.fromEntries(Array.from({ length: 1_001 }, (_, i) => [`${i}.json`, '']));
  const { flags } = await open(many);
  expect(flags.problems()).toMatchObject([{ rule: 'too-many-files' }]);
});

test('a flag in two files is refused, and both files are named', async () => {
  const { dir, flags } = await open({ 'a.json': fileOf(serve(10)) });
  await writeFile(join(dir, 'b.json'), fileOf(serve(20)));
  const problem = await ruleIs(flags, 'duplicate');
  expect(problem.message).toContain('events.serve');
  expect(problem.message).toContain('a.json');
  expect(problem.message).toContain('b.json');
  expect(flags.stage(events).serve).toBe(10);
});

test('an empty set never takes the place of flags, though a folder may start out empty', async () => {
  const { dir, flags } = await open({ 'events.json': '{"features": []}' });
  expect(flags.facts(events, subject('ann'))?.serve).toBe('missing');
  await writeFile(join(dir, 'events.json'), fileOf(serve(1000)));
  await shareIs(flags, 1000);
  await writeFile(join(dir, 'events.json'), '{"features": []}');
  await ruleIs(flags, 'emptied');
  expect(flags.facts(events, subject('ann'))?.serve).toBe('candidate');
  await unlink(join(dir, 'events.json'));
  await until('the file was given up', () => flags.problems().length > 0);
  expect(flags.facts(events, subject('ann'))?.serve).toBe('candidate');
});

test('a file that is gone for good takes its flags with it, the others stay', async () => {
  const { dir, flags } = await open({
    'events.json': fileOf(serve(10)),
    'shadow.json': fileOf(shadow(500)),
  });
  const start = performance.now();
  await unlink(join(dir, 'shadow.json'));
  await until('the shadow flag is gone', () => flags.stage(events).shadow === 0);
  // Not before an editor would have had the time to put a new file in its place.
  expect(performance.now() - start).toBeGreaterThan(500);
  expect(flags.stage(events).serve).toBe(10);
});

test('segments apply across files', async () => {
  const inSegment = { ...pin([], 'candidate'), constraints: [], segments: [7] };
  const constraints = [{ contextName: 'userId', operator: 'IN', values: ['ann'] }];
  const { flags } = await open({
    'flags.json': fileOf(feature('events.serve', { strategies: [inSegment] })),
    'segments.json': JSON.stringify({ features: [], segments: [{ id: 7, constraints }] }),
  });
  expect(flags.facts(events, subject('ann'))?.serve).toBe('candidate');
  expect(flags.facts(events, subject('bob'))?.serve).toBe('legacy');
});

test('the revision follows the content, not how it is written or where', async () => {
  const compact = JSON.stringify({ features: [shadow(1), serve(10)] });
  const swapped = JSON.stringify({
    features: [Object.fromEntries(Object.entries(serve(10)).reverse())],
  });
  const one = await open({ 'a.json': compact });
  const two = await open({ 'b.json': fileOf(shadow(1)), 'c.json': swapped });
  const three = await open({ 'a.json': fileOf(shadow(1), serve(11)) });
  expect(one.flags.revision).toMatch(/^file:[0-9a-f]{12}$/);
  expect(two.flags.revision).toBe(one.flags.revision);
  expect(three.flags.revision).not.toBe(one.flags.revision);
});

test('rewriting a file with the same content is no change', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(10)) });
  const revisions: string[] = [];
  flags.onChange(({ revision }) => revisions.push(revision));
  await writeFile(join(dir, 'events.json'), JSON.stringify({ features: [serve(10)] }));
  await writeFile(join(dir, 'events.json'), fileOf(serve(20)));
  await shareIs(flags, 20);
  expect(revisions).toEqual([flags.revision]);
});

test('5,000 flags are loaded, followed and evaluated', async () => {
  const many = Array.from({ length: 4_999 }, (_, i) => serve(i % 1001, `flag-${i}`));
  const { dir, flags } = await open({ 'many.json': fileOf(...many, serve(10)) });
  expect(flags.features()).toHaveLength(5_000);
  const start = performance.now();
  await writeFile(join(dir, 'many.json'), fileOf(...many, serve(20)));
  await shareIs(flags, 20);
  console.log(`5,000 flags: ${(performance.now() - start).toFixed(0)} ms to effect`);
});

test('a change that deals users out anew is told, and gone with the next change', async () => {
  const { dir, flags } = await open({ 'events.json': fileOf(serve(500)) });
  const text = fileOf(serve(500)).replace('"groupId": "events.serve"', '"groupId": "new"');
  await writeFile(join(dir, 'events.json'), text);
  expect(await ruleIs(flags, 'reshuffle')).toMatchObject({
    flag: 'events.serve',
    file: 'events.json',
  });
  await writeFile(
    join(dir, 'events.json'),
    text.replace('"weight": 500', '"weight": 0').replace('"weight": 500', '"weight": 1000'),
  );
  await until('it is gone', () => !flags.problems().some(({ rule }) => rule === 'reshuffle'));
});

test('whatever garbage a file holds, what is served is a set that somebody wrote whole', async () => {
  const good = [serve(1000), shadow(1000)] as const;
  const text = fileOf(...good);
  const { dir, flags } = await open({ 'events.json': text });
  const { revision } = flags;
  const broken = fc.oneof(
    fc.string({ maxLength: 200 }),
    fc.uint8Array({ maxLength: 200 }).map(bytes => Buffer.from(bytes)),
    fc.integer({ min: 0, max: text.length - 3 }).map(at => text.slice(0, at)),
    fc
      .tuple(fc.integer({ min: 0, max: text.length - 2 }), fc.constantFrom('}', '"', ',', '\0'))
      .map(([at, junk]) => `${text.slice(0, at)}${junk}${text.slice(at)}`)
      .filter(candidate => !isFlagFile(candidate)),
    fc.json().filter(candidate => !isFlagFile(candidate)),
  );
  await fc.assert(
    fc.asyncProperty(broken, async bytes => {
      const before = flags.loadedAt;
      await writeFile(join(dir, 'events.json'), bytes);
      await until('it is refused', () => flags.problems().some(({ level }) => level === 'error'));
      expect([flags.revision, flags.loadedAt]).toEqual([revision, before]);
      expect(flags.facts(events, subject('ann'))?.serve).toBe('candidate');
      await writeFile(join(dir, 'events.json'), text);
      await until('it is mended', () => !flags.problems().some(({ level }) => level === 'error'));
    }),
    { numRuns: 40 },
  );
});

/** Junk inside a string can leave a file that is as good as any. */
function isFlagFile(text: string): boolean {
  try {
    const { features }: { features: FeatureLike[] } = JSON.parse(text);
    return features.some(f =>
      editShare(f, { name: f.name, variant: 'on', other: 'off', share: 1 }),
    );
  } catch {
    return false;
  }
}
