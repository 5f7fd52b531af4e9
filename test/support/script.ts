// Runs one of `scripts/`, as an operator does.
import { execFile } from 'node:child_process';
import path from 'node:path';

export const SCRIPTS = path.join(import.meta.dirname, '../../scripts');

export interface RanScript {
  code: number;
  stdout: string;
  stderr: string;
}

/** `name` in the folder of scripts, or anywhere as a whole path; `env` is all that it gets of ours but for PATH. */
export function script(
  name: string,
  words: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<RanScript> {
  const { PATH = '' } = process.env;
  return new Promise(resolve => {
    const file = path.resolve(SCRIPTS, name);
    execFile(file, words, { env: { PATH, ...env } }, (error, stdout, stderr) => {
      const code = typeof error?.code === 'number' ? error.code : error === null ? 0 : -1;
      resolve({ code, stdout, stderr });
    });
  });
}
