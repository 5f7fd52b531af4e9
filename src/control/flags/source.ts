// Where flags come from and stage changes go to.
import type { FlagProblem } from '../../rules/flag-problem.ts';
import type { FeatureLike } from '../../rules/flag-shape.ts';
import type { FlagSet } from './flag-set.ts';
import type { FetchOutcome } from './unleash-fetch.ts';

export type ProviderKind = 'file' | 'memory' | 'unleash';

export interface FlagSource {
  readonly kind: ProviderKind;
  /** The server that flags are fetched from; null where there is none. */
  readonly remote: RemoteFlags | null;
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

/** A flag server, as far as it can be seen from here. */
export interface RemoteFlags {
  /** Null until the first answer, or the first failure. */
  readonly lastFetch: FetchReport | null;
  /** When the server last said that the flags in force are its own; epoch ms. Null: not yet. */
  readonly confirmedAt: number | null;
  /** Since the start. */
  readonly fetches: Readonly<Record<FetchOutcome, number>>;
  /** Asks the server at once, or as soon as the request under way has ended. Never rejects. */
  refetch(): Promise<FetchReport>;
}

export interface FetchReport {
  /** Epoch ms. */
  readonly at: number;
  readonly ok: boolean;
  readonly outcome: FetchOutcome;
  /** A sentence; null when it went well. */
  readonly error: string | null;
}

export interface FlagEdits {
  /** In the order in which they may become visible one by one to others who read the files. */
  readonly features: readonly FeatureLike[];
  /** File for flags that no file defines yet. */
  readonly newFile: string;
  /** Does a set have what these edits are for? A server shows them some time after it took them. */
  readonly holds: (set: FlagSet) => boolean;
}

export interface EditResult {
  readonly set: FlagSet;
  /** Names of the files that were written; `unleash:<flag>` for a flag on a server. */
  readonly files: readonly string[];
}
