// From readings to deeds, without flapping: a rule fires once when it is exceeded, and again only after it
// has not been exceeded for a while.
import type { GuardrailName, Reading } from './guardrails.ts';

/** What a rule did, until it has been calm for long enough. */
export interface Fired {
  readonly reading: Reading;
  /** When it fired, and when it was last exceeded; ms of a clock that never steps. */
  readonly since: number;
  readonly last: number;
}

export type Firings = ReadonlyMap<GuardrailName, Fired>;

export const NONE_FIRED: Firings = new Map();

/**
 * What is in force after these readings, and the readings that fire now. One whose action became graver
 * since (the candidate serves now, or legacy is no longer stale) fires again.
 */
export function fire(
  before: Firings,
  found: readonly Reading[],
  now: number,
  calmMs: number,
): { readonly firings: Firings; readonly fresh: readonly Reading[] } {
  const firings = new Map<GuardrailName, Fired>();
  const fresh: Reading[] = [];
  for (const [rule, fired] of before) if (now - fired.last < calmMs) firings.set(rule, fired);
  for (const reading of found) {
    if (reading.state !== 'exceeded') continue;
    const fired = firings.get(reading.rule);
    if (fired === undefined || isGraver(reading, fired.reading)) {
      firings.set(reading.rule, { reading, since: now, last: now });
      fresh.push(reading);
    } else {
      firings.set(reading.rule, { ...fired, last: now });
    }
  }
  return { firings, fresh };
}

function isGraver({ action }: Reading, before: Reading): boolean {
  return action === 'rollback' && before.action !== 'rollback';
}

/** Whether a stage forward has to wait, and for whom. */
export function holding(firings: Firings): readonly Fired[] {
  return [...firings.values()].filter(({ reading }) => reading.action !== 'alert');
}
