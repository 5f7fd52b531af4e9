// The decision as traffic and operators ask for it: one function for both, so that an explanation
// is what happens.
import type { Decider } from '../ports.ts';
import { decide, type Forced, UNROUTED } from '../rules/decide.ts';
import type { FlagProvider } from './flags/provider.ts';

const NOTHING_FORCED: Forced = Object.freeze({ bypass: false, latched: false });

/** Decides by these flags. Facts and revision are read in one go and belong together. */
export function createDecider(flags: Pick<FlagProvider, 'facts' | 'revision'>): Decider {
  return (route, subject) => ({
    decision:
      route === null
        ? UNROUTED
        : decide(subject, route, flags.facts(route, subject), NOTHING_FORCED),
    revision: flags.revision,
  });
}
