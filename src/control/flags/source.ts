// Where flags come from and stage changes go to.
import type { FlagProblem } from '../../rules/flag-problem.ts';
import type { FeatureLike } from '../../rules/flag-shape.ts';
import type { FlagSet } from './flag-set.ts';

export interface FlagSource {
  /** The last good set; null while there was none. */
  readonly current: FlagSet | null;
  /** Why what is there now was refused; empty when it is what `current` holds. */
  readonly problems: readonly FlagProblem[];
  /**
   * Asks `plan` for new versions of flags, made from the newest set, and stores them. Edits run one
   * after another, and the set is swapped once. Throws `CutoverError('conflict')` when flags can
   * not be read or written, and whatever `plan` throws.
   */
  edit(plan: (set: FlagSet) => FlagEdits): Promise<EditResult>;
  /** Called after each swap, with the set before it. Returns how to stop. */
  onSwap(listener: (set: FlagSet, before: FlagSet | null) => void): () => void;
  close(): Promise<void>;
}

export interface FlagEdits {
  /** In the order in which they may become visible one by one to others who read the files. */
  readonly features: readonly FeatureLike[];
  /** File for flags that no file defines yet. */
  readonly newFile: string;
}

export interface EditResult {
  readonly set: FlagSet;
  /** Names of the files that were written. */
  readonly files: readonly string[];
}
