// All flags at one moment, whole: what is swapped, evaluated and shown.
import { createHash } from 'node:crypto';
import type { FeatureLike, SegmentLike } from '../../rules/flag-shape.ts';

/** 48 bits: two sets that ever met in one deployment will not share a revision. */
const REVISION_DIGITS = 12;

export interface FlagSet {
  /** `<kind>:<hash>`; equal for equal content, however it is written or spread over files. */
  readonly revision: string;
  /** Epoch ms. */
  readonly loadedAt: number;
  readonly features: readonly FeatureLike[];
  readonly segments: readonly SegmentLike[];
  /** Name of the file that defines a flag; empty for sets that come from no file. */
  readonly fileOf: ReadonlyMap<string, string>;
}

/** Throws `RangeError` for content that is nested too deep to be walked. */
export function flagSet(
  kind: string,
  content: Omit<FlagSet, 'revision' | 'loadedAt'>,
  loadedAt: number,
): FlagSet {
  const hash = createHash('sha256');
  hash.update(canonical([...content.features].sort(by(({ name }) => name))));
  hash.update(canonical([...content.segments].sort(by(({ id }) => id))));
  const revision = `${kind}:${hash.digest('hex').slice(0, REVISION_DIGITS)}`;
  return Object.freeze({ ...content, revision, loadedAt });
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(by(([key]) => key)))
      : inner,
  );
}

function by<T>(key: (value: T) => string | number): (a: T, b: T) => number {
  return (a, b) => {
    const [x, y] = [key(a), key(b)];
    return x < y ? -1 : x > y ? 1 : 0;
  };
}
