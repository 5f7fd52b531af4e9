// Whether a change of flags moves users who were not meant to move.
import type { FlagNames, FlagProblem } from './flag-problem.ts';
import { drawOf, type FeatureLike, isBase, reachOf, shareOf } from './flag-shape.ts';

/**
 * Changes that deal users out anew: what decides who is in a share (`groupId`, stickiness, order of
 * variants) differs although some but not all users are in it before and after.
 */
export function lintChange(
  before: readonly FeatureLike[],
  after: readonly FeatureLike[],
  routes: readonly FlagNames[],
): FlagProblem[] {
  const old = new Map(before.map(feature => [feature.name, feature]));
  const fresh = new Map(after.map(feature => [feature.name, feature]));
  const problems: FlagProblem[] = [];
  for (const { serve, shadow } of routes) {
    for (const [name, variant] of [
      [serve, 'candidate'],
      [shadow, 'on'],
    ] as const) {
      const [was, is] = [old.get(name), fresh.get(name)];
      if (was === undefined || is === undefined) continue;
      if (!isPartial(shareOf(was, variant)) || !isPartial(shareOf(is, variant))) continue;
      if (dealing(was) === dealing(is)) continue;
      problems.push({
        level: 'warning',
        flag: name,
        path: '/strategies',
        rule: 'reshuffle',
        message: 'the change deals users out anew: some on each side move to the other',
        fix: 'keep groupId, stickiness and the order of variants; change weights alone',
      });
    }
  }
  return problems;
}

function isPartial(share: number | undefined): boolean {
  return share === undefined || (share > 0 && share < 1000);
}

/** Everything about a flag that decides who is in its share, apart from the share itself. */
function dealing(feature: FeatureLike): string {
  return JSON.stringify(
    feature.strategies.filter(isBase).map(strategy => {
      const { groupId, stickiness, variants } = drawOf(feature, strategy);
      const whole = reachOf(strategy) === 1000;
      const percents = whole ? null : [strategy.name, strategy.parameters];
      const total = variants.reduce((sum, { weight }) => sum + weight, 0);
      const order = variants.map(({ name }) => name);
      return [groupId, stickiness || 'default', order, total, percents];
    }),
  );
}
