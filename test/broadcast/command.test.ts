import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '../support/until.ts';
import { listen, SECRET } from './listener.ts';

const MODULE = new URL('../../src/broadcast/command.ts', import.meta.url).href;
const SCRIPT = `const { broadcasterCommand } = await import('${MODULE}');
await broadcasterCommand().parseAsync(process.argv.slice(1), { from: 'user' });`;

let folder = '';
const children: ChildProcess[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cutover-command-'));
  writeFileSync(join(folder, 'secret'), `${SECRET}\n`);
  writeFileSync(join(folder, 'keys.json'), '{"keys": 1}');
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(folder, { recursive: true });
});

function run(...args: string[]) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', SCRIPT, '--', ...args], {
    cwd: folder,
  });
  children.push(child);
  const output = { text: '' };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', chunk => {
      output.text += chunk;
    });
  }
  return { child, output };
}

test('prints its address, serves, and ends with 0 on SIGTERM', async () => {
  for (const kind of ['legacy', 'ssot']) {
    const { child, output } = run(kind, '--secret-file', 'secret');
    const url = await until('it is up', () => /http:\S+/.exec(output.text)?.[0]);
    const alice = await listen(url, 'alice');
    child.kill('SIGTERM');
    const [code] = await once(child, 'exit');
    expect(code).toBe(0);
    await until('the socket is closed', () => alice.code === 1001);
  }
});

test('a planted crash ends the process with 70, after the truth is written', async () => {
  const args = ['--fault', 'crash:1', '--truth', 'truth.jsonl', '--seed', '3'];
  const { child, output } = run('ssot', '--secret-file', 'secret', ...args);
  const url = await until('it is up', () => /http:\S+/.exec(output.text)?.[0]);
  const alice = await listen(url, 'alice');
  alice.say({ type: 'start_agent', message: 'hi' });
  const [code] = await once(child, 'exit');
  expect(code).toBe(70);
  expect(readFileSync(join(folder, 'truth.jsonl'), 'utf8')).toMatch(/"kind":"crash"/);
});

const WRONG: readonly [string[], RegExp][] = [
  [['modern', '--secret-file', 'secret'], /choices are legacy, ssot/],
  [['ssot'], /--secret-file or --jwks-file is needed/],
  [['ssot', '--secret-file', 'nowhere'], /ENOENT.*nowhere/],
  [['ssot', '--jwks-file', 'keys.json'], /keys.json is no JSON Web Key Set/],
  [['ssot', '--secret-file', 'secret', '--fault', 'dorp'], /no fault "dorp"; faults are drop,/],
  [['ssot', '--secret-file', 'secret', '--quirk', 'x'], /Quirks are false-success,/],
  [['ssot', '--secret-file', 'secret', '--port', '70000'], /whole number from 0 to 65535/],
  [['legacy', '--secret-file', 'secret', '--quirk', 'leak-ids'], /--quirk belongs to ssot/],
  [['ssot', '--secret-file', 'secret', '--entry', 'scoped'], /--entry belongs to legacy/],
  [['ssot', '--secret-file', 'secret', '--truth', 'truth.jsonl'], /name one by --fault/],
];

test.each(WRONG)('%j is refused with a sentence that helps', async (args, sentence) => {
  const { child, output } = run(...args);
  const [code] = await once(child, 'close');
  expect(code).toBe(1);
  expect(output.text).toMatch(sentence);
  expect(output.text).not.toContain('    at ');
});
