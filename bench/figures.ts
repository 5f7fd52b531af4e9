// Medians and spreads of what was measured in turns.

/** `q` from 0 to 1; NaN of nothing. */
export function quantile(values: readonly number[], q: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(q * (values.length - 1))] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** First and third quartile. */
export function middle(values: readonly number[]): readonly [number, number] {
  return [quantile(values, 0.25), quantile(values, 0.75)];
}

/** Ratios of what was measured in the same turn: what the machine did meanwhile cancels out. */
export function paired(ours: readonly number[], theirs: readonly number[]): number[] {
  return ours.map((each, index) => each / (theirs[index] ?? Number.NaN));
}
