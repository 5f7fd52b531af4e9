// Both reference services and a proxy in front of them, in a folder of their own, as an operator has
// them: configuration, flags and state as files.
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pino from 'pino';
import { WebSocket } from 'ws';
import type { FaultSetting } from '../../src/broadcast/fault.ts';
import { type RunningBroadcaster, startBroadcaster } from '../../src/broadcast/server.ts';
import { mintToken, tokenSubprotocols } from '../../src/broadcast/token.ts';
import { loadConfig } from '../../src/config/load.ts';
import { type RunningProxy, startProxy } from '../../src/main.ts';
import type { TrafficView } from '../../src/ports.ts';
import type { CompareRules } from '../../src/rules/compare/rules.ts';
import { editShare } from '../../src/rules/flag-edit.ts';
import type { FeatureLike } from '../../src/rules/flag-shape.ts';
import type { Marker } from '../../src/rules/isolation/marker.ts';
import { stageTarget } from '../../src/rules/stage.ts';
import { visit } from '../../src/runs/synthetic-user.ts';
import { freePort } from './free-port.ts';

export const SECRET = 'a secret of the tests, long enough for HS256';

export interface Stack {
  readonly folder: string;
  readonly services: { legacy: RunningBroadcaster; candidate: RunningBroadcaster };
  readonly proxy: RunningProxy;
  /** Lines of the proxy's log. */
  readonly logged: string[];
  /** Flags as `cutover stage` would write them, by hand: a whole file, renamed into place. */
  editFlags(stage: string, percent?: number): Promise<void>;
  close(): Promise<void>;
}

export interface StackOptions {
  /** Further lines of the configuration, at top level. */
  readonly config?: string;
  /** Stage that the flags begin with; `off` without one. */
  readonly stage?: [string, number?];
  /** Of the route `events`, as in the configuration. */
  readonly isolation?: string;
  /** What may differ on it, as JSON; nothing without it. */
  readonly compare?: CompareRules;
  /** Planted in the candidate. */
  readonly faults?: readonly FaultSetting[];
  /** What is planted in what users send. */
  readonly markers?: readonly Marker[];
  /** Time limit for everything that a service is waited for; defaults without it. */
  readonly timeoutMs?: number;
}

/** A folder with configuration and flags; `close` removes it. */
export async function place(
  urls: { legacy: string; candidate: string },
  { config = '', stage = ['off'], isolation = '{}', compare, timeoutMs }: StackOptions = {},
) {
  const folder = await mkdtemp(path.join(tmpdir(), 'cutover-test-'));
  await mkdir(path.join(folder, 'flags'));
  await writeFile(path.join(folder, 'secret'), SECRET);
  const limits =
    timeoutMs === undefined
      ? 'handshakeTimeoutMs: 1000'
      : `handshakeTimeoutMs: ${timeoutMs}, connectTimeoutMs: ${timeoutMs}, responseTimeoutMs: ${timeoutMs}`;
  await writeFile(
    path.join(folder, 'cutover.yaml'),
    `listen: { host: 127.0.0.1, port: "\${PORT:-0}" }
admin: { port: "\${ADMIN_PORT:-0}" }
upstreams:
  legacy: { url: '${urls.legacy}', ${limits} }
  candidate: { url: '${urls.candidate}', ${limits} }
routes:
  - { name: events, path: /ws, protocol: websocket, isolation: ${isolation}, compare: ${JSON.stringify(compare ?? {})} }
  - { name: sse, path: /events, protocol: sse, flags: &f { serve: events.serve, shadow: events.shadow, kill: events.kill, isolation: events.isolation } }
  - { name: broadcast, path: /broadcast, protocol: http, writes: both, subject: { bodyPointer: /user_id }, flags: *f }
identity:
  sources: [{ from: subprotocol }, { from: bearer }]
  verify: { secretFile: secret }
${config}`,
  );
  const editFlags = async (name: string, percent?: number) => {
    const file = path.join(folder, 'flags', 'events.json');
    await writeFile(
      `${file}.new`,
      JSON.stringify({ version: 2, features: featuresFor(name, percent) }),
    );
    await rename(`${file}.new`, file);
  };
  await editFlags(...stage);
  return { folder, editFlags, close: () => rm(folder, { recursive: true, force: true }) };
}

export async function stack(options: StackOptions = {}): Promise<Stack> {
  // At ports that stay theirs where a test has them down for a while.
  const services = {
    legacy: await startBroadcaster({
      ...{ kind: 'legacy', keys: { secret: SECRET }, port: await freePort() },
    }),
    candidate: await startBroadcaster({
      ...{ kind: 'ssot', keys: { secret: SECRET }, port: await freePort() },
      faults: options.faults ?? [],
    }),
  };
  const where = await place(
    { legacy: services.legacy.url, candidate: services.candidate.url },
    options,
  );
  const logged: string[] = [];
  const proxy = await startProxy({
    loaded: await loadConfig(path.join(where.folder, 'cutover.yaml'), {}),
    env: {},
    markers: options.markers ?? [],
    logger: pino({ level: 'info' }, { write: line => void logged.push(line) }),
  });
  return {
    ...where,
    services,
    proxy,
    logged,
    close: async () => {
      await proxy.close();
      await services.legacy.close();
      await services.candidate.close();
      await where.close();
    },
  };
}

/** The four flags of the route `events` for a stage. */
export function featuresFor(name: string, percent?: number): FeatureLike[] {
  const { serve, shadow } = stageTarget(name, percent);
  return [
    editShare(undefined, {
      name: 'events.serve',
      variant: 'candidate',
      other: 'legacy',
      share: serve,
    }),
    editShare(undefined, { name: 'events.shadow', variant: 'on', other: 'off', share: shadow }),
    { name: 'events.kill', enabled: false, strategies: [{ name: 'default', parameters: {} }] },
  ];
}

export const tokenFor = (user: string): Promise<string> => mintToken(SECRET, user);

/** A browser's WebSocket in Node: open, or rejected with what the proxy said. */
export async function login(listen: string, user: string): Promise<WebSocket> {
  const socket = new WebSocket(
    `${listen.replace(/^http/, 'ws')}/ws`,
    tokenSubprotocols(await tokenFor(user)),
  );
  await new Promise<void>((resolve, reject) => {
    socket.once('open', () => resolve());
    socket.once('error', reject);
  });
  return socket;
}

/** One visit of a user who leaves as soon as his five events have come. */
export async function goldenPath(
  listen: string,
  user: string,
  onEvent: (key: string) => void = () => undefined,
) {
  return visit({
    id: user,
    token: await tokenFor(user),
    listen,
    onEvent,
    leave: AbortSignal.abort(),
  });
}

/** Which side serves each user, as the proxy's own sessions say. */
export function sidesOf(proxy: { traffic: Pick<TrafficView, 'sessionsOf'> }): Map<string, string> {
  return new Map(
    [...proxy.traffic.sessionsOf('events')].map(({ subject, side }) => [subject?.id ?? '', side]),
  );
}

/** Asks the admin API as the command line does. */
export async function admin(
  proxy: RunningProxy,
  folder: string,
  call: string,
  body?: object,
): Promise<{ status: number; body: Record<string, unknown> }> {
  const token = await readFile(path.join(folder, 'state', 'admin.token'), 'utf8');
  const answer = await fetch(`${await proxy.admin}/api/v1${call}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: { authorization: `Bearer ${token.trim()}`, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}
