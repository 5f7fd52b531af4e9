// Rules made ready for use: looked through once for what may not be excused, then a plan per type.
import { checkRules, covers, UNKEYED } from './check.ts';
import type { NoiseProfile } from './noise.ts';
import { type Place, type Placed, placeOf, stepsOf } from './place.ts';
import type { CompareRules } from './rules.ts';

/** How events of one type are recognised and compared. */
export interface TypePlan {
  /** Of the fields at the root, or of a list's elements there; for each envelope of the fields in it. */
  readonly root: Place;
  readonly envelopes: readonly Envelope[];
  /**
   * The same for prints of one event alone, at the root and in any envelope: the other service may have a field in
   * another one, and a comparison reads what the rules say of it there.
   */
  readonly prints: { readonly root: Place; readonly inner: Place };
  /** Pointers, as steps. Of `keyFirst` the first that an event has counts. */
  readonly keyAll: readonly Pointer[];
  readonly keyFirst: readonly KeyPointer[];
  /** Fields that are not part of the digest that stands in for a key. */
  readonly undigested: ReadonlySet<string>;
  /** The first that an event has names its lane. */
  readonly lanes: readonly LanePointer[];
  readonly isReply: boolean;
  readonly isTimer: boolean;
  readonly isFailure: boolean;
  /** Where an event says when it was sent, and that it is sent again; null: nowhere. */
  readonly stamp: Pointer | null;
  readonly replay: Pointer | null;
}

export interface Envelope {
  readonly name: string;
  readonly fields: Place;
}

export type Pointer = readonly string[];

export interface KeyPointer {
  readonly pointer: Pointer;
  /** Several events of one run may have the same value there. */
  readonly isShared: boolean;
}

export interface LanePointer {
  /** Its place among all lane pointers: values of different ones are different lanes. */
  readonly level: number;
  readonly pointer: Pointer;
}

/** Made by `compileRules` alone. */
export class CompiledRules {
  readonly rules: CompareRules;
  readonly #named: ReadonlyMap<string, TypePlan>;
  readonly #others: TypePlan;
  /** Asked for last: an event is asked about more than once, and its neighbours are mostly of its type. */
  #type: string | null = null;
  #plan: TypePlan;

  constructor(rules: CompareRules, profile: NoiseProfile | null) {
    this.rules = rules;
    const types = new Set([
      ...rules.allow.flatMap(({ types }) => types ?? []),
      ...rules.replies,
      ...rules.timers,
      ...rules.failures,
      ...(profile?.fields.map(({ eventType }) => eventType) ?? []),
    ]);
    this.#named = new Map([...types].map(type => [type, planOf(rules, profile, type)]));
    this.#others = planOf(rules, profile, null);
    this.#plan = this.#others;
  }

  planOf(type: string): TypePlan {
    if (type !== this.#type) {
      this.#type = type;
      this.#plan = this.#named.get(type) ?? this.#others;
    }
    return this.#plan;
  }
}

/**
 * Throws `RuleError`, a `RangeError` that names the field (`allow[3].path`) and what would be right. A noise profile
 * excuses the values at its paths, and never those that name a user.
 */
export function compileRules(
  rules: CompareRules,
  profile: NoiseProfile | null = null,
): CompiledRules {
  checkRules(rules, profile);
  return new CompiledRules(rules, profile);
}

function planOf(rules: CompareRules, profile: NoiseProfile | null, type: string | null): TypePlan {
  const { envelopes, key, lanes } = rules;
  const applying = rules.allow.filter(
    ({ types }) => types === undefined || (type !== null && types.includes(type)),
  );
  const placed: Placed[] = [
    ...applying.map(allowance => ({ steps: stepsOf(allowance.path), allowance })),
    ...(profile?.fields ?? [])
      .filter(({ eventType }) => eventType === type)
      .map(({ path }) => ({ steps: stepsOf(path), allowance: 'noisy' as const })),
  ];
  const isInEnvelope = ({ steps }: Placed) =>
    steps.length > 1 && envelopes.includes(steps[0] ?? '');
  const anywhere = placed.filter(each => !isInEnvelope(each));
  const inEnvelopes = placed
    .filter(isInEnvelope)
    .map(({ steps, allowance }) => ({ steps: steps.slice(1), allowance }));
  const unfit = applying.filter(({ as }) => UNKEYED.has(as)).map(({ path }) => stepsOf(path));
  const isFit = (pointer: string) => !unfit.some(steps => covers(steps, pointer, envelopes));
  const bare = (path: string) => {
    const steps = stepsOf(path);
    return (envelopes.includes(steps[0] ?? '') ? steps[1] : undefined) ?? steps[0] ?? '';
  };
  const pointerOf = (as: 'time' | 'replay') => {
    const found = applying.find(each => each.as === as && !each.path.includes('*'));
    return found === undefined ? null : stepsOf(found.path);
  };
  return {
    root: placeOf(placed),
    envelopes: envelopes.map(name => ({
      name,
      fields: placeOf([
        ...anywhere,
        ...placed
          .filter(each => isInEnvelope(each) && each.steps[0] === name)
          .map(({ steps, allowance }) => ({ steps: steps.slice(1), allowance })),
      ]),
    })),
    prints: {
      root: placeOf([...placed, ...inEnvelopes]),
      inner: placeOf([...anywhere, ...inEnvelopes]),
    },
    keyAll: key.all.map(stepsOf),
    keyFirst: key.first
      .filter(isFit)
      .map(path => ({ pointer: stepsOf(path), isShared: key.shared.includes(path) })),
    undigested: new Set([...applying.map(({ path }) => path), ...key.except].map(bare)),
    lanes: lanes
      .map((path, level) => ({ level, path }))
      .filter(({ path }) => isFit(path))
      .map(({ level, path }) => ({ level, pointer: stepsOf(path) })),
    isReply: type !== null && rules.replies.includes(type),
    isTimer: type !== null && rules.timers.includes(type),
    isFailure: type !== null && rules.failures.includes(type),
    stamp: pointerOf('time'),
    replay: pointerOf('replay'),
  };
}
