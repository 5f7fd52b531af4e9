// The real Unleash server of this run of tests, and what a person would do in its pages.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { inject } from 'vitest';
import type { RemoteFlags } from '../../src/control/flags/source.ts';
import { UnleashAdmin } from '../../src/control/flags/unleash-admin.ts';
import type { FeatureLike } from '../../src/rules/flag-shape.ts';
import { freePort } from './free-port.ts';

const WORKSPACE = path.join(import.meta.dirname, '../../unleash');
const PROJECT = '/api/admin/projects/default/features';

export interface RealUnleash {
  readonly url: string;
  readonly adminToken: string;
  readonly clientToken: string;
  readonly databaseUrl: string;
  /** A call of the admin API, with a status that is no failure. */
  call(method: string, where: string, body?: object): Promise<unknown>;
  /** Turns a flag on or off, as the switch on its page does. */
  toggle(flag: string, on: boolean): Promise<void>;
  /** Makes flags, or makes them like these. */
  put(...features: readonly FeatureLike[]): Promise<void>;
  archive(flag: string): Promise<void>;
  /** Whether it tells its clients by now that a flag is like that: its own cache takes up to a second. */
  tells(flag: string, isSo: (feature: FeatureLike) => boolean): Promise<boolean>;
}

/** How often it was asked so far. */
export function looks(remote: RemoteFlags | null): number {
  return Object.values<number>(remote?.fetches ?? {}).reduce((sum, count) => sum + count, 0);
}

/** Names of flags, for a test that shares the server with others. */
export function ownFlags(prefix: string) {
  const unique = `${prefix}-${process.pid}-${Date.now().toString(36)}`;
  return {
    serve: `${unique}.serve`,
    shadow: `${unique}.shadow`,
    kill: `${unique}.kill`,
    isolation: `${unique}.isolation`,
  };
}

/** Left out by name where the server is not installed; a failure where nothing may be left out. */
export function unleashMissing(): boolean {
  if (existsSync(path.join(WORKSPACE, 'node_modules/unleash-server'))) return false;
  const what = 'the real Unleash is not installed: npm ci --ignore-scripts --prefix unleash';
  if (process.env.CI) throw new Error(what);
  console.warn(`the tests with a real Unleash server are left out, since ${what}`);
  return true;
}

/** Starts it if nobody has yet (some 10 s). Throws a sentence that says why it can not be had. */
export async function realUnleash(): Promise<RealUnleash> {
  const answer = await fetch(inject('unleashBroker'));
  const text = await answer.text();
  if (!answer.ok) throw new Error(`the real Unleash server can not be had: ${text}`);
  return around(JSON.parse(text));
}

function around(
  place: Pick<RealUnleash, 'url' | 'adminToken' | 'clientToken' | 'databaseUrl'>,
): RealUnleash {
  const admin = new UnleashAdmin({
    url: place.url,
    token: () => place.adminToken,
    project: 'default',
    environment: 'development',
    timeoutMs: 10_000,
  });
  const call: RealUnleash['call'] = async (method, where, body) => {
    const answer = await fetch(`${place.url}${PROJECT}${where}`, {
      method,
      headers: { authorization: place.adminToken, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${where}: ${answer.status} ${text}`);
    return text === '' ? null : JSON.parse(text);
  };
  return {
    ...place,
    call,
    toggle: async (flag, on) => {
      await call('POST', `/${flag}/environments/development/${on ? 'on' : 'off'}`);
    },
    put: async (...features) => {
      for (const feature of features) await admin.put(feature);
    },
    archive: async flag => {
      await call('DELETE', `/${flag}`);
    },
    tells: async (flag, isSo) => {
      const answer = await fetch(`${place.url}/api/client/features`, {
        headers: { authorization: place.clientToken },
      });
      const { features } = (await answer.json()) as { features: FeatureLike[] };
      return features.some(feature => feature.name === flag && isSo(feature));
    },
  };
}

export interface Instance extends RealUnleash {
  /** Ends it as a power cut would. */
  kill(): Promise<void>;
  /** Starts it again, at the same address. */
  restart(): Promise<void>;
}

/** A second server process on the same database, which a test may kill. */
export async function ownInstance(shared: RealUnleash): Promise<Instance> {
  const port = await freePort();
  let child: ChildProcess | null = null;
  const start = async () => {
    const started = spawn(process.execPath, [path.join(WORKSPACE, 'instance.mjs')], {
      cwd: WORKSPACE,
      stdio: ['pipe', 'pipe', 'ignore'],
      env: {
        PATH: process.env.PATH ?? '',
        PORT: String(port),
        DATABASE_URL: shared.databaseUrl,
        DATABASE_SSL: 'false',
        SEND_TELEMETRY: 'false',
        CHECK_VERSION: 'false',
      },
    });
    child = started;
    for await (const line of createInterface({ input: started.stdout })) {
      if (line.startsWith('{"url"')) break;
    }
    if (started.exitCode !== null) throw new Error('the second Unleash server did not start');
    started.stdout.resume();
  };
  await start();
  return {
    ...around({ ...shared, url: `http://127.0.0.1:${port}` }),
    kill: async () => {
      const running = child;
      child = null;
      if (running === null) return;
      const ended = new Promise(resolve => running.once('exit', resolve));
      running.kill('SIGKILL');
      await ended;
    },
    restart: start,
  };
}
