// What somebody has to set in Unleash by hand, where the proxy has no token to do it.
import { isDeepStrictEqual } from 'node:util';
import { type FeatureLike, isBase, type VariantLike } from '../../rules/flag-shape.ts';
import type { FlagLookup } from '../../rules/flag-stage.ts';
import { isOver, type Pin, pinOf } from '../../rules/pin.ts';
import { pinChanges } from './pin-changes.ts';

/** One sentence with every flag in the order in which it is to be set. */
export function unleashAdvice(features: readonly FeatureLike[], before: FlagLookup): string {
  const nowMs = Date.now();
  const steps = features
    .flatMap(feature => stepsFor(feature, before(feature.name), nowMs))
    .map((step, i) => `${i + 1}. ${step}`);
  return `without flags.admin.tokenFile this proxy changes nothing in Unleash; set there, in the environment of the client token and in this order: ${steps.join('; ')}`;
}

function stepsFor(feature: FeatureLike, before: FeatureLike | undefined, nowMs: number): string[] {
  const { added, removed } = pinChanges(before, feature);
  const gone = removed.filter(pin => !isOver(pin, nowMs));
  const [old, base] = [before?.strategies.find(isBase), feature.strategies.find(isBase)];
  const onlyPins =
    before?.enabled === feature.enabled &&
    added.length + gone.length > 0 &&
    isDeepStrictEqual(old, base);
  return [
    ...(onlyPins ? [] : [baseStep(feature)]),
    ...added.map(strategy => {
      const { groupId } = strategy.parameters ?? {};
      return `add to ${feature.name}, above its other strategies, a gradual rollout strategy: rollout 100%, stickiness userId, groupId ${groupId}, ${pinText(pinOf(strategy))}`;
    }),
    ...gone.map(pin => `remove from ${feature.name} the strategy with ${pinText(pin)}`),
  ];
}

function baseStep(feature: FeatureLike): string {
  if (!feature.enabled) return `turn ${feature.name} off`;
  const base = feature.strategies.find(isBase);
  const variants = base?.variants ?? [];
  const pins = feature.strategies.some(strategy => !isBase(strategy));
  if (variants.length === 0) {
    return `turn ${feature.name} on, with a strategy for everybody (100%, no constraints)`;
  }
  const { groupId } = base?.parameters ?? {};
  const strategy = `one gradual rollout strategy without constraints${pins ? ', below those with constraints' : ''}: rollout 100%, stickiness userId, groupId ${groupId}, variants ${variants.map(share).join(' and ')}`;
  return `turn ${feature.name} on, with ${strategy}`;
}

function pinText(pin: Pin | null): string {
  if (pin === null) return '';
  const until =
    pin.untilMs === null
      ? ''
      : ` and currentTime DATE_BEFORE ${new Date(pin.untilMs).toISOString()}`;
  return `the constraints userId IN ${pin.users.join(', ')}${until}, variant ${pin.side} 100%`;
}

function share({ name, weight }: VariantLike): string {
  return `${name} ${weight / 10}%`;
}
