// Rolling back and releasing, whoever asks: an operator, a guardrail, a signal. In force at once, on disk
// before it is acknowledged, proven when it is through.
//
//   rollback ─► latch (memory) ─► lanes ─► latch and audit (disk) ─► answer … proof
//   release  ─► audit (disk) ─► latch (disk, memory) ─► lanes ─► answer
import type { Logger } from 'pino';
import type { Loaded } from '../config/load.ts';
import { CutoverError } from '../errors.ts';
import type { RollbackProgress, RouteScope, TrafficView } from '../ports.ts';
import {
  EVERYTHING,
  type Held,
  heldOf,
  isHeldAs,
  type LatchBook,
  type LatchEntry,
  latchOn,
} from '../rules/latch.ts';
import { ALL_ROUTES } from '../rules/routes.ts';
import type { Audit } from './audit.ts';
import type { FlagProvider } from './flags/provider.ts';
import type { Latch, Saying } from './latch.ts';
import { type Command, commandNow, endInTime, type Proof, type Proofs } from './proofs.ts';
import { routesOf } from './stage-change.ts';
import type { Staleness } from './staleness.ts';

export interface RollbackRequest {
  /** A route; all of them without one. */
  readonly route?: string | undefined;
  /** For whoever asks later why. */
  readonly reason: string;
  /** `operator …`, `guardrail …`, `signal …`: as it stands in latch and audit trail. */
  readonly by: string;
  /** The candidate is to hear nothing at all: no second legs, no writes. */
  readonly sever?: boolean | undefined;
  /** Where the stage is `complete`, or was: legacy has missed what happened meanwhile, and will do all the same. */
  readonly acceptStale?: boolean | undefined;
  /** The epoch that the caller saw last: refused if something was said since. */
  readonly epoch?: number | undefined;
}

export type ReleaseRequest = Omit<RollbackRequest, 'sever' | 'acceptStale'>;

export interface RolledBack {
  readonly scope: string;
  /** False: it was held already; `latch` is who said so, and when. */
  readonly changed: boolean;
  readonly latch: LatchEntry;
  readonly epoch: number;
  /** What holds routes of the scope on legacy now, each to be released by its own scope. */
  readonly held: readonly LatchEntry[];
  /** False: the disk refused it. It holds until this process ends, and is tried again. */
  readonly kept: boolean;
  readonly audited: boolean;
  /**
   * Of a rollback of everything, the routes that stay where they are: their stage is `complete`, or was, and it was
   * not said that legacy may be stale. The others are held then each by itself, and released so.
   */
  readonly stale: readonly string[];
  /** Null: held already, and of before this process; nothing is left on the candidate. */
  readonly proof: Proof | null;
}

export interface Released {
  readonly scope: string;
  /** False: it was not held. */
  readonly changed: boolean;
  /** The last word on the scope; null if there never was one. */
  readonly latch: LatchEntry | null;
  readonly epoch: number;
  /** What still holds routes of the scope on legacy. */
  readonly held: readonly LatchEntry[];
}

export interface RollbacksOptions {
  readonly latch: Latch;
  readonly audit: Audit;
  readonly proofs: Proofs;
  readonly staleness: Staleness;
  readonly flags: Pick<FlagProvider, 'stage' | 'onChange'>;
  readonly loaded: () => Loaded;
  /** Null before the listener is open. */
  readonly traffic: () => TrafficView | null;
  readonly logger: Logger;
  readonly now?: () => Date;
}

/** Who asked, without the name that he gave himself. */
export type Asker = 'operator' | 'guardrail' | 'signal' | 'other';
export const ASKERS: readonly Asker[] = ['operator', 'guardrail', 'signal', 'other'];

export class Rollbacks {
  readonly latch: Latch;
  readonly proofs: Proofs;
  /** Since the start, those that changed something. */
  readonly counts: Record<Asker, number> = { operator: 0, guardrail: 0, signal: 0, other: 0 };
  readonly #options: RollbacksOptions;
  readonly #now: () => Date;

  constructor(options: RollbacksOptions) {
    this.#options = options;
    this.latch = options.latch;
    this.proofs = options.proofs;
    this.#now = options.now ?? (() => new Date());
    this.#lookAtStages();
    options.flags.onChange(() => this.#lookAtStages());
  }

  /**
   * In force before the first thing is waited for; resolves once it is on disk, or refused there. What is
   * held already stays as it was said; what is left on the candidate is tried again. Throws
   * `CutoverError`: `no-such-route`, `conflict` (nothing but routes where legacy is stale, an outdated epoch).
   */
  async rollback(request: RollbackRequest): Promise<RolledBack> {
    const command = commandNow(this.#now());
    const { reason, by, sever = false, acceptStale = false } = request;
    const scope = request.route ?? EVERYTHING;
    const routes = this.#named(request.route);
    const state: Held = sever ? 'severed' : 'latched';
    const stale = acceptStale ? [] : routes.filter(name => this.staleSince(name) !== null);
    // In an emergency one route that has to be asked for twice must not keep the others where they are.
    const fresh = routes.filter(name => !stale.includes(name));
    if (fresh.length === 0 && stale.length > 0) throw refusedAsStale(stale, by);
    const scopes = stale.length === 0 ? [scope] : fresh;
    const isHeld = scopes.every(each => isHeldAs(this.latch.book, each, state));
    if (!isHeld) this.#refuseOutdated(request);
    const { entry, changed, written } = this.#hold(state, scopes, { reason, by });
    const covered = scopes[0] === EVERYTHING ? ALL_ROUTES : new Set(fresh);
    // Proven as one rollback, whatever number of words it took.
    const whole = { ...entry, scope: scopes.join(', ') };
    const proven = this.#carryOut(whole, command, covered, changed);
    if (acceptStale) this.acceptStale(routes);
    if (changed) this.counts[askerOf(by)] += 1;
    this.#options.logger.warn(
      { scope, reason, by, sever, changed, stale, epoch: entry.epoch },
      'a rollback',
    );
    const kept = await written;
    const details = { scope, sever, acceptStale, stale, changed, epoch: entry.epoch, kept };
    const audited = await this.#options.audit.note({ by, action: 'rollback', reason, details });
    const now = { epoch: this.latch.epoch, held: this.#heldIn(scope) };
    const proof = proven === null ? null : await this.proofs.onceFound(proven);
    return { scope, changed, latch: entry, ...now, kept, audited, stale, proof };
  }

  /**
   * Flags decide again. Throws `CutoverError`: `no-such-route`; `conflict` if it can not be put on record or
   * written, since a restart would bring it back, or if something was said since `epoch`.
   */
  async release(request: ReleaseRequest): Promise<Released> {
    const { reason, by } = request;
    const scope = request.route ?? EVERYTHING;
    // What is held can be released, also if a new configuration has no such route.
    if (heldOf(this.latch.book, scope) === null) routesOf(this.#options, request.route);
    this.#refuseOutdated(request);
    // Who rolls back while this is put on record has the last word.
    const asOf = this.latch.moment();
    const before = heldOf(this.latch.book, scope);
    const details = { scope, releases: before?.epoch ?? null };
    const said = await this.#options.audit.doing(
      { by, action: 'release', reason, details },
      () => this.latch.release({ scope, reason, by }, asOf),
      // Somebody else was quicker.
      ({ changed }) => changed || before === null,
    );
    if (said.changed) {
      this.#options.logger.warn({ scope, reason, by, epoch: said.entry?.epoch }, 'a release');
      this.#lookAtStages();
      void this.#options.traffic()?.reconsider();
    }
    const now = { epoch: this.latch.epoch, held: this.#heldIn(scope) };
    return { scope, changed: said.changed, latch: said.entry, ...now };
  }

  #heldIn(scope: string): readonly LatchEntry[] {
    return this.latch.held.filter(
      entry => scope === EVERYTHING || entry.scope === scope || entry.scope === EVERYTHING,
    );
  }

  /** Another process has said something: its sessions are moved there, and those that are open here, here. */
  follow(before: LatchBook): void {
    const { book, held } = this.latch;
    this.#options.logger.warn({ held }, 'another process changed the latch');
    for (const state of ['severed', 'latched'] as const) {
      const isFresh = (name: string) =>
        latchOn(book, name) === state && latchOn(before, name) !== state;
      if (!this.#named(undefined).some(isFresh)) continue;
      const { progress, paceMs } = this.#begin({ has: isFresh }, state === 'severed');
      endInTime(progress, paceMs);
    }
    void this.#options.traffic()?.reconsider();
  }

  /** The candidate's, as long as they are held. `paceMs` is how long that takes from then on if nothing goes wrong. */
  #begin(
    covered: RouteScope,
    sever: boolean,
  ): { progress: RollbackProgress; paceMs: () => number } {
    const traffic = this.#options.traffic();
    if (traffic === null) return { progress: NOTHING_OPEN, paceMs: () => 0 };
    const paceMs = () => traffic.rollbackOutlook(covered).paceMs;
    const held = { has: (name: string) => covered.has(name) && this.latch.on(name) !== null };
    return { progress: traffic.rollBack(held, { sever }), paceMs };
  }

  /**
   * Names of the route that is asked for, or of all: those of the configuration, and of one before it where the
   * candidate serves somebody still. Throws `CutoverError('no-such-route')`.
   */
  #named(route: string | undefined): readonly string[] {
    const { loaded, traffic } = this.#options;
    const names = loaded().config.routes.map(({ name }) => name);
    const gone = new Set<string>();
    for (const { route: name } of traffic()?.counters() ?? []) {
      if (!names.includes(name) && traffic()?.serves(name, 'candidate')) gone.add(name);
    }
    if (route !== undefined && gone.has(route)) return [route];
    if (route === undefined) return [...names, ...gone];
    return routesOf(this.#options, route).map(({ name }) => name);
  }

  /** All of them in force when this returns. The entry is the last one that is new, if any is. */
  #hold(state: Held, scopes: readonly string[], saying: Omit<Saying, 'scope'>) {
    const held = scopes.map(scope => this.latch.hold(state, { scope, ...saying }));
    const last = held.findLast(({ changed }) => changed) ?? held.at(-1);
    if (last === undefined) throw new Error('a rollback of no scope');
    const written = Promise.all(held.map(each => each.written)).then(all => all.every(Boolean));
    return { ...last, written };
  }

  #carryOut(
    entry: LatchEntry,
    command: Command,
    covered: RouteScope,
    isNew: boolean,
  ): Proof | null {
    const known = isNew ? null : this.proofs.ofEpoch(entry.epoch);
    const left = (): number => this.#leftOnCandidate(covered);
    // What was left the last time may have gone over meanwhile; then it is proven anew. A new one does not ask: to
    // look at every session takes milliseconds, and nobody is cut before that.
    const isSettled = () =>
      known?.state === 'running' || (left() === 0 && known?.state !== 'partly');
    if (!isNew && isSettled()) return known;
    const begun = this.#begin(covered, entry.state === 'severed');
    return this.proofs.watch({ entry, command, ...begun, leftOnCandidate: left });
  }

  #leftOnCandidate(covered: RouteScope): number {
    const outlook = this.#options.traffic()?.rollbackOutlook(covered);
    if (outlook === undefined) return 0;
    const { warm, toDial, notMovable, answers } = outlook;
    return warm + toDial + notMovable + answers;
  }

  /**
   * Since when legacy has not heard of everything, ISO 8601; null: it has, or serves all users of the route. It
   * begins with stage `complete`, and does not end with that.
   */
  staleSince(name: string): string | null {
    if (this.latch.on(name) !== null) return null;
    const { loaded, flags, staleness } = this.#options;
    const route = loaded().config.routes.find(known => known.name === name);
    const stage = route === undefined ? null : flags.stage(route);
    if (stage?.name === 'complete') staleness.begin(name);
    // Flags that somebody has edited by himself: what legacy knows is what users see from here on.
    else if (stage?.kill || stage?.serve === 0) staleness.end(name);
    return staleness.since(name);
  }

  /** What legacy has is good enough: from here on a rollback asks nobody, and guardrails roll back. */
  acceptStale(routes: readonly string[]): void {
    for (const name of routes) this.#options.staleness.end(name);
  }

  #lookAtStages(): void {
    for (const { name } of this.#options.loaded().config.routes) this.staleSince(name);
  }

  #refuseOutdated({ epoch }: Pick<RollbackRequest, 'epoch'>): void {
    if (epoch === undefined || epoch === this.latch.epoch) return;
    const last = [...this.latch.book.last.values()].find(entry => entry.epoch === this.latch.epoch);
    const since =
      last === undefined ? '' : `: ${last.by} said ${last.state} of ${last.scope} (${last.reason})`;
    const message = `the latch is at epoch ${this.latch.epoch}, not ${epoch}${since}`;
    throw new CutoverError('conflict', message, { field: 'epoch' });
  }
}

function refusedAsStale(stale: readonly string[], by: string): CutoverError {
  const how = by.startsWith('signal')
    ? 'send the signal again'
    : 'ask for it with acceptStale (--accept-stale)';
  const message = `${stale.join(', ')}: the stage is complete, or was, so legacy has not heard of everything; ${how} if that is to be so`;
  return new CutoverError('conflict', message, { field: 'acceptStale' });
}

export function askerOf(by: string): Asker {
  return ASKERS.find(asker => by === asker || by.startsWith(`${asker} `)) ?? 'other';
}

/** Nobody has been let in yet. */
const NOTHING_OPEN: RollbackProgress = {
  found: Promise.resolve(),
  sessions: { affected: 0, inPlace: 0, redialled: 0, closed: 0, left: 0, failed: 0, pending: 0 },
  refused: 0,
  answers: { affected: 0, finished: 0, ended: 0, pending: 0 },
  lastCandidateByteAt: null,
  queuedBytes: 0,
  done: Promise.resolve(),
  end: () => undefined,
};
