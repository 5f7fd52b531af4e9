// Gives the Unleash client a set that we hold, in place of its own fetching, backup files and
// half-checked answers. Swapping is synchronous: an evaluation sees one set from end to end.
import { EventEmitter } from 'node:events';
import { type UnleashConfig, UnleashEvents } from 'unleash-client';
import type { ConstraintLike, FeatureLike, SegmentLike } from '../../rules/flag-shape.ts';

type Repository = NonNullable<UnleashConfig['repository']>;
type ClientFeature = ReturnType<Repository['getToggles']>[number];
type EnhancedFeature = ReturnType<Repository['getTogglesWithSegmentData']>[number];
type ClientSegment = NonNullable<ReturnType<Repository['getSegment']>>;

export interface RepositoryContent {
  readonly features: readonly FeatureLike[];
  readonly segments: readonly SegmentLike[];
}

/** `RepositoryInterface` of unleash-client over sets that are handed to it. */
export class SetRepository extends EventEmitter implements Repository {
  #toggles = new Map<string, ClientFeature>();
  #segments = new Map<number, ClientSegment>();
  #filled = false;
  #started = false;
  #ready = false;

  /** Replaces everything; emits `Changed`, and `Ready` with the first set after `start`. */
  swap({ features, segments }: RepositoryContent): void {
    this.#toggles = new Map(features.map(feature => [feature.name, clientFeature(feature)]));
    this.#segments = new Map(segments.map(segment => [segment.id, clientSegment(segment)]));
    this.#filled = true;
    this.#announceReady();
    this.emit(UnleashEvents.Changed, this.getToggles());
  }

  async start(): Promise<void> {
    this.#started = true;
    this.#announceReady();
  }

  stop(): void {
    this.removeAllListeners();
  }

  getToggle(name: string): ClientFeature | undefined {
    return this.#toggles.get(name);
  }

  getToggles(): ClientFeature[] {
    return [...this.#toggles.values()];
  }

  getSegment(id: number): ClientSegment | undefined {
    return this.#segments.get(id);
  }

  getTogglesWithSegmentData(): EnhancedFeature[] {
    return this.getToggles().map(({ strategies, ...feature }) => ({
      ...feature,
      strategies: (strategies ?? []).map(({ segments, ...strategy }) => ({
        ...strategy,
        ...(segments === undefined ? {} : { segments: segments.map(id => this.getSegment(id)) }),
      })),
    }));
  }

  #announceReady(): void {
    if (this.#ready || !this.#filled || !this.#started) return;
    this.#ready = true;
    this.emit(UnleashEvents.Ready);
  }
}

/** The client reads `parameters` and `values` without looking, and throws where they are missing. */
function clientFeature(feature: FeatureLike): ClientFeature {
  const strategies = feature.strategies.map(strategy => ({
    ...strategy,
    parameters: strategy.parameters ?? {},
    constraints: (strategy.constraints ?? []).map(clientConstraint),
  }));
  // Wider than the client's type (null for absent, operators as plain words), as its server's
  // answers are; it copes with both.
  return { ...feature, strategies } as ClientFeature;
}

function clientSegment({ id, constraints }: SegmentLike): ClientSegment {
  return { id, constraints: constraints.map(clientConstraint) } as ClientSegment;
}

function clientConstraint(constraint: ConstraintLike): ConstraintLike {
  return { ...constraint, values: constraint.values ?? [] };
}
