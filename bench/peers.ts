// The proxies that are compared, each started in front of one upstream port as its makers would have
// it in production, with one worker, so that all have one CPU at most.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, open, readFile, writeFile } from 'node:fs/promises';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { stageEdits } from '../src/rules/flag-stage.ts';
import type { StageTarget } from '../src/rules/stage.ts';
import { processTree } from './machine.ts';
import { SECRET } from './user.ts';

/** In the order in which they take turns. */
export const PEERS = [
  'cutover',
  'pipe',
  'nginx',
  'haproxy',
  'http-proxy',
  'http-proxy-agent',
  'httpxy',
] as const;
export type PeerName = (typeof PEERS)[number];

/** A peer that does not listen by then will not. */
const START_MS = 20_000;
/** Sockets: two for each client, and more than any benchmark opens. */
const MOST_SOCKETS = 16_384;
const ROOT = path.join(import.meta.dirname, '..');

export interface Peer extends Listening {
  readonly name: PeerName;
}

/** Those that are not installed here; `scripts/bench-peers` installs them. */
export function missingPeers(): PeerName[] {
  const isMissing: Partial<Record<PeerName, boolean>> = {
    nginx: spawnSync('nginx', ['-v']).error !== undefined,
    haproxy: spawnSync('haproxy', ['-v']).error !== undefined,
    httpxy: import.meta.resolve !== undefined && !canImport('httpxy'),
  };
  return PEERS.filter(name => isMissing[name] === true);
}

/** A process that listens, with its children. */
export interface Listening {
  readonly port: number;
  /** Its processes now; a master has its workers a moment after it listens. */
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

/** Starts a peer in front of `upstreamPort`; its files go below `dir`. Rejects if it does not listen. */
export async function startPeer(name: PeerName, upstreamPort: number, dir: string): Promise<Peer> {
  const place = path.join(dir, `${name}-${upstreamPort}`);
  await mkdir(place, { recursive: true });
  const port = await freePort();
  const listening = await launch(port, await COMMANDS[name](port, upstreamPort, place), place);
  return Object.assign(listening, { name });
}

/** Starts a command that listens at that port, at last at `lastPort`; its log goes to `place`. */
async function launch(
  port: number,
  command: readonly string[],
  place: string,
  lastPort = port,
): Promise<Listening> {
  const log = await open(path.join(place, 'log'), 'a');
  const child = spawn(command[0] as string, command.slice(1), {
    cwd: place,
    env: { ...process.env, NODE_ENV: 'production' },
    stdio: ['ignore', log.fd, log.fd],
  });
  await log.close();
  const end = () => void child.kill('SIGKILL');
  process.once('exit', end);
  await listens(child, lastPort, path.join(place, 'log'));
  return {
    port,
    get pids() {
      return processTree(child.pid as number);
    },
    stop: async () => {
      process.off('exit', end);
      if (child.exitCode !== null) return;
      const exited = once(child, 'exit');
      // At once: what is open at the end of a benchmark is not worth a drain. nginx ends its workers.
      child.kill(command[0] === 'nginx' ? 'SIGTERM' : 'SIGKILL');
      await exited;
    },
  };
}

/** Cutover, with its admin API. */
export interface ListeningCutover extends Listening {
  /** Asks the API below `/api/v1`; with a body it is a POST. Rejects for any answer but 200. */
  ask<T>(call: string, body?: object): Promise<T>;
  /** Sum of a metric's values over the series that hold this text. */
  metric(name: string, holding: string): Promise<number>;
}

/** What a comparing proxy of the benchmarks is like. */
export interface CutoverSetup {
  readonly legacyPort: number;
  readonly candidatePort: number;
  /** `cutover.yaml`'s part below `compare` of the WebSocket route. */
  readonly compare: string;
  /** The same below `isolation`. */
  readonly isolation?: string;
  readonly stage: StageTarget;
}

/** Cutover between two services. */
export async function startCutover(setup: CutoverSetup, dir: string): Promise<ListeningCutover> {
  const { legacyPort, candidatePort, compare, isolation = '{}', stage } = setup;
  const port = await freePort();
  const adminPort = await freePort();
  const place = path.join(dir, `cutover-${port}`);
  await mkdir(path.join(place, 'flags'), { recursive: true });
  const features = stageEdits(() => undefined, EVENT_FLAGS, stage);
  await writeFile(path.join(place, 'flags/events.json'), JSON.stringify({ version: 2, features }));
  await writeFile(path.join(place, 'secret'), SECRET);
  await writeFile(
    path.join(place, 'cutover.yaml'),
    cutoverConfig(port, legacyPort, candidatePort, { compare, isolation, adminPort }),
  );
  const listening = await launch(port, cutover(place), place, adminPort);
  const address = `http://127.0.0.1:${adminPort}`;
  const token = (await readFile(path.join(place, 'state/admin.token'), 'utf8')).trim();
  const fetched = async (call: string, body?: object): Promise<string> => {
    const answer = await fetch(`${address}${call}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${call}: ${answer.status} ${text}`);
    return text;
  };
  return Object.assign(listening, {
    ask: async <T>(call: string, body?: object) =>
      JSON.parse(await fetched(`/api/v1${call}`, body)) as T,
    metric: async (name: string, holding: string) => {
      const lines = (await fetched('/metrics')).split('\n');
      const found = lines.filter(line => line.startsWith(`${name}{`) && line.includes(holding));
      return found.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
    },
  });
}

const EVENT_FLAGS = {
  ...{ route: 'events', serve: 'events.serve', shadow: 'events.shadow' },
  ...{ kill: 'events.kill', isolation: 'events.isolation' },
};

/** As an executable: what its first line asks of Node is part of it. */
function cutover(place: string): string[] {
  const config = path.join(place, 'cutover.yaml');
  return [path.join(ROOT, 'bin/cutover.js'), 'start', '--config', config];
}

type Command = (port: number, upstreamPort: number, dir: string) => Promise<string[]>;

const node = (script: string, ...words: (string | number)[]) => [
  process.execPath,
  path.join(ROOT, script),
  ...words.map(String),
];

const COMMANDS: Readonly<Record<PeerName, Command>> = {
  cutover: async (port, upstreamPort, dir) => {
    await mkdir(path.join(dir, 'flags'));
    await copyFile(path.join(ROOT, 'flags/events.json'), path.join(dir, 'flags/events.json'));
    await writeFile(path.join(dir, 'secret'), SECRET);
    await writeFile(
      path.join(dir, 'cutover.yaml'),
      cutoverConfig(port, upstreamPort, upstreamPort),
    );
    return cutover(dir);
  },
  pipe: async (port, upstreamPort) => node('bench/pipe.ts', port, upstreamPort),
  nginx: async (port, upstreamPort, dir) => {
    await writeFile(path.join(dir, 'nginx.conf'), nginxConfig(port, upstreamPort, dir));
    return ['nginx', '-p', dir, '-c', path.join(dir, 'nginx.conf')];
  },
  haproxy: async (port, upstreamPort, dir) => {
    await writeFile(path.join(dir, 'haproxy.cfg'), haproxyConfig(port, upstreamPort));
    return ['haproxy', '-db', '-f', path.join(dir, 'haproxy.cfg')];
  },
  'http-proxy': async (port, upstreamPort) =>
    node('bench/node-proxy.ts', 'http-proxy', port, upstreamPort),
  'http-proxy-agent': async (port, upstreamPort) =>
    node('bench/node-proxy.ts', 'http-proxy', port, upstreamPort, 'agent'),
  httpxy: async (port, upstreamPort) =>
    node('bench/node-proxy.ts', 'httpxy', port, upstreamPort, 'agent'),
};

/** Identity verified, flags evaluated, metrics and log on: what an operator runs. */
function cutoverConfig(
  port: number,
  legacyPort: number,
  candidatePort: number,
  { compare = '{}', isolation = '{}', adminPort = 0 } = {},
): string {
  const flags =
    '{ serve: events.serve, shadow: events.shadow, kill: events.kill, isolation: events.isolation }';
  return `
listen: { host: 127.0.0.1, port: ${port} }
admin: { host: 127.0.0.1, port: ${adminPort} }
stateDir: state
upstreams:
  legacy: { url: "http://127.0.0.1:${legacyPort}" }
  candidate: { url: "http://127.0.0.1:${candidatePort}" }
routes:
  - { name: events, path: /ws, protocol: websocket, flags: ${flags}, compare: ${compare}, isolation: ${isolation} }
  - { name: api, path: /api/*, protocol: http, flags: ${flags} }
identity:
  sources: [{ from: bearer }]
  verify: { secretFile: secret }
  invalid: reject
  absent: reject
flags: { provider: file, dir: flags }
`;
}

function nginxConfig(port: number, upstreamPort: number, dir: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    kind => `  ${kind}_temp_path ${dir}/${kind};`,
  );
  return `
daemon off;
user root;
worker_processes 1;
pid ${dir}/pid;
error_log ${dir}/error.log;
events { worker_connections ${MOST_SOCKETS}; }
http {
  access_log off;
${temporary.join('\n')}
  keepalive_requests 1000000000;
  upstream service { server 127.0.0.1:${upstreamPort}; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    proxy_http_version 1.1;
    location / {
      proxy_pass http://service;
      proxy_set_header Connection "";
    }
    location /ws {
      proxy_pass http://service;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
    }
  }
}
`;
}

function haproxyConfig(port: number, upstreamPort: number): string {
  return `
global
  nbthread 1
  maxconn ${MOST_SOCKETS / 2}
defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend clients
  bind 127.0.0.1:${port} backlog 4096
  default_backend service
backend service
  server one 127.0.0.1:${upstreamPort}
`;
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function listens(child: ChildProcess, port: number, log: string): Promise<void> {
  const end = performance.now() + START_MS;
  while (!(await canConnect(port))) {
    if (child.exitCode !== null || child.pid === undefined || performance.now() > end)
      throw new Error(`${child.spawnfile} does not listen: ${await readFile(log, 'utf8')}`);
    await pause(20);
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise(settle => {
    const socket = net.connect({ host: '127.0.0.1', port });
    socket.once('connect', () => settle(true)).once('error', () => settle(false));
    socket.once('connect', () => socket.destroy());
  });
}

function canImport(library: string): boolean {
  try {
    import.meta.resolve(library);
    return true;
  } catch {
    return false;
  }
}
