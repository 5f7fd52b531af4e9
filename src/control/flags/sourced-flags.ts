// The flag provider over any source: evaluation follows the source's sets, stage changes become
// edits of it.
import type { Logger } from 'pino';
import type { RouteConfig } from '../../config/schema.ts';
import { CutoverError } from '../../errors.ts';
import type { FlagFacts, Subject } from '../../rules/decide.ts';
import { lintChange } from '../../rules/flag-change.ts';
import { lintFlags } from '../../rules/flag-lint.ts';
import type { FlagProblem } from '../../rules/flag-problem.ts';
import type { FeatureLike } from '../../rules/flag-shape.ts';
import {
  type FlagLookup,
  flagStage,
  killEdits,
  pinnedFlags,
  stageEdits,
} from '../../rules/flag-stage.ts';
import { editPin, editUnpin, type PinEdit, withoutOver } from '../../rules/pin.ts';
import { deriveStage, type Stage, type StageTarget } from '../../rules/stage.ts';
import { type FlagEvaluation, flagNames } from './evaluation.ts';
import type { FlagSet } from './flag-set.ts';
import type { FlagProvider, PinChange, StageChange, StageOptions, StagePlan } from './provider.ts';
import type { EditResult, FlagSource, ProviderKind, RemoteFlags } from './source.ts';

export class SourcedFlags implements FlagProvider {
  readonly #source: FlagSource;
  readonly #evaluation: FlagEvaluation;
  readonly #routes: () => readonly RouteConfig[];
  readonly #logger: Logger;
  readonly #listeners = new Set<(change: { revision: string; at: number }) => void>();
  #lint: { set: FlagSet; problems: readonly FlagProblem[] } | null = null;
  #shuffled: readonly FlagProblem[] = [];

  constructor(
    source: FlagSource,
    evaluation: FlagEvaluation,
    routes: () => readonly RouteConfig[],
    logger: Logger,
  ) {
    this.#source = source;
    this.#evaluation = evaluation;
    this.#routes = routes;
    this.#logger = logger;
    if (source.current !== null) this.#onSwap(source.current, null);
    source.onSwap((set, before) => this.#onSwap(set, before));
  }

  get provider(): ProviderKind {
    return this.#source.kind;
  }

  get remote(): RemoteFlags | null {
    return this.#source.remote;
  }

  get revision(): string {
    return this.#source.current?.revision ?? 'none';
  }

  get loadedAt(): number | null {
    return this.#source.current?.loadedAt ?? null;
  }

  facts(route: RouteConfig, subject: Subject | null): FlagFacts | null {
    return this.#evaluation.facts(route, subject);
  }

  stage(route: RouteConfig): Stage {
    return this.#evaluation.stage(route) ?? deriveStage(undefined, undefined, false);
  }

  features(): readonly FeatureLike[] {
    return this.#source.current?.features ?? [];
  }

  problems(): readonly FlagProblem[] {
    const set = this.#source.current;
    if (set === null) return this.#source.problems;
    // Looked at when somebody asks: stages change faster than anybody reads lint.
    if (this.#lint?.set !== set) {
      const found = lintFlags(set.features, this.#routes().map(flagNames));
      this.#lint = { set, problems: withFiles(found, set) };
    }
    return [...this.#source.problems, ...this.#lint.problems, ...this.#shuffled];
  }

  planStage(route: RouteConfig, target: StageTarget, options: StageOptions = {}): StagePlan {
    return this.#plan(route, flags => editsFor(flags, route, target, options));
  }

  planKill(route: RouteConfig, on: boolean): StagePlan {
    return this.#plan(route, flags => killEdits(flags, flagNames(route), on));
  }

  setStage(
    route: RouteConfig,
    target: StageTarget,
    options: StageOptions = {},
  ): Promise<StageChange> {
    return this.#change(route, flags => editsFor(flags, route, target, options));
  }

  setKill(route: RouteConfig, on: boolean): Promise<StageChange> {
    return this.#change(route, flags => killEdits(flags, flagNames(route), on));
  }

  pin(route: RouteConfig, pin: Omit<PinEdit, 'flag'>): Promise<PinChange> {
    const flag = flagNames(route).serve;
    return this.#changePins(route, flag, old => editPin(old, { ...pin, flag }));
  }

  unpin(route: RouteConfig, user: string): Promise<PinChange> {
    const flag = flagNames(route).serve;
    return this.#changePins(route, flag, old => old && editUnpin(old, user));
  }

  onChange(listener: (change: { revision: string; at: number }) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    await this.#source.close();
    this.#evaluation.close();
  }

  #plan(route: RouteConfig, editsOf: (flags: FlagLookup) => FeatureLike[]): StagePlan {
    const set = this.#source.current;
    if (set === null) throw new CutoverError('conflict', 'no flags have been read yet');
    const names = flagNames(route);
    const edits = editsOf(current(set.features));
    const after = withEdits(set, edits);
    return {
      route: route.name,
      before: flagStage(lookup(set.features), names),
      after: flagStage(lookup(after), names),
      flags: edits.map(({ name }) => name),
      files: [...new Set(edits.map(({ name }) => this.#placeOf(name, set, route)))],
      pinned: pinnedFlags(lookup(after), names, Date.now()),
      problems: withFiles(lintChange(set.features, after, [names]), set),
      features: after,
      segments: set.segments,
    };
  }

  #placeOf(flag: string, { fileOf }: FlagSet, route: RouteConfig): string {
    if (this.#source.kind === 'unleash') return `unleash:${flag}`;
    return fileOf.get(flag) ?? newFileOf(route);
  }

  async #change(
    route: RouteConfig,
    plan: (flags: FlagLookup) => FeatureLike[],
  ): Promise<StageChange> {
    const names = flagNames(route);
    const { before, set, files } = await this.#edit(route, plan);
    return {
      route: route.name,
      before: flagStage(lookup(before.features), names),
      after: flagStage(lookup(set.features), names),
      revision: set.revision,
      files,
    };
  }

  async #changePins(
    route: RouteConfig,
    flag: string,
    edit: (old: FeatureLike | undefined) => FeatureLike | undefined,
  ): Promise<PinChange> {
    const { set, files } = await this.#edit(route, flags => {
      const old = flags(flag);
      const fresh = conflictIfRefused(() => edit(old));
      return fresh === undefined || fresh === old ? [] : [fresh];
    });
    return { flag, revision: set.revision, files };
  }

  /** `before` is the set that the edits were made from. */
  async #edit(
    route: RouteConfig,
    plan: (flags: FlagLookup) => FeatureLike[],
  ): Promise<EditResult & { readonly before: FlagSet }> {
    let before = this.#source.current;
    const result = await this.#source.edit(newest => {
      before = newest;
      return {
        features: plan(current(newest.features)),
        newFile: newFileOf(route),
        holds: set => plan(lookup(set.features)).length === 0,
      };
    });
    return { ...result, before: before ?? result.set };
  }

  #onSwap(set: FlagSet, before: FlagSet | null): void {
    this.#evaluation.swap(set);
    const names = this.#routes().map(flagNames);
    this.#shuffled =
      before === null ? [] : withFiles(lintChange(before.features, set.features, names), set);
    if (this.#shuffled.length > 0) {
      const flags = this.#shuffled.map(({ flag }) => flag);
      this.#logger.warn({ flags, revision: set.revision }, 'a change of flags reshuffles users');
    }
    for (const listener of this.#listeners) {
      try {
        listener({ revision: set.revision, at: set.loadedAt });
      } catch (error) {
        this.#logger.error({ err: error }, 'a listener for flag changes failed');
      }
    }
  }
}

function editsFor(
  flags: FlagLookup,
  route: RouteConfig,
  target: StageTarget,
  { unkill = false }: StageOptions,
): FeatureLike[] {
  for (const field of ['serve', 'shadow'] as const) {
    const share = target[field];
    if (Number.isInteger(share) && share >= 0 && share <= 1000) continue;
    const message = `${field} must be a whole number of thousandths, 0 to 1000, not ${share}`;
    throw new CutoverError('invalid-argument', message, { field });
  }
  const names = flagNames(route);
  if (flagStage(flags, names).kill && !target.kill && !unkill) {
    const message = `kill flag ${names.kill} is on; release it first, or with the change`;
    throw new CutoverError('conflict', message);
  }
  return stageEdits(flags, names, target);
}

/**
 * Flags to edit, rid of pins whose time is over, so that an edit drops those. They alone are no reason
 * to write a flag.
 */
function current(features: readonly FeatureLike[]): FlagLookup {
  const [all, nowMs] = [lookup(features), Date.now()];
  return name => {
    const feature = all(name);
    return feature && withoutOver(feature, nowMs);
  };
}

/** Rules refuse with a sentence for the operator. */
function conflictIfRefused<T>(edit: () => T): T {
  try {
    return edit();
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new CutoverError('conflict', cause.message, { cause });
  }
}

function lookup(features: readonly FeatureLike[]): FlagLookup {
  const byName = new Map(features.map(feature => [feature.name, feature]));
  return name => byName.get(name);
}

function withEdits({ features }: FlagSet, edits: readonly FeatureLike[]): FeatureLike[] {
  const byName = new Map(features.map(feature => [feature.name, feature]));
  for (const edit of edits) byName.set(edit.name, edit);
  return [...byName.values()];
}

function withFiles(problems: readonly FlagProblem[], { fileOf }: FlagSet): FlagProblem[] {
  return problems.map(problem => ({
    ...problem,
    file: problem.flag === null ? undefined : fileOf.get(problem.flag),
  }));
}

function newFileOf(route: RouteConfig): string {
  return `${route.name}.json`;
}
