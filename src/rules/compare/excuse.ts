// What the rules say about two values at one place: the same, not the same, or nothing.
import type { Id, IdClasses } from './ids.ts';
import { instantMs } from './instant.ts';
import type { Allowed } from './place.ts';
import { isUserField } from './rules.ts';

/** Deeper values overflow the stack of whoever walks them. */
const MOST_DEPTH = 64;
/** Ids to be learned from one pair. */
const MOST_IDS = 1_000;

/** Of the user to whom both events are due. */
export interface Acquaintance {
  readonly ids: IdClasses;
  /** The user's names; empty when nobody is named. */
  readonly subject: readonly string[];
}

export interface LearnedId {
  readonly idClass: string;
  readonly legacy: Id;
  readonly candidate: Id;
}

/**
 * `same`: a rule says so. `differs`: a rule applies and they differ by it. `unlooked`: a rule says not to
 * look. `noisy`: a measured profile excuses this value. `none`: no rule applies to two such values.
 */
export type Excuse = 'same' | 'differs' | 'unlooked' | 'noisy' | 'none';

/**
 * `undefined` is absent. `name` is the last step of the path. Generated ids that were not known are
 * added to `learned`, and must not contradict each other there.
 */
export function excuse(
  allowed: Allowed,
  legacy: unknown,
  candidate: unknown,
  name: string | null,
  known: Acquaintance,
  learned: LearnedId[],
): Excuse {
  if (allowed.anything) return 'unlooked';
  const isLegacyEmpty = legacy === undefined || legacy === null;
  if (isLegacyEmpty) {
    const isAdded = allowed.candidateAdds && candidate !== undefined;
    if (isAdded && mayAdd(candidate, name, known.subject)) return 'same';
    if (allowed.nullOrAbsent && (candidate ?? null) === null) return 'same';
  }
  if (allowed.replay && isReplayMark(legacy) && isReplayMark(candidate)) return 'same';
  if (legacy === undefined || candidate === undefined) return 'none';
  if (allowed.idClass !== null && isId(legacy) && isId(candidate)) {
    return isOne(allowed.idClass, legacy, candidate, known.ids, learned) ? 'same' : 'differs';
  }
  if (allowed.timeWithinMs >= 0) {
    const [left, right] = [instantMs(legacy), instantMs(candidate)];
    if (left === undefined || right === undefined) return 'none';
    return Math.abs(left - right) <= allowed.timeWithinMs ? 'same' : 'differs';
  }
  if (allowed.numberWithin >= 0 && isNumber(legacy) && isNumber(candidate)) {
    return Math.abs(Number(legacy) - Number(candidate)) <= allowed.numberWithin
      ? 'same'
      : 'differs';
  }
  const isNoise = allowed.noisy && legacy !== candidate && typeof legacy === typeof candidate;
  return isNoise && typeof legacy !== 'object' ? 'noisy' : 'none';
}

/** Whatever only the candidate fills in, wherever in it a user is named: it must be the session's. */
function mayAdd(added: unknown, name: string | null, subject: readonly string[]): boolean {
  return subject.length === 0 || namesAtMost(subject, added, name);
}

/** Is everybody whom it names, by a field that says who it is for or whose it is, one of these? `name`: its own. */
export function namesAtMost(
  subject: readonly string[],
  value: unknown,
  name: string | null = null,
  depth = 0,
): boolean {
  if (value === null) return true;
  if (name !== null && isUserField(name))
    return typeof value !== 'object' && subject.includes(String(value));
  if (typeof value !== 'object') return true;
  // So deep nobody looks, and may not say that it is his.
  if (depth >= MOST_DEPTH) return false;
  return Object.entries(value).every(([key, member]) =>
    namesAtMost(subject, member, Array.isArray(value) ? null : key, depth + 1),
  );
}

function isOne(
  idClass: string,
  legacy: Id,
  candidate: Id,
  ids: IdClasses,
  learned: LearnedId[],
): boolean {
  for (const each of learned) {
    if (each.idClass !== idClass) continue;
    if ((each.legacy === legacy) !== (each.candidate === candidate)) return false;
  }
  const relation = ids.relation(idClass, legacy, candidate);
  if (relation !== 'unknown') return relation === 'same';
  if (learned.length < MOST_IDS) learned.push({ idClass, legacy, candidate });
  return true;
}

function isId(value: unknown): value is Id {
  return typeof value === 'string' || isNumber(value);
}

/** Integers beyond 2^53 come as bigints where they are looked at again. */
function isNumber(value: unknown): value is number | bigint {
  return typeof value === 'number' || typeof value === 'bigint';
}

function isReplayMark(value: unknown): boolean {
  return value === undefined || value === null || typeof value === 'boolean';
}
