// The flags as the rest of the program knows them: facts for a decision, stages, and changes of
// stage, from files or from memory alike.
import type { Logger } from 'pino';
import type { RouteConfig } from '../../config/schema.ts';
import type { FlagFacts, Subject } from '../../rules/decide.ts';
import type { FlagProblem } from '../../rules/flag-problem.ts';
import type { FeatureLike, SegmentLike } from '../../rules/flag-shape.ts';
import type { PinEdit } from '../../rules/pin.ts';
import type { Stage, StageTarget } from '../../rules/stage.ts';
import { FlagEvaluation } from './evaluation.ts';
import { openFileSource } from './file-source.ts';
import { MemorySource } from './memory-source.ts';
import type { FlagSource, ProviderKind, RemoteFlags } from './source.ts';
import { SourcedFlags } from './sourced-flags.ts';
import { openUnleashSource, type UnleashSourceOptions } from './unleash-source.ts';

export interface StagePlan {
  readonly route: string;
  readonly before: Stage;
  readonly after: Stage;
  /** Flags that would be written, in order, and where (files, or `unleash:<flag>`). */
  readonly flags: readonly string[];
  readonly files: readonly string[];
  /** Flags that single users out: the stage does not move those. */
  readonly pinned: readonly string[];
  /** What the change would do besides, such as deal users out anew. */
  readonly problems: readonly FlagProblem[];
  /** All flags as they would be, and the segments that they refer to. */
  readonly features: readonly FeatureLike[];
  readonly segments: readonly SegmentLike[];
}

export interface StageChange {
  readonly route: string;
  readonly before: Stage;
  readonly after: Stage;
  readonly revision: string;
  readonly files: readonly string[];
}

export interface PinChange {
  /** The serve flag. */
  readonly flag: string;
  readonly revision: string;
  /** Where it was written; empty when nothing had to be. */
  readonly files: readonly string[];
}

export interface StageOptions {
  /** Release the kill flag too; without it a killed route refuses the change. */
  readonly unkill?: boolean;
}

export interface FlagProvider {
  readonly provider: ProviderKind;
  /** The server that flags come from; null where there is none. */
  readonly remote: RemoteFlags | null;
  /** Such as `file:9f2c41d07a3e`, a hash of the set; `none` while nothing is known. */
  readonly revision: string;
  /** Epoch ms; null while nothing is known. */
  readonly loadedAt: number | null;
  /**
   * Null while nothing is known. Synchronous, never throws; all flags are of one set. Settled once
   * per set for each route object, so pass the configuration's own.
   */
  facts(route: RouteConfig, subject: Subject | null): FlagFacts | null;
  /** `mixed` without shares while nothing is known. */
  stage(route: RouteConfig): Stage;
  features(): readonly FeatureLike[];
  /** Why the newest flags were refused, if they were, then lint and what the last change shuffled. */
  problems(): readonly FlagProblem[];
  /** What `setStage` would do. Throws as it does for a bad target or a killed route. */
  planStage(route: RouteConfig, target: StageTarget, options?: StageOptions): StagePlan;
  /** What `setKill` would do. */
  planKill(route: RouteConfig, on: boolean): StagePlan;
  /**
   * Edits the flags. Throws `CutoverError`: `invalid-argument` for shares that are not 0 to 1000,
   * `conflict` when the kill flag is on, or flags can not be read or written.
   */
  setStage(route: RouteConfig, target: StageTarget, options?: StageOptions): Promise<StageChange>;
  /** Throws the kill flag or releases it; other flags stay. */
  setKill(route: RouteConfig, on: boolean): Promise<StageChange>;
  /**
   * Pins a user to a side of the route's serve flag. Throws `CutoverError('conflict')` where that can
   * not be had, or flags can not be read or written.
   */
  pin(route: RouteConfig, pin: Omit<PinEdit, 'flag'>): Promise<PinChange>;
  /** Takes a user's pins out of the route's serve flag. Throws as `pin` does. */
  unpin(route: RouteConfig, user: string): Promise<PinChange>;
  /** `at` is epoch ms. Returns how to stop. */
  onChange(listener: (change: { revision: string; at: number }) => void): () => void;
  close(): Promise<void>;
}

/** Flags from a folder of files that is followed; it may come later. */
export async function openFileFlags(options: {
  readonly dir: string;
  /** Those in force, asked for whenever flags are looked through. */
  readonly routes: () => readonly RouteConfig[];
  readonly logger: Logger;
}): Promise<FlagProvider> {
  return open(await openFileSource(options), options);
}

/** Flags from an Unleash server that is followed. Throws as `openUnleashSource` does. */
export async function openUnleashFlags(
  options: UnleashSourceOptions & {
    /** What constraints on the environment are compared with. */
    readonly environment?: string | undefined;
    /** Those in force, asked for whenever flags are looked through. */
    readonly routes: () => readonly RouteConfig[];
  },
): Promise<FlagProvider> {
  return open(await openUnleashSource(options), options);
}

/** Flags held in memory; without `features` nothing is known until `apply`. */
export async function openMemoryFlags(options: {
  readonly features?: readonly FeatureLike[];
  readonly segments?: readonly SegmentLike[];
  /** Those in force, asked for whenever flags are looked through. */
  readonly routes: () => readonly RouteConfig[];
  readonly logger: Logger;
}): Promise<FlagProvider & { apply: MemorySource['apply'] }> {
  const source = new MemorySource();
  if (options.features !== undefined) source.apply(options.features, options.segments);
  const flags = await open(source, options);
  return Object.assign(flags, { apply: source.apply.bind(source) });
}

async function open(
  source: FlagSource,
  options: {
    readonly routes: () => readonly RouteConfig[];
    readonly logger: Logger;
    readonly appName?: string;
    readonly environment?: string | undefined;
  },
): Promise<SourcedFlags> {
  const { routes, logger, appName, environment } = options;
  const evaluation = new FlagEvaluation(logger, { appName, environment });
  await evaluation.start();
  return new SourcedFlags(source, evaluation, routes, logger);
}
