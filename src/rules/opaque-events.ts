// Redacted events as a comparison takes them: what stands for a value becomes a text that is equal to
// another one where the values were.
import { isRecord, type JsonRecord } from './compare/record.ts';
import type { RedactedLeaf } from './redaction.ts';
import type { Difference, UnjudgedReason } from './verdict.ts';

/** Begins such a text; no text of an event is likely to. */
const OPAQUE = '\u0000redacted:';

export class OpaqueEvents {
  readonly #leaves = new Map<unknown, RedactedLeaf>();
  /** Why something in them can not be compared any more. */
  lost: UnjudgedReason | null = null;

  made(value: unknown): unknown {
    if (Array.isArray(value)) return value.map(item => this.made(item));
    if (!isRecord(value)) return value;
    return isLeaf(value) ? this.#opaque(value) : mapped(value, inner => this.made(inner));
  }

  /** What a text stands for. */
  leafOf(value: unknown): RedactedLeaf | undefined {
    return this.#leaves.get(value);
  }

  /** With leaves again, and told for a difference in type or value by the types of what they stand for. */
  restored(difference: Difference): Difference {
    if (difference.kind === 'length') return difference;
    const restored = { ...difference };
    if ('legacy' in restored) restored.legacy = this.#original(restored.legacy);
    if ('candidate' in restored) restored.candidate = this.#original(restored.candidate);
    if (difference.kind !== 'value' && difference.kind !== 'type') return restored;
    const { legacy, candidate } = difference;
    if (this.leafOf(legacy) === undefined && this.leafOf(candidate) === undefined) return restored;
    const isOfOneType =
      this.#typeOf(difference, 'legacy') === this.#typeOf(difference, 'candidate');
    return { ...difference, ...restored, kind: isOfOneType ? 'value' : 'type' };
  }

  #typeOf(difference: Difference, side: 'legacy' | 'candidate'): string {
    const value = side in difference ? Reflect.get(difference, side) : undefined;
    return this.leafOf(value)?.t ?? (value === null ? 'null' : typeof value);
  }

  #original(value: unknown): unknown {
    const leaf = this.leafOf(value);
    if (leaf !== undefined) return leaf;
    if (Array.isArray(value)) return value.map(item => this.#original(item));
    return isRecord(value) ? mapped(value, inner => this.#original(inner)) : value;
  }

  #opaque(leaf: RedactedLeaf): string {
    if (leaf.$r === 'deep') this.lost ??= 'too-deep';
    // A number that JSON has but a double has not.
    if (leaf.$r === 'long' && leaf.t === 'number') this.lost ??= 'not-comparable';
    const text = `${OPAQUE}${leaf.t}:${leaf.h ?? leaf.n}`;
    this.#leaves.set(text, leaf);
    return text;
  }
}

/** No event has a key `$r`: redaction gives it another one. */
function isLeaf(value: JsonRecord): value is JsonRecord & RedactedLeaf {
  return Object.hasOwn(value, '$r');
}

function mapped(value: JsonRecord, make: (inner: unknown) => unknown): JsonRecord {
  // Without a prototype: a key may be `__proto__`.
  const copy: Record<string, unknown> = Object.create(null);
  for (const [name, inner] of Object.entries(value)) copy[name] = make(inner);
  return copy;
}
