// The decision as traffic and operators ask for it: one function for both, so that an explanation
// is what happens.

import type { RouteConfig } from '../config/schema.ts';
import type { Decider } from '../ports.ts';
import { decide, type Forced } from '../rules/decide.ts';
import type { FlagProvider } from './flags/provider.ts';

const NOTHING_FORCED: Forced = Object.freeze({ bypass: false, latch: null, legsOn: [] });

/** Decides by these flags. Facts and revision are read in one go and belong together. */
export function createDecider(
  flags: Pick<FlagProvider, 'facts' | 'revision'>,
  forced: (route: RouteConfig) => Forced = () => NOTHING_FORCED,
): Decider {
  return (route, subject) => ({
    decision: decide(subject, route, flags.facts(route, subject), forced(route)),
    revision: flags.revision,
  });
}
