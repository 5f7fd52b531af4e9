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

const digests = new WeakMap<object, string>();

/**
 * Hash of a flag or segment, the same for every order of keys; kept for as long as the object
 * lives. Throws `RangeError` for content that is nested too deep to be walked.
 */
export function digestOf(part: FeatureLike | SegmentLike): string {
  let digest = digests.get(part);
  if (digest === undefined) {
    digest = createHash('sha256').update(canonical(part)).digest('base64');
    digests.set(part, digest);
  }
  return digest;
}

/** Throws as `digestOf` does. */
export function flagSet(
  kind: string,
  content: Omit<FlagSet, 'revision' | 'loadedAt'>,
  loadedAt: number,
): FlagSet {
  // Names are within the digests, so their order stands for the order of names.
  const features = content.features.map(digestOf).sort().join();
  const segments = content.segments.map(digestOf).sort().join();
  const hash = createHash('sha256').update(`${features};${segments}`).digest('hex');
  return Object.freeze({
    ...content,
    revision: `${kind}:${hash.slice(0, REVISION_DIGITS)}`,
    loadedAt,
  });
}

function canonical(value: unknown): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value) ?? 'null';
  if (Array.isArray(value)) return `[${value.map(canonical).join()}]`;
  const fields = Object.entries(value).filter(([, inner]) => inner !== undefined);
  fields.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([key, inner]) => `${JSON.stringify(key)}:${canonical(inner)}`).join()}}`;
}
