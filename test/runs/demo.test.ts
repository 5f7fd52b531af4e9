// The demo once took nothing but the ports of a configuration for its own services, and sent its users
// wherever the URLs led: to the operator's real ones.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import pino from 'pino';
import { expect, test } from 'vitest';
import { type RunningDemo, startDemo } from '../../src/runs/demo.ts';
import { cutover, startCommand } from '../support/command.ts';
import { freePort } from '../support/free-port.ts';
import { openedByTest } from '../support/opened.ts';
import { rawServer } from '../support/raw.ts';
import { hasProgram } from '../support/tools.ts';
import { until } from '../support/until.ts';

const ROOT = path.join(import.meta.dirname, '../..');
/** Of this machine, and not where the demo's own services listen. */
const ELSEWHERE = '127.0.0.2';

const open = openedByTest();

async function startIn(folder: string): Promise<RunningDemo> {
  const logger = pino({ level: 'silent' });
  const config = path.join(folder, 'cutover.yaml');
  const demo = await startDemo({ users: 2, logger, config, env: {} });
  open.push({ close: demo.end });
  return demo;
}

/** A folder with the example, whose services are these. */
async function folderWith(urls: { legacy: string; candidate: string }): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), 'cutover-demo-test-'));
  open.push({ close: () => rm(folder, { recursive: true, force: true }) });
  await cp(path.join(ROOT, 'flags'), path.join(folder, 'flags'), { recursive: true });
  const example = await readFile(path.join(ROOT, 'cutover.yaml'), 'utf8');
  const edited = example
    .replace(/port: \$\{CUTOVER_PORT.*/, 'port: 0')
    .replace(/port: \$\{CUTOVER_ADMIN_PORT.*/, 'port: 0')
    .replace(/url: \$\{CUTOVER_LEGACY.*/, `url: ${urls.legacy}`)
    .replace(/url: \$\{CUTOVER_CANDIDATE.*/, `url: ${urls.candidate}`);
  await writeFile(path.join(folder, 'cutover.yaml'), edited);
  return folder;
}

test.each(['legacy', 'candidate'] as const)(
  "a configuration whose %s is somebody else's is refused, and that service hears nothing",
  async side => {
    const theirs = await rawServer(ELSEWHERE);
    open.push(theirs);
    const own = `http://127.0.0.1:${await freePort()}`;
    const elsewhere = `http://${ELSEWHERE}:${theirs.port}`;
    const folder = await folderWith({ legacy: own, candidate: own, [side]: elsewhere });
    await expect(startIn(folder)).rejects.toMatchObject({
      code: 'conflict',
      field: `upstreams.${side}.url`,
      message: expect.stringContaining(`upstreams.${side}.url leads to ${elsewhere}`),
    });
    expect(theirs.connections).toEqual([]);
  },
);

test('a configuration whose services it can be itself is used', async () => {
  const urls = {
    legacy: `http://127.0.0.1:${await freePort()}`,
    candidate: `http://127.0.0.1:${await freePort()}`,
  };
  const folder = await folderWith(urls);
  const demo = await startIn(folder);
  expect(demo.services).toEqual(urls);
  await until('events are delivered', () => demo.report().eventsDelivered > 0, 20_000);
});

test('a demo with its own copy of the example reads that again, and keeps its own services', async () => {
  const demo = await startDemo({ users: 2, logger: pino({ level: 'silent' }), env: {} });
  open.push({ close: demo.end });
  expect(await demo.proxy.reload()).toMatchObject({ ok: true, problems: [] });
  const { eventsDelivered } = demo.report();
  await until(
    'events are delivered',
    () => demo.report().eventsDelivered > eventsDelivered,
    20_000,
  );
  expect(demo.report().failures).toEqual({ 'login-failed': 0, 'broken-off': 0, 'out-of-order': 0 });
}, 60_000);

// From here on processes, side by side: most of their time they wait for what they say.
test.concurrent('its own copy of the example leads to its own services, whatever the example was edited to', async () => {
  const theirs = await rawServer(ELSEWHERE);
  open.push(theirs);
  const elsewhere = `http://${ELSEWHERE}:${theirs.port}`;
  // As in a checkout, where the example is what an operator edits.
  const folder = await folderWith({ legacy: elsewhere, candidate: elsewhere });
  for (const part of ['src', 'bin', 'package.json']) {
    await cp(path.join(ROOT, part), path.join(folder, part), { recursive: true });
  }
  await symlink(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'));
  const bin = path.join(folder, 'bin/cutover.js');
  const words = ['demo', '--users', '2', '--duration', '1s', '--json'];
  const { stdout } = await promisify(execFile)(process.execPath, [bin, ...words]);
  const { eventsDelivered, lost } = JSON.parse(stdout);
  expect({ any: eventsDelivered > 0, lost }).toEqual({ any: true, lost: 0 });
  expect(theirs.connections).toEqual([]);
});

// The fault: SIGHUP ended it at once, proxy, services and users, and SIGUSR2 did nothing.
test.concurrent('SIGHUP reads the configuration again, and SIGUSR2 rolls back, as with start', async () => {
  const folder = await folderWith({
    legacy: `http://127.0.0.1:${await freePort()}`,
    candidate: `http://127.0.0.1:${await freePort()}`,
  });
  const demo = startCommand(['demo', '--users', '2', '--no-tour'], { cwd: folder });
  open.push({ close: () => demo.kill('SIGKILL') });
  let shown = '';
  demo.stdout?.on('data', chunk => {
    shown += chunk;
  });
  const ended = once(demo, 'exit');
  const says = (pattern: RegExp) =>
    until(`it says ${pattern}`, () => pattern.exec(shown)?.[1], 60_000);
  await says(/To process (\d+): kill -HUP/);
  expect(shown).toContain(`To process ${demo.pid}:`);
  demo.kill('SIGHUP');
  await says(/(SIGHUP: the configuration was read again)/);
  const file = path.join(folder, 'cutover.yaml');
  const before = await readFile(file, 'utf8');
  await writeFile(file, before.replace(/url: http:\S+/, 'url: http://192.0.2.1'));
  demo.kill('SIGHUP');
  await says(/(SIGHUP: the configuration was refused, .*upstreams.legacy.url leads to)/);
  demo.kill('SIGUSR2');
  await says(/(SIGUSR2: held on legacy: everything; cutover release ends that)/);
  shown = '';
  await says(/(users: legacy [12], candidate 0)/);
  demo.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
}, 120_000);

// The fault: the whole proof was printed before the line that says what the rollback was for, and then told again.
test.concurrent('without a terminal the tour tells of its rollback once, and nothing in it needs a key', async () => {
  const folder = await folderWith({
    legacy: `http://127.0.0.1:${await freePort()}`,
    candidate: `http://127.0.0.1:${await freePort()}`,
  });
  const demo = startCommand(['demo', '--users', '10'], { cwd: folder });
  open.push({ close: () => demo.kill('SIGKILL') });
  let shown = '';
  demo.stdout?.on('data', chunk => {
    shown += chunk;
  });
  const ended = once(demo, 'exit');
  await until('the tour is over', () => shown.includes('From here on it runs without'), 150_000);
  expect(shown).toMatch(/The proof of that rollback \(cutover proof 1\):/);
  expect(shown).not.toMatch(/^rollback \d/m);
  demo.kill('SIGTERM');
  expect(await ended).toEqual([0, null]);
}, 180_000);

test.skipIf(!hasProgram('/usr/bin/script', 'bsdutils'))(
  'on a terminal it rolls back at a key, and by command from another one, and prints each proof; Ctrl-C ends it',
  { timeout: 120_000, concurrent: true },
  async () => {
    const folder = await folderWith({
      legacy: `http://127.0.0.1:${await freePort()}`,
      candidate: `http://127.0.0.1:${await freePort()}`,
    });
    const bin = path.join(ROOT, 'bin/cutover.js');
    const command = `'${process.execPath}' '${bin}' demo --users 4`;
    const demo = spawn('script', ['-qec', command, '/dev/null'], {
      cwd: folder,
      env: { PATH: process.env.PATH, NO_COLOR: '1' },
    });
    open.push({ close: () => demo.kill('SIGKILL') });
    let shown = '';
    let code: number | null | undefined;
    demo.stdout.on('data', chunk => {
      shown += chunk;
    });
    demo.on('exit', ended => {
      code = ended;
    });
    const says = (pattern: RegExp) =>
      until(`it shows ${pattern}`, () => pattern.exec(shown)?.[1], 60_000);
    const env = {
      CUTOVER_ADMIN: await says(/admin API {2}(http:\S+)/),
      CUTOVER_TOKEN_FILE: path.join(folder, 'state', 'admin.token'),
    };
    await says(/(events\/s)/);
    expect(await cutover(['stage', 'live'], { env })).toMatchObject({ code: 0 });
    await says(/(candidate [1-4] )/);
    demo.stdin.write('r');
    expect(await says(/rollback (\d+) of everything: complete/)).toBe('1');
    expect(shown).toMatch(/command .*, by operator demo: the key r/);
    demo.stdin.write('r');
    await says(/(held on legacy already)/);
    expect(await cutover(['release', '--reason', 'x'], { env })).toMatchObject({ code: 0 });
    const other = await cutover(['rollback', '--reason', 'by command'], { env });
    expect(other).toMatchObject({ code: 0 });
    await says(/(by operator \S*: by command)/);
    demo.stdin.write('\x03');
    await until('it has ended', () => code !== undefined, 60_000);
    expect(code).toBe(0);
  },
);
