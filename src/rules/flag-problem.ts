// How a problem with flags is told, wherever it was found, and the names by which rules know a
// route's flags.

export interface FlagProblem {
  readonly level: 'error' | 'warning';
  /** Name of the flag; null when a whole file or folder is meant. */
  readonly flag: string | null;
  /** File in the flags folder, where there is one. */
  readonly file?: string | undefined;
  /** JSON pointer (RFC 6901) within the flag, or within the file when `flag` is null. */
  readonly path: string;
  readonly rule: string;
  readonly message: string;
  /** What to do about it. */
  readonly fix: string;
}

/** The flags of one route. */
export interface FlagNames {
  readonly route: string;
  readonly serve: string;
  readonly shadow: string;
  readonly kill: string;
  readonly isolation: string;
}
