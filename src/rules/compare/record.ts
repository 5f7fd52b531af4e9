// JSON objects as they come from a parser: a key may be called `__proto__` or `constructor`.

export type JsonRecord = Readonly<Record<string, unknown>>;

export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The record's own value; `undefined` where it has none. */
export function own(record: JsonRecord, key: string): unknown {
  const value = record[key];
  // What is inherited from Object.prototype is a function, or `__proto__`; neither is JSON's.
  if (value === undefined || (typeof value !== 'function' && key !== '__proto__')) return value;
  return Object.hasOwn(record, key) ? value : undefined;
}

const NONE: readonly never[] = [];

/**
 * The same envelopes if the record has any of them, or none: asked once, and not at each read, since what is not there
 * takes longest to be looked for.
 */
export function worn<E extends { readonly name: string }>(
  record: JsonRecord,
  envelopes: readonly E[],
): readonly E[] {
  for (const { name } of envelopes) if (isRecord(own(record, name))) return envelopes;
  return NONE;
}

/** The value at `steps`, the first of which may stand at the root or in an envelope; null is absent. */
export function read(
  record: JsonRecord,
  steps: readonly string[],
  envelopes: readonly { readonly name: string }[],
): unknown {
  const first = steps[0];
  if (first === undefined) return undefined;
  let value = own(record, first);
  if (value === undefined || value === null) {
    value = undefined;
    for (const { name } of envelopes) {
      const inner = own(record, name);
      if (!isRecord(inner)) continue;
      value = own(inner, first) ?? undefined;
      if (value !== undefined) break;
    }
  }
  return valueAt(value, steps, 1);
}

/** What stands at `steps` from there on, those before `first` left out; null is absent. */
export function valueAt(from: unknown, steps: readonly string[], first = 0): unknown {
  let value: unknown = from ?? undefined;
  for (let at = first; at < steps.length && value !== undefined; at++) {
    const step = steps[at] ?? '';
    if (Array.isArray(value)) value = value[Number(step)];
    else value = isRecord(value) ? own(value, step) : undefined;
    value ??= undefined;
  }
  return value;
}
