// What is wrong with flags although they can be read: shapes that no stage can be told from, that
// do not keep a user on a side, or that do something else than they seem to.
import type { FlagNames, FlagProblem } from './flag-problem.ts';
import {
  drawOf,
  type FeatureLike,
  isBase,
  reachOf,
  type ShareVariant,
  type StrategyLike,
  type VariantLike,
} from './flag-shape.ts';

const FEATURE_FIELDS = words(
  'name type project description enabled stale impressionData strategies variants dependencies',
);
const STRATEGY_FIELDS = words('name id title sortOrder parameters constraints segments variants');
const CONSTRAINT_FIELDS = words('contextName operator inverted values value caseInsensitive');
const VARIANT_FIELDS = words('name weight weightType stickiness payload overrides');
const OPERATORS = words(
  'IN NOT_IN STR_ENDS_WITH STR_STARTS_WITH STR_CONTAINS NUM_EQ NUM_GT NUM_GTE NUM_LT NUM_LTE ' +
    'DATE_AFTER DATE_BEFORE SEMVER_EQ SEMVER_GT SEMVER_LT SEMVER_GTE SEMVER_LTE REGEX IN_CIDR',
);
const ISOLATION_VARIANTS = ['observe', 'sanitize', 'block'];

/** Problems of every feature, and of the routes' own flags by the role that they play. */
export function lintFlags(
  features: readonly FeatureLike[],
  routes: readonly FlagNames[],
): FlagProblem[] {
  const byName = new Map(features.map(feature => [feature.name, feature]));
  const problems = features.flatMap(lintFields);
  for (const names of routes) {
    const serve = byName.get(names.serve);
    if (serve === undefined) {
      const message = `route ${names.route} has no serve flag, so legacy serves everybody`;
      const fix = `add the flag, or set a stage: cutover stage off --route ${names.route}`;
      problems.push({
        level: 'warning',
        flag: names.serve,
        path: '',
        rule: 'missing-flag',
        message,
        fix,
      });
    } else problems.push(...lintShare(serve, 'candidate', 'legacy'));
    const shadow = byName.get(names.shadow);
    if (shadow !== undefined) problems.push(...lintShare(shadow, 'on', 'off'));
    const kill = byName.get(names.kill);
    if (kill !== undefined) problems.push(...lintKill(kill));
    const isolation = byName.get(names.isolation);
    if (isolation !== undefined) problems.push(...lintIsolation(isolation));
  }
  const shared = routes.flatMap(({ serve, shadow }) => [serve, shadow]);
  const all = [...problems, ...lintGroups(new Set(shared), byName)];
  // Of a flag that several routes share each problem once.
  return [...new Map(all.map(problem => [JSON.stringify(problem), problem])).values()];
}

type Finding = [FlagProblem['level'], path: string, rule: string, message: string, fix: string];

function found(flag: string, findings: readonly Finding[]): FlagProblem[] {
  return findings.map(([level, path, rule, message, fix]) => ({
    level,
    flag,
    path,
    rule,
    message,
    fix,
  }));
}

function lintFields(feature: FeatureLike): FlagProblem[] {
  const findings: Finding[] = [];
  const check = (value: object, known: ReadonlySet<string>, path: string) => {
    for (const field of Object.keys(value)) {
      if (known.has(field)) continue;
      const message = `the field "${field}" is not part of the format and does nothing`;
      const fix = `remove it, or use one of: ${[...known].join(', ')}`;
      findings.push(['warning', `${path}/${pointer(field)}`, 'unknown-field', message, fix]);
    }
  };
  check(feature, FEATURE_FIELDS, '');
  (feature.variants ?? []).forEach((v, i) => {
    check(v, VARIANT_FIELDS, `/variants/${i}`);
  });
  feature.strategies.forEach((strategy, s) => {
    const path = `/strategies/${s}`;
    check(strategy, STRATEGY_FIELDS, path);
    (strategy.variants ?? []).forEach((v, i) => {
      check(v, VARIANT_FIELDS, `${path}/variants/${i}`);
    });
    (strategy.constraints ?? []).forEach((constraint, i) => {
      check(constraint, CONSTRAINT_FIELDS, `${path}/constraints/${i}`);
      if (OPERATORS.has(constraint.operator)) return;
      findings.push([
        'warning',
        `${path}/constraints/${i}/operator`,
        'unknown-operator',
        `no operator is called "${constraint.operator}", so the strategy never applies`,
        `use one of: ${[...OPERATORS].join(', ')}`,
      ]);
    });
  });
  return found(feature.name, findings);
}

function lintShare(feature: FeatureLike, variant: ShareVariant, other: string): FlagProblem[] {
  const findings: Finding[] = [];
  const bases = feature.strategies.filter(isBase);
  if (feature.enabled && feature.strategies.length === 0) {
    const message = 'an empty list of strategies counts as on for everybody';
    const fix = 'add one flexibleRollout strategy, or disable the flag';
    findings.push(['warning', '/strategies', 'no-strategy', message, fix]);
  }
  if (bases.length > 1) {
    const message = `${bases.length} strategies without constraints: no single share can be told`;
    findings.push(['error', '/strategies', 'several-bases', message, 'keep one of them']);
  }
  if ((feature.dependencies ?? []).length > 0) {
    const message = 'the flag hangs on another one, so no share can be told from it';
    findings.push(['warning', '/dependencies', 'dependency', message, 'remove the dependency']);
  }
  let covered = false;
  feature.strategies.forEach((strategy, i) => {
    const path = `/strategies/${i}`;
    if (covered) {
      const message = 'a strategy before this one applies to everybody, so this one never does';
      const fix = 'put strategies with constraints first';
      findings.push(['warning', path, 'unreachable', message, fix]);
    }
    covered ||= isBase(strategy) && reachOf(strategy) === 1000;
    findings.push(...lintStrategy(feature, strategy, path, variant, other));
  });
  return found(feature.name, findings);
}

function* lintStrategy(
  feature: FeatureLike,
  strategy: StrategyLike,
  path: string,
  variant: ShareVariant,
  other: string,
): Generator<Finding> {
  const { variants, groupId, stickiness } = drawOf(feature, strategy);
  const from = (strategy.variants ?? []).length > 0 ? `${path}/variants` : '/variants';
  if (isBase(strategy) && strategy.name !== 'default' && reachOf(strategy) === undefined) {
    const message = `${strategy.name} reaches a percentage of users, in whole percents, and users of one flag are not those of the next`;
    const fix = `set rollout to "100" and give the share as weights of the variants ${variant} and ${other}`;
    yield ['error', `${path}/parameters`, 'rollout-percent', message, fix];
  }
  if (variants.length === 0) {
    if (variant === 'on') return;
    const message = 'the flag is on without naming a side, so legacy serves';
    const fix = `add the variants ${variant} and ${other}`;
    yield ['error', path, 'no-variants', message, fix];
    return;
  }
  yield* lintVariants(variants, from, variant, other);
  // A pin has one variant and draws nobody.
  if (!isBase(strategy) && variants.filter(({ weight }) => weight > 0).length === 1) return;
  if (typeof groupId !== 'string' || groupId === '') {
    const message = 'without groupId every such flag picks the same users';
    const fix = `set "groupId": ${JSON.stringify(feature.name)}`;
    yield ['error', `${path}/parameters/groupId`, 'missing-group', message, fix];
  }
  if (stickiness !== 'userId') {
    const message = `stickiness ${typeof stickiness === 'string' ? `"${stickiness}"` : 'is absent and'} ends in a draw per call when the field is absent`;
    yield ['error', `${from}/0/stickiness`, 'stickiness', message, 'set "stickiness": "userId"'];
  }
}

function* lintVariants(
  variants: readonly VariantLike[],
  path: string,
  variant: ShareVariant,
  other: string,
): Generator<Finding> {
  const foreign = variants.findIndex(({ name }) => name !== variant && name !== other);
  if (foreign !== -1) {
    const message = `the variant "${variants[foreign]?.name}" means nothing here`;
    const fix = `use ${variant} and ${other}`;
    yield ['error', `${path}/${foreign}/name`, 'foreign-variant', message, fix];
  }
  const total = variants.reduce((sum, { weight }) => sum + weight, 0);
  if (total !== 1000) {
    const message = `the weights add up to ${total}`;
    yield ['error', path, 'weights', message, 'make them add up to 1000 (125 is 12.5 %)'];
  }
  // An Unleash server keeps variants in the order of their names, so off comes before on there. Two
  // variants nest either way; for who serves, one order everywhere is worth the insistence.
  if (variant === 'candidate' && variants.length > 1 && variants[0]?.name !== variant) {
    const message = `${variant} is not the first variant, so a greater share does not keep the users of a smaller one`;
    yield ['error', `${path}/0`, 'order', message, `put ${variant} first`];
  }
}

function lintKill(feature: FeatureLike): FlagProblem[] {
  const everybody =
    (feature.dependencies ?? []).length === 0 &&
    (feature.strategies.length === 0 ||
      feature.strategies.some(s => isBase(s) && reachOf(s) === 1000));
  if (everybody) return [];
  const message = 'when it is on, this kill flag reaches only some users';
  const fix = 'use one "default" strategy without constraints and no dependency';
  return found(feature.name, [['error', '/strategies', 'partial-kill', message, fix]]);
}

function lintIsolation(feature: FeatureLike): FlagProblem[] {
  if (!feature.enabled) return [];
  const variants =
    feature.strategies.length === 0
      ? (feature.variants ?? [])
      : feature.strategies.flatMap(strategy => drawOf(feature, strategy).variants);
  const known = variants.filter(({ name }) => ISOLATION_VARIANTS.includes(name));
  if (variants.length > 0 && known.length === variants.length) return [];
  const message = 'the flag is on but names no mode, or one that does not exist';
  const fix = `use the variants ${ISOLATION_VARIANTS.join(', ')}`;
  return found(feature.name, [['error', '/strategies', 'isolation-mode', message, fix]]);
}

/** Two shares dealt out by one groupId hold the same users: no sample of its own for either. */
function lintGroups(
  names: ReadonlySet<string>,
  features: ReadonlyMap<string, FeatureLike>,
): FlagProblem[] {
  const first = new Map<unknown, string>();
  const problems: FlagProblem[] = [];
  for (const name of names) {
    const feature = features.get(name);
    const base = feature?.strategies.find(isBase);
    if (feature === undefined || base === undefined) continue;
    const { groupId, variants } = drawOf(feature, base);
    if (variants.length === 0 || groupId === undefined || groupId === '') continue;
    const other = first.get(groupId);
    if (other === undefined) first.set(groupId, name);
    else {
      const index = feature.strategies.indexOf(base);
      problems.push({
        level: 'warning',
        flag: name,
        path: `/strategies/${index}/parameters/groupId`,
        rule: 'shared-group',
        message: `${other} has the same groupId, so equal shares of both are the same users`,
        fix: `set "groupId": ${JSON.stringify(name)} while nobody or everybody is in the share`,
      });
    }
  }
  return problems;
}

function pointer(field: string): string {
  return field.replaceAll('~', '~0').replaceAll('/', '~1');
}

function words(text: string): ReadonlySet<string> {
  return new Set(text.split(' '));
}
