// From a route's flags to its stage, and from a wanted stage to new flags.
import { editKill, editShare } from './flag-edit.ts';
import type { FlagNames } from './flag-problem.ts';
import { type FeatureLike, isBase, isKilled, shareOf } from './flag-shape.ts';
import { withoutOver } from './pin.ts';
import { deriveStage, type Stage, type StageTarget } from './stage.ts';

export type FlagLookup = (name: string) => FeatureLike | undefined;

/** The stage that a route's flags amount to. */
export function flagStage(flags: FlagLookup, names: FlagNames): Stage {
  return deriveStage(
    shareOf(flags(names.serve), 'candidate'),
    shareOf(flags(names.shadow), 'on'),
    isKilled(flags(names.kill)),
  );
}

/**
 * New versions of the flags that differ from what the target needs. In an order in which each may
 * take effect before the next: a second leg starts before somebody depends on it and ends after,
 * the kill switch is thrown first and released last.
 */
export function stageEdits(
  flags: FlagLookup,
  names: FlagNames,
  target: StageTarget,
): FeatureLike[] {
  const edited = (name: string, edit: (old: FeatureLike | undefined) => FeatureLike) => {
    const old = flags(name);
    const fresh = edit(old);
    return fresh === old ? [] : [fresh];
  };
  const serve = edited(names.serve, old =>
    editShare(old, {
      name: names.serve,
      variant: 'candidate',
      other: 'legacy',
      share: target.serve,
    }),
  );
  const shadow = edited(names.shadow, old =>
    editShare(old, { name: names.shadow, variant: 'on', other: 'off', share: target.shadow }),
  );
  const kill = killEdits(flags, names, target.kill);
  const shares = target.shadow === 0 ? [...serve, ...shadow] : [...shadow, ...serve];
  return target.kill ? [...kill, ...shares] : [...shares, ...kill];
}

/** The kill flag alone; nothing when it is as wanted. */
export function killEdits(flags: FlagLookup, { kill }: FlagNames, on: boolean): FeatureLike[] {
  const old = flags(kill);
  if (old === undefined && !on) return [];
  const fresh = editKill(old, { name: kill, on });
  return fresh === old ? [] : [fresh];
}

/** Flags of the route that single users out now; a stage leaves those users where they are. */
export function pinnedFlags(
  flags: FlagLookup,
  { serve, shadow }: FlagNames,
  nowMs: number,
): string[] {
  return [serve, shadow].filter(name => {
    const feature = flags(name);
    if (!feature?.enabled) return false;
    return withoutOver(feature, nowMs).strategies.some(strategy => !isBase(strategy));
  });
}
