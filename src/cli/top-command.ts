// `cutover top`: a running proxy, second by second.
import { setTimeout as pause } from 'node:timers/promises';
import type { Command } from 'commander';
import type { Status } from '../control/status.ts';
import { type AdminClient, type AdminPlace, connectAdmin, remoteCommand } from './admin-client.ts';
import { CommandFailure } from './failure.ts';
import { duration, print } from './output.ts';
import { Screen } from './screen.ts';
import { type Look, topOf } from './top-rates.ts';
import { topLines } from './top-view.ts';

/** Shorter, and people can not read it; a status costs the proxy about a millisecond. */
const REFRESH_MS = 1_000;

const HELP = `
Two lines a route, one for each side. open: WebSockets and event streams; users: named ones with a
WebSocket; events/s and bytes/s: WebSocket messages, and all bytes, to clients; req/s: HTTP answers;
errors: since the start of the proxy, by cutover status in detail. Ends with q or Ctrl-C.

Where the output is no terminal, or with --json, it watches for one second, prints that and ends.

Examples:
  cutover top
  cutover top --json | jq .routes[].candidate.eventsPerS`;

export function topCommand(): Command {
  return remoteCommand('top')
    .description('watch stages, sessions, rates and errors of a running proxy')
    .addHelpText('after', HELP)
    .action(async (options: AdminPlace) => {
      const { json = false } = options;
      const admin = await connectAdmin(options);
      const first = await look(admin);
      if (!json && process.stdout.isTTY) return watch(admin, first);
      await pause(REFRESH_MS);
      const top = topOf(first, await look(admin));
      print(top, json, () =>
        topLines(top, Number.POSITIVE_INFINITY)
          .map(({ text }) => text)
          .join('\n'),
      );
    });
}

async function look(admin: AdminClient, signal?: AbortSignal): Promise<Look> {
  const status = await admin.get<Status>('/status', {}, signal);
  return { atMs: performance.now(), status };
}

/** Draws until somebody leaves. A proxy that does not answer any more may come back. */
async function watch(admin: AdminClient, first: Look): Promise<void> {
  const screen = new Screen(process.stdout, process.stdin);
  try {
    let last = first;
    let top = topOf(null, first);
    let notice: string | null = null;
    while (!screen.left.aborted) {
      screen.draw(topLines(top, screen.rows, notice));
      await pause(REFRESH_MS, undefined, { signal: screen.left }).catch(ignoreAbort);
      if (screen.left.aborted) break;
      try {
        const next = await look(admin, screen.left);
        top = topOf(last, next);
        last = next;
        notice = null;
      } catch (error) {
        if (!(error instanceof CommandFailure)) throw error;
        const sinceS = (performance.now() - last.atMs) / 1_000;
        notice = `${duration(sinceS)} old: ${error.message}`;
      }
    }
  } finally {
    screen.close();
  }
}

/** Whoever leaves does not wait for the next second. */
function ignoreAbort(error: unknown): void {
  if (!(error instanceof Error && error.name === 'AbortError')) throw error;
}
