// A comparison run as a person or cron has it: two running services, one command, one verdict.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import {
  copyFile,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { WebSocket } from 'ws';
import {
  type BroadcasterOptions,
  type RunningBroadcaster,
  startBroadcaster,
} from '../../src/broadcast/server.ts';
import { BIN, cutover, startCommand } from '../support/command.ts';
import { freePort } from '../support/free-port.ts';
import { openedByTest } from '../support/opened.ts';
import { smallAgent } from '../support/small-agent.ts';
import { SECRET, tokenFor } from '../support/stack.ts';
import { until } from '../support/until.ts';

const SCRIPT = path.join(import.meta.dirname, '../../scripts/shadow-run');
/** A run of seconds; catches a hang. */
const LIMIT_MS = 120_000;
/** Of those that `fetch` refuses to connect to, whoever listens there. */
const BARRED_PORTS = [10080, 6566, 5061, 4190, 6697];
const SHORT = ['--users', '12', '--for', '1s'];

// Side by side where each has services of its own: most of a run is the window in which an event may still come.

let folder: string;
let legacy: RunningBroadcaster;
const open = openedByTest();
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'cutover-compare-test-'));
  await writeFile(path.join(folder, 'secret'), SECRET);
  legacy = await startBroadcaster({ kind: 'legacy', keys: { secret: SECRET } });
});
afterAll(async () => {
  await legacy.close();
  await rm(folder, { recursive: true });
});

async function candidate(options: Partial<BroadcasterOptions> = {}): Promise<string> {
  const service = await startBroadcaster({ kind: 'ssot', keys: { secret: SECRET }, ...options });
  open.push(service);
  return service.url;
}

const compare = (candidateUrl: string, ...words: string[]) =>
  cutover(['compare', '--legacy', legacy.url, '--candidate', candidateUrl, ...SHORT, ...words], {
    cwd: folder,
  });

test(
  'two services that answer alike are equal: exit 0, a verdict to read, a report to keep',
  async () => {
    const ran = await compare(await candidate(), '--secret-file', 'secret', '--out', 'equal');
    expect(ran.stdout).toContain('# EQUAL');
    expect(ran.code).toBe(0);
    expect(ran.stdout).toContain('events: 0 of 12 runs diverged;');
    const report = JSON.parse(await readFile(path.join(folder, 'equal/report.json'), 'utf8'));
    expect(report).toMatchObject({
      ...{ format: 'cutover-comparison/1', verdict: 'equal', exitCode: 0, reasons: [] },
      ...{ legacy: legacy.url, users: 12, visits: { done: 12, 'broken-off': 0 }, findings: [] },
    });
    // A greeting and five events each.
    expect(report.books.events.legacy).toMatchObject({ seen: 72, pending: 0, match: 72 });
    expect(await readFile(path.join(folder, 'equal/report.md'), 'utf8')).toBe(ran.stdout);
  },
  LIMIT_MS,
);

test(
  'a fault of the candidate is a divergence: exit 1, told by kind and place, with nothing personal',
  async () => {
    const faults = [{ kind: 'wrong-type', rate: 0.1 } as const];
    const tokens = await Promise.all(
      Array.from({ length: 20 }, (_, i) => tokenFor(`user_${2000 + i}`)),
    );
    await writeFile(path.join(folder, 'tokens'), `${tokens.join('\n')}\n`);
    const ran = await compare(await candidate({ faults }), '--tokens', 'tokens', '--json');
    expect(ran.code).toBe(1);
    const report = JSON.parse(ran.stdout);
    expect(report).toMatchObject({ verdict: 'divergent', users: 12 });
    expect(report.reasons[0]).toMatch(/^the candidate differs: mismatch \d+$/);
    const [first] = report.findings;
    expect(first.group).toMatchObject({ route: 'events', verdict: 'mismatch', path: '/type' });
    expect(first.examples.length).toBeGreaterThan(0);
    expect(report.rates[0].diverged).toBeGreaterThan(0);
    expect(await readFile(path.join(folder, 'report.md'), 'utf8')).toContain('| mismatch |');
    for (const raw of [...tokens, 'user_2000']) expect(ran.stdout).not.toContain(raw);
  },
  LIMIT_MS,
);

test(
  "a candidate that sends users each other's events is contaminated: exit 2, and nobody is named",
  async () => {
    const faults = [{ kind: 'misroute', rate: 0.2 } as const];
    const ran = await compare(await candidate({ faults }), '--secret-file', 'secret', '--json');
    expect(ran.code).toBe(2);
    const report = JSON.parse(ran.stdout);
    expect(report.verdict).toBe('contaminated');
    // The fault: what told of it, and where in the event, stood in the log alone.
    expect(report.findings[0].group.foreign).toEqual(
      expect.arrayContaining([expect.objectContaining({ rule: expect.any(String) })]),
    );
    expect(report.reasons[0]).toMatch(/^the candidate sent data of another user in \d+ events?$/);
    expect(ran.stdout).not.toMatch(/user_10\d\d/);
  },
  LIMIT_MS,
);

test.concurrent(
  'what one user types and the candidate tells another, by no name and in words of its own, is contamination',
  async () => {
    const one = await smallAgent();
    const typed = new Map<WebSocket, string>();
    const other = await smallAgent({
      heard: (socket, { message }) => void typed.set(socket, String(message)),
      after: (socket, type) => {
        const anothers = [...typed.values()].find(text => text !== typed.get(socket));
        if (type !== 'agent_completed' || anothers === undefined) return;
        socket.send(JSON.stringify({ type: 'note', text: `cached: ${anothers}` }));
      },
    });
    open.push(one, other);
    const services = ['--legacy', one.url, '--candidate', other.url, '--secret-file', 'secret'];
    const ran = await cutover(['compare', ...services, ...SHORT, '--out', 'marked', '--json'], {
      cwd: folder,
    });
    expect(ran.code).toBe(2);
    const { findings } = JSON.parse(ran.stdout);
    const told = findings.flatMap(({ group }: { group: { foreign?: { rule: string }[] } }) =>
      (group.foreign ?? []).map(({ rule }) => rule),
    );
    expect(new Set(told)).toEqual(new Set(['marker']));
    expect(ran.stdout).not.toContain([...typed.values()][0]?.split(' ').at(-1));
  },
  LIMIT_MS,
);

test(
  'a service that is down, or a word that is not understood: exit 3, never one of the verdicts',
  async () => {
    const nobody = `http://127.0.0.1:${await freePort()}`;
    const down = await compare(nobody, '--secret-file', 'secret', '--out', 'down');
    expect(down).toMatchObject({ code: 3, stdout: expect.stringContaining('# COULD NOT TELL') });
    expect(down.stdout).toContain(`candidate can not be reached at ${nobody}: ECONNREFUSED`);
    const report = JSON.parse(await readFile(path.join(folder, 'down/report.json'), 'utf8'));
    expect(report).toMatchObject({ verdict: 'unknown', exitCode: 3 });
    const without = await compare(nobody);
    expect(without).toMatchObject({ code: 3, stderr: expect.stringContaining('--secret-file') });
    expect((await compare(nobody, '--for', 'ever')).code).toBe(3);
  },
  LIMIT_MS,
);

// The faults: that was found out after the run, and the verdict was lost with the report.
test.concurrent(
  'a folder that can not be written is told before the run; after it, the verdict is printed all the same',
  async () => {
    await writeFile(path.join(folder, 'a-file'), '');
    const before = await compare(await candidate(), '--secret-file', 'secret', '--out', 'a-file');
    expect(before).toEqual({
      ...{ code: 3, stdout: '', stderr: '--out a-file can not be written: EEXIST\n' },
    });
    await mkdir(path.join(folder, 'taken/report.md'), { recursive: true });
    const taken = await compare(legacy.url, '--secret-file', 'secret', '--out', 'taken');
    expect(taken).toEqual({
      ...{ code: 3, stdout: '', stderr: '--out taken can not be written: EISDIR\n' },
    });
    const lost = path.join(folder, 'lost');
    const one = await smallAgent();
    const other = await smallAgent({
      after: (_, type) => {
        if (type === 'agent_completed') rmSync(lost, { recursive: true, force: true });
      },
    });
    open.push(one, other);
    const services = ['--legacy', one.url, '--candidate', other.url, '--secret-file', 'secret'];
    const after = await cutover(['compare', ...services, ...SHORT, '--out', lost], {
      cwd: folder,
    });
    expect(after).toMatchObject({
      ...{ code: 0, stdout: expect.stringContaining('# EQUAL') },
      stderr: expect.stringContaining(`--out ${lost} can not be written: ENOENT\n`),
    });
    expect(after.stderr).not.toContain('should not have happened');
  },
  LIMIT_MS,
);

// The fault: services were asked by `fetch`, for a page, before anything was compared.
test.concurrent(
  'a service that answers its users can be reached, whatever its port, and whatever it says to a plain request',
  async () => {
    const one = await smallAgent({ socketsAlone: true });
    open.push(one);
    const other = await onBarredPort();
    const services = ['--legacy', one.url, '--candidate', other.url, '--secret-file', 'secret'];
    const ran = await cutover(['compare', ...services, ...SHORT, '--out', 'reached'], {
      cwd: folder,
    });
    expect(ran.stdout).toContain('# EQUAL');
    expect(ran.code).toBe(0);
  },
  LIMIT_MS,
);

/** On the first that is free. */
async function onBarredPort() {
  for (const port of BARRED_PORTS) {
    const service = await smallAgent({ port }).catch(() => null);
    if (service === null) continue;
    open.push(service);
    return service;
  }
  throw new Error('other processes listen on all of them');
}

test.concurrent(
  'users whom legacy lets in and the candidate does not are a difference: exit 1, and told as that',
  async () => {
    const url = await candidate({ keys: { secret: 'another secret, also long enough for HS256' } });
    const ran = await compare(url, '--secret-file', 'secret', '--out', 'refused', '--json');
    const report = JSON.parse(ran.stdout);
    expect(report).toMatchObject({ verdict: 'divergent', exitCode: 1 });
    expect(report.reasons).toEqual(['the candidate closed 12 sessions that legacy kept']);
    expect(report.keptSessions).toEqual([{ route: 'events', cause: 'closed', count: 12 }]);
    expect(ran.code).toBe(1);
  },
  LIMIT_MS,
);

test(
  'a service that says what is no JSON is compared like any other, and a reader who leaves changes no exit code',
  async () => {
    const greet = (socket: WebSocket) => socket.send('hello');
    const services = await Promise.all([smallAgent({ greet }), smallAgent({ greet })]);
    open.push(...services);
    const [one, other] = services.map(({ url }) => url);
    const words = `compare --legacy ${one} --candidate ${other} --secret-file secret ${SHORT.join(' ')}`;
    const shell = (line: string) =>
      new Promise<number | null>((resolve, reject) => {
        const options = { cwd: folder, stdio: 'ignore' } as const;
        spawn('bash', ['-c', line], options).on('error', reject).on('close', resolve);
      });
    const start = `"${process.execPath}" "${BIN}" ${words}`;
    const codes = await Promise.all([
      shell(`set -o pipefail; ${start} --out unread | true`),
      shell(`${start} --out full > /dev/full`),
    ]);
    for (const out of ['unread', 'full']) {
      const report = JSON.parse(await readFile(path.join(folder, out, 'report.json'), 'utf8'));
      expect(report).toMatchObject({ verdict: 'equal', visits: { done: 12 } });
      expect(report.books.events.legacy).toMatchObject({ seen: 72, match: 72 });
    }
    expect(codes).toEqual([0, 0]);
  },
  LIMIT_MS,
);

test.concurrent(
  'users whose tokens name nobody are compared, and counted as those whose data was not told apart',
  async () => {
    const services = await Promise.all([smallAgent(), smallAgent()]);
    open.push(...services);
    const [one, other] = services.map(({ url }) => String(url));
    const named = (sub: string | number) =>
      `e30.${Buffer.from(JSON.stringify({ sub })).toString('base64url')}.x`;
    const opaque = Array.from({ length: 10 }, (_, i) => `opaque-${i}`);
    // A number is a name, as it is to the proxy.
    const tokens = [named('ann'), named(7), ...opaque];
    await writeFile(path.join(folder, 'nameless'), tokens.join('\n'));
    const words = ['--legacy', one ?? '', '--candidate', other ?? '', '--tokens', 'nameless'];
    const ran = await cutover(['compare', ...words, ...SHORT, '--out', 'nameless-report'], {
      cwd: folder,
    });
    expect(ran.stdout).toContain('# EQUAL');
    expect(ran.stdout).toContain('The tokens of 10 of 12 users name nobody:');
    const file = path.join(folder, 'nameless-report/report.json');
    const report = JSON.parse(await readFile(file, 'utf8'));
    expect(report).toMatchObject({ verdict: 'equal', users: 12, unnamed: 10 });
  },
  LIMIT_MS,
);

// They could not be compared after that, and the report said no more than that.
test.concurrent(
  'a candidate that breaks off sessions that legacy keeps differs; one that lets nobody in is named as the reason',
  async () => {
    const one = await smallAgent();
    const other = await smallAgent({
      after: (socket, type) => {
        if (type === 'agent_completed') socket.close(1011);
      },
    });
    open.push(one, other);
    const services = ['--legacy', one.url, '--candidate', other.url, '--secret-file', 'secret'];
    const ran = await cutover(['compare', ...services, ...SHORT, '--out', 'broken'], {
      cwd: folder,
    });
    expect(ran.stdout).toContain('# DIVERGENT');
    expect(ran.stdout).toContain('- the candidate broke off 12 sessions that legacy kept (1011,');
    expect(ran.stdout).toContain('Connections to the candidate that did not last: broken-off 12.');
    expect(ran.code).toBe(1);
    const report = JSON.parse(await readFile(path.join(folder, 'broken/report.json'), 'utf8'));
    expect(report.secondLegs).toEqual([{ route: 'events', cause: 'broken-off', count: 12 }]);
  },
  LIMIT_MS,
);

test.concurrent(
  'runs that somebody else has begun at legacy, in the name of these users, are told of',
  async () => {
    let others = 0;
    const one = await smallAgent({
      after: (socket, type) => {
        if (type !== 'agent_completed') return;
        others += 1;
        const timestamp = new Date().toISOString();
        const event = { type: 'agent_started', run_id: `others_${others}`, timestamp, data: {} };
        socket.send(JSON.stringify(event));
      },
    });
    const other = await smallAgent();
    open.push(one, other);
    const services = ['--legacy', one.url, '--candidate', other.url, '--secret-file', 'secret'];
    const ran = await cutover(['compare', ...services, ...SHORT, '--out', 'others', '--json'], {
      cwd: folder,
    });
    const { strangeRuns, reasons } = JSON.parse(ran.stdout);
    expect(strangeRuns).toBe(others);
    expect(reasons).toEqual([
      `the candidate differs: missing ${others}`,
      expect.stringMatching(/ runs that nobody here began, /),
    ]);
    expect(ran.code).toBe(1);
  },
  LIMIT_MS,
);

// The fault: where visits were complete by then, what legacy did as well was held against the candidate.
test.concurrent(
  'sessions that both services break off are no difference',
  async () => {
    // Legacy the later one, and long before the run is over and its users go.
    const services = await Promise.all(
      [300, 100].map(ms =>
        smallAgent({
          after: (socket, type) => {
            if (type === 'agent_completed') setTimeout(() => socket.close(1011), ms);
          },
        }),
      ),
    );
    open.push(...services);
    const [one, other] = services.map(({ url }) => url);
    const words = [
      '--legacy',
      String(one),
      '--candidate',
      String(other),
      '--secret-file',
      'secret',
    ];
    const longer = ['--users', '12', '--for', '2s', '--out', 'alike'];
    const ran = await cutover(['compare', ...words, ...longer], { cwd: folder });
    expect(ran.stdout).toContain('# EQUAL');
    expect(ran.stdout).toContain('Connections to the candidate that did not last: broken-off 12.');
    expect(ran.code).toBe(0);
  },
  LIMIT_MS,
);

test(
  'scripts/shadow-run keeps each report in a folder of its own and ends as the comparison does',
  async () => {
    const url = await candidate();
    // The fault: the machine's own Node was asked, and one that is too old ends with 1, "divergent".
    const old = path.join(folder, 'old');
    await mkdir(old);
    await writeFile(path.join(old, 'node'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
    const env = { PATH: `${old}:/usr/bin:/bin`, LEGACY: legacy.url, CANDIDATE: url };
    const shadowRun = (more: Record<string, string>, words: string[]) =>
      new Promise<number | null>((resolve, reject) => {
        const options = { cwd: folder, env: { ...env, ...more }, stdio: 'ignore' } as const;
        spawn(SCRIPT, words, options).on('error', reject).on('close', resolve);
      });
    expect(await shadowRun({ SECRET_FILE: 'secret', REPORTS: 'kept' }, SHORT)).toBe(0);
    const [kept] = await readdir(path.join(folder, 'kept'));
    const files = await readdir(path.join(folder, 'kept', kept ?? ''));
    expect(files.sort()).toEqual(['report.json', 'report.md']);
    expect(await shadowRun({}, SHORT)).toBe(3);
    // The fault: a comparison that could not begin left an empty folder, and reports were said to be in it.
    expect(await shadowRun({ SECRET_FILE: 'nowhere', REPORTS: 'none' }, SHORT)).toBe(3);
    expect(await readdir(path.join(folder, 'none'))).toEqual([]);
  },
  LIMIT_MS,
);

// The faults: as a link it did not find the program, and Node's 1 for that was "divergent"; as a part of a package it
// asked the machine's own Node, since that of the packages lies beside it.
test(
  'scripts/shadow-run finds the program and its Node through a link, and in a package',
  async () => {
    const link = path.join(folder, 'linked');
    await symlink(SCRIPT, link);
    const modules = path.join(folder, 'project/node_modules');
    const packed = path.join(modules, 'cutover');
    for (const name of ['scripts', 'bin'])
      await mkdir(path.join(packed, name), { recursive: true });
    await copyFile(SCRIPT, path.join(packed, 'scripts/shadow-run'));
    await mkdir(path.join(modules, '.bin'));
    await writeFile(path.join(modules, '.bin/node'), '#!/bin/sh\nexit 2\n', { mode: 0o755 });
    const env = { PATH: '/usr/bin:/bin', LEGACY: 'http://l', CANDIDATE: 'http://c' };
    const run = (file: string) =>
      new Promise<[number | null, string]>((resolve, reject) => {
        const child = spawn(file, [], {
          ...{ cwd: folder, env: { ...env, SECRET_FILE: 'nowhere', REPORTS: 'found' } },
          stdio: ['ignore', 'ignore', 'pipe'],
        });
        let said = '';
        child.stderr.on('data', chunk => {
          said += chunk;
        });
        child.on('error', reject).on('close', code => resolve([code, said]));
      });
    expect(await run(link)).toEqual([3, expect.stringContaining('nowhere can not be read')]);
    const [code] = await run(path.join(packed, 'scripts/shadow-run'));
    expect(code).toBe(2);
  },
  LIMIT_MS,
);

// The fault: the script alone was ended, and its comparison went on to the end of its time.
test(
  'scripts/shadow-run that is ended stops its comparison, waits for it, and has its report',
  async () => {
    const url = await candidate();
    const env = { PATH: process.env.PATH, LEGACY: legacy.url, CANDIDATE: url, REPORTS: 'stopped' };
    const child = spawn(SCRIPT, ['--users', '12', '--for', '10m'], {
      ...{ cwd: folder, env: { ...env, SECRET_FILE: 'secret' }, detached: true },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    onTestFinished(() => {
      // It and whatever it left behind.
      if (child.pid !== undefined && isRunning(-child.pid)) process.kill(-child.pid, 'SIGKILL');
    });
    let said = '';
    child.stderr.on('data', chunk => {
      said += chunk;
    });
    await until('it runs', () => said.includes('12 users for 600 s'), LIMIT_MS);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await ended).toEqual([3, null]);
    const [kept] = await readdir(path.join(folder, 'stopped'));
    const file = path.join(folder, 'stopped', kept ?? '', 'report.json');
    const { reasons } = JSON.parse(await readFile(file, 'utf8'));
    expect(reasons).toContain('it was stopped before its time was over');
  },
  LIMIT_MS,
);

// The faults: a run that was killed left two empty reports, for whoever reads them to make sense of, and one that
// was told twice to end, by a script and by whoever ends the whole group, as systemd does, had no report at all.
test(
  'a run that is killed leaves no report, and one that is told twice to end has it',
  async () => {
    const url = await candidate();
    const start = async (out: string) => {
      const words = ['--legacy', legacy.url, '--candidate', url, '--secret-file', 'secret'];
      const long = ['--users', '12', '--for', '10m', '--out', out];
      const child = startCommand(['compare', ...words, ...long], { cwd: folder });
      onTestFinished(() => void child.kill('SIGKILL'));
      let said = '';
      child.stderr.on('data', chunk => {
        said += chunk;
      });
      await until('it runs', () => said.includes('12 users for 600 s'), LIMIT_MS);
      return { child, ended: once(child, 'exit'), said: () => said };
    };
    const killed = await start('killed');
    killed.child.kill('SIGKILL');
    await killed.ended;
    expect(await readdir(path.join(folder, 'killed'))).toEqual([]);

    const told = await start('told');
    told.child.kill('SIGTERM');
    await until('it says so', () => told.said().includes('stopped: the report is next'), LIMIT_MS);
    told.child.kill('SIGTERM');
    expect(await told.ended).toEqual([3, null]);
    const files = await readdir(path.join(folder, 'told'));
    expect(files.sort()).toEqual(['report.json', 'report.md']);
    const { reasons } = JSON.parse(await readFile(path.join(folder, 'told/report.json'), 'utf8'));
    expect(reasons).toContain('it was stopped before its time was over');
  },
  LIMIT_MS,
);

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
