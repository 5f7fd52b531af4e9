// The proxy under soak: `cutover start`, in a folder and a process of its own, and what it holds.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { stageEdits } from '../../src/rules/flag-stage.ts';
import { type StageTarget, stageTarget } from '../../src/rules/stage.ts';
import { residentBytes } from '../machine.ts';
import { SECRET } from '../user.ts';
import { OPERATED_ROUTES, type Operator } from './operator.ts';
import type { Holdings } from './verdict.ts';

const ROOT = path.join(import.meta.dirname, '../..');
/**
 * Where each route's flags begin: half of the users of `events` are served by the candidate, and both services
 * are compared.
 */
const STAGES = [
  ['events', stageTarget('canary', 50)],
  ['staged', stageTarget('shadow')],
  ['rolled', stageTarget('live')],
] as const;
/** What should have come by then will not come. */
const PATIENCE_MS = 20_000;
const LOOK_MS = 50;
/** Errors and worse, and what nobody had caught; warnings are about services and clients. */
const FAULT = /"level":(?:50|60)|uncaught|unhandled/;

export interface SoakedProxy {
  readonly port: number;
  readonly operator: Operator;
  /** Bytes. */
  resident(): number;
  holdings(): Promise<Holdings>;
  faults(): Promise<string[]>;
  /** Exit code or signal once it has ended; null while it runs. */
  ended(): string | null;
  stop(): Promise<void>;
}

export async function startSoakedProxy(servicePort: number): Promise<SoakedProxy> {
  const folder = await mkdtemp(path.join(tmpdir(), 'cutover-soak-'));
  await mkdir(path.join(folder, 'flags'));
  for (const [route, stage] of STAGES)
    await writeFile(path.join(folder, `flags/${route}.json`), flagsFor(route, stage));
  await writeFile(path.join(folder, 'secret'), SECRET);
  await writeFile(path.join(folder, 'cutover.yaml'), configFor(servicePort));
  const probe = path.join(folder, 'probe.json');
  // As an executable, which is how `npx cutover` starts it: its first line bounds the heap.
  const child = spawn(path.join(ROOT, 'bin/cutover.js'), ['start', '--config', 'cutover.yaml'], {
    cwd: folder,
    env: {
      PATH: `${path.dirname(process.execPath)}:${process.env.PATH}`,
      NODE_ENV: 'production',
      NODE_OPTIONS: `--import ${path.join(import.meta.dirname, 'probe.ts')}`,
      SOAK_PROBE: probe,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const pid = child.pid ?? 0;
  const faults: string[] = [];
  let started = '';
  let rest = '';
  const onLog = (chunk: Buffer) => {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line.includes('listens')) started += `${line}\n`;
      if (FAULT.test(line)) faults.push(line);
    }
  };
  child.stdout.on('data', onLog);
  child.stderr.on('data', onLog);
  let end: string | null = null;
  child.once('exit', (code, signal) => {
    end = String(code ?? signal);
  });
  const kill = () => void child.kill('SIGKILL');
  process.once('exit', kill);
  const stop = async () => {
    process.off('exit', kill);
    if (end === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
    await rm(folder, { recursive: true, force: true });
  };
  const port = await eventually('the proxy listens', async () =>
    Number(/"address":"http:\/\/127\.0\.0\.1:(\d+)"/.exec(started)?.[1] ?? 0),
  ).catch(async error => {
    await stop();
    throw error;
  });
  const operator = await operatorOf(folder, () => adminPort(started)).catch(async error => {
    await stop();
    throw error;
  });
  return {
    port,
    operator,
    resident: () => residentBytes([pid]),
    holdings: async () => {
      await rm(probe, { force: true });
      child.kill('SIGWINCH');
      const resources = await eventually('the process tells what it holds', () =>
        readFile(probe, 'utf8').catch(() => null),
      );
      return { ...(await descriptorsOf(pid)), ...JSON.parse(resources) };
    },
    faults: async () => faults,
    ended: () => end,
    stop,
  };
}

async function operatorOf(folder: string, port: () => number): Promise<Operator> {
  const base = `http://127.0.0.1:${await eventually('the admin API listens', async () => port())}/api/v1`;
  const token = (await readFile(path.join(folder, 'state/admin.token'), 'utf8')).trim();
  const ask = async (call: string, init: RequestInit = {}) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const answer = await fetch(`${base}${call}`, { ...init, headers });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${call} is answered with ${answer.status}: ${text}`);
    return JSON.parse(text);
  };
  return {
    get: call => ask(call),
    post: (call, body) => ask(call, { method: 'POST', body: JSON.stringify(body) }),
  };
}

function adminPort(log: string): number {
  return Number(/"port":(\d+),"msg":"admin API listens"/.exec(log)?.[1] ?? 0);
}

async function descriptorsOf(pid: number): Promise<Record<string, number>> {
  const dir = `/proc/${pid}/fd`;
  const counts = { sockets: 0, 'other descriptors': 0 };
  for (const fd of await readdir(dir)) {
    // One may be closed between the two looks.
    const target = await readlink(path.join(dir, fd)).catch(() => null);
    if (target?.startsWith('socket:')) counts.sockets += 1;
    else if (target !== null) counts['other descriptors'] += 1;
  }
  return counts;
}

async function eventually<T>(what: string, look: () => Promise<T>): Promise<NonNullable<T>> {
  const end = performance.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await pause(LOOK_MS);
  }
}

function flagsFor(route: string, target: StageTarget): string {
  const features = stageEdits(() => undefined, { route, ...flagNames(route) }, target);
  return JSON.stringify({ version: 2, features });
}

function flagNames(route: string) {
  return {
    ...{ serve: `${route}.serve`, shadow: `${route}.shadow` },
    ...{ kill: `${route}.kill`, isolation: `${route}.isolation` },
  };
}

/** Writes go to both. Refusals and resets belong here: no guardrail is to end the canary for them. */
function configFor(servicePort: number): string {
  const flags = JSON.stringify(flagNames('events'));
  return `
listen: { host: 127.0.0.1, port: 0 }
admin: { host: 127.0.0.1, port: 0 }
upstreams:
  legacy: { url: "http://127.0.0.1:${servicePort}" }
  candidate: { url: "http://127.0.0.1:${servicePort}" }
routes:
  - { name: events, path: /ws, protocol: websocket, flags: ${flags} }
  - { name: sse, path: /events, protocol: sse, flags: ${flags} }
  - { name: api, path: /api/*, protocol: http, writes: both, flags: ${flags} }
${OPERATED_ROUTES.map(name => `  - { name: ${name}, path: /${name}, protocol: websocket, mirror: all }`).join('\n')}
identity:
  sources: [{ from: bearer }]
  verify: { secretFile: secret }
limits: { stallMs: 20000 }
guardrails: { ${['handshakes', 'errors', 'timeouts', 'closes'].map(rule => `${rule}: { action: alert }`).join(', ')} }
`;
}
