// New flags out of old ones: to set a share, or to throw the kill switch. Nothing is mutated, and
// whatever an edit is not about is kept.
import {
  drawOf,
  type FeatureLike,
  isBase,
  reachOf,
  type ShareVariant,
  type StrategyLike,
  shareOf,
  type VariantLike,
} from './flag-shape.ts';

/** A share for a flag. `name` and `project` serve a flag that does not exist yet. */
export interface ShareEdit {
  readonly name: string;
  readonly variant: ShareVariant;
  readonly other: string;
  /** Thousandths, 0 to 1000. */
  readonly share: number;
  readonly project?: string;
}

/**
 * Gives `variant` that share. Pins (strategies with constraints or segments) come first, in their
 * order; the rest is one base strategy whose first variant is `variant` (or the second of the two, if
 * it was), so that whoever is in at a share is in at every greater one. A feature that has the share
 * already is returned as it is.
 */
export function editShare(feature: FeatureLike | undefined, edit: ShareEdit): FeatureLike {
  if (feature !== undefined && shareOf(feature, edit.variant) === edit.share) return feature;
  const old = feature ?? newFeature(edit.name, edit.project);
  const { dependencies: _, ...rest } = old;
  return {
    ...rest,
    enabled: true,
    strategies: [...old.strategies.filter(strategy => !isBase(strategy)), baseStrategy(old, edit)],
  };
}

/** Turns a kill flag on for everybody, or off. */
export function editKill(
  feature: FeatureLike | undefined,
  edit: { readonly name: string; readonly on: boolean; readonly project?: string },
): FeatureLike {
  const old = feature ?? newFeature(edit.name, edit.project, 'kill-switch');
  if (!edit.on) return old.enabled ? { ...old, enabled: false } : old;
  // A kill switch that hangs on another flag or reaches only some is none.
  const { dependencies: _, ...rest } = old;
  const dependent = (old.dependencies ?? []).length > 0;
  const reachesAll = old.strategies.some(s => isBase(s) && reachOf(s) === 1000);
  if (old.enabled && reachesAll && !dependent) return old;
  return {
    ...rest,
    enabled: true,
    strategies: reachesAll
      ? old.strategies
      : [...old.strategies, { name: 'default', parameters: {}, constraints: [] }],
  };
}

function newFeature(name: string, project = 'default', type = 'release'): FeatureLike {
  return {
    name,
    type,
    project,
    enabled: false,
    stale: false,
    impressionData: false,
    strategies: [],
    variants: [],
  };
}

function baseStrategy(feature: FeatureLike, edit: ShareEdit): StrategyLike {
  const { name, variant, other, share } = edit;
  const old = feature.strategies.find(isBase);
  const { groupId, variants } = drawOf(feature, old);
  // Payloads and overrides of a variant that exists already stay.
  const variantOf = (fresh: VariantLike) => ({
    ...variants.find(candidate => candidate.name === fresh.name),
    ...fresh,
  });
  const dealt = [
    variantOf({ name: variant, weight: share, weightType: 'fix', stickiness: 'userId' }),
    variantOf({ name: other, weight: 1000 - share, weightType: 'variable', stickiness: 'userId' }),
  ];
  // Of two variants either order nests; another one than before would deal all users out anew.
  const kept =
    variants.length === 2 && variants[0]?.name === other && variants[1]?.name === variant;
  return {
    ...old,
    name: 'flexibleRollout',
    // Another groupId would deal all users out anew.
    parameters: {
      rollout: '100',
      stickiness: 'userId',
      groupId: typeof groupId === 'string' && groupId !== '' ? groupId : name,
    },
    constraints: [],
    variants: kept ? dealt.reverse() : dealt,
  };
}
