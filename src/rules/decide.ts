// Who serves one client, and which second service sees the same traffic. The one place where a
// decision is made; every lane carries the value on.
import type { Held } from './latch.ts';
import type { Stage } from './stage.ts';

/** Which service. Never changes meaning during a migration. */
export type Side = 'legacy' | 'candidate';
export const SIDES: readonly Side[] = ['legacy', 'candidate'];

/** `both[side]`, for what every event looks at: a name that varies takes V8 several times as long as one in the code. */
export function ofSide<T>(both: Readonly<Record<Side, T>>, side: Side): T {
  return side === 'legacy' ? both.legacy : both.candidate;
}

/** What to do with data of another user: report it, rewrite it, or withhold it. */
export type IsolationMode = 'observe' | 'sanitize' | 'block';
export const ISOLATION_MODES: readonly IsolationMode[] = ['observe', 'sanitize', 'block'];

/** Why a decision came out as it did, in the order in which the questions are asked. */
export const REASONS = {
  bypass: 'an operator sends everything straight to legacy',
  latched: 'a rollback holds the route on legacy until it is released',
  severed:
    'a rollback holds the route on legacy and sends the candidate nothing until it is released',
  killed: 'the kill flag is on',
  'flags-unknown': 'no flags have been read yet',
  'serve-flag-missing': 'the serve flag does not exist',
  'serve-flag-unreadable':
    'the serve flag is on but names no side: it needs the variants candidate and legacy',
  anonymous: 'nobody is named, so no percentage can place the client; all or nothing applies',
  'serve-flag': 'the serve flag placed this user',
} as const;
export type Reason = keyof typeof REASONS;

/** The user whom a request is about. `aliases` are other names of the same user. */
export interface Subject {
  readonly id: string;
  readonly aliases: readonly string[];
}

/** The user under all of his names; nobody has none. */
export function namesOf(subject: Subject | null): readonly string[] {
  return subject === null ? [] : [subject.id, ...subject.aliases];
}

/** What the rules need to know of a route. */
export interface RouteRules {
  readonly name: string;
  readonly writes: 'primary' | 'both';
  readonly protocol?: 'websocket' | 'http' | 'sse';
  /** Mode from configuration; without one it follows from who serves. */
  readonly isolation?: { readonly mode?: IsolationMode | undefined } | undefined;
}

/** What the flags say for one subject on one route, evaluated. */
export interface FlagFacts {
  /** `missing`: no such flag; `unreadable`: it is on without naming a side. */
  readonly serve: Side | 'missing' | 'unreadable';
  /** Is this subject's traffic shown to the other side? */
  readonly shadow: boolean;
  readonly kill: boolean;
  readonly isolation?: IsolationMode | undefined;
  /** Stage of the route with the kill flag looked through; see `stage.ts`. */
  readonly stage: Stage;
}

/** What comes before any flag. */
export interface Forced {
  readonly bypass: boolean;
  /** What a rollback left behind; null where none holds. */
  readonly latch: Held | null;
  /** Sides on which something open of the route has a leg: they must go on hearing of writes. */
  readonly legsOn: readonly Side[];
}

export interface SecondLeg {
  readonly side: Side;
  /** `standby` is legacy behind a candidate primary: compared, never sampled out, the way back. */
  readonly role: 'shadow' | 'standby';
}

export interface Decision {
  readonly primary: Side;
  readonly second: SecondLeg | null;
  /** Nothing of his is compared, and others' is: what legacy sends him is heard, since it says whose data is whose. */
  readonly overhear: boolean;
  /** Where requests that change state go; `both` only on routes that ask for it. */
  readonly writeTo: 'primary' | 'both';
  /** Of what the primary sends. */
  readonly isolation: IsolationMode;
  /** Of what the other side sends, where that serves somebody still, or for want of the primary. */
  readonly otherIsolation: IsolationMode;
  readonly reason: Reason;
}

/**
 * Decides for one client. `facts` is null while no flags are known. Pure and total: whatever is
 * unknown ends at legacy. Order: bypass, latch, kill flag, serve flag, shadow flag.
 */
export function decide(
  subject: Subject | null,
  route: RouteRules,
  facts: FlagFacts | null,
  forced: Forced,
): Decision {
  const [primary, reason] = whoServes(subject, facts, forced);
  const isolationOf = (side: Side) =>
    facts?.isolation ?? route.isolation?.mode ?? isolationByDefault(side, route);
  const second = isAlone(forced) || facts === null ? null : secondLeg(primary, facts);
  const isAnybodyShown = !isAlone(forced) && facts !== null && showsAnybody(facts, forced);
  return Object.freeze({
    primary,
    second,
    overhear: isAnybodyShown && second === null && primary === 'legacy' && subject !== null,
    writeTo: route.writes === 'both' && writesToBoth(primary, facts, forced) ? 'both' : 'primary',
    isolation: isolationOf(primary),
    otherIsolation: isolationOf(primary === 'legacy' ? 'candidate' : 'legacy'),
    reason,
  });
}

/**
 * What is sent to a user unasked is for him alone. What he asks for may well name others as recipients (his
 * own outbox), and rewriting that would harm him: an answer is left alone until a route says otherwise.
 */
export function isolationByDefault(primary: Side, { protocol }: RouteRules): IsolationMode {
  return primary === 'candidate' && protocol !== 'http' ? 'sanitize' : 'observe';
}

/** The candidate is shown nothing. */
function isAlone({ bypass, latch }: Forced): boolean {
  return bypass || latch === 'severed';
}

function whoServes(
  subject: Subject | null,
  facts: FlagFacts | null,
  forced: Forced,
): readonly [Side, Reason] {
  if (forced.bypass) return ['legacy', 'bypass'];
  if (forced.latch !== null) return ['legacy', forced.latch];
  if (facts === null) return ['legacy', 'flags-unknown'];
  if (facts.kill) return ['legacy', 'killed'];
  if (facts.serve === 'missing') return ['legacy', 'serve-flag-missing'];
  if (facts.serve === 'unreadable') return ['legacy', 'serve-flag-unreadable'];
  // A share is dealt out by user id. Without one a draw would be random per connection, so nobody
  // anonymous moves before everybody does.
  if (subject === null) return [facts.stage.serve === 1000 ? 'candidate' : 'legacy', 'anonymous'];
  return [facts.serve, 'serve-flag'];
}

function secondLeg(primary: Side, facts: FlagFacts): SecondLeg | null {
  if (primary === 'legacy') return facts.shadow ? { side: 'candidate', role: 'shadow' } : null;
  // Only `complete` gives up the way back; an odd combination of flags keeps it.
  return facts.stage.name === 'complete' ? null : { side: 'legacy', role: 'standby' };
}

/** A share that nobody can name may be any. Whom the candidate serves has legacy standing by, but in `complete`. */
function showsAnybody({ stage, kill }: FlagFacts, { latch }: Forced): boolean {
  const serves = stage.serve !== 0 && stage.name !== 'complete' && latch === null && !kill;
  return stage.shadow !== 0 || serves;
}

/**
 * Both sides must know what was written in every stage from which there is a way to the other, and as
 * long as somebody is still being served there.
 */
function writesToBoth(primary: Side, facts: FlagFacts | null, forced: Forced): boolean {
  if (forced.latch === 'severed') return false;
  if (forced.legsOn.some(side => side !== primary)) return true;
  if (forced.bypass || facts === null) return false;
  // Whoever is pinned against the stage will be back among the others.
  if (facts.stage.name === 'off') return primary === 'candidate';
  if (facts.stage.name === 'complete') return primary === 'legacy';
  return true;
}
