// The user whom a session belongs to, and whether a value in a routing field means him.
import type { Subject } from '../decide.ts';
import { withExactIntegers } from '../pairing/exact.ts';
import type { Isolation } from './rules.ts';

/** A number as it was written; the compiler's library does not know it yet. */
const { rawJSON } = JSON as unknown as { readonly rawJSON: (text: string) => unknown };

/** Whom the value of a routing field names. */
export type Named =
  /** The session's user, under one of his names. */
  | 'own'
  /** A list with the session's user in it, and others; or a list or an object with such a list in it. */
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
   * must have him in it. An object is one user: what of it names him must name him alone, and what it says
   * besides (who invited him) is nobody's name. Null where it is no JSON.
   */
  named({ naming }: Isolation, json: string): Named | null {
    let value: unknown;
    try {
      value = JSON.parse(json);
    } catch {
      // NaN and its like, which some encoders write, name nobody.
      return /^-?(?:NaN|Infinity)$/.test(json) ? 'nobody' : null;
    }
    if (typeof value === 'number') return value === 0 ? 'nobody' : this.#number(json, value);
    // Integers beyond 2^53 keep their digits; nested deeper than that can be done for, it is no name.
    if (typeof value !== 'object' || value === null) return this.#value(value, naming, 0);
    const exact = withEveryMember(json) ?? value;
    const named = this.#value(exact, naming, 0);
    return named === 'own' && this.#isAmong(exact, naming, 0) ? 'among' : named;
  }

  /** Of what names him among others, as it is written in JSON: each list with his own entries alone, as they are. */
  alone({ naming }: Isolation, json: string): string {
    const written = JSON.parse(json, asWritten) as unknown;
    return JSON.stringify(this.#alone(withEveryMember(json), written, naming, 0));
  }

  /** Of what names him: does a list in it name others as well? */
  #isAmong(value: unknown, naming: ReadonlySet<string>, depth: number): boolean {
    if (typeof value !== 'object' || value === null) return false;
    if (!Array.isArray(value))
      return namesIn(value, naming).some(member => this.#isAmong(member, naming, depth + 1));
    return value.some(member => {
      const named = this.#value(member, naming, depth + 1);
      return named === 'foreign' || (named === 'own' && this.#isAmong(member, naming, depth + 1));
    });
  }

  /** `exact` says who is named, `written` how: the same value. */
  #alone(exact: unknown, written: unknown, naming: ReadonlySet<string>, depth: number): unknown {
    if (!this.#isAmong(exact, naming, depth)) return written;
    if (Array.isArray(exact)) {
      const own = (written as readonly unknown[]).map((member, index) => [exact[index], member]);
      return own
        .filter(([its]) => this.#value(its, naming, depth + 1) === 'own')
        .map(([its, member]) => this.#alone(its, member, naming, depth + 1));
    }
    // Of a key that comes twice the last one is written; all of them name him, or it were another's.
    const named = new Map(membersNaming(exact as object, naming));
    return Object.fromEntries(
      Object.entries(written as object).map(([key, member]) =>
        named.has(key)
          ? [key, this.#alone(named.get(key), member, naming, depth + 1)]
          : [key, member],
      ),
    );
  }

  /**
   * The one other user whom a value names as it is written in JSON: a number is one, however it is written, and so is
   * he who stands alone in a list or an object. Null where they are several, or that can not be told.
   */
  other(isolation: Isolation, json: string): string | null {
    const others = allNamed(isolation, json)?.filter(name => !this.#names.has(name)) ?? [];
    const [name] = others;
    return others.length > 1 || name === undefined || name.length > MOST_NAME ? null : name;
  }

  #number(json: string, value: number): Named {
    if (this.#names.has(json)) return 'own';
    // 42.0 is 42; what lost digits on its way into a double may be anybody.
    const isExact = Number.isSafeInteger(value) || !Number.isInteger(value);
    return isExact && this.#names.has(String(value)) ? 'own' : 'foreign';
  }

  #value(value: unknown, naming: ReadonlySet<string>, depth: number): Named {
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
        if (depth >= MOST_NESTING) return 'foreign';
        return Array.isArray(value)
          ? this.#oneOf(value, naming, depth)
          : this.#allOf(namesIn(value, naming), naming, depth);
      default:
        return 'nobody';
    }
  }

  #oneOf(members: readonly unknown[], naming: ReadonlySet<string>, depth: number): Named {
    let found: Named = 'nobody';
    for (const member of members) {
      const named = this.#value(member, naming, depth + 1);
      if (named === 'own') return 'own';
      if (named === 'foreign') found = 'foreign';
    }
    return found;
  }

  #allOf(members: readonly unknown[], naming: ReadonlySet<string>, depth: number): Named {
    let found: Named = 'nobody';
    for (const member of members) {
      const named = this.#value(member, naming, depth + 1);
      if (named === 'foreign') return 'foreign';
      if (named === 'own') found = 'own';
    }
    return found;
  }
}

/**
 * All whom a value names as it is written in JSON, each once: as `Recipient` reads it, so that a number, its digits as
 * a text and a list of it alone are the same. Null where that can not be told.
 */
export function allNamed({ naming }: Isolation, json: string): readonly string[] | null {
  const names = new Set<string>();
  const isTold = collect(withEveryMember(json), naming, names, 0);
  return isTold && names.size > 0 ? [...names].sort() : null;
}

function collect(
  value: unknown,
  naming: ReadonlySet<string>,
  into: Set<string>,
  depth: number,
): boolean {
  if (typeof value === 'object' && value !== null) {
    if (depth >= MOST_NESTING) return false;
    const members = Array.isArray(value) ? value : namesIn(value, naming);
    return members.every(member => collect(member, naming, into, depth + 1));
  }
  const isName =
    typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint';
  if (isName && value !== '' && value !== 0) into.add(String(value));
  return true;
}

/** What of an object says who it is; all of it, where nothing in it is called as such a thing is. */
function namesIn(record: object, naming: ReadonlySet<string>): readonly unknown[] {
  return membersNaming(record, naming).map(([, value]) => value);
}

/** The same with their keys, as they are written. */
function membersNaming(record: object, naming: ReadonlySet<string>): [string, unknown][] {
  const members = Object.entries(record).map(([key, value]): [string, unknown] => [
    key.slice(key.indexOf(' ') + 1),
    value,
  ]);
  const named = members.filter(([key]) => naming.has(key));
  return named.length > 0 ? named : members;
}

/**
 * The value with its exact integers, and with all members of its objects: of a key that comes twice a parser
 * keeps one. Each key has its number in its object and a blank before it. `undefined` where that can not be had.
 */
function withEveryMember(json: string): unknown {
  if (!json.includes('{')) return withExactIntegers(json);
  // Of the objects that are open. Numbers of their own alike objects have alike keys, which a parser is fast at.
  const numbers: number[] = [];
  const numbered = json.replaceAll(TEXT_OR_BRACE, (text: string, colon?: string) => {
    if (text === '{') numbers.push(0);
    else if (text === '}') numbers.pop();
    if (colon === undefined) return text;
    const number = (numbers.pop() ?? 0) + 1;
    numbers.push(number);
    return `"${number} ${text.slice(1)}`;
  });
  return withExactIntegers(numbered);
}

/** A text in JSON, and the colon behind it, which only a key has; or where an object begins or ends. */
const TEXT_OR_BRACE = /"[^"\\]*(?:\\.[^"\\]*)*"(\s*:)?|[{}]/g;

function asWritten(_key: string, value: unknown, context?: { readonly source?: string }): unknown {
  const { source } = context ?? {};
  return typeof value === 'number' && source !== undefined ? rawJSON(source) : value;
}

/** A list of objects with an id each is as far as recipients go. */
const MOST_NESTING = 2;
/** Longer names are no user's. */
const MOST_NAME = 256;
