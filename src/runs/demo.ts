// The demo: both reference services, the proxy in front of them, and users who come and go through
// it, with every event that is due to somebody accounted for.
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import type { FaultSetting } from '../broadcast/fault.ts';
import { type RunningBroadcaster, startBroadcaster } from '../broadcast/server.ts';
import { mintToken } from '../broadcast/token.ts';
import { type Loaded, loadConfig } from '../config/load.ts';
import { reloadConfig } from '../config/reload.ts';
import { ConfigSchema } from '../config/schema.ts';
import { CutoverError } from '../errors.ts';
import { type RunningProxy, startProxy } from '../main.ts';
import { SIDES, type Side } from '../rules/decide.ts';
import { DeliveryBooks, type DeliveryReport, type Latency } from './delivery-books.ts';
import { type ShippedCopy, shippedCopy } from './shipped-copy.ts';
import { type Visit, visit } from './synthetic-user.ts';
import { startUnleashServer, type UnleashServer } from './unleash-server.ts';

/** A user comes back so often: five events each time, as in "5 events per user and 10 s". */
const CYCLE_MS = 10_000;
/** And stays so long, so that most users are there at any time. */
const STAY_MS = 9_000;
/** Pause between the steps of an agent run: slow enough to be watched. */
const AGENT_STEP_MS = 200;
/** What was started may end, before the books are closed. */
const LAST_RUNS_MS = 20_000;
/** Where its services listen. */
const OWN_HOST = '127.0.0.1';

export interface DemoOptions {
  readonly users: number;
  readonly logger: Logger;
  /** A configuration of the operator's; without one, a copy of the example in a folder of its own. */
  readonly config?: string;
  /** Let a real Unleash server decide in place of flag files. */
  readonly unleash?: boolean;
  /** Planted in the candidate; see what the comparison makes of it in stage `shadow`. */
  readonly faults?: readonly FaultSetting[];
  readonly env: NodeJS.ProcessEnv;
}

export interface DemoReport extends DeliveryReport {
  readonly users: number;
  /** Visits that did not end well, by how. */
  readonly failures: Readonly<Record<Exclude<Visit, 'done'>, number>>;
}

export interface RunningDemo {
  readonly proxy: RunningProxy;
  readonly services: Readonly<Record<Side, string>>;
  /** Address of the Unleash server; null with flag files. */
  readonly unleash: string | null;
  /** Where it stands; what is lost shows some seconds later. */
  report(): DemoReport;
  /** Of the events since the last call of this. */
  recentLatency(): Latency;
  /** Users who are logged in, by who serves them. */
  online(): Record<Side, number>;
  /** Whose admin token lies where. */
  readonly adminTokenFile: string;
  /** Plants one fault in the candidate; see `RunningBroadcaster.plantNext`. */
  plantNext: RunningBroadcaster['plantNext'];
  /** Lets the visits under way end, closes the books and everything else. */
  end(): Promise<DemoReport>;
}

export async function startDemo(options: DemoOptions): Promise<RunningDemo> {
  const { users, logger, config, env, faults = [] } = options;
  const books = new DeliveryBooks();
  const secret = randomBytes(32).toString('base64url');
  const failures = { 'login-failed': 0, 'broken-off': 0, 'out-of-order': 0 };
  const stopping = new AbortController();
  const opened: (() => Promise<unknown>)[] = [];
  const closeAll = async () => {
    for (const close of opened.splice(0).reverse()) await close();
  };

  try {
    const theirs = config === undefined ? null : await loadConfig(config, env);
    const ports = theirs === null ? { legacy: 0, candidate: 0 } : portsToServe(theirs);
    const legacy = await startService('legacy');
    const candidate = await startService('candidate');
    const urls = { legacy: legacy.url, candidate: candidate.url };
    const from = theirs === null ? await copyExample() : { loaded: theirs, env };
    let read = from.loaded;
    const unleash = options.unleash ? await startUnleashServer() : null;
    if (unleash !== null) opened.push(unleash.close);
    await unleash?.prepare(read.config.routes);
    const inDemo = (file: Loaded): Loaded => {
      const served = servedAt(urls, file);
      return unleash === null ? served : decidedBy(unleash, served);
    };
    const loaded = inDemo(read);
    const readAgain = async (): Promise<Loaded> => {
      const next = await reloadConfig(read, from.env);
      if (theirs !== null) refuseOtherPorts(portsToServe(next), ports, next.file);
      read = next;
      return inDemo(next);
    };
    const proxy = await startProxy({ loaded, env, logger, readAgain });
    opened.push(proxy.close);
    const visits = Array.from({ length: users }, (_, i) =>
      comeAndGo(`user_${1001 + i}`, i / users, proxy.listen),
    );
    const settling = setInterval(() => books.settle(performance.now()), 500);

    return {
      proxy,
      services: { legacy: legacy.url, candidate: candidate.url },
      unleash: unleash?.url ?? null,
      report: () => ({ users, ...books.report(), failures: { ...failures } }),
      recentLatency: () => books.recentLatency(),
      online: () => online(proxy),
      adminTokenFile: path.join(loaded.config.stateDir, 'admin.token'),
      plantNext: candidate.plantNext,
      end: async () => {
        stopping.abort();
        clearInterval(settling);
        const late = new AbortController();
        await Promise.race([
          Promise.all(visits),
          pause(LAST_RUNS_MS, undefined, { signal: late.signal }),
        ]);
        late.abort();
        books.settle(Number.POSITIVE_INFINITY);
        await closeAll();
        return { users, ...books.report(), failures: { ...failures } };
      },
    };

    async function startService(side: Side): Promise<RunningBroadcaster> {
      const service = await startBroadcaster({
        kind: side === 'legacy' ? 'legacy' : 'ssot',
        host: OWN_HOST,
        port: ports[side],
        keys: { secret },
        agentDelayMs: AGENT_STEP_MS,
        ...(side === 'candidate' ? { faults } : {}),
        onWritten: (user, eventKey) => books.due(user, eventKey, side, performance.now()),
      });
      opened.push(() => service.close());
      return service;
    }

    async function copyExample(): Promise<ShippedCopy> {
      const copy = await shippedCopy(env);
      opened.push(copy.remove);
      return copy;
    }
  } catch (error) {
    await closeAll();
    throw error;
  }

  /** Visits once every cycle until the demo ends; `phase` (0 to 1) spreads the users over it. */
  async function comeAndGo(user: string, phase: number, listen: string): Promise<void> {
    const token = await mintToken(secret, user, { expiresInS: 30 * 24 * 3600 });
    let next = performance.now() + phase * CYCLE_MS;
    for (;;) {
      await waitUntil(next, stopping.signal);
      if (stopping.signal.aborted) return;
      const onEvent = (eventKey: string) => books.read(user, eventKey, performance.now());
      const leave = new AbortController();
      void waitUntil(next + STAY_MS, stopping.signal).then(() => leave.abort());
      const outcome = await visit({ id: user, token, listen, onEvent, leave: leave.signal });
      if (outcome !== 'done') failures[outcome] += 1;
      next = Math.max(next + CYCLE_MS, performance.now());
    }
  }
}

/** True if everything that was due came, once, and everybody got in. */
export function isFlawless({ eventsSent, lost, duplicated, failures }: DemoReport): boolean {
  return (
    eventsSent > 0 && lost === 0 && duplicated === 0 && Object.values(failures).every(n => n === 0)
  );
}

/** The same configuration with the flags of that server. */
function decidedBy({ url, clientToken, adminToken }: UnleashServer, loaded: Loaded): Loaded {
  // Through the schema, for the defaults; the tokens are here already.
  const inFile = { tokenFile: 'unused' };
  const flags = ConfigSchema.shape.flags.parse({
    ...inFile,
    provider: 'unleash',
    url,
    admin: inFile,
  });
  const unleash = { client: clientToken, admin: adminToken };
  return {
    ...loaded,
    config: { ...loaded.config, flags },
    secrets: { ...loaded.secrets, unleash },
  };
}

function online(proxy: RunningProxy): Record<Side, number> {
  const users = { legacy: 0, candidate: 0 };
  for (const { side, counters } of proxy.traffic.counters()) users[side] += counters.sessionsOpen;
  return users;
}

/** The same configuration in front of these services, whatever the example has been edited to. */
function servedAt(urls: Record<Side, string>, loaded: Loaded): Loaded {
  const { legacy, candidate } = loaded.config.upstreams;
  const upstreams = {
    legacy: { ...legacy, url: urls.legacy },
    candidate: { ...candidate, url: urls.candidate },
  };
  return { ...loaded, config: { ...loaded.config, upstreams } };
}

/**
 * Where the configuration looks for the services, so that the demo's own listen there. Throws
 * `CutoverError('conflict')` if that is anywhere else: made-up users are nothing for real services.
 */
function portsToServe({ config, file }: Loaded): Record<Side, number> {
  const portOf = (side: Side): number => {
    const { protocol, hostname, port, origin } = new URL(config.upstreams[side].url);
    if (protocol === 'http:' && hostname === OWN_HOST) return Number(port) || 80;
    throw new CutoverError(
      'conflict',
      `${file}: upstreams.${side}.url leads to ${origin}, and the demo's users are for services that it starts itself, at http://${OWN_HOST}:<port>; \`cutover demo --duration 30s\` brings a configuration of its own, \`cutover start\` serves in front of yours`,
      { field: `upstreams.${side}.url` },
    );
  };
  return { legacy: portOf('legacy'), candidate: portOf('candidate') };
}

/** Its services are where they were when it started. Throws `CutoverError('conflict')`. */
function refuseOtherPorts(
  next: Record<Side, number>,
  ports: Record<Side, number>,
  file: string,
): void {
  for (const side of SIDES) {
    if (next[side] === ports[side]) continue;
    const field = `upstreams.${side}.url`;
    const message = `${file}: ${field} leads to port ${next[side]} now; the demo's own service stays at ${ports[side]} until it is started again`;
    throw new CutoverError('conflict', message, { field });
  }
}

async function waitUntil(atMs: number, signal: AbortSignal): Promise<void> {
  const ms = atMs - performance.now();
  if (ms > 0) await pause(ms, undefined, { signal }).catch(() => undefined);
}
