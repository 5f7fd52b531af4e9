// The front door tells the truth: whatever it names is there.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { REASONS } from '../src/rules/decide.ts';
import { STAGES } from '../src/rules/stage.ts';
import { cutover } from './support/command.ts';
import { operated } from './support/operator.ts';

const ROOT = path.join(import.meta.dirname, '..');
const README = readFileSync(path.join(ROOT, 'README.md'), 'utf8');

test('every command that it shows is one', async () => {
  const words = [...README.matchAll(/cutover ([a-z]+)/g)].map(match => match[1] ?? '');
  const { stdout } = await cutover(['--help']);
  const known = [...stdout.matchAll(/^ {2}([a-z]+)/gm)].map(match => match[1]);
  expect(words.length).toBeGreaterThan(10);
  for (const word of new Set(words)) expect(known, `cutover ${word}`).toContain(word);
});

test('every metric that it names exists', async () => {
  const op = await operated();
  const text = await op.metrics.text();
  await op.close();
  for (const [name] of README.matchAll(/cutover_[a-z_]+/g))
    expect(text).toContain(`# TYPE ${name} `);
});

test('every reason and every stage stands in it', () => {
  for (const name of [...Object.keys(REASONS), ...STAGES]) expect(README).toContain(`\`${name}`);
});

test('every folder that it lists is there, and every one that is there is listed', () => {
  const listed = [...README.matchAll(/`(src\/[a-z]+)`/g)].map(match => match[1] ?? '');
  for (const folder of listed) expect(existsSync(path.join(ROOT, folder)), folder).toBe(true);
  const there = readdirSync(path.join(ROOT, 'src'), { withFileTypes: true }).filter(entry =>
    entry.isDirectory(),
  );
  for (const { name } of there) if (name !== 'cli') expect(listed).toContain(`src/${name}`);
});

test('the npm scripts that it runs exist', () => {
  const { scripts } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
  for (const [, name = ''] of README.matchAll(/npm run ([a-z:]+)/g))
    expect(scripts).toHaveProperty([name]);
  expect(scripts).toHaveProperty('start');
});

test('its contents lead to what is there, and to all of it', () => {
  const anchors = [...README.matchAll(/^##+ (.+)$/gm)].map(
    ([, title = '']) =>
      `#${title
        .toLowerCase()
        .replaceAll(/[^a-z0-9 -]/g, '')
        .replaceAll(' ', '-')}`,
  );
  const links = [...README.matchAll(/\]\((#[^)]+)\)/g)].map(([, link]) => link);
  expect(links).toEqual(anchors);
});
