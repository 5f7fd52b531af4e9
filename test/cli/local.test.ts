import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { SCENARIOS } from '../../src/runs/comparison-run.ts';
import { cutover, startCommand } from '../support/command.ts';
import { flagsFor } from '../support/operator.ts';
import { rawServer } from '../support/raw.ts';
import { until } from '../support/until.ts';

const CONFIG = `listen: { host: 127.0.0.1, port: 0 }
admin: { port: 0 }
upstreams:
  legacy: { url: 'http://127.0.0.1:9001' }
  candidate: { url: 'http://127.0.0.1:9002' }
routes:
  - { name: events, path: /ws, protocol: websocket }
identity: { sources: [{ from: bearer }] }
`;

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'cutover-cli-'));
});
afterEach(() => rm(dir, { recursive: true }));

const put = (file: string, content: string | object) =>
  writeFile(
    path.join(dir, file),
    typeof content === 'string' ? content : JSON.stringify({ version: 2, features: content }),
  );
const run = (...words: string[]) => cutover(words, { cwd: dir });

describe('help', () => {
  test('--version is that of the package', async () => {
    expect(await run('--version')).toEqual({ code: 0, stdout: '0.1.0\n', stderr: '' });
  });

  test('--help lists every command; help of each has its examples', async () => {
    const { code, stdout } = await run('--help');
    expect(code).toBe(0);
    for (const name of 'start demo broadcaster stage status top explain pin unpin flags config'.split(
      ' ',
    )) {
      expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    }
    for (const words of [
      ['start'],
      ['stage'],
      ['status'],
      ['explain'],
      ['pin'],
      ['flags', 'lint'],
    ]) {
      expect((await run(...words, '--help')).stdout).toContain('Examples:');
    }
  });

  // The fault: it promised 64 for what was not understood, and of `compare` 1, 2 and 3 are about the services.
  test('compare ends with codes of its own, and both helps say so', async () => {
    expect((await run('--help')).stdout).toContain('compare ends with its own, see its help');
    const { code, stdout } = await run('compare', '--help');
    expect(code).toBe(0);
    expect(stdout).toContain('3 is also for a word, a file or a folder that is wrong');
  });

  // The fault: path, subprotocol and message stood nowhere, and `equal` was read as all that a service does.
  test('compare tells what its users do, and what nobody does', async () => {
    const { stdout } = await run('compare', '--help');
    for (const [name, what] of Object.entries(SCENARIOS)) {
      expect(stdout).toContain(`  ${name}  ${what}`);
    }
    expect(stdout).toContain('a WebSocket at /ws below each URL');
    expect(stdout).toContain('no plain requests and no event streams');
  });

  test('an unknown command is 64, with what was probably meant', async () => {
    const ran = await run('stauts');
    expect(ran).toMatchObject({ code: 64, stdout: '' });
    expect(ran.stderr).toContain("unknown command 'stauts'");
    expect(ran.stderr).toContain('status');
  });

  test('a reader that goes away early is no failure', async () => {
    const child = startCommand(['config', 'schema'], { cwd: dir });
    child.stdout.destroy();
    const code = await new Promise(resolve => child.on('close', resolve));
    expect(code).toBe(0);
  });
});

describe('config', () => {
  test('check accepts what can be used', async () => {
    await put('cutover.yaml', CONFIG);
    const ran = await run('config', 'check');
    expect(ran.code).toBe(0);
    expect(ran.stdout).toContain('cutover.yaml: can be used');
  });

  test('check tells every problem with file, line, column and field, and ends with 1', async () => {
    await put('bad.yaml', CONFIG.replace('websocket', 'websockets').replace('port: 0', 'prt: 0'));
    const ran = await run('config', 'check', 'bad.yaml');
    expect(ran.code).toBe(1);
    expect(ran.stdout).toMatch(/^error bad\.yaml:1:\d+ listen\.prt: /m);
    expect(ran.stdout).toMatch(/^error bad\.yaml:7:\d+ routes\[0\]\.protocol: /m);
    expect(await run('config', 'check', '--config', 'bad.yaml')).toEqual(ran);
    const json = await run('config', 'check', 'bad.yaml', '--json');
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, problems: [{ line: 1 }, {}] });
  });

  test('check of a file that is not there is 1 and names it', async () => {
    const ran = await run('config', 'check', 'none.yaml');
    expect(ran.code).toBe(1);
    expect(ran.stdout).toContain('none.yaml');
  });

  test('schema is JSON Schema with descriptions', async () => {
    const { code, stdout } = await run('config', 'schema');
    expect(code).toBe(0);
    const schema = JSON.parse(stdout);
    expect(schema.$schema).toContain('2020-12');
    expect(schema.properties.routes.description.length).toBeGreaterThan(5);
  });
});

describe('flags lint', () => {
  test('good flags are 0', async () => {
    await put('events.json', flagsFor('events', 'canary', 10));
    const ran = await run('flags', 'lint', '.');
    expect(ran).toMatchObject({ code: 0, stderr: '' });
    expect(ran.stdout).toMatch(/0 errors, 0 warnings/);
  });

  test('rollout percents are an error that names file, flag, place and what would be right', async () => {
    const strategies = [{ name: 'flexibleRollout', parameters: { rollout: '50', groupId: 'g' } }];
    await put('events.json', [{ name: 'events.serve', enabled: true, strategies }]);
    const ran = await run('flags', 'lint', '.');
    expect(ran.code).toBe(1);
    expect(ran.stdout).toMatch(/^error events\.json events\.serve \/strategies\/0/m);
    const json = JSON.parse((await run('flags', 'lint', '.', '--json')).stdout);
    expect(json.problems).toContainEqual(
      expect.objectContaining({ rule: 'rollout-percent', file: 'events.json', level: 'error' }),
    );
  });

  test.each([
    ['garbage', '{"features": ['],
    ['a wrong type', '{"version": 2, "features": [{"name": 7}]}'],
  ])('%s is 1 and names the file', async (_, text) => {
    await put('events.json', text);
    const ran = await run('flags', 'lint', '.');
    expect(ran.code).toBe(1);
    expect(ran.stdout).toContain('events.json');
  });

  test('a folder that is not there is 1; folder and routes come from the configuration', async () => {
    await put('cutover.yaml', `${CONFIG}flags: { dir: nowhere }\n`);
    const missing = await run('flags', 'lint');
    expect(missing.code).toBe(1);
    expect(missing.stdout).toContain('nowhere');
    const empty = await run('flags', 'lint', '.');
    expect(empty.code).toBe(0);
    expect(empty.stdout).toContain('route events has no serve flag');
  });
});

describe('explain --flags', () => {
  test('explains files by the same rules, without a proxy', async () => {
    await put('events.json', flagsFor('events', 'canary', 50));
    const sides = new Set<string>();
    for (const id of ['a', 'b', 'c', 'd', 'e', 'f', 'g']) {
      const words = ['explain', '--flags', '.', '--user', id, '--route', 'events', '--json'];
      const { code, stdout } = await run(...words);
      expect(code).toBe(0);
      sides.add(JSON.parse(stdout).decision.primary);
    }
    expect(sides).toEqual(new Set(['legacy', 'candidate']));
  });

  test.each([
    ['files that can not be read', 'events', 'events.json'],
    ['a name that no route can have', 'No Route', '"No Route"'],
  ])('%s are refused in one sentence', async (_, route, words) => {
    await put('events.json', 'garbage');
    const ran = await run('explain', '--flags', '.', '--user', 'u', '--route', route);
    expect(ran).toMatchObject({ code: 1, stdout: '' });
    expect(ran.stderr).toContain(words);
    expect(ran.stderr.trimEnd().split('\n')).toHaveLength(1);
  });
});

describe('start', () => {
  test('a configuration that is not valid does not start: 1, and each problem on a line', async () => {
    await put('cutover.yaml', CONFIG.replace('websocket', 'websockets'));
    const ran = await run('start');
    expect(ran.code).toBe(1);
    expect(ran.stderr).toMatch(/^\S*cutover\.yaml:7:\d+ routes\[0\]\.protocol: /);
    expect(ran.stderr).not.toContain('    at ');
  });

  test('a running proxy is found, told, moved on and ended with 0', async () => {
    // Nobody is sent to a service that is not there: both are.
    const services = await Promise.all([rawServer(), rawServer()]);
    onTestFinished(() => services.forEach(service => void service.close()));
    const [legacy, candidate] = services.map(({ port }) => String(port));
    const config = CONFIG.replace('9001', legacy ?? '').replace('9002', candidate ?? '');
    await put('cutover.yaml', `${config}flags: { dir: . }\n`);
    await put('events.json', flagsFor('events', 'off'));
    const child = startCommand(['start'], { cwd: dir });
    let log = '';
    child.stdout.on('data', chunk => {
      log += chunk;
    });
    const ended = new Promise(resolve => child.on('close', resolve));
    const port = await until(
      'the admin API listens',
      () => /"port":(\d+)[^\n]*admin API listens/.exec(log)?.[1],
    );
    const place = ['--admin', `127.0.0.1:${port}`];
    const status = await run('status', ...place);
    expect(status).toMatchObject({ code: 0, stderr: '' });
    expect(status.stdout).toMatch(/^events +\/ws +off /m);
    expect((await run('stage', 'canary', '10%', ...place)).code).toBe(0);
    expect((await run('stage', ...place)).stdout).toContain('canary 10%');
    child.kill('SIGTERM');
    expect(await ended).toBe(0);
  });
});
