// `cutover top` as a process: without a terminal, and in one.
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Admin, createAdmin } from '../../src/control/admin.ts';
import { cutover } from '../support/command.ts';
import { flagsFor, type Operated, operated, TOKEN } from '../support/operator.ts';
import { hasProgram } from '../support/tools.ts';
import { until } from '../support/until.ts';

const BIN = path.join(import.meta.dirname, '../../bin/cutover.js');
const SCRIPT = '/usr/bin/script';
/** A process takes its time to start where many do. */
const HANGS_MS = 60_000;
vi.setConfig({ testTimeout: 2 * HANGS_MS });
/** To the alternate screen, and back. */
const [ENTER, LEAVE] = ['\x1b[?1049h', '\x1b[?1049l'];

let op: Operated;
let admin: Admin;
let env: Record<string, string>;
let traffic: NodeJS.Timeout;

beforeEach(async () => {
  op = await operated({ 'events.json': flagsFor('events', 'canary', 25) });
  op.traffic.open('events', 'legacy', 'a', 'b', 'b');
  traffic = setInterval(() => {
    const lane = op.traffic.of('events', 'legacy');
    lane.messagesToClient += 10;
    lane.bytesToClient += 5_000;
  }, 10);
  admin = createAdmin({ ...op, token: TOKEN });
  const { port } = await admin.listen();
  const tokenFile = path.join(op.dir, 'admin.token');
  await writeFile(tokenFile, `${TOKEN}\n`);
  env = { CUTOVER_ADMIN: `http://127.0.0.1:${port}`, CUTOVER_TOKEN_FILE: tokenFile };
});
afterEach(async () => {
  clearInterval(traffic);
  await admin.close();
  await op.close();
});

const run = (...words: string[]) => cutover(words, { env, cwd: op.dir });

test('without a terminal it prints one picture, with rates, and ends', async () => {
  const { code, stdout, stderr } = await run('top');
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  expect(stdout).not.toContain('\x1b');
  expect(stdout).toMatch(/^cutover 0\.1\.0, up \d+ s, ready, 0 connecting\nflags file:/);
  expect(stdout).toMatch(
    /^events +canary 25% +legacy +3 +2 +[1-9]\S* +0 +[1-9]\S* +0\n {25}candidate +0 +0 +0 +0 +0$/m,
  );
});

test('--json is the same for programs', async () => {
  const top = JSON.parse((await run('top', '--json')).stdout);
  expect(top).toMatchObject({ ready: true, bypass: null, writes: { perS: 0 } });
  const [events] = top.routes;
  expect(events).toMatchObject({ name: 'events', stage: 'canary 25%', legacy: { users: 2 } });
  expect(events.legacy.eventsPerS).toBeGreaterThan(0);
  expect(events.legacy.bytesToClientPerS / events.legacy.eventsPerS).toBeCloseTo(500, 3);
});

test('no proxy there is 2, as for every command', async () => {
  // The port that this one has may be another test's by then; none gets one of the system's own.
  const ran = await run('top', '--admin', 'http://127.0.0.1:2');
  expect(ran).toMatchObject({ code: 2, stdout: '' });
  expect(ran.stderr).toMatch(/^no proxy answers at /);
});

describe.skipIf(!hasProgram(SCRIPT, 'bsdutils'))('in a terminal', () => {
  let child: ChildProcess | null = null;
  afterEach(() => {
    child?.kill('SIGKILL');
    child = null;
  });

  /** In a terminal of its own of 80 columns, with its settings before and after, and the exit code. */
  function open() {
    const shell = `stty rows 12 cols 80; stty -g; '${process.execPath}' '${BIN}' top; echo "ended $?"; stty -g`;
    const { PATH = '' } = process.env;
    const started = spawn(SCRIPT, ['-qec', shell, '/dev/null'], {
      env: { PATH, TERM: 'xterm', ...env },
      cwd: op.dir,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    child = started;
    const shown = { text: '', isOver: false };
    started.stdout.on('data', chunk => {
      shown.text += chunk;
    });
    started.on('close', () => {
      shown.isOver = true;
    });
    return { shown, type: (keys: string) => started.stdin.write(keys) };
  }

  test.each([
    ['q', 'q'],
    ['Ctrl-C', '\x03'],
  ])('it is drawn again and again, and %s leaves the terminal as it was', async (_key, keys) => {
    const { shown, type } = open();
    const pictures = () => shown.text.split('\x1b[H').length - 1;
    await until('it is drawn three times', () => pictures() >= 3, HANGS_MS);
    type(keys);
    await until('it has ended', () => shown.isOver, HANGS_MS);
    const [before = '', rest = ''] = shown.text.split(ENTER);
    const [inside = '', after = ''] = rest.split(LEAVE);
    expect(inside).toMatch(/events +canary 25% +legacy +3 +2 +\d\S* /);
    expect(after).toContain('ended 0');
    const settings = (text: string) => /^[0-9a-f]+(?::[0-9a-f]+){10,}\r?$/m.exec(text)?.[0];
    expect(settings(before)).toBeDefined();
    expect(settings(after)).toBe(settings(before));
  });

  test('a proxy that goes away is told in the last line, and the view goes on', async () => {
    const { shown, type } = open();
    await until('it is drawn', () => shown.text.includes('canary 25%'), HANGS_MS);
    await admin.close();
    await until('it is told', () => shown.text.includes('old: no proxy answers at'), HANGS_MS);
    type('q');
    await until('it has ended', () => shown.isOver, HANGS_MS);
    expect(shown.text).toContain('ended 0');
  });
});
