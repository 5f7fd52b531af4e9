// Builds everything once, connects it, prints addresses, waits for signals, drains with a deadline.
import { setTimeout as pause } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import type { Logger } from 'pino';
import { type Loaded, loadConfig } from './config/load.ts';
import { ConfigError, problemText } from './config/problem.ts';
import { reloadConfig } from './config/reload.ts';
import { type Admin, createAdmin } from './control/admin.ts';
import { Audit } from './control/audit.ts';
import { Bypass } from './control/bypass.ts';
import { capacityWarnings, readSystemLimits } from './control/capacity.ts';
import { createDecider } from './control/decider.ts';
import { Evidence } from './control/evidence/evidence.ts';
import { openFlags } from './control/flags/open-flags.ts';
import type { FlagProvider } from './control/flags/provider.ts';
import { GuardrailHolds } from './control/guardrail-holds.ts';
import { Guardrails } from './control/guardrails.ts';
import { Incidents } from './control/incidents.ts';
import { LaneIsolation } from './control/lane-isolation.ts';
import { Latch } from './control/latch.ts';
import { legsOn } from './control/legs-on.ts';
import { createLogger } from './control/logger.ts';
import { createMetrics } from './control/metrics.ts';
import { NoiseMeasuring } from './control/noise-measuring.ts';
import { Proofs } from './control/proofs.ts';
import type { ProxyView, ReloadReport } from './control/proxy-view.ts';
import { unreachable } from './control/reach.ts';
import { rollbackBySignal } from './control/rollback-signal.ts';
import { Rollbacks } from './control/rollbacks.ts';
import { Staleness } from './control/staleness.ts';
import { openStateDir, type StateDir } from './control/state-dir.ts';
import { bothObservers, VitalSigns } from './control/vital-signs.ts';
import { WriteSplits } from './control/write-splits.ts';
import { rulesByRoute } from './judge/docket.ts';
import { Judge } from './judge/judge.ts';
import type { JudgeView, SecondLegsEnded, TrafficView } from './ports.ts';
import { rehearse } from './rehearsal.ts';
import type { Marker } from './rules/isolation/marker.ts';
import { Traffic } from './traffic/traffic.ts';

/** A new version that waits for the one before it to be told to stop looks so often, */
const TAKE_OVER_CHECK_MS = 50;
/** and says so often what it waits for. */
const TAKE_OVER_REMIND_MS = 60_000;
/** Of the time for a drain, the part over which closes are spread; the rest is for their answers. */
const CLOSING_SHARE = 0.7;
/** Processes that share a state folder look so often at what the others leave in it. */
const FOLLOW_MS = 250;
/** A process that drains looks so often whether another one took over its state folder. */
const SUCCESSOR_CHECK_MS = 50;

export interface ProxyOptions {
  readonly loaded: Loaded;
  readonly env: NodeJS.ProcessEnv;
  readonly logger: Logger;
  /** Strings that whoever drives users has planted, each with the user who alone may see it. */
  readonly markers?: readonly Marker[];
  /** Listen beside a running process, and take state folder and admin port when it lets go. */
  readonly takeOver?: boolean;
  /** Reads the configuration again, as `reloadConfig` does, which is what happens without it. */
  readonly readAgain?: (current: Loaded) => Promise<Loaded>;
  /** Told what a signal does as soon as that can be done, which is before anybody is served. */
  readonly onRollbackBySignal?: (rollBack: RunningProxy['rollBackBySignal']) => void;
}

export interface RunningProxy {
  /** Address of the listener, as `http://host:port`. */
  readonly listen: string;
  readonly flags: FlagProvider;
  readonly traffic: TrafficView;
  readonly judge: JudgeView;
  /** Address of the admin API once it is open: at once, but for a takeover. */
  readonly admin: Promise<string>;
  readonly rollbacks: Rollbacks;
  /** So far; can be asked for after its end. */
  secondLegsEnded(): Promise<readonly SecondLegsEnded[]>;
  /** Sessions that went on without such a leg (`TrafficObserver.sessionKept`); can be asked for after its end, too. */
  sessionsKept(): Promise<readonly SecondLegsEnded[]>;
  /** Rolls everything back, when there is neither admin port nor token. Never throws. */
  rollBackBySignal(): Promise<void>;
  /** Reads the configuration again. Never throws: a file that is refused changes nothing. */
  reload(): Promise<ReloadReport>;
  /**
   * Ends it within `limits.drainMs`: no newcomers, sessions closed with 1012 at a pace, the state
   * folder given up at once. The admin port answers (not ready) until another process needs it.
   */
  drain(): Promise<void>;
  /** Cuts everything off and gives up what is held. */
  close(): Promise<void>;
}

/** Starts a proxy. Throws `CutoverError` if it can not serve; nothing is left open then. */
export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const { env, logger, markers = [], takeOver = false } = options;
  const { config } = options.loaded;
  const readAgain = options.readAgain ?? (current => reloadConfig(current, env));
  const startedAt = Date.now();
  const closing = new AbortController();
  let loaded = options.loaded;
  let loadedAt = startedAt;
  let lastReload: ReloadReport | null = null;
  let warnings: readonly string[] = await warningsFor(loaded);
  let state: StateDir | null = null;
  let flags: FlagProvider | null = null;
  let traffic: Traffic | null = null;
  let bypass: Bypass | null = null;
  let latch: Latch | null = null;
  /** The state folder is ours alone to write. */
  let holdsState = false;
  let guardrails: Guardrails | null = null;
  let admin: Admin | null = null;
  let adminAddress: string | null = null;
  const writes = new WriteSplits(logger);
  const audit = new Audit(logger);
  const proofs = new Proofs(logger);
  const staleness = new Staleness(logger);
  const holds = new GuardrailHolds(logger);
  const incidents = new Incidents({
    guardrails: () => guardrails,
    traffic: () => traffic,
    isMismatch: route => judge.isolationBooks().get(route)?.identityMismatch ?? false,
    behindMs: () => judge.behindMs,
    logger,
  });
  // Beside the process that holds the folder, before and after: the bypass is as that one leaves it. Of a
  // rollback each of them hears, whoever of them was told.
  const following = setInterval(() => {
    if (!holdsState) void bypass?.follow();
    void latch?.follow();
  }, FOLLOW_MS).unref();
  const evidence = new Evidence(config, logger);
  const judge = new Judge({
    ...{ rules: rulesByRoute(loaded), evidence, markers, logger },
    onContamination: contamination => incidents.contaminated(contamination),
  });
  const noise = new NoiseMeasuring(judge);

  try {
    if (!takeOver) await takeState();
    const provider = await openFlags(() => loaded, logger);
    flags = provider;
    const emergency = await Bypass.open(config.stateDir);
    bypass = emergency;
    const held = await Latch.open(config.stateDir, { shared: !holdsState });
    latch = held;
    if (holdsState) await held.compact();
    if (held.held.length > 0) logger.warn({ held: held.held }, 'a rollback holds routes on legacy');
    const bypassed = (): boolean => emergency.engaged !== null;
    const decide = createDecider(provider, route => ({
      bypass: bypassed(),
      latch: held.on(route.name),
      legsOn: legsOn(route, loaded.config.routes, traffic),
    }));
    const rollbacks = new Rollbacks({
      ...{ latch: held, audit, proofs, staleness, flags: provider, logger },
      loaded: () => loaded,
      traffic: () => traffic,
    });
    held.onFollowed(before => rollbacks.follow(before));
    const rollBackBySignal = rollbackBySignal(rollbacks, logger);
    options.onRollbackBySignal?.(rollBackBySignal);
    const signs = new VitalSigns();
    guardrails = new Guardrails({
      ...{ signs, writes, evidence, flags: provider, rollbacks, audit, holds, logger },
      loaded: () => loaded,
      traffic: () => traffic,
    });
    guardrails.takeUp();
    const isolation = new LaneIsolation({
      onPrevented: (event, unseen) => incidents.prevented(event, unseen),
      ...{ judge, logger },
    });
    const metrics = createMetrics({
      ...{ isolation, incidents },
      traffic: () => traffic,
      flags: provider,
      bypass: emergency,
      rollbacks,
      guardrails,
      audit,
      writes,
      evidence,
      judge,
    });
    const lanes = new Traffic({
      loaded,
      decider: decide,
      observer: bothObservers(metrics.observer, signs),
      isolation,
      ledger: writes,
      tap: judge.tap,
      twins: noise,
      bypassed,
      logger,
    });
    const scheme = config.listen.tls === undefined ? 'http' : 'https';
    const listen = `${scheme}://${hostText(config.listen.host)}:${await lanes.listen({ beside: takeOver })}`;
    traffic = lanes;
    provider.onChange(() => void lanes.reconsider());
    emergency.onChange(() => void lanes.reconsider());
    logger.info({ address: listen, flags: provider.revision }, 'traffic listens');
    for (const warning of warnings) logger.warn(warning);
    if (emergency.engaged !== null) logger.warn(emergency.engaged, 'the bypass is engaged');

    const proxy: ProxyView = {
      startedAt,
      flags: provider,
      decide,
      loaded: () => loaded,
      loadedAt: () => loadedAt,
      lastReload: () => lastReload,
      traffic: () => traffic,
      unreachable: side => unreachable(loaded, side),
      judge,
      noise,
      bypass: emergency,
      rollbacks,
      guardrails,
      incidents,
      audit,
      writes,
      evidence,
      addresses: () => ({ listen, admin: adminAddress }),
      state: () => (state === null ? 'awaited' : 'held'),
      warnings: () => warnings,
    };
    const adminOpen = takeOver ? takeOverAdmin() : openAdmin();
    // Clients are served meanwhile; whoever needs the address awaits it.
    if (takeOver) adminOpen.catch(() => undefined);
    else await adminOpen;
    return {
      ...{ listen, flags: provider, traffic: lanes, judge, admin: adminOpen },
      ...{ rollbacks, rollBackBySignal, reload, drain, close },
      secondLegsEnded: () => metrics.secondLegsEnded(),
      sessionsKept: () => metrics.sessionsKept(),
    };

    async function openAdmin(): Promise<string> {
      const held = state ?? (await takeState());
      const token = await held.adminToken();
      closing.signal.throwIfAborted();
      admin ??= createAdmin({ proxy, metrics, token, logger });
      const { port } = await admin.listen();
      adminAddress = `http://${hostText(config.admin.host)}:${port}`;
      return adminAddress;
    }

    /**
     * Tries until it succeeds, whatever is in the way: a proxy that serves clients and can not be
     * administered is nothing to stop at. Rejects when this proxy is closed.
     */
    async function takeOverAdmin(): Promise<string> {
      let remindAt = 0;
      for (;;) {
        closing.signal.throwIfAborted();
        try {
          return await openAdmin();
        } catch (error) {
          const now = performance.now();
          if (now >= remindAt) {
            remindAt = now + TAKE_OVER_REMIND_MS;
            logger.warn({ reason: sentence(error) }, 'the takeover waits');
          }
        }
        await pause(TAKE_OVER_CHECK_MS, undefined, { signal: closing.signal });
      }
    }
  } catch (error) {
    await close();
    throw error;
  }

  async function takeState(): Promise<StateDir> {
    const warn = (message: string) => logger.warn(message);
    const held = await openStateDir(config.stateDir, { takeOver, warn });
    if (closing.signal.aborted) await held.release();
    closing.signal.throwIfAborted();
    state = held;
    writes.keepIn(held.path);
    await audit.keepIn(held.path);
    await proofs.keepIn(held.path);
    await staleness.keepIn(held.path);
    await holds.keepIn(held.path);
    guardrails?.takeUp();
    await bypass?.follow();
    await latch?.take();
    holdsState = true;
    await latch?.compact();
    const key = await held.pseudonymKey();
    await incidents.keepIn(held.path, key);
    evidence.keepIn(held.path, key);
    return held;
  }

  async function reload(): Promise<ReloadReport> {
    try {
      const next = await readAgain(loaded);
      traffic?.reload(next);
      judge.setRules(rulesByRoute(next));
      evidence.reload(next.config);
      // Who runs a proxy in his own process may have another one.
      const { level } = next.config.log;
      if (level !== loaded.config.log.level) logger.level = level;
      warnings = await warningsFor(next);
      loaded = next;
      loadedAt = Date.now();
      lastReload = { at: loadedAt, ok: true, problems: [] };
      logger.info('the configuration was read again');
    } catch (error) {
      const problems =
        error instanceof ConfigError ? error.problems.map(problemText) : [sentence(error)];
      lastReload = { at: Date.now(), ok: false, problems };
      logger.error({ problems }, 'the configuration was refused; the one before stays in force');
    }
    return lastReload;
  }

  async function drain(): Promise<void> {
    const { drainMs } = loaded.config.limits;
    logger.info({ drainMs }, 'draining');
    const drained = traffic?.drain(drainMs * CLOSING_SHARE);
    closing.abort();
    const held = state;
    holdsState = false;
    audit.letGo();
    proofs.letGo();
    staleness.letGo();
    holds.letGo();
    incidents.letGo();
    await writes.letGo();
    await held?.release();
    if (held !== null) void makeWayFor(held);
    await Promise.race([drained, pause(drainMs, undefined, { ref: false })]);
    await close();
  }

  /** Gives up admin port and evidence as soon as another process holds the state folder. */
  async function makeWayFor(held: StateDir): Promise<void> {
    while (admin !== null) {
      if (await held.isHeldByAnother()) await Promise.all([closeAdmin(), evidence.close()]);
      else await pause(SUCCESSOR_CHECK_MS);
    }
  }

  async function closeAdmin(): Promise<void> {
    const open = admin;
    admin = null;
    adminAddress = null;
    await open?.close();
  }

  async function close(): Promise<void> {
    closing.abort();
    clearInterval(following);
    noise.close();
    guardrails?.close();
    await closeAdmin();
    traffic?.close();
    await judge.close();
    await evidence.close();
    await flags?.close();
    await writes.flush();
    await state?.release();
  }
}

/** What `cutover start` does; resolves to the exit code. */
export async function start(options: {
  readonly config: string;
  readonly takeOver: boolean;
  /** Asked once: how many SIGUSR2 came until now. From then on nobody else listens for it. */
  readonly earlyRollbacks: () => number;
  readonly env: NodeJS.ProcessEnv;
}): Promise<number> {
  keepRequestsYoung();
  const starting = Promise.withResolvers<RunningProxy>();
  const rollback = Promise.withResolvers<RunningProxy['rollBackBySignal']>();
  // One that comes before anybody is served counts from the first client on.
  const onRollback = () => void rollback.promise.then(rollBack => rollBack());
  process.on('SIGUSR2', onRollback);
  for (let early = options.earlyRollbacks(); early > 0; early -= 1) onRollback();
  const loaded = await loadConfig(options.config, options.env);
  const logger = createLogger(loaded.config.log.level);
  // Before anything is served: a signal that nobody listens for would end the process at once.
  const ended = nextSignal(['SIGTERM', 'SIGINT']);
  process.on('SIGHUP', () => void starting.promise.then(proxy => proxy.reload()));
  keepCode();
  await rehearse(logger);
  const proxy = await startProxy({
    ...{ ...options, loaded, logger },
    onRollbackBySignal: rollback.resolve,
  });
  starting.resolve(proxy);
  surviveStrays(logger);
  logger.info({ pid: process.pid }, 'started');
  const signal = await ended;
  // A second one is from somebody who does not want to wait.
  process.once(signal, () => process.exit(1));
  await proxy.drain();
  logger.info('ended');
  return 0;
}

/** The first of these signals to come. */
export function nextSignal(signals: readonly NodeJS.Signals[]): Promise<NodeJS.Signals> {
  return new Promise(resolve => {
    for (const signal of signals) {
      const onSignal = (): void => {
        for (const other of signals) process.off(other, onSignal);
        resolve(signal);
      };
      process.on(signal, onSignal);
    }
  });
}

/**
 * A fault that nobody caught ends the request or session that it belongs to, by its own time limits,
 * and not those of everybody else. State is per connection; what is shared is swapped as a whole.
 */
function surviveStrays(logger: Logger): void {
  process.on('uncaughtException', error => logger.error({ err: error }, 'uncaught exception'));
  process.on('unhandledRejection', error => logger.error({ err: error }, 'unhandled rejection'));
}

/**
 * V8 allocates in the old generation what has survived collections often, by the place in the code.
 * Under load that is whatever is in flight: from then on all requests are old when they are made, and
 * all that they point to outlives the quick collections. A third of the CPU of HTTP traffic.
 */
function keepRequestsYoung(): void {
  setFlagsFromString('--no-allocation-site-pretenuring');
}

/**
 * V8 throws away the code of what has not run for some collections, and a rollback may be weeks behind what it was
 * rehearsed for.
 */
function keepCode(): void {
  setFlagsFromString('--no-flush-bytecode');
}

async function warningsFor({ config }: Loaded): Promise<readonly string[]> {
  return capacityWarnings({
    maxSessions: config.limits.maxSessions,
    upstreams: [config.upstreams.legacy.url, config.upstreams.candidate.url],
    limits: await readSystemLimits(),
  });
}

function hostText(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
