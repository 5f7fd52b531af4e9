// Runs `bin/cutover.js` as a process of its own, as a shell does.
import { spawn } from 'node:child_process';
import path from 'node:path';

export const BIN = path.join(import.meta.dirname, '../../bin/cutover.js');

export interface Ran {
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  cwd?: string;
  env?: Readonly<Record<string, string>>;
}

/** Starts it; `env` is all that it gets of ours but for the two, so that a developer's settings do not matter. */
export function startCommand(words: readonly string[], { cwd, env = {} }: CommandOptions = {}) {
  const { PATH = '', NODE_COMPILE_CACHE = '' } = process.env;
  return spawn(process.execPath, [BIN, ...words], {
    env: { PATH, NODE_COMPILE_CACHE, ...env },
    ...(cwd === undefined ? {} : { cwd }),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Runs it to its end. */
export function cutover(words: readonly string[], options?: CommandOptions): Promise<Ran> {
  const child = startCommand(words, options);
  const ran: Ran = { code: null, stdout: '', stderr: '' };
  child.stdout.on('data', chunk => {
    ran.stdout += chunk;
  });
  child.stderr.on('data', chunk => {
    ran.stderr += chunk;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', code => resolve({ ...ran, code }));
  });
}
