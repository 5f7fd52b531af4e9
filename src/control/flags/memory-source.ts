// Flags that live in this process alone: for tests, and for trying stages without files.
import type { FeatureLike, SegmentLike } from '../../rules/flag-shape.ts';
import { type FlagSet, flagSet } from './flag-set.ts';
import type { EditResult, FlagEdits, FlagSource } from './source.ts';

/** A source whose content is given by `apply`. Null content at first: nothing is known. */
export class MemorySource implements FlagSource {
  readonly kind = 'memory';
  readonly remote = null;
  readonly problems = [];
  readonly #listeners = new Set<(set: FlagSet, before: FlagSet | null) => void>();
  #set: FlagSet | null = null;

  get current(): FlagSet | null {
    return this.#set;
  }

  apply(features: readonly FeatureLike[], segments: readonly SegmentLike[] = []): FlagSet {
    const before = this.#set;
    const set = flagSet('memory', { features, segments, fileOf: new Map() }, Date.now());
    if (before?.revision === set.revision) return before;
    this.#set = set;
    for (const listener of this.#listeners) listener(set, before);
    return set;
  }

  async edit(plan: (set: FlagSet) => FlagEdits): Promise<EditResult> {
    const before = this.#set ?? this.apply([]);
    const edited = new Map(before.features.map(feature => [feature.name, feature]));
    for (const feature of plan(before).features) edited.set(feature.name, feature);
    return { set: this.apply([...edited.values()], before.segments), files: [] };
  }

  onSwap(listener: (set: FlagSet, before: FlagSet | null) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
  }
}
