// Values of options as people type them.
import { InvalidArgumentError } from 'commander';

const MOST = 100_000;
const UNIT_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** Throws `InvalidArgumentError` with a sentence. */
export function wholeNumber(text: string): number {
  const n = Number(text);
  if (Number.isInteger(n) && n >= 1 && n <= MOST) return n;
  throw new InvalidArgumentError(`It takes a whole number from 1 to ${MOST}.`);
}

/** `10s` and the like in milliseconds. Throws `InvalidArgumentError` with a sentence. */
export function duration(text: string): number {
  const [, amount, unit] = /^(\d+)(ms|s|m|h)$/.exec(text) ?? [];
  const ms = Number(amount) * (UNIT_MS[unit as keyof typeof UNIT_MS] ?? Number.NaN);
  if (ms > 0) return ms;
  throw new InvalidArgumentError('It takes a number and ms, s, m or h, as in 10s.');
}
