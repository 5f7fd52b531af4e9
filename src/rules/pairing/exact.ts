// Integers beyond 2^53 lose digits in a parser that makes doubles of them. Two that look equal are
// looked at again as they were written.

/** A JSON number: its digits before and behind the point, and its exponent. */
const NUMBER = /^(-?\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;

/**
 * Sixteen digits may be more than a double holds exactly (2^53 has sixteen), and so may what an exponent makes
 * large. Where a value begins: stamps in microseconds and ids are texts of that many digits, or have them inside.
 */
const MAY_BE_INEXACT = /(?:^|[:,[\s])-?(?:\d{16}|\d[\d.]*[eE]\+?\d)/;

/** May a number in it have lost digits? Asked of a message that can not be told from another one without. */
export function mayBeInexact(text: string): boolean {
  return MAY_BE_INEXACT.test(text);
}

/** The message with every such integer as a bigint; `undefined` where that can not be had. */
export function withExactIntegers(text: string): unknown {
  try {
    // To show a function each value takes a parser some five times as long.
    return mayBeInexact(text) ? JSON.parse(text, exact) : JSON.parse(text);
  } catch {
    // It was parsed before: only a nesting too deep for a reviver's recursion can fail now.
    return undefined;
  }
}

function exact(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value) || !Number.isInteger(value)) {
    return value;
  }
  return integerOf(context?.source ?? '') ?? value;
}

/**
 * However it is written: 1e20 is 100000000000000000000. Null for a fraction, which is as exact as a double is,
 * here as anywhere.
 */
function integerOf(source: string): bigint | null {
  const [, whole, fraction = '', exponent = '0'] = NUMBER.exec(source) ?? [];
  if (whole === undefined) return null;
  const digits = `${whole}${fraction}`;
  const zeros = Number(exponent) - fraction.length;
  // 308 at most, or it were no finite double.
  if (zeros >= 0) return BigInt(`${digits}${'0'.repeat(zeros)}`);
  return /[1-9]/.test(digits.slice(zeros)) ? null : BigInt(digits.slice(0, zeros));
}
