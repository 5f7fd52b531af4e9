// wrk, the load generator, for one turn.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

const SCRIPT = new URL('./wrk.lua', import.meta.url).pathname;

export interface WrkReport {
  readonly requests: number;
  readonly durationUs: number;
  readonly failed: number;
  readonly p50Us: number;
  readonly p99Us: number;
}

export interface WrkOptions {
  readonly url: string;
  readonly connections: number;
  readonly seconds: number;
  readonly authorization: string;
  /** Between two requests of a connection, on average; without it: none. */
  readonly pauseMs?: number;
}

/** Rejects if a single request failed: figures of failures are nobody's. */
export async function runWrk(options: WrkOptions): Promise<WrkReport> {
  const { url, connections, seconds, authorization, pauseMs } = options;
  const child = spawn(
    'wrk',
    [
      ...['--threads', '1', '--connections', String(connections), '--duration', `${seconds}s`],
      ...['--header', `Authorization: ${authorization}`, '--script', SCRIPT, url],
      ...(pauseMs === undefined ? [] : ['--', String(pauseMs)]),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const [output] = await Promise.all([text(child.stdout), once(child, 'exit')]);
  const report: WrkReport = JSON.parse(output.trim().split('\n').at(-1) ?? '');
  if (report.failed > 0) throw new Error(`${report.failed} requests to ${url} failed`);
  return report;
}
