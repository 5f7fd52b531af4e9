// Integers beyond 2^53 lose digits in a parser that makes doubles of them. Two that look equal are
// looked at again as they were written.

/** The message with every such integer as a bigint; `undefined` where that can not be had. */
export function withExactIntegers(text: string): unknown {
  try {
    return JSON.parse(text, exact);
  } catch {
    // It was parsed before: only a nesting too deep for a reviver's recursion can fail now.
    return undefined;
  }
}

function exact(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value) || !Number.isInteger(value)) {
    return value;
  }
  // 1e20 has no digits that a double could lose, but others that are written otherwise look the same.
  const source = context?.source ?? '';
  return /^-?\d+$/.test(source) ? BigInt(source) : source || value;
}
