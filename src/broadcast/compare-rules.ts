// What a comparison of the two reference services may excuse, from the list of their differences.
import { type Allowance, type CompareRules, DEFAULT_RULES } from '../rules/compare/rules.ts';
import { DIFFERENCES, type Difference } from './differences.ts';
import { REPLY_TYPES } from './event.ts';
import type { LegacyEntry } from './legacy/entry.ts';

/**
 * Stamps are taken at send time. A service that is late by more than the pairing window has its events
 * reported missing; twice that leaves room for clocks that are apart.
 */
const STAMPS_WITHIN_MS = 10_000;

/** Rules for an upstream `legacy` with that entry point and the SSOT service as `candidate`. */
export function broadcasterRules(entry: LegacyEntry = 'singleton'): CompareRules {
  return {
    ...DEFAULT_RULES,
    replies: [...REPLY_TYPES],
    allow: DIFFERENCES.filter(({ entries }) => entries.includes(entry)).flatMap(allowanceFor),
  };
}

/** Moves need no rule: the envelopes are read through. */
function allowanceFor(difference: Difference): readonly Allowance[] {
  const { kind, path } = difference;
  const where = difference.types.includes('*') ? { path } : { path, types: difference.types };
  switch (kind) {
    case 'moved':
      return [];
    case 'time-format':
      return [{ ...where, as: 'time', withinMs: STAMPS_WITHIN_MS }];
    case 'legacy-overwrites':
      // Whose an event is can not be excused: legacy's routers that overwrite it are to be reported.
      return path === '/user_id' ? [] : [{ ...where, as: 'anything' }];
    case 'generated-id':
    case 'null-or-absent':
    case 'candidate-adds':
    case 'replay':
      return [{ ...where, as: kind }];
  }
}
