// Runs and sessions that are under way, and whether anything in them diverged. The rate of divergence
// is one of runs or sessions, not of events: the events of a run have one cause and are not
// independent, so a thousand of them prove no more than one.
import { generalType, OTHER } from './evidence-group.ts';
import { namedBy, noteNames } from './known-values.ts';
import type { Finding, Verdict } from './verdict.ts';

/** A unit is over when nothing of it has come for so long: an agent's run pauses for a model's answer. */
const IDLE_MS = 60_000;
/**
 * A session that never rests is counted once per so long, or it would never be counted. Neither this
 * nor the time above depends on what was found, so that neither favours a verdict.
 */
const LONGEST_MS = 10 * 60_000;
/** Some 300 bytes each; runs of 10,000 users at once, twice over. */
const MOST_OPEN = 20_000;
/** Types of one route; a client that makes up types must not fill the memory. */
const MOST_TYPES = 100;
/** Nobody names a type so; what is longer is not remembered. */
const MOST_REMEMBERED_LENGTH = 200;
const HOUR_MS = 3_600_000;

/** What each verdict says of its unit; what proves nothing leaves the unit as it was. */
const SAYS: Readonly<Record<Verdict, 'clean' | 'diverged' | 'nothing'>> = {
  match: 'clean',
  noise: 'clean',
  'failed-alike': 'nothing',
  unjudged: 'nothing',
  mismatch: 'diverged',
  missing: 'diverged',
  extra: 'diverged',
  duplicate: 'diverged',
  'out-of-order': 'diverged',
  contaminated: 'diverged',
};

/**
 * Counted apart: sessions that idle, with a heartbeat now and then, are many and never diverge, and would make
 * the share of runs that do look small. A request is a session of its own.
 */
export type UnitKind = 'run' | 'session';

/** Units of one kind that ended in one hour, of one route and event type. */
export interface UnitCount {
  readonly route: string;
  /** Null: of the route as a whole, where a unit diverges if any of its events does. */
  readonly eventType: string | null;
  /** Names of users that stand in it: to be recognised there, and not kept. */
  readonly names?: readonly string[];
  readonly of: UnitKind;
  /** Hours since the epoch. */
  readonly hour: number;
  readonly units: number;
  readonly diverged: number;
}

interface Unit {
  readonly route: string;
  readonly of: UnitKind;
  readonly firstAt: number;
  lastAt: number;
  /** Whether it diverged, by event type. */
  readonly types: Map<string, boolean>;
  isOpen: boolean;
}

/** All that tells it from others. */
interface UnitName {
  readonly route: string;
  readonly of: UnitKind;
  readonly level: number | undefined;
  /** Empty for a session. */
  readonly whose: string;
  readonly unit: string;
}

/** What a session spoke of last: the next event is mostly one more of that. */
interface Last {
  readonly named: UnitName;
  readonly key: string;
  readonly unit: Unit;
  /** Null: it is too long to be remembered. */
  readonly eventType: string | null;
}

function isSame(a: UnitName, b: UnitName): boolean {
  const isAlike = a.unit === b.unit && a.level === b.level && a.of === b.of;
  return isAlike && a.whose === b.whose && a.route === b.route;
}

/**
 * Counts a unit when it ends: idle for a minute, or ten minutes after it began. One that comes back
 * after that is counted as another unit, so the windows of a long session count several times; they
 * are less independent than the figures suppose. When more are open than are held, the oldest one is
 * ended early, and `crowdedOut` says so.
 */
export class UnitTracker {
  readonly #open = new Map<string, Unit>();
  /** By session. */
  readonly #lastOf = new Map<string, Last>();
  /** By route, with the names of users that stand in them; null: none is a user's, see `#typeOf`. */
  readonly #types = new Map<string, Map<string, Set<string> | null>>();
  #ended = new Map<string, { -readonly [K in keyof UnitCount]: UnitCount[K] }>();
  /** Units that were ended early, to make room. */
  crowdedOut = 0;

  /** Units that are under way. */
  get open(): number {
    return this.#open.size;
  }

  /** `subject`: names of the user whose events they are. Services may number the runs of each user for himself. */
  add(
    { route, eventType, unit, unitLevel, session, verdict, at }: Finding,
    subject: readonly string[] = [],
  ): void {
    const says = SAYS[verdict];
    if (says === 'nothing') return;
    const of: UnitKind = unit === session ? 'session' : 'run';
    const whose = of === 'session' ? '' : (subject[0] ?? session);
    const named: UnitName = { route, of, level: unitLevel, whose, unit };
    const last = this.#lastOf.get(session);
    const isSameUnit = last !== undefined && isSame(last.named, named);
    const isOpen = isSameUnit && last.unit.isOpen && !isOver(last.unit, at);
    if (isOpen && last.eventType === eventType && says === 'clean') {
      last.unit.lastAt = Math.max(last.unit.lastAt, at);
      return;
    }
    // A text that is made anew for every finding takes longest of all that is done here.
    const key = isSameUnit ? last.key : keyOf(named);
    const found = this.#openAt(key, named, at);
    found.lastAt = Math.max(found.lastAt, at);
    const type = this.#typeOf(route, eventType, subject);
    if (says === 'diverged') found.types.set(type, true);
    else if (!found.types.has(type)) found.types.set(type, false);
    if (this.#lastOf.size >= MOST_OPEN) this.#lastOf.clear();
    const isShort = eventType.length <= MOST_REMEMBERED_LENGTH;
    this.#lastOf.set(session, { named, key, unit: found, eventType: isShort ? eventType : null });
  }

  #openAt(key: string, { route, of }: UnitName, at: number): Unit {
    const known = this.#open.get(key);
    if (known !== undefined && !isOver(known, at)) return known;
    if (known !== undefined) this.#end(key, known, known.lastAt);
    if (this.#open.size >= MOST_OPEN) this.#crowdOut();
    const begun = { route, of, firstAt: at, lastAt: at, types: new Map(), isOpen: true };
    this.#open.set(key, begun);
    return begun;
  }

  /** Units that ended since the last time. `nowMs` is epoch ms; infinity ends all. */
  take(nowMs: number): readonly UnitCount[] {
    for (const [key, unit] of this.#open)
      if (isOver(unit, nowMs)) this.#end(key, unit, unit.lastAt);
    const ended = [...this.#ended.values()];
    this.#ended = new Map();
    return ended;
  }

  /** Counts anew from here on: that route's, or (null) all. */
  forget(route: string | null): void {
    for (const [key, unit] of this.#open) {
      if (!isOf(unit, route)) continue;
      this.#open.delete(key);
      unit.isOpen = false;
    }
    for (const [key, count] of this.#ended) if (isOf(count, route)) this.#ended.delete(key);
  }

  #crowdOut(): void {
    const [oldest] = this.#open;
    if (oldest === undefined) return;
    this.crowdedOut += 1;
    this.#end(...oldest, oldest[1].lastAt);
  }

  #end(key: string, unit: Unit, at: number): void {
    const { types } = unit;
    this.#open.delete(key);
    unit.isOpen = false;
    const hour = Math.floor(at / HOUR_MS);
    for (const [type, diverged] of types) this.#count(unit, type, hour, diverged);
    this.#count(unit, null, hour, [...types.values()].includes(true));
    // Its session may have it for long, as what it spoke of last.
    types.clear();
  }

  #count({ route, of }: Unit, eventType: string | null, hour: number, diverged: boolean): void {
    const key = `${route}\n${of}\n${hour}\n${eventType === null ? '' : `-${eventType}`}`;
    const names = this.#types.get(route)?.get(eventType ?? '') ?? new Set();
    const begun = { route, eventType, ...namedBy(names), of, hour, units: 0, diverged: 0 };
    const counted = this.#ended.get(key) ?? begun;
    counted.units += 1;
    if (diverged) counted.diverged += 1;
    this.#ended.set(key, counted);
  }

  /**
   * A type that named nobody when it came first is everybody's: who is called as a word of it does not rename it for
   * all.
   */
  #typeOf(route: string, name: string, subject: readonly string[]): string {
    const eventType = generalType(name);
    let types = this.#types.get(route);
    if (types === undefined) {
      types = new Map();
      this.#types.set(route, types);
    }
    const known = types.get(eventType);
    if (known === null) return eventType;
    if (known === undefined && types.size >= MOST_TYPES) return OTHER;
    const names = known ?? new Set<string>();
    noteNames(names, subject, eventType);
    types.set(eventType, names.size === 0 ? null : names);
    return eventType;
  }
}

function keyOf({ route, of, level, whose, unit }: UnitName): string {
  return `${route}\n${of}\n${level ?? ''}\n${whose}\n${unit}`;
}

/** `route` null: of whichever. */
export function isOf(of: { readonly route: string }, route: string | null): boolean {
  return route === null || of.route === route;
}

function isOver({ firstAt, lastAt }: Unit, nowMs: number): boolean {
  return nowMs - lastAt > IDLE_MS || nowMs - firstAt > LONGEST_MS;
}
