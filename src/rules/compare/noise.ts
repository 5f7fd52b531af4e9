// Noise: fields in which legacy differs even from itself. Measured by asking legacy twice (or its
// twin), kept as a profile that a person reviews, and held against what the candidate does.

/** Diffy's thresholds: a field is reported beyond both. */
export const REPORTED_BEYOND = { relativePercent: 20, absolutePercent: 0.03 } as const;

/** How often a field differed among so many pairs. */
export interface DifferRate {
  readonly pairs: number;
  readonly differed: number;
}

/** What was measured between legacy and legacy. */
export interface NoisyField extends DifferRate {
  readonly eventType: string;
  /** JSON pointer as in rules: array indexes as `*`, read through envelopes. */
  readonly path: string;
}

/** Excuses values, never a field that is absent or of another type, nor one that names a user. */
export interface NoiseProfile {
  readonly version: 1;
  readonly route: string;
  /** Epoch ms. */
  readonly measuredAt: number;
  readonly fields: readonly NoisyField[];
}

/**
 * Diffy's rule: a field is worth reporting only if it differs more often between legacy and candidate
 * than between legacy and legacy, by more than 20 % relative and 0.03 % absolute. Without pairs of
 * legacy and legacy everything that differs is reported. Rates, since the two are not measured on
 * equally many pairs.
 */
export function isReported(candidate: DifferRate, twin: DifferRate): boolean {
  const [raw, noise] = [percent(candidate), percent(twin)];
  if (raw <= noise) return false;
  const relative = (100 * (raw - noise)) / (raw + noise);
  return (
    relative > REPORTED_BEYOND.relativePercent && raw - noise > REPORTED_BEYOND.absolutePercent
  );
}

function percent({ pairs, differed }: DifferRate): number {
  return pairs === 0 ? 0 : (100 * differed) / pairs;
}
