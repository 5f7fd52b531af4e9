// The layout's promise: imports go one way, so that the rules stay pure and the parts meet in ports.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const SRC = path.join(import.meta.dirname, '../src');

/** What each part may import of the others. `*`: node's and npm's modules as well. */
const MAY: Readonly<Record<string, readonly string[]>> = {
  rules: ['rules', 'wire'],
  wire: ['wire'],
  config: ['config', 'errors', 'rules', 'wire', '*'],
  errors: ['*'],
  ports: ['config', 'errors', 'rules', 'wire', '*'],
  traffic: ['traffic', 'ports', 'config', 'errors', 'rules', 'wire', '*'],
  control: ['control', 'ports', 'config', 'errors', 'rules', 'wire', '*'],
  judge: ['judge', 'ports', 'config', 'errors', 'rules', 'wire', '*'],
  main: [
    'control',
    'traffic',
    'judge',
    'rehearsal',
    'ports',
    'config',
    'errors',
    'rules',
    'wire',
    '*',
  ],
  rehearsal: ['control', 'traffic', 'judge', 'ports', 'config', 'rules', 'wire', '*'],
  cli: ['cli', 'main', 'config', 'errors', 'control', 'rules', 'runs', 'broadcast', '*'],
  broadcast: ['broadcast', 'rules', 'wire', '*'],
  runs: ['runs', 'broadcast', 'main', 'config', 'control', 'ports', 'errors', 'rules', 'wire', '*'],
};
/** The pure parts may use these, which hold no socket, file, clock, randomness or timer. */
const PURE = new Set([
  'node:crypto:createHash',
  'node:crypto:hash',
  'node:buffer',
  'node:buffer:isUtf8',
  'node:string_decoder:StringDecoder',
  'node:zlib:brotliDecompressSync,constants,gunzipSync,inflateSync,zstdDecompressSync',
]);

function imports(file: string): { from: string; what: string }[] {
  const text = readFileSync(file, 'utf8');
  const found = text.matchAll(
    /(?:import|export)\s+(type\s+)?([^'";]*?)\s*from\s+'([^']+)'|import\('([^']+)'\)/g,
  );
  return [...found].map(m => ({
    from: m[3] ?? m[4] ?? '',
    what: (m[2] ?? '').replace(/[{}\s]/g, '').replace(/,$/, ''),
  }));
}

const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter(file =>
  file.endsWith('.ts'),
);
const partOf = (file: string) =>
  path.relative(SRC, file).split(path.sep)[0]?.replace(/\.ts$/, '') ?? '';

test('there is something to look at', () => {
  expect(files.length).toBeGreaterThan(20);
});

test.each(files)('%s imports only what its part may', file => {
  const part = partOf(path.join(SRC, file));
  const may = MAY[part];
  expect(may, `no rule for src/${part}`).toBeDefined();
  for (const { from, what } of imports(path.join(SRC, file))) {
    if (from.startsWith('.')) {
      const target = partOf(path.resolve(path.dirname(path.join(SRC, file)), from));
      expect(may, `${file} imports ${from}`).toContain(target);
    } else if (!may?.includes('*')) {
      expect([...PURE], `${file} imports ${what} from ${from}`).toContain(
        what === '' ? from : `${from}:${what}`,
      );
    }
  }
});

test.each(files.filter(file => ['rules', 'wire'].includes(partOf(path.join(SRC, file)))))(
  '%s asks neither clock nor chance and sets no timer',
  file => {
    const text = readFileSync(path.join(SRC, file), 'utf8').replace(/\/\/.*|\/\*[\s\S]*?\*\//g, '');
    expect(text).not.toMatch(
      /Date\.now|new Date\(\)|performance\.|Math\.random|setTimeout|setInterval|process\./,
    );
  },
);
