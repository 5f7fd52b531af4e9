// Pins: strategies of a serve flag that put single users on one side, for a time. They are constraints
// like any others, so whatever evaluates the flag obeys them and stages leave them alone.
//
//   { constraints: [userId IN [ann], currentTime DATE_BEFORE 2026-05-01T12:00:00.000Z],
//     variants: [candidate 1000] }
import type { Side } from './decide.ts';
import { editShare } from './flag-edit.ts';
import { type FeatureLike, isBase, reachOf, type StrategyLike } from './flag-shape.ts';

/**
 * Unleash takes no more than 30 strategies in a flag; some are left for others. Each costs every
 * decision some 0.15 µs. More testers are a share, or a list in a strategy of their own.
 */
export const MOST_PINS = 25;
/** What people see of such a strategy in Unleash. */
const TITLE = 'cutover pin';

export interface Pin {
  readonly users: readonly string[];
  readonly side: Side;
  /** Epoch ms; null for a strategy that somebody wrote without an end. */
  readonly untilMs: number | null;
}

/** What an operator asks for. */
export interface PinEdit {
  /** Name of the serve flag. */
  readonly flag: string;
  readonly user: string;
  readonly side: Side;
  readonly untilMs: number;
}

/** The pin that a strategy is; null for any other strategy, whomever it singles out. */
export function pinOf(strategy: StrategyLike): Pin | null {
  if ((strategy.segments ?? []).length > 0 || reachOf(strategy) !== 1000) return null;
  const variants = (strategy.variants ?? []).filter(({ weight }) => weight > 0);
  const [side] = variants.map(({ name }) => name);
  if (variants.length !== 1 || (side !== 'legacy' && side !== 'candidate')) return null;
  let users: readonly string[] | null = null;
  let untilMs: number | null = null;
  for (const { contextName, operator, inverted, values, value } of strategy.constraints ?? []) {
    if (inverted) return null;
    if (contextName === 'userId' && operator === 'IN' && users === null) {
      // As the client compares them.
      users = (values ?? []).map(name => name.trim()).filter(name => name !== '');
    } else if (contextName === 'currentTime' && operator === 'DATE_BEFORE' && untilMs === null) {
      untilMs = new Date(value ?? Number.NaN).getTime();
    } else return null;
  }
  return users === null || Number.isNaN(untilMs) ? null : { users, side, untilMs };
}

export function pinsOf(feature: FeatureLike | undefined): Pin[] {
  return (feature?.strategies ?? []).map(pinOf).filter(pin => pin !== null);
}

export function isOver({ untilMs }: Pin, nowMs: number): boolean {
  return untilMs !== null && untilMs <= nowMs;
}

/** The pin that decides about a user; null where another strategy does, or may. */
export function pinFor(feature: FeatureLike | undefined, user: string, nowMs: number): Pin | null {
  if (!feature?.enabled) return null;
  for (const strategy of feature.strategies) {
    const pin = pinOf(strategy);
    if (pin === null) return null;
    if (pin.users.includes(user) && !isOver(pin, nowMs)) return pin;
  }
  return null;
}

/**
 * Pins a user, in place of any pin that he has, and nobody else: a flag that is off or not there turns
 * on with a share of nothing. A feature that has that pin already is returned as it is. Throws
 * `RangeError` with a sentence for the operator where that can not be had.
 */
export function editPin(feature: FeatureLike | undefined, edit: PinEdit): FeatureLike {
  const { user, side, untilMs } = edit;
  refuseOddName(user);
  if (feature?.enabled && isPinned(feature, edit)) return feature;
  const ready = turnedOn(feature, edit.flag);
  const others = withoutUser(ready.strategies, user);
  if (others.filter(strategy => pinOf(strategy) !== null).length >= MOST_PINS) {
    throw new RangeError(
      `${edit.flag} has ${MOST_PINS} pins already; unpin somebody, or let a share decide`,
    );
  }
  const strategy: StrategyLike & { readonly title: string } = {
    name: 'flexibleRollout',
    title: TITLE,
    parameters: { rollout: '100', stickiness: 'userId', groupId: edit.flag },
    constraints: [
      { contextName: 'userId', operator: 'IN', values: [user], inverted: false },
      {
        contextName: 'currentTime',
        operator: 'DATE_BEFORE',
        value: new Date(untilMs).toISOString(),
        inverted: false,
      },
    ],
    variants: [{ name: side, weight: 1000, weightType: 'variable', stickiness: 'userId' }],
  };
  return { ...ready, strategies: [strategy, ...others] };
}

/** Takes a user out of every pin. A feature without one of his is returned as it is. */
export function editUnpin(feature: FeatureLike, user: string): FeatureLike {
  const strategies = withoutUser(feature.strategies, user);
  const isSame = strategies.every((strategy, i) => strategy === feature.strategies[i]);
  if (isSame && strategies.length === feature.strategies.length) return feature;
  return withStrategies(feature, strategies);
}

/** Drops pins whose time is over; they do nothing any more. */
export function withoutOver(feature: FeatureLike, nowMs: number): FeatureLike {
  const left = feature.strategies.filter(strategy => {
    const pin = pinOf(strategy);
    return pin === null || !isOver(pin, nowMs);
  });
  return left.length === feature.strategies.length ? feature : withStrategies(feature, left);
}

/** Has the flag this very pin, where nothing but other pins comes before it, and no other of his? */
function isPinned({ strategies }: FeatureLike, { user, side, untilMs }: PinEdit): boolean {
  const pins = strategies.map(pinOf);
  const own = pins.filter(pin => pin?.users.includes(user));
  const [pin] = own;
  if (own.length !== 1 || pin?.users.length !== 1) return false;
  const isFirst = pins.slice(0, pins.indexOf(pin)).every(before => before !== null);
  return isFirst && pin.side === side && pin.untilMs === untilMs;
}

/** The flag such that it is on and gives everybody what it gave him before. */
function turnedOn(feature: FeatureLike | undefined, flag: string): FeatureLike {
  const nobody = { name: flag, variant: 'candidate', other: 'legacy', share: 0 } as const;
  if (feature === undefined) return editShare(undefined, nobody);
  if (!feature.enabled) {
    const asleep = feature.strategies.filter(strategy => !isBase(strategy)).length;
    if (asleep > 0) {
      throw new RangeError(
        `${flag} is off, and to turn it on would wake ${asleep} of its strategies with constraints; set a stage first`,
      );
    }
    return editShare({ ...feature, enabled: true }, nobody);
  }
  // An empty list counts as on for everybody; with a pin in it, it would not be empty.
  return feature.strategies.length > 0
    ? feature
    : { ...feature, strategies: [{ name: 'default', parameters: {}, constraints: [] }] };
}

/** A flag of nothing but pins is off for the rest; without any it would be on for everybody. */
function withStrategies(feature: FeatureLike, strategies: readonly StrategyLike[]): FeatureLike {
  const next = { ...feature, strategies };
  if (strategies.length > 0) return next;
  const nobody = { variant: 'candidate', other: 'legacy', share: 0 } as const;
  return { ...editShare(next, { ...nobody, name: feature.name }), enabled: feature.enabled };
}

function withoutUser(strategies: readonly StrategyLike[], user: string): StrategyLike[] {
  return strategies.flatMap(strategy => {
    const pin = pinOf(strategy);
    if (pin === null || !pin.users.includes(user)) return [strategy];
    if (pin.users.length === 1) return [];
    const constraints = (strategy.constraints ?? []).map(constraint =>
      constraint.operator === 'IN'
        ? { ...constraint, values: pin.users.filter(other => other !== user) }
        : constraint,
    );
    return [{ ...strategy, constraints }];
  });
}

/** Spaces around a name would single out somebody else, and the pin would not reach him. */
function refuseOddName(user: string): void {
  if (user !== '' && user === user.trim()) return;
  throw new RangeError(
    'a user whose name begins or ends with a space can not be pinned: Unleash compares without them',
  );
}
