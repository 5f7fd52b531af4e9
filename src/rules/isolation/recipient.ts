// The user whom a session belongs to, and whether a value in a routing field means him.
import type { Subject } from '../decide.ts';
import { withExactIntegers } from '../pairing/exact.ts';

/** A number as it was written; the compiler's library does not know it yet. */
const { rawJSON } = JSON as unknown as { readonly rawJSON: (text: string) => unknown };

/** Whom the value of a routing field names. */
export type Named =
  /** The session's user, under one of his names. */
  | 'own'
  /** A list with the session's user in it, and others. */
  | 'among'
  /** Somebody else. */
  | 'foreign'
  /** Null, empty, false, 0: no one. */
  | 'nobody';

export class Recipient {
  /** What is written in place of a foreign name. */
  readonly id: string;
  /** All names as JSON strings, quotes included: the shortest way to see that a value is his. */
  readonly written: readonly Buffer[];
  readonly #names: ReadonlySet<string>;

  constructor({ id, aliases }: Subject) {
    this.id = id;
    this.#names = new Set([id, ...aliases].filter(name => name !== ''));
    this.written = [...this.#names].map(name => Buffer.from(JSON.stringify(name)));
  }

  /**
   * Of a value as it is written in JSON. Compared exactly, as strings; numbers by their digits. A list
   * must have him in it; an object, which is no name, must hold one of his. Null where it is no JSON.
   */
  named(json: string): Named | null {
    let value: unknown;
    try {
      value = JSON.parse(json);
    } catch {
      // NaN and its like, which some encoders write, name nobody.
      return /^-?(?:NaN|Infinity)$/.test(json) ? 'nobody' : null;
    }
    if (typeof value === 'number') return value === 0 ? 'nobody' : this.#number(json, value);
    // Integers beyond 2^53 keep their digits; nested deeper than that can be done for, it is no name.
    if (typeof value !== 'object' || value === null) return this.#value(value, 0);
    const exact = withExactIntegers(json) ?? value;
    const named = this.#value(exact, 0);
    if (named !== 'own' || !Array.isArray(exact)) return named;
    return exact.some(member => this.#value(member, 1) === 'foreign') ? 'among' : 'own';
  }

  /** Of a list that names him among others, as it is written in JSON: with his own entries alone, as they are. */
  alone(json: string): string {
    const exact = withExactIntegers(json) as readonly unknown[];
    const written = JSON.parse(json, asWritten) as readonly unknown[];
    return JSON.stringify(written.filter((_, index) => this.#value(exact[index], 1) === 'own'));
  }

  #number(json: string, value: number): Named {
    if (this.#names.has(json)) return 'own';
    // 42.0 is 42; what lost digits on its way into a double may be anybody.
    const isExact = Number.isSafeInteger(value) || !Number.isInteger(value);
    return isExact && this.#names.has(String(value)) ? 'own' : 'foreign';
  }

  #value(value: unknown, depth: number): Named {
    switch (typeof value) {
      case 'string':
        if (value === '') return 'nobody';
        return this.#names.has(value) ? 'own' : 'foreign';
      case 'number':
        return value === 0 ? 'nobody' : this.#number(String(value), value);
      // One beyond 2^53, with all of its digits.
      case 'bigint':
        return this.#names.has(String(value)) ? 'own' : 'foreign';
      case 'object':
        if (value === null) return 'nobody';
        return depth < MOST_NESTING ? this.#members(Object.values(value), depth) : 'foreign';
      default:
        return 'nobody';
    }
  }

  #members(members: readonly unknown[], depth: number): Named {
    let found: Named = 'nobody';
    for (const member of members) {
      const named = this.#value(member, depth + 1);
      if (named === 'own') return 'own';
      if (named === 'foreign') found = 'foreign';
    }
    return found;
  }
}

function asWritten(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  const { source } = context ?? {};
  return typeof value === 'number' && source !== undefined ? rawJSON(source) : value;
}

/** A list of objects with an id each is as far as recipients go. */
const MOST_NESTING = 2;
