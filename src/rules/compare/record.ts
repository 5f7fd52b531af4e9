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
  return follow(value, steps, 1);
}

/** Calls `take` with what stands at `steps`, at the root and in every one of those envelopes; not with null. */
export function readAll(
  record: JsonRecord,
  steps: readonly string[],
  {
    isAtRoot,
    envelopes,
  }: { readonly isAtRoot: boolean; readonly envelopes: readonly { readonly name: string }[] },
  take: (value: unknown) => void,
): void {
  const atRoot = isAtRoot ? follow(record, steps, 0) : undefined;
  if (atRoot !== undefined) take(atRoot);
  for (const { name } of envelopes) {
    const inner = own(record, name);
    const value = isRecord(inner) ? follow(inner, steps, 0) : undefined;
    if (value !== undefined) take(value);
  }
}

function follow(from: unknown, steps: readonly string[], first: number): unknown {
  let value: unknown = from ?? undefined;
  for (let at = first; at < steps.length && value !== undefined; at++) {
    const step = steps[at] ?? '';
    if (Array.isArray(value)) value = value[Number(step)];
    else value = isRecord(value) ? own(value, step) : undefined;
    value ??= undefined;
  }
  return value;
}
