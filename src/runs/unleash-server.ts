// A real Unleash server for the demo, as a process of its own: nothing of it is loaded here.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { z } from 'zod';
import { flagName, type RouteConfig } from '../config/schema.ts';
import { UnleashAdmin } from '../control/flags/unleash-admin.ts';
import { CutoverError } from '../errors.ts';
import { initialFlags } from '../rules/flag-defaults.ts';

const WORKSPACE = path.join(import.meta.dirname, '../../unleash');
/** PostgreSQL and all migrations of the schema; 10 s where nothing else runs. */
const START_MS = 120_000;
const TIMEOUT_MS = 5_000;

const Started = z.object({ url: z.url(), adminToken: z.string(), clientToken: z.string() });

export interface UnleashServer extends z.output<typeof Started> {
  /** Makes the flags of these routes, as a migration begins. */
  prepare(routes: readonly RouteConfig[]): Promise<void>;
  close(): Promise<void>;
}

/** Throws `CutoverError('conflict')` if it is not installed or does not start. */
export async function startUnleashServer(): Promise<UnleashServer> {
  if (!existsSync(path.join(WORKSPACE, 'node_modules/unleash-server'))) {
    const message =
      'Unleash is not installed; in a checkout: npm ci --ignore-scripts --prefix unleash';
    throw new CutoverError('conflict', message);
  }
  const child = spawn(process.execPath, [path.join(WORKSPACE, 'server.mjs')], {
    stdio: ['pipe', 'pipe', 'ignore'],
    // Ctrl-C is for the demo, which ends it last; it ends with its stdin in any case.
    detached: true,
  });
  let ended = false;
  const gone = new Promise<void>(resolve => {
    const onEnd = () => {
      ended = true;
      resolve();
    };
    child.once('exit', onEnd);
    child.once('error', onEnd);
  });
  const close = async () => {
    child.stdin.end();
    await gone;
  };
  const line = await new Promise<string | null>(resolve => {
    const timer = setTimeout(() => resolve(null), START_MS);
    createInterface({ input: child.stdout }).once('line', text => {
      clearTimeout(timer);
      resolve(text);
    });
    void gone.then(() => {
      clearTimeout(timer);
      resolve(null);
    });
  });
  const started = Started.safeParse(line === null ? null : JSON.parse(line)).data;
  if (started === undefined) {
    if (!ended) await close();
    const message = 'Unleash does not start; node unleash/server.mjs says why';
    throw new CutoverError('conflict', message);
  }
  return {
    ...started,
    prepare: async routes => {
      const admin = new UnleashAdmin({
        url: started.url,
        token: () => started.adminToken,
        project: 'default',
        environment: 'development',
        timeoutMs: TIMEOUT_MS,
      });
      for (const route of routes) {
        const names = {
          route: route.name,
          serve: flagName(route, 'serve'),
          shadow: flagName(route, 'shadow'),
          kill: flagName(route, 'kill'),
          isolation: flagName(route, 'isolation'),
        };
        for (const flag of initialFlags(names)) await admin.add(flag);
      }
    },
    close,
  };
}
