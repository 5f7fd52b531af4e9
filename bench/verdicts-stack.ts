// What is scored: `cutover start` and both reference services, each a process of its own, as an
// operator has them, and the admin API as the way to what was found.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseFault } from '../src/broadcast/fault.ts';
import type { PlantedFault } from '../src/broadcast/fault-planter.ts';
import type { FindingPage, KeptFinding } from '../src/control/evidence/kept.ts';
import type { Status } from '../src/control/status.ts';
import { stageEdits } from '../src/rules/flag-stage.ts';
import { stageTarget } from '../src/rules/stage.ts';
import { SECRET } from './user.ts';

const ROOT = path.join(import.meta.dirname, '..');
const BIN = path.join(ROOT, 'bin/cutover.js');
/** A process that is not up by then will not be. */
const START_MS = 60_000;
/** The largest page that the proxy gives. */
const PAGE = 100;
const LEGS = /^cutover_second_legs_open\{.*side="candidate".*\} (\d+)$/gm;

export interface StackOptions {
  /** Of the candidate, as `--fault` takes them. */
  readonly faults: readonly string[];
  readonly seed: number;
  readonly jitterMs: number;
}

export interface VerdictStack {
  /** Address of the proxy, as `http://host:port`. */
  readonly listen: string;
  status(): Promise<Status>;
  /** All findings that are kept of the verdict. */
  findings(verdict: string): Promise<KeptFinding[]>;
  truth(): Promise<PlantedFault[]>;
  /** The candidate ends, as it does when told so, and is started anew at its address. Returns once it is up. */
  restartCandidate(): Promise<void>;
  /** Second legs that are open at the candidate. */
  legsAtCandidate(): Promise<number>;
  close(): Promise<void>;
}

export async function startVerdictStack(options: StackOptions): Promise<VerdictStack> {
  const folder = await mkdtemp(path.join(tmpdir(), 'cutover-verdicts-'));
  const running: Running[] = [];
  const close = async () => {
    await Promise.all(running.map(each => each.stop()));
    await rm(folder, { recursive: true, force: true });
  };
  const run = async (words: readonly string[], up: RegExp, env: Record<string, string> = {}) => {
    const process = spawnIn(folder, words, env);
    running.push(process);
    return { process, said: await process.says(up) };
  };
  try {
    await configure(folder);
    const { faults, seed, jitterMs } = options;
    // Their clocks of delay are their own: what arrives when has no pattern.
    const both = ['--secret-file', 'secret', '--jitter', String(jitterMs)];
    const planting = faults.flatMap(fault => ['--fault', String(parseFault(fault) && fault)]);
    const truth = faults.length > 0 ? ['--truth', 'truth.jsonl', '--seed', String(seed)] : [];
    const ssot = ['broadcaster', 'ssot', ...both, ...planting, ...truth];
    const [legacy, first] = await Promise.all([
      run(['broadcaster', 'legacy', ...both], /broadcaster: (http\S+)/),
      run(ssot, /broadcaster: (http\S+)/),
    ]);
    let candidate = first;
    const { port: candidatePort } = new URL(candidate.said);
    const env = {
      ...{ CUTOVER_PORT: '0', CUTOVER_ADMIN_PORT: '0' },
      ...{ CUTOVER_LEGACY: legacy.said, CUTOVER_CANDIDATE: candidate.said },
    };
    const proxy = await run(
      ['start', '--config', 'cutover.yaml'],
      /"address":"(http[^"]+)","flags"[^\n]*"msg":"traffic listens"/,
      env,
    );
    const port = await proxy.process.says(/"port":(\d+),"msg":"admin API listens"/);
    const token = (await readFile(path.join(folder, 'state/admin.token'), 'utf8')).trim();
    const ask = async <T>(call: string): Promise<T> => {
      const answer = await fetch(`http://127.0.0.1:${port}/api/v1${call}`, {
        headers: { authorization: `Bearer ${token}` },
      });
      if (!answer.ok) throw new Error(`${call}: ${answer.status} ${await answer.text()}`);
      return (await answer.json()) as T;
    };
    return {
      listen: proxy.said,
      status: () => ask<Status>('/status'),
      findings: async verdict => {
        const all: KeptFinding[] = [];
        for (let after: number | null = 0; after !== null; ) {
          const query: string = `verdict=${verdict}&limit=${PAGE}&after=${after}`;
          const page: FindingPage = await ask<FindingPage>(`/evidence/findings?${query}`);
          all.push(...page.findings);
          after = page.after;
        }
        return all;
      },
      truth: async () =>
        faults.length === 0
          ? []
          : (await readFile(path.join(folder, 'truth.jsonl'), 'utf8'))
              .split('\n')
              .filter(line => line !== '')
              .map(line => JSON.parse(line) as PlantedFault),
      legsAtCandidate: async () => {
        const metrics = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
        const lines = metrics.matchAll(LEGS);
        return [...lines].reduce((sum, [, value]) => sum + Number(value), 0);
      },
      restartCandidate: async () => {
        running.splice(running.indexOf(candidate.process), 1);
        await candidate.process.stop('SIGTERM');
        candidate = await run([...ssot, '--port', candidatePort], /broadcaster: (http\S+)/);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The shipped configuration in stage `shadow`, with room for every finding. */
async function configure(folder: string): Promise<void> {
  const shipped = await readFile(path.join(ROOT, 'cutover.yaml'), 'utf8');
  const roomy = shipped
    .replace(/^ {2}maxRows: .*$/m, '  maxRows: 1000000')
    .replace(/^ {2}examples: .*$/m, '  examples: 10000')
    .replace(/^ {2}maxMb: .*$/m, '  maxMb: 4096');
  await writeFile(path.join(folder, 'cutover.yaml'), roomy);
  await writeFile(path.join(folder, 'secret'), SECRET);
  await cp(path.join(ROOT, 'flags'), path.join(folder, 'flags'), { recursive: true });
  const names = {
    ...{ route: 'events', serve: 'events.serve', shadow: 'events.shadow' },
    ...{ kill: 'events.kill', isolation: 'events.isolation' },
  };
  const features = stageEdits(() => undefined, names, stageTarget('shadow'));
  await mkdir(path.join(folder, 'flags'), { recursive: true });
  await writeFile(path.join(folder, 'flags/events.json'), JSON.stringify({ version: 2, features }));
}

interface Running {
  /** Waits for output of that form and gives its first group. */
  says(pattern: RegExp): Promise<string>;
  /** Returns once it has ended. */
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

function spawnIn(folder: string, words: readonly string[], env: Record<string, string>): Running {
  const child = spawn(process.execPath, [BIN, ...words], {
    cwd: folder,
    env: { PATH: process.env.PATH ?? '', NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const kill = () => void child.kill('SIGKILL');
  process.once('exit', kill);
  const exited = once(child, 'exit');
  let output = '';
  const waiting = new Set<() => void>();
  const onOutput = (chunk: Buffer) => {
    // Of a long log only the beginning is of interest.
    if (output.length < 1_000_000) output += chunk;
    for (const look of waiting) look();
  };
  child.stdout.on('data', onOutput);
  child.stderr.on('data', onOutput);
  return {
    says: pattern =>
      new Promise((resolve, reject) => {
        const fail = (why: string) =>
          done(() => reject(new Error(`${words[0]} ${why}: ${output}`)));
        const timer = setTimeout(() => fail('is not up in time'), START_MS);
        const onExit = () => fail('has ended');
        const done = (settle: () => void) => {
          clearTimeout(timer);
          waiting.delete(look);
          child.off('exit', onExit);
          settle();
        };
        const look = () => {
          const said = pattern.exec(output)?.[1];
          if (said !== undefined) done(() => resolve(said));
        };
        waiting.add(look);
        child.once('exit', onExit);
        look();
      }),
    stop: async (signal = 'SIGKILL') => {
      child.kill(signal);
      await exited;
      process.off('exit', kill);
    },
  };
}
