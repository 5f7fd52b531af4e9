// The guardrails' loop: looks at every route once a second and does what the rules say.
//
//   totals ─► window ─► readings ─► firing ─► rollback | hold | alert, on record
import type { Logger } from 'pino';
import type { Loaded } from '../config/load.ts';
import type { RouteConfig } from '../config/schema.ts';
import { CutoverError } from '../errors.ts';
import type { TrafficView } from '../ports.ts';
import { type Firings, fire, holding, NONE_FIRED } from '../rules/firing.ts';
import {
  type Divergence,
  type GuardrailAction,
  type GuardrailName,
  type Reading,
  readings,
  readingText,
  type Totals,
  totalsSince,
} from '../rules/guardrails.ts';
import type { Audit } from './audit.ts';
import { DEFAULT_THRESHOLD } from './evidence/api.ts';
import type { FlagProvider } from './flags/provider.ts';
import type { GuardrailHolds } from './guardrail-holds.ts';
import type { ProxyView } from './proxy-view.ts';
import type { Rollbacks } from './rollbacks.ts';
import { signsNow, type VitalSigns } from './vital-signs.ts';
import { inFlight, type WriteSplits } from './write-splits.ts';

/** Windows are seconds and more; a look takes microseconds a route. */
const LOOK_MS = 1_000;
/** Looks that contaminations bring about, be they thousands a second, are kept so far apart. */
const LEAST_APART_MS = 500;
/** Units end a minute after their last event: nobody misses anything in five seconds. */
const DIVERGENCE_LOOKS = 5;
const DIVERGENCE_MS = 2_000;
/** A rule that fired is armed again after so many windows without being exceeded. */
const CALM_WINDOWS = 5;

export interface GuardrailsOptions {
  readonly signs: VitalSigns;
  readonly writes: Pick<WriteSplits, 'counts'>;
  readonly evidence: Pick<ProxyView['evidence'], 'ask'>;
  readonly flags: Pick<FlagProvider, 'stage'>;
  readonly rollbacks: Rollbacks;
  readonly audit: Pick<Audit, 'note'>;
  readonly holds: GuardrailHolds;
  readonly loaded: () => Loaded;
  /** Null before the listener is open. */
  readonly traffic: () => Pick<TrafficView, 'serves'> | null;
  readonly logger: Logger;
  /** ms of a clock that never steps. */
  readonly now?: () => number;
}

export interface GuardrailView extends Reading {
  /** How long ago it fired; null if it has not, or has been calm for long enough since. */
  readonly firedMs: number | null;
}

export interface RouteGuardrails {
  /**
   * Why nothing is looked at: `off` (or killed) and nobody is served by the candidate any more, or a rollback holds the
   * route; null while it is.
   */
  readonly idle: 'off' | 'latched' | null;
  /** Whether a stage forward is refused. */
  readonly holds: boolean;
  readonly rules: readonly GuardrailView[];
}

interface Watched {
  /** As it was when it was looked at last: a new configuration may have it no longer. */
  route: RouteConfig | null;
  /** Totals of each look in the window, oldest first; what was before the last arming is not among them. */
  looks: { readonly at: number; readonly totals: Totals }[];
  readings: readonly Reading[];
  firings: Firings;
  divergence: Divergence;
  /** Since the start. */
  contaminated: number;
  idle: RouteGuardrails['idle'];
}

export class Guardrails {
  readonly #options: GuardrailsOptions;
  readonly #now: () => number;
  readonly #routes = new Map<string, Watched>();
  readonly #timer: NodeJS.Timeout;
  /** Since the start, by route, rule and action. */
  readonly counts = new Map<string, number>();
  #looks = 0;
  #asking = false;

  constructor(options: GuardrailsOptions) {
    this.#options = options;
    this.#now = options.now ?? (() => performance.now());
    this.#timer = setInterval(() => this.look(), LOOK_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }

  /** Looks at every route now; called once a second. */
  look(): void {
    this.#looks += 1;
    if (this.#looks % DIVERGENCE_LOOKS === 1) void this.#askDivergence();
    const { routes } = this.#options.loaded().config;
    for (const route of routes) this.#lookAt(route);
    for (const [name, { route }] of this.#routes) {
      if (route === null || routes.some(known => known.name === name)) continue;
      // It is gone; what is open of it is looked after for as long as the candidate serves it.
      if (this.#serves(name)) this.#lookAt(route);
    }
  }

  /** What held before a restart, or in the process before this one, holds until it has been calm for long enough here. */
  takeUp(): void {
    const now = this.#now();
    for (const { name } of this.#options.loaded().config.routes) {
      const watched = this.#of(name);
      const firings = new Map(watched.firings);
      for (const reading of this.#options.holds.of(name)) {
        if (!firings.has(reading.rule))
          firings.set(reading.rule, { reading, since: now, last: now });
      }
      watched.firings = firings;
    }
  }

  /** An event of the candidate's carries another user's data: acted upon at once. */
  contaminated(name: string): void {
    const { routes } = this.#options.loaded().config;
    const route =
      routes.find(known => known.name === name) ?? this.#routes.get(name)?.route ?? null;
    if (route === null) return;
    const watched = this.#of(name);
    // Counted from what was before it, also where it is the first thing that is known of the route.
    if (watched.looks.length === 0) this.#lookAt(route);
    watched.contaminated += 1;
    this.#lookAt(route);
  }

  of(name: string): RouteGuardrails {
    const { idle, firings, readings: found } = this.#of(name);
    const now = this.#now();
    return {
      idle,
      holds: holding(firings).length > 0,
      rules: found.map(reading => {
        const fired = firings.get(reading.rule);
        return { ...reading, firedMs: fired === undefined ? null : now - fired.since };
      }),
    };
  }

  /** Throws `CutoverError('conflict')` if a guardrail holds the route where it is. */
  refuseForward(name: string): void {
    const [fired] = holding(this.#of(name).firings);
    if (fired === undefined) return;
    const message = `a guardrail holds ${name} where it is: ${readingText(fired.reading)}. It lets go ${calmText(this.#calmMs())} after that has ended${fired.reading.rule === 'divergence' ? '; with another candidate, or other rules, count anew: cutover evidence restart' : ''}`;
    throw new CutoverError('conflict', message, { field: 'stage' });
  }

  #of(name: string): Watched {
    let watched = this.#routes.get(name);
    if (watched === undefined) {
      watched = {
        ...{ route: null, looks: [], readings: [], firings: NONE_FIRED, divergence: {} },
        ...{ contaminated: 0, idle: null },
      };
      this.#routes.set(name, watched);
    }
    return watched;
  }

  #lookAt(route: RouteConfig): void {
    const watched = this.#of(route.name);
    const now = this.#now();
    watched.route = route;
    watched.idle = this.#idle(route);
    if (watched.idle !== null) {
      // What was before says nothing about what comes after: it begins anew.
      watched.looks = [];
      watched.readings = [];
      // Whoever releases a rollback wants to see it fire again; what it held, going back lets rest.
      watched.firings =
        watched.idle === 'latched'
          ? NONE_FIRED
          : fire(watched.firings, [], now, this.#calmMs()).firings;
      return this.#keepHolds(route.name, watched);
    }
    const { windowMs, ...rules } = this.#options.loaded().config.guardrails;
    const totals = this.#totals(route.name, watched);
    const last = watched.looks.at(-1);
    if (last === undefined || now - last.at >= LEAST_APART_MS)
      watched.looks.push({ at: now, totals });
    while ((watched.looks[1]?.at ?? now) <= now - windowMs) watched.looks.shift();
    const window = totalsSince(totals, watched.looks[0]?.totals ?? totals);
    const serves = (this.#options.flags.stage(route).serve ?? 1) > 0 || this.#serves(route.name);
    const isStale = this.#options.rollbacks.staleSince(route.name) !== null;
    const { divergence } = watched;
    const legacyEver = totals.legacy;
    const facts = { protocol: route.protocol, window, legacyEver, divergence, serves, isStale };
    watched.readings = readings(rules, facts);
    const { firings, fresh } = fire(watched.firings, watched.readings, now, this.#calmMs());
    watched.firings = firings;
    this.#keepHolds(route.name, watched);
    for (const reading of fresh) this.#act(route, reading);
  }

  /** A rollback needs no keeping: the latch is that, and after a release the rule fires again. */
  #keepHolds(name: string, { firings }: Watched): void {
    const held = [...firings.values()].map(({ reading }) => reading);
    this.#options.holds.set(
      name,
      held.filter(({ action }) => action === 'hold'),
    );
  }

  #idle(route: RouteConfig): Watched['idle'] {
    if (this.#options.rollbacks.latch.on(route.name) !== null) return 'latched';
    const { name } = this.#options.flags.stage(route);
    const isOff = name === 'off' || name === 'killed';
    return isOff && !this.#serves(route.name) ? 'off' : null;
  }

  /** Whatever flags say by now: sessions that drain or can not be moved, users who are pinned. */
  #serves(name: string): boolean {
    return this.#options.traffic()?.serves(name, 'candidate') ?? false;
  }

  #calmMs(): number {
    return CALM_WINDOWS * this.#options.loaded().config.guardrails.windowMs;
  }

  #totals(name: string, { contaminated, looks }: Watched): Totals {
    const writes = this.#options.writes.counts().get(name);
    const splits = Object.values(writes?.splits ?? {}).reduce((sum, count) => sum + count, 0);
    const ended = writes === undefined ? 0 : writes.both - inFlight(writes);
    const signs = signsNow(this.#options.signs.of(name), looks.at(-1)?.totals);
    return { ...signs, writes: { ended, splits }, contaminated };
  }

  #act(config: RouteConfig, reading: Reading): void {
    const { name: route } = config;
    const { rule, action } = reading;
    const reason = readingText(reading);
    const by = `guardrail ${rule}`;
    const key = JSON.stringify([route, rule, action]);
    this.counts.set(key, (this.counts.get(key) ?? 0) + 1);
    const level = action === 'alert' ? 'warn' : 'error';
    this.#options.logger[level]({ route, ...reading }, 'a guardrail fired');
    const { windowMs, [rule]: rules } = this.#options.loaded().config.guardrails;
    if (rules.action === 'rollback' && this.#options.rollbacks.staleSince(route) !== null) {
      this.#options.logger.error(
        { route, rule },
        'a guardrail holds and does not roll back: legacy is stale, so that is for a person to decide',
      );
    }
    const details = { route, windowMs, ...reading };
    void this.#options.audit.note({ by, action: `guardrail-${action}`, reason, details });
    if (action !== 'rollback') return;
    this.#options.rollbacks.rollback({ route, reason, by, acceptStale: false }).catch(error => {
      this.#options.logger.error({ route, rule, err: error }, 'a guardrail could not roll back');
    });
    // It holds in memory by now: a release before the next look must not find this firing still there.
    this.#lookAt(config);
  }

  async #askDivergence(): Promise<void> {
    if (this.#asking) return;
    this.#asking = true;
    try {
      const question = { since: null, threshold: DEFAULT_THRESHOLD };
      const { rates } = await this.#options.evidence.ask('summary', question, DIVERGENCE_MS);
      // What is counted anew has none.
      for (const watched of this.#routes.values()) watched.divergence = {};
      for (const { route, eventType, ...known } of rates) {
        if (eventType !== null) continue;
        const watched = this.#of(route);
        watched.divergence = { ...watched.divergence, [known.of]: known };
      }
    } catch (error) {
      // Evidence that can not be read is told by `status`; what was known before stays.
      if (!(error instanceof CutoverError)) throw error;
    } finally {
      this.#asking = false;
    }
  }
}

/** Counts, taken apart again. */
export function guardrailCounts(
  counts: Guardrails['counts'],
): { route: string; rule: GuardrailName; action: GuardrailAction; count: number }[] {
  return [...counts].map(([key, count]) => {
    const [route, rule, action] = JSON.parse(key) as [string, GuardrailName, GuardrailAction];
    return { route, rule, action, count };
  });
}

function calmText(calmMs: number): string {
  return calmMs % 60_000 === 0 ? `${calmMs / 60_000} min` : `${calmMs / 1_000} s`;
}
