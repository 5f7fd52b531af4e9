// The front door tells the truth, and so do the pages beside it: whatever they name is there.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { REASONS } from '../src/rules/decide.ts';
import { SECOND_LEG_ENDS } from '../src/rules/second-leg-end.ts';
import { STAGES } from '../src/rules/stage.ts';
import { UNJUDGED, VERDICTS } from '../src/rules/verdict.ts';
import { cutover } from './support/command.ts';
import { operated } from './support/operator.ts';

const ROOT = path.join(import.meta.dirname, '..');
const DOCS = readdirSync(path.join(ROOT, 'docs')).map(file => `docs/${file}`);
const PAGES = new Map(
  ['README.md', ...DOCS].map(file => [file, readFileSync(path.join(ROOT, file), 'utf8')]),
);
const README = PAGES.get('README.md') ?? '';
const ALL = [...PAGES.values()].join('\n');
const MANIFEST = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8'));

/** What a heading is called in a link, as GitHub has it. */
function anchorsOf(page: string): string[] {
  const prose = page.replaceAll(/^```.*?^```/gms, '');
  return [...prose.matchAll(/^##+ (.+)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replaceAll(/[^a-z0-9 -]/g, '')
      .replaceAll(' ', '-'),
  );
}

function linksOf(text: string): string[] {
  return [...text.matchAll(/\]\(([^)]+)\)/g)].map(([, link = '']) => link);
}

/** Links within a page that stand before its first section. */
function contentsOf(page: string): string[] {
  const [head = ''] = page.split('\n## ', 1);
  return linksOf(head).filter(link => link.startsWith('#'));
}

test('every command that is shown is one', async () => {
  const { stdout } = await cutover(['--help']);
  const known = [...stdout.matchAll(/^ {2}([a-z]+)/gm)].map(match => match[1]);
  const shownIn = (page: string) => [...page.matchAll(/cutover ([a-z]+)/g)].map(([, word]) => word);
  expect(new Set(shownIn(README)).size).toBeGreaterThan(10);
  for (const [file, page] of PAGES) {
    for (const word of new Set(shownIn(page)))
      expect(known, `${file}: cutover ${word}`).toContain(word);
  }
});

test('every metric that is named exists', async () => {
  const op = await operated();
  const text = await op.metrics.text();
  await op.close();
  const named = [...ALL.matchAll(/cutover_[a-z_]+/g)];
  expect(named.length).toBeGreaterThan(10);
  for (const [name] of named) expect(text).toContain(`# TYPE ${name} `);
});

test('every reason, stage and verdict stands in README', () => {
  for (const name of [...Object.keys(REASONS), ...STAGES, ...Object.keys(VERDICTS)])
    expect(README).toContain(`\`${name}`);
});

test('why a side serves somebody, an event is unjudged and a second leg is over is told by the words of the code', () => {
  const plain = ALL.replaceAll('`', '');
  for (const [name, says] of Object.entries({ ...REASONS, ...UNJUDGED, ...SECOND_LEG_ENDS }))
    expect(plain).toContain(`| ${name} | ${says} |`);
});

test('every folder that README lists is there, and every one that is there is listed', () => {
  const listed = [...README.matchAll(/`(src\/[a-z]+|docs\/)`/g)].map(match => match[1] ?? '');
  for (const folder of listed) expect(existsSync(path.join(ROOT, folder)), folder).toBe(true);
  const there = readdirSync(path.join(ROOT, 'src'), { withFileTypes: true }).filter(entry =>
    entry.isDirectory(),
  );
  for (const { name } of there) if (name !== 'cli') expect(listed).toContain(`src/${name}`);
  expect(listed).toContain('docs/');
});

test('the npm scripts that are run exist', () => {
  for (const [, name = ''] of ALL.matchAll(/npm run ([a-z:]+)/g))
    expect(MANIFEST.scripts).toHaveProperty([name]);
  expect(MANIFEST.scripts).toHaveProperty('start');
});

test('the files that are named by their path exist', () => {
  const named = [...ALL.matchAll(/`((?:src|test|bench|scripts|docs)\/[\w./-]+)`/g)];
  expect(named.length).toBeGreaterThan(10);
  for (const [, file = ''] of named) expect(existsSync(path.join(ROOT, file)), file).toBe(true);
});

// The fault: scripts/shadow-run, which README sends cron and CI to, was in no package.
test('the scripts that are named are packed, but for what is for a checkout alone', () => {
  const named = new Set([...ALL.matchAll(/`(scripts\/[\w.-]+)/g)].map(([, file]) => file));
  expect(named.delete('scripts/check')).toBe(true);
  expect(named.size).toBeGreaterThan(3);
  expect(MANIFEST.files).toEqual(expect.arrayContaining([...named]));
});

test('contents lead to what is there, and to all of it', () => {
  expect(contentsOf(README)).toEqual(anchorsOf(README).map(anchor => `#${anchor}`));
  for (const file of DOCS) {
    const page = PAGES.get(file) ?? '';
    const contents = contentsOf(page);
    if (contents.length > 0)
      expect(contents, file).toEqual(anchorsOf(page).map(anchor => `#${anchor}`));
  }
});

describe('the pages beside README', () => {
  test('begin with what they are for', () => {
    expect(DOCS.length).toBeGreaterThan(5);
    for (const file of DOCS) expect(PAGES.get(file), file).toMatch(/^# [^\n]+\n\nThis page /);
  });

  test('are packed with it', () => {
    expect(MANIFEST.files).toEqual(expect.arrayContaining(['README.md', 'docs']));
  });

  test('are led to from README, and lead back', () => {
    const filesIn = (file: string) => linksOf(PAGES.get(file) ?? '').map(to => to.split('#')[0]);
    for (const file of DOCS) {
      expect(filesIn('README.md')).toContain(file);
      expect(filesIn(file), file).toContain('../README.md');
    }
  });

  test('every link leads to a page, and to a heading that exists', () => {
    for (const [file, page] of PAGES) {
      for (const link of linksOf(page)) {
        const [to = '', anchor] = link.split('#');
        const target = to === '' ? file : path.posix.join(path.posix.dirname(file), to);
        expect([...PAGES.keys()], `${file}: ${link}`).toContain(target);
        if (anchor !== undefined)
          expect(anchorsOf(PAGES.get(target) ?? ''), `${file}: ${link}`).toContain(anchor);
      }
    }
  });
});
