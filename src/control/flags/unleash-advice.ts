// What somebody has to set in Unleash by hand, where the proxy has no token to do it.
import { type FeatureLike, isBase, type VariantLike } from '../../rules/flag-shape.ts';

/** One sentence with every flag in the order in which it is to be set. */
export function unleashAdvice(features: readonly FeatureLike[]): string {
  const steps = features.map((feature, i) => `${i + 1}. ${stepFor(feature)}`);
  return `without flags.admin.tokenFile this proxy changes nothing in Unleash; set there, in the environment of the client token and in this order: ${steps.join('; ')}`;
}

function stepFor(feature: FeatureLike): string {
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

function share({ name, weight }: VariantLike): string {
  return `${name} ${weight / 10}%`;
}
