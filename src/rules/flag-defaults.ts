// The flags of a route before a migration begins: legacy serves everybody, nothing is shadowed.
import { editShare } from './flag-edit.ts';
import type { FlagNames } from './flag-problem.ts';
import type { FeatureLike, StrategyLike } from './flag-shape.ts';

/** Serve, shadow, kill and isolation flag, in that order, such that the stage is `off`. */
export function initialFlags({ serve, shadow, kill, isolation }: FlagNames): FeatureLike[] {
  const everybody: StrategyLike = { name: 'default', parameters: {}, constraints: [] };
  const sanitize = {
    name: 'sanitize',
    weight: 1000,
    weightType: 'variable',
    stickiness: 'userId',
  } as const;
  return [
    {
      ...editShare(undefined, { name: serve, variant: 'candidate', other: 'legacy', share: 0 }),
      description: 'Which service serves a user: weights of its variants are the shares.',
    },
    {
      ...editShare(undefined, { name: shadow, variant: 'on', other: 'off', share: 0 }),
      description: 'Whose traffic the other service is shown too, compared and never delivered.',
    },
    {
      name: kill,
      type: 'kill-switch',
      description: `On: legacy serves everybody, whatever ${serve} says.`,
      enabled: false,
      strategies: [everybody],
    },
    {
      name: isolation,
      type: 'operational',
      description: "On: what is done with another user's data: observe, sanitize or block.",
      enabled: false,
      strategies: [{ ...everybody, variants: [sanitize] }],
    },
  ];
}
