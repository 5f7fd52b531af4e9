// Integers beyond 2^53 lose digits in a parser that makes doubles of them. Two that look equal are
// looked at again as they were written.

/** The message with every such integer as a text of its digits; `undefined` where that can not be had. */
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
  return context?.source ?? value;
}
