// Which pins an edit adds to a flag and takes out of it: a server is told of these alone, so that what
// somebody else changed there meanwhile stays.
import { isDeepStrictEqual } from 'node:util';
import type { FeatureLike, StrategyLike } from '../../rules/flag-shape.ts';
import { type Pin, pinOf, pinsOf } from '../../rules/pin.ts';

export interface PinChanges {
  readonly added: readonly StrategyLike[];
  readonly removed: readonly Pin[];
}

export function pinChanges(before: FeatureLike | undefined, after: FeatureLike): PinChanges {
  const [old, fresh] = [pinsOf(before), pinsOf(after)];
  return {
    added: after.strategies.filter(strategy => {
      const pin = pinOf(strategy);
      return pin !== null && !old.some(other => isDeepStrictEqual(other, pin));
    }),
    removed: old.filter(pin => !fresh.some(other => isDeepStrictEqual(other, pin))),
  };
}
