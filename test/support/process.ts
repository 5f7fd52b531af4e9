// A proxy as a process of its own, as an operator runs it.
import type { ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { startCommand } from './command.ts';
import { until } from './until.ts';

export interface ProxyProcess {
  readonly child: ChildProcess;
  /** Addresses, as the log says them. */
  readonly listen: string;
  readonly log: () => string;
  /** Waits for the admin API and gives its address. */
  admin(): Promise<string>;
  /** Waits for the end; resolves to the exit code, or the signal that ended it. */
  ended(): Promise<number | string | null>;
  close(): void;
}

export async function proxyProcess(
  folder: string,
  words: readonly string[] = [],
  env: Record<string, string> = {},
): Promise<ProxyProcess> {
  const child = startCommand(['start', '--config', 'cutover.yaml', ...words], { cwd: folder, env });
  let log = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', chunk => {
      log += chunk;
    });
  let end: { how: number | string | null } | undefined;
  child.on('exit', (code, signal) => {
    end = { how: code ?? signal };
  });
  const said = (pattern: RegExp) =>
    until(
      `the log says ${pattern}`,
      () => {
        if (end !== undefined && !pattern.test(log))
          throw new Error(`it ended with ${end.how}: ${log}`);
        return pattern.exec(log)?.[1];
      },
      20_000,
    );
  return {
    child,
    listen: await said(/"address":"(http[^"]+)","flags".*"msg":"traffic listens"/),
    log: () => log,
    admin: async () => `http://127.0.0.1:${await said(/"port":(\d+),"msg":"admin API listens"/)}`,
    ended: async () => (await until('the process ends', () => end, 30_000)).how,
    close: () => void child.kill('SIGKILL'),
  };
}

/** Asks the admin API of a process with the token of its state folder. */
export async function ask(
  folder: string,
  admin: string,
  call: string,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const token = await readFile(path.join(folder, 'state', 'admin.token'), 'utf8');
  const answer = await fetch(`${admin}${call}`, {
    headers: { authorization: `Bearer ${token.trim()}` },
  });
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}
