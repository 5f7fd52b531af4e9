// A change of stage as an operator asks for it: checked for all routes first, then done, and told
// in terms of who moves.
import pino from 'pino';
import type { RouteConfig } from '../config/schema.ts';
import { CutoverError } from '../errors.ts';
import type { Decider } from '../ports.ts';
import { decide, isolationByDefault, SIDES } from '../rules/decide.ts';
import type { FlagProblem } from '../rules/flag-problem.ts';
import { EVERYTHING } from '../rules/latch.ts';
import {
  deriveStage,
  isBack,
  isForward,
  type Stage,
  type StageTarget,
  stageTarget,
} from '../rules/stage.ts';
import { type FlagProvider, openMemoryFlags, type StagePlan } from './flags/provider.ts';
import { countMoves, type Moves } from './moves.ts';
import type { ProxyView } from './proxy-view.ts';
import { type StageView, stageView } from './stage-view.ts';

export interface StageRequest {
  /** All routes without one. */
  readonly route?: string | undefined;
  /** A stage, or `killed`; without one only the kill flag is released. */
  readonly stage?: string | undefined;
  /** Of `canary` and `shadow`, in percent. */
  readonly percent?: number | undefined;
  /** Release the kill flag; a killed route refuses to change otherwise. */
  readonly unkill?: boolean | undefined;
  /** Where legacy is stale: what it has will do. */
  readonly acceptStale?: boolean | undefined;
  /** Refused unless the stage is this one now, as `StageView.text` says it. */
  readonly from?: string | undefined;
  readonly dryRun?: boolean | undefined;
}

export interface RouteChange {
  readonly route: string;
  /** When the command came: flags may be shared with a route that it has changed already. */
  readonly before: StageView;
  readonly after: StageView;
  readonly moves: Moves;
  /** Flag files that were written, or would be. */
  readonly files: readonly string[];
  /** Of the flags in force afterwards; on a dry run of those in force now. */
  readonly revision: string;
  /** Flags that single users out: those users stay where the flag puts them. */
  readonly pinned: readonly string[];
  readonly problems: readonly FlagProblem[];
  /** What is given up by it, in sentences. */
  readonly warnings: readonly string[];
  readonly dryRun: boolean;
}

const GIVES_UP =
  'legacy hears of nothing any more and is not compared with: there is no instant way back, and a rollback needs --accept-stale (acceptStale)';

/** Of places in which both services name others; all of them are in the isolation view. */
const MOST_TOLD = 10;

type Changed = Omit<RouteChange, 'warnings'>;

/** What is to be done with one route's flags. */
type Wanted =
  | { readonly kill: boolean }
  | { readonly target: StageTarget; readonly options: { readonly unkill: boolean } };

/**
 * Changes the stage of one route or all. Nothing is changed if it is refused for one of them.
 * Throws `CutoverError`: `invalid-argument`, `no-such-route`, `conflict` (killed; flags that can not
 * be read or written; users would be taken to a legacy that is stale, and nobody said that it will do).
 */
export async function changeStage(proxy: ProxyView, request: StageRequest): Promise<RouteChange[]> {
  const wanted = wantedOf(request);
  refuseMistyped(request.from);
  const { flags } = proxy;
  const plans = routesOf(proxy, request.route).map(route => ({
    route,
    plan: planOf(flags, route, wanted),
  }));
  const { acceptStale = false, from } = request;
  for (const { route, plan } of plans) {
    if (from !== undefined) refuseChanged(route, stageView(plan.before).text, [from]);
    if (isBack(plan.before, plan.after) && !acceptStale) refuseStale(proxy, route);
  }
  const forward = plans.filter(({ plan }) => isForward(plan.before, plan.after));
  for (const { route } of forward) refuseForward(proxy, route);
  if (forward.length > 0) {
    await refuseUnkeepable(proxy);
    await refuseUnreachable(proxy);
  }
  const changes: RouteChange[] = [];
  for (const { route, plan } of plans) {
    // Asked before it changes: by what comes after, nobody can tell any more.
    const staleSince = acceptStale ? null : proxy.rollbacks.staleSince(route.name);
    try {
      // Again: a rollback or a guardrail may have come while services and the disk were asked.
      if (isForward(plan.before, plan.after)) refuseForward(proxy, route);
      // So may somebody else's stage, unless it is this one, by flags that two routes share.
      const meant = [plan.before, plan.after].map(stage => stageView(stage).text);
      refuseChanged(route, stageView(flags.stage(route)).text, meant);
      const change = request.dryRun
        ? await preview(proxy, route, plan)
        : await carryOut(proxy, route, plan, wanted);
      const rewritten = isForward(plan.before, plan.after) ? rewrittenOn(proxy, route) : [];
      const warnings = [...givenUp(plan.before, plan.after, staleSince), ...rewritten];
      changes.push({ ...change, warnings });
      const isAccepted = acceptStale && !request.dryRun && plan.after.name !== 'complete';
      if (isAccepted) proxy.rollbacks.acceptStale([route.name]);
    } catch (error) {
      throw afterSome(changes, route, error);
    }
  }
  return changes;
}

/** What no stage is ever called is a slip of the pen, and nobody else's change. */
function refuseMistyped(from: string | undefined): void {
  if (from === undefined) return;
  const beneath = /^killed \((.*) beneath\)$/.exec(from)?.[1] ?? from;
  if (beneath === 'mixed' || isStageText(beneath)) return;
  const message = `from is the stage as cutover stage shows it, such as off, "canary 5%" or "killed (live beneath)", and not ${JSON.stringify(from.slice(0, 60))}`;
  throw new CutoverError('invalid-argument', message, { field: 'from' });
}

function isStageText(text: string): boolean {
  const [, word = '', percent] = /^(\S+)(?: (\S+)%)?$/.exec(text) ?? [];
  try {
    const target = stageTarget(word, percent === undefined ? undefined : Number(percent));
    return stageView(deriveStage(target.serve, target.shadow, false)).text === text;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}

/** The last word is that of whoever has seen what he changes. */
function refuseChanged({ name }: RouteConfig, now: string, meant: readonly string[]): void {
  if (meant.includes(now)) return;
  const message = `${name}: somebody else has changed the stage meanwhile: it is ${now}, and not ${meant[0]}`;
  throw new CutoverError('conflict', message, { field: 'from' });
}

/** No way forward without a way back. */
function refuseForward(proxy: ProxyView, { name }: RouteConfig): void {
  const { engaged } = proxy.bypass;
  if (engaged !== null) {
    const message = `everything new goes straight to legacy since ${engaged.at}, by the bypass (${engaged.reason}), so nobody would be seen on the candidate; first cutover bypass off`;
    throw new CutoverError('conflict', message, { field: 'stage' });
  }
  const { latch } = proxy.rollbacks;
  const [held] = latch.held.filter(({ scope }) => scope === name || scope === EVERYTHING);
  if (held !== undefined) {
    const release = `cutover release${held.scope === EVERYTHING ? '' : ` --route ${name}`} --reason …`;
    const message = `a rollback holds ${name} on legacy since ${held.at} (${held.by}: ${held.reason}); first ${release}`;
    throw new CutoverError('conflict', message, { field: 'stage' });
  }
  proxy.guardrails.refuseForward(name);
}

/** As a rollback would be. */
function refuseStale({ rollbacks }: ProxyView, { name }: RouteConfig): void {
  const since = rollbacks.staleSince(name);
  if (since === null) return;
  const message = `${name}: legacy has not heard of everything since ${since}, when the stage became complete; ask for it with acceptStale (--accept-stale) if users are to go there all the same`;
  throw new CutoverError('conflict', message, { field: 'acceptStale' });
}

/** A way back that a restart would forget is none. */
async function refuseUnkeepable({ rollbacks: { latch } }: ProxyView): Promise<void> {
  const why = latch.kept ? await latch.unkeepable() : 'it refused the last one';
  if (why === null) return;
  const message = `the state folder can not be written (${why}), so a rollback could not be kept`;
  throw new CutoverError('conflict', message, { field: 'stage' });
}

/** Nobody is sent to a service that is not there, nor where there is no way back from. */
async function refuseUnreachable(proxy: ProxyView): Promise<void> {
  const found = await Promise.all(
    SIDES.map(async side => ({ side, why: await proxy.unreachable(side) })),
  );
  for (const { side, why } of found) {
    if (why === null) continue;
    const message = `the ${side} service can not be reached (${why}), so nobody more is sent to the candidate`;
    throw new CutoverError('conflict', message, { field: 'stage' });
  }
}

/** Routes that a request names. Throws `CutoverError('no-such-route')`. */
export function routesOf(
  proxy: Pick<ProxyView, 'loaded'>,
  name: string | undefined,
): readonly RouteConfig[] {
  const { routes } = proxy.loaded().config;
  if (name === undefined) return routes;
  const route = routes.find(candidate => candidate.name === name);
  if (route !== undefined) return [route];
  const known = routes.map(candidate => candidate.name).join(', ');
  const message = `there is no route ${JSON.stringify(name.slice(0, 60))}; routes are ${known}`;
  throw new CutoverError('no-such-route', message, { field: 'route' });
}

function wantedOf({ stage, percent, unkill = false }: StageRequest): Wanted {
  if (stage === undefined) {
    if (unkill && percent === undefined) return { kill: false };
    const message = 'name a stage, or ask for unkill to release the kill flag alone';
    throw new CutoverError('invalid-argument', message, { field: 'stage' });
  }
  if (stage === 'killed') {
    const field = percent !== undefined ? 'percent' : unkill ? 'unkill' : undefined;
    if (field === undefined) return { kill: true };
    throw new CutoverError('invalid-argument', `stage killed does not go with ${field}`, { field });
  }
  try {
    return { target: stageTarget(stage, percent), options: { unkill } };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const field = error.message.startsWith('no stage') ? 'stage' : 'percent';
    throw new CutoverError('invalid-argument', error.message, { field, cause: error });
  }
}

function planOf(flags: FlagProvider, route: RouteConfig, wanted: Wanted): StagePlan {
  return 'kill' in wanted
    ? flags.planKill(route, wanted.kill)
    : flags.planStage(route, wanted.target, wanted.options);
}

async function carryOut(
  proxy: ProxyView,
  route: RouteConfig,
  { before, pinned, problems }: StagePlan,
  wanted: Wanted,
): Promise<Changed> {
  const { flags } = proxy;
  const { after, files, revision } = await ('kill' in wanted
    ? flags.setKill(route, wanted.kill)
    : flags.setStage(route, wanted.target, wanted.options));
  return {
    route: route.name,
    before: stageView(before),
    after: stageView(after),
    moves: await countMoves(route, { before, after }, proxy.traffic(), proxy.decide),
    files,
    revision,
    pinned,
    problems,
    dryRun: false,
  };
}

async function preview(proxy: ProxyView, route: RouteConfig, plan: StagePlan): Promise<Changed> {
  const { before, after, files, pinned, problems, features, segments } = plan;
  const logger = pino({ level: 'silent' });
  const planned = await openMemoryFlags({ features, segments, routes: () => [route], logger });
  try {
    return {
      route: route.name,
      before: stageView(before),
      after: stageView(after),
      moves: await countMoves(route, plan, proxy.traffic(), withFlags(proxy.decide, planned)),
      files,
      revision: proxy.flags.revision,
      pinned,
      problems,
      dryRun: true,
    };
  } finally {
    await planned.close();
  }
}

/** `staleSince`: since when legacy has not heard of everything, where nobody has said that it will do. */
function givenUp(before: Stage, after: Stage, staleSince: string | null): readonly string[] {
  if (after.name === 'complete') return before.name === 'complete' ? [] : [GIVES_UP];
  if (staleSince === null) return [];
  return [
    `legacy has not heard of everything since ${staleSince}: as long as nobody says that it will do (--accept-stale, acceptStale), nothing rolls back by itself, and a rollback has to say so`,
  ];
}

/** What both services send alike does not come through alike: what the lane will make of it, as sentences. */
function rewrittenOn({ incidents }: ProxyView, route: RouteConfig): readonly string[] {
  const mode = route.isolation.mode ?? isolationByDefault('candidate', route);
  if (mode === 'observe') return [];
  const shared = incidents.shared.of(route.name);
  const told = shared.slice(0, MOST_TOLD).map(({ eventType, path, count }) => {
    const where = path === '' ? 'at several places' : `at ${path}`;
    const what = `events of type ${eventType || '(none)'} name others ${where}, and legacy's do as well (${count})`;
    const become = mode === 'block' ? 'withheld' : 'rewritten';
    return `${what}: where the candidate serves they are ${become}, unless isolation declares that field as provenance, or what it stands in as content`;
  });
  const rest = shared.length - told.length;
  return rest > 0 ? [...told, `and so at ${rest} more places: see cutover isolation status`] : told;
}

/** Decides by other flags, under what holds routes on legacy now: that comes before any flag. */
function withFlags(now: Decider, flags: FlagProvider): Decider {
  return (route, subject) => {
    const { reason } = now(route, subject).decision;
    const latch = reason === 'latched' || reason === 'severed' ? reason : null;
    const forced = { bypass: reason === 'bypass', latch, legsOn: [] };
    const decision = decide(subject, route, flags.facts(route, subject), forced);
    return { decision, revision: flags.revision };
  };
}

/** All routes could be changed a moment ago; if one can not after all, the answer says how far it got. */
function afterSome(done: readonly RouteChange[], route: RouteConfig, error: unknown): unknown {
  if (done.length === 0 || !(error instanceof CutoverError)) return error;
  const names = done.map(change => change.route).join(', ');
  return new CutoverError(
    error.code,
    `${names} changed, ${route.name} and those after it did not: ${error.message}`,
    { cause: error },
  );
}
