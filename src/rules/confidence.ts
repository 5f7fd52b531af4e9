// How often the services diverge, and how well that is known. The interval may be looked at at any
// time, as an operator does who watches and moves on when it looks good: over all looks together it
// misses the true rate with a probability of at most 5 %. An interval for a number of units that was
// fixed beforehand (Wilson, Clopper-Pearson) misses it far more often when it is watched.
//
// The method is Robbins' mixture of likelihood ratios (H. Robbins, "Statistical methods related to
// the law of the iterated logarithm", Ann. Math. Statist. 41, 1970; for bounded observations Howard,
// Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Ann.
// Statist. 49, 2021). Of d diverged units among n, the likelihood averaged over a distribution of
// rates and divided by that of one rate p is a martingale if p is the true rate, so it ever exceeds
// 1/alpha with a probability of at most alpha (Ville). The interval is what does not exceed it. It is
// exact for units that diverge independently and equally often; it can say nothing of a rate that
// changes while it counts, so a new version of the candidate begins a new count.

/** The share of counts in which the true rate is ever outside. */
const ALPHA = 0.05;
/**
 * The mixture: half of it knows nothing (Jeffreys' Beta(1/2, 1/2)), which serves high rates; half
 * expects one in a thousand, where a migration is decided, and is sharp there: 4,900 clean units
 * put the rate below 0.1 %, instead of 8,100. Mixing costs a factor of two, log 2 of a likelihood.
 */
const PRIORS = [
  { a: 0.5, b: 0.5 },
  { a: 0.5, b: 500 },
].map(({ a, b }) => ({ a, b, norm: logBeta(a, b) }));
/** More units than anybody waits for. */
const MOST_UNITS = 1e9;
/** Halvings of an interval until it is as narrow as a double. */
const STEPS = 60;

export interface UnitTotals {
  /** Runs or sessions that ended. */
  readonly units: number;
  readonly diverged: number;
}

export interface Confidence extends UnitTotals {
  /** Shares from 0 to 1; null without a unit. */
  readonly rate: number | null;
  readonly lower: number;
  readonly upper: number;
}

export function confidenceOf({ units, diverged }: UnitTotals): Confidence {
  const rate = units === 0 ? null : diverged / units;
  const known = { units, diverged, rate };
  if (rate === null) return { ...known, lower: 0, upper: 1 };
  return {
    ...known,
    lower: diverged === 0 ? 0 : edge(known, rate, 0),
    upper: diverged === units ? 1 : edge(known, rate, 1),
  };
}

/** Whether the rate `p` is still possible after these units. */
export function isPossible({ units, diverged }: UnitTotals, p: number): boolean {
  return (
    logMixture(diverged, units - diverged) - logLikelihood(p, units, diverged) < -Math.log(ALPHA)
  );
}

/**
 * How many more units in a row must be clean until the rate is known to be below `threshold`; 0 if it
 * is, null if that takes more than a billion.
 */
export function cleanUnitsUntil({ units, diverged }: UnitTotals, threshold: number): number | null {
  const isBelow = (more: number) => {
    const total = { units: units + more, diverged };
    return total.units > 0 && diverged / total.units < threshold && !isPossible(total, threshold);
  };
  if (isBelow(0)) return 0;
  let enough = 1;
  while (!isBelow(enough)) {
    enough *= 2;
    if (enough > MOST_UNITS) return null;
  }
  let tooFew = Math.floor(enough / 2);
  while (enough - tooFew > 1) {
    const middle = Math.floor((tooFew + enough) / 2);
    if (isBelow(middle)) enough = middle;
    else tooFew = middle;
  }
  return enough;
}

/** Where the interval ends between the observed rate, which is in it, and `outside`. */
function edge(totals: UnitTotals, rate: number, outside: number): number {
  let [inner, outer] = [rate, outside];
  for (let step = 0; step < STEPS; step += 1) {
    const middle = (inner + outer) / 2;
    if (isPossible(totals, middle)) inner = middle;
    else outer = middle;
  }
  return outer;
}

function logLikelihood(p: number, units: number, diverged: number): number {
  const clean = units - diverged;
  return (diverged === 0 ? 0 : diverged * Math.log(p)) + (clean === 0 ? 0 : clean * Math.log1p(-p));
}

function logMixture(diverged: number, clean: number): number {
  const parts = PRIORS.map(({ a, b, norm }) => logBeta(a + diverged, b + clean) - norm);
  const most = Math.max(...parts);
  const sum = parts.reduce((total, part) => total + Math.exp(part - most), 0);
  return most + Math.log(sum / PRIORS.length);
}

function logBeta(a: number, b: number): number {
  return logGamma(a) + logGamma(b) - logGamma(a + b);
}

/** Stirling's series, for arguments above 0; beyond 10 its four terms are exact to 1e-12. */
function logGamma(x: number): number {
  let shift = 0;
  let z = x;
  for (; z < 10; z += 1) shift -= Math.log(z);
  const square = z * z;
  const series = (1 / 12 - (1 / 360 - (1 / 1260 - 1 / (1680 * square)) / square) / square) / z;
  return shift + (z - 0.5) * Math.log(z) - z + 0.5 * Math.log(2 * Math.PI) + series;
}
