// Values that are sensitive by their place in a pair of events, to be recognised where nothing tells:
// in texts, in keys, in a difference that names its place in another form.
import type { Redaction } from './personal-names.ts';

/** A shorter number is too frequent to say anything. */
export const LEAST_DIGITS = 4;
/** Of one pair of events; each is looked for in every text of them. */
const MOST_KNOWN = 256;
/** A shorter value is recognised as a whole only: `1` and `me` are in every text. */
const LEAST_IN_TEXT = 4;
/** Of a name that is certainly a user's, and stands there as a word: `bob`. */
const LEAST_NAME_IN_TEXT = 2;

/** Users whose names stand in one type or path; a service that does so has a type for each of them. */
const MOST_NAMES = 16;

/** Notes which of a user's names stand in what is kept without the events that would tell. */
export function noteNames(
  into: Set<string>,
  names: readonly string[],
  ...texts: readonly string[]
): void {
  for (const name of names) {
    // Asked of every finding there is: without a closure.
    for (const text of texts) if (text.includes(name) && into.size < MOST_NAMES) into.add(name);
  }
}

/** Those of them that stand in a text. */
export function namesIn(
  names: readonly string[],
  ...texts: readonly string[]
): { readonly names?: readonly string[] } {
  const found = new Set<string>();
  noteNames(found, names, ...texts);
  return namedBy(found);
}

/** Nearly always there are none. */
export function namedBy(names: ReadonlySet<string>): { readonly names?: readonly string[] } {
  return names.size === 0 ? {} : { names: [...names] };
}

/** Texts and numbers. */
export class KnownValues {
  readonly #redactions = new Map<string, Redaction>();
  /** Of users, told by who they are and not by a place: however much is learned, they are known. */
  readonly #names = new Set<string>();

  /** What is to be recognised within a text. */
  *inTexts(): Generator<readonly [string, Redaction]> {
    for (const name of this.#names) if (name.length >= LEAST_NAME_IN_TEXT) yield [name, 'user'];
    for (const known of this.#redactions) if (known[0].length >= LEAST_IN_TEXT) yield known;
  }

  note(value: unknown, redaction: Redaction): void {
    const isNumber = typeof value === 'number' || typeof value === 'bigint';
    if (typeof value !== 'string' && !isNumber) return;
    const text = String(value);
    if (text === '' || (isNumber && text.length < LEAST_DIGITS)) return;
    if (this.#redactions.size < MOST_KNOWN) this.#redactions.set(text, redaction);
  }

  /** Of a user. Digits are as frequent in a name as in a number. */
  noteNames(names: readonly string[]): void {
    for (const name of names) {
      if (name !== '' && (!/^\d+$/.test(name) || name.length >= LEAST_DIGITS))
        this.#names.add(name);
    }
  }

  add(other: KnownValues): void {
    for (const [text, redaction] of other.#redactions) this.#redactions.set(text, redaction);
    for (const name of other.#names) this.#names.add(name);
  }

  redactionOf(text: string): Redaction | null {
    return this.#names.has(text) ? 'user' : (this.#redactions.get(text) ?? null);
  }
}
