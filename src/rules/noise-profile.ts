// What was measured of legacy's noise, as a profile for a person to review: what it excuses, and what it
// can not excuse and why.
import { RuleError } from './compare/check.ts';
import { compileRules } from './compare/compile.ts';
import { isReported, type NoiseProfile, type NoisyField } from './compare/noise.ts';
import type { CompareRules } from './compare/rules.ts';
import { type NoiseCounts, rateOf } from './noise-tally.ts';

export interface ProfileSource {
  readonly route: string;
  readonly rules: CompareRules;
  readonly counts: NoiseCounts;
  /** Epoch ms. */
  readonly measuredAt: number;
}

/** A place at which legacy differs from itself, and that is reported all the same. */
export interface UnexcusedPlace extends NoisyField {
  /** A sentence without its subject. */
  readonly why: string;
}

export interface MeasuredProfile {
  readonly profile: NoiseProfile;
  readonly unexcused: readonly UnexcusedPlace[];
  /** Pairs that were compared, of all types. */
  readonly pairs: { readonly twin: number; readonly candidate: number };
}

const ANOTHER_WAY = 'differs in more than its value: absent, of another type, length or order';
const BEYOND = 'differs more often between legacy and candidate than between legacy and legacy';
const OF_ANSWER = 'is no part of the body; `answers` says which of it is compared';

export function profileOf({ route, rules, counts, measuredAt }: ProfileSource): MeasuredProfile {
  const fields: NoisyField[] = [];
  const unexcused: UnexcusedPlace[] = [];
  const pairs = { twin: 0, candidate: 0 };
  for (const [eventType, type] of counts) {
    pairs.twin += type.pairs.twin;
    pairs.candidate += type.pairs.candidate;
    for (const [found, { values, otherwise }] of type.places) {
      const path = type.isAnswer ? inBody(found) : found;
      const place = { eventType, path: path ?? found, pairs: type.pairs.twin };
      if (otherwise.twin > 0) {
        unexcused.push({ ...place, differed: otherwise.twin, why: ANOTHER_WAY });
      }
      if (values.twin === 0) continue;
      const field = { ...place, differed: values.twin };
      const twin = rateOf(type, values.twin, 'twin');
      const isBeyond = isReported(rateOf(type, values.candidate, 'candidate'), twin);
      const why =
        path === null ? OF_ANSWER : (refusalOf(rules, field) ?? (isBeyond ? BEYOND : null));
      if (why === null) fields.push(field);
      else unexcused.push({ ...field, why });
    }
  }
  return {
    profile: { version: 1, route, measuredAt, fields: fields.toSorted(byPlace) },
    unexcused: unexcused.toSorted(byPlace),
    pairs,
  };
}

/** As in rules, which are about the body; null for what is no field of it. */
function inBody(path: string): string | null {
  return path.startsWith('/body/') ? path.slice('/body'.length) : null;
}

/** Why no rule may excuse that place; null if one may. */
function refusalOf(rules: CompareRules, field: NoisyField): string | null {
  try {
    compileRules(rules, { version: 1, route: '', measuredAt: 0, fields: [field] });
    return null;
  } catch (error) {
    if (!(error instanceof RuleError)) throw error;
    return error.sentence;
  }
}

function byPlace(a: NoisyField, b: NoisyField): number {
  return textOf(a) < textOf(b) ? -1 : 1;
}

const textOf = ({ eventType, path }: NoisyField): string => JSON.stringify([eventType, path]);
