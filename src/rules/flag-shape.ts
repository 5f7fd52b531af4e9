// What the shape of a flag says before anybody is evaluated: which share of users it moves, and
// whether its answer depends on who asks. Structural types of the Unleash client-features format,
// as wide as that format is; evaluation itself is the Unleash client's.

/** The other variant of a flag that deals out shares. */
const COUNTERPART = { candidate: 'legacy', on: 'off' } as const;

/** Fields that a subject always has: `default` falls back to the user's id first. */
const STICKY_TO_USER: ReadonlySet<unknown> = new Set(['userId', 'default']);

/** The variant whose share counts: `candidate` of a serve flag, `on` of a shadow flag. */
export type ShareVariant = keyof typeof COUNTERPART;

export interface ConstraintLike {
  readonly contextName: string;
  readonly operator: string;
  readonly inverted?: boolean | null | undefined;
  readonly values?: readonly string[] | null | undefined;
  readonly value?: string | number | null | undefined;
  readonly caseInsensitive?: boolean | null | undefined;
}

export interface VariantLike {
  readonly name: string;
  readonly weight: number;
  readonly weightType?: string | null | undefined;
  readonly stickiness?: string | null | undefined;
  readonly payload?: { readonly type: string; readonly value: string } | null | undefined;
  readonly overrides?:
    | readonly { readonly contextName: string; readonly values: readonly string[] }[]
    | null
    | undefined;
}

export interface StrategyLike {
  readonly name: string;
  readonly parameters?: Readonly<Record<string, unknown>> | null | undefined;
  readonly constraints?: readonly ConstraintLike[] | null | undefined;
  readonly segments?: readonly number[] | null | undefined;
  readonly variants?: readonly VariantLike[] | null | undefined;
}

export interface FeatureLike {
  readonly name: string;
  readonly type?: string | null | undefined;
  readonly project?: string | null | undefined;
  readonly description?: string | null | undefined;
  readonly enabled: boolean;
  readonly stale?: boolean | null | undefined;
  readonly impressionData?: boolean | null | undefined;
  readonly strategies: readonly StrategyLike[];
  readonly variants?: readonly VariantLike[] | null | undefined;
  readonly dependencies?: readonly { readonly feature: string }[] | null | undefined;
}

export interface SegmentLike {
  readonly id: number;
  readonly name?: string | null | undefined;
  readonly constraints: readonly ConstraintLike[];
}

/**
 * Thousandths of the users whom nobody singled out that get `variant`. Strategies with constraints
 * or segments are pins and do not count. `undefined`: the shape names no single share (rollout
 * percents, several base strategies, foreign variants, a draw that differs from call to call).
 */
export function shareOf(
  feature: FeatureLike | undefined,
  variant: ShareVariant,
): number | undefined {
  if (!feature?.enabled) return 0;
  if (hasDependencies(feature)) return undefined;
  const bases = feature.strategies.filter(isBase);
  // An empty list counts as on for everybody; a list of nothing but pins as off for the rest.
  if (feature.strategies.length > 0 && bases.length === 0) return 0;
  if (bases.length > 1) return undefined;
  const base = bases[0];
  const reach = base === undefined ? 1000 : reachOf(base);
  if (reach !== 1000) return reach;
  const draw = drawOf(feature, base);
  if (draw.variants.length === 0) return variant === 'on' ? 1000 : undefined;
  return shareAmong(draw, variant);
}

/** Is a kill flag on? Any unconstrained strategy that reaches somebody is enough. */
export function isKilled(feature: FeatureLike | undefined): boolean {
  if (!feature?.enabled) return false;
  return (
    feature.strategies.length === 0 || feature.strategies.some(s => isBase(s) && reachOf(s) !== 0)
  );
}

/** Can two users get different answers from this flag? `false` allows one answer for all of them. */
export function dependsOnUser(feature: FeatureLike): boolean {
  if (!feature.enabled) return false;
  if (hasDependencies(feature)) return true;
  if (feature.strategies.some(s => !isBase(s) || reachOf(s) === undefined)) return true;
  return drawsOf(feature).some(
    ({ variants }) =>
      variants.filter(v => v.weight > 0).length > 1 ||
      variants.some(v => (v.overrides ?? []).length > 0),
  );
}

/**
 * Does the flag draw afresh on every call, because what it is sticky to is `random` or a field that
 * no subject has? A user would not stay on a side.
 */
export function drawsAtRandom(feature: FeatureLike): boolean {
  if (!feature.enabled) return false;
  return (
    drawsOf(feature).some(isRandom) ||
    feature.strategies.some(
      s =>
        s.name === 'gradualRolloutRandom' ||
        (s.name === 'flexibleRollout' &&
          s.parameters?.stickiness === 'random' &&
          reachOf(s) === undefined),
    )
  );
}

/** A strategy for whoever was not singled out: no constraints, no segments. */
export function isBase(strategy: StrategyLike): boolean {
  return (strategy.constraints ?? []).length === 0 && (strategy.segments ?? []).length === 0;
}

/** Whom a strategy turns the flag on for, constraints aside: 1000 all, 0 none, `undefined` some. */
export function reachOf(strategy: StrategyLike): 0 | 1000 | undefined {
  if (strategy.name === 'default') return 1000;
  if (strategy.name !== 'flexibleRollout') return undefined;
  const percent = Number(strategy.parameters?.rollout);
  if (!(percent > 0)) return 0;
  const sticky = strategy.parameters?.stickiness || 'default';
  // Sticky to a field that no subject has means off, whatever the percentage.
  return percent >= 100 && (STICKY_TO_USER.has(sticky) || sticky === 'random') ? 1000 : undefined;
}

/** The variants that a strategy (or, without one, the feature) draws from, and what holds a user. */
export interface Draw {
  readonly variants: readonly VariantLike[];
  readonly stickiness: unknown;
  /** What the user's id is hashed with: the strategy's `groupId`, or the name of the feature. */
  readonly groupId: unknown;
}

export function drawOf(feature: FeatureLike, strategy: StrategyLike | undefined): Draw {
  const own = strategy?.variants ?? [];
  if (own.length > 0) {
    const stickiness = own[0]?.stickiness || strategy?.parameters?.stickiness;
    return { variants: own, stickiness, groupId: strategy?.parameters?.groupId };
  }
  const variants = feature.variants ?? [];
  if (variants.length === 0) {
    return { variants, stickiness: undefined, groupId: strategy?.parameters?.groupId };
  }
  return { variants, stickiness: variants[0]?.stickiness ?? undefined, groupId: feature.name };
}

function drawsOf(feature: FeatureLike): readonly Draw[] {
  return feature.strategies.length === 0
    ? [drawOf(feature, undefined)]
    : feature.strategies.map(strategy => drawOf(feature, strategy));
}

function isRandom({ variants, stickiness }: Draw): boolean {
  return (
    variants.filter(v => v.weight > 0).length > 1 && !STICKY_TO_USER.has(stickiness || 'default')
  );
}

function shareAmong(draw: Draw, variant: ShareVariant): number | undefined {
  let total = 0;
  let mine = 0;
  for (const { name, weight } of draw.variants) {
    if (weight > 0 && name !== variant && name !== COUNTERPART[variant]) return undefined;
    total += weight;
    if (name === variant) mine += weight;
  }
  if (total <= 0 || isRandom(draw)) return undefined;
  if (mine === 0 || mine === total) return mine === 0 ? 0 : 1000;
  // Some is never shown as none or all, however the weights round.
  return Math.min(999, Math.max(1, Math.round((mine * 1000) / total)));
}

function hasDependencies(feature: FeatureLike): boolean {
  return (feature.dependencies ?? []).length > 0;
}
