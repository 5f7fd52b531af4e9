// Values that are sensitive by their place in a pair of events, to be recognised where nothing tells:
// in texts, in keys, in a difference that names its place in another form.
import type { Redaction } from './personal-names.ts';

/** A shorter number is too frequent to say anything. */
export const LEAST_DIGITS = 4;
/** Of one pair of events; each is looked for in every text of them. */
const MOST_KNOWN = 256;

/** Users whose names stand in one type or path; a service that does so has a type for each of them. */
const MOST_NAMES = 16;

/** Notes which of a user's names stand in what is kept without the events that would tell. */
export function noteNames(
  into: Set<string>,
  names: readonly string[],
  ...texts: readonly string[]
): void {
  for (const name of names) {
    if (into.size < MOST_NAMES && texts.some(text => text.includes(name))) into.add(name);
  }
}

/** Nearly always there are none. */
export function namedBy(names: ReadonlySet<string>): { readonly names?: readonly string[] } {
  return names.size === 0 ? {} : { names: [...names] };
}

/** Texts and numbers. */
export class KnownValues {
  readonly #redactions = new Map<string, Redaction>();

  [Symbol.iterator](): Iterator<readonly [string, Redaction]> {
    return this.#redactions.entries();
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
      if (!/^\d+$/.test(name) || name.length >= LEAST_DIGITS) this.note(name, 'user');
    }
  }

  add(other: KnownValues): void {
    for (const [text, redaction] of other.#redactions) this.#redactions.set(text, redaction);
  }

  redactionOf(text: string): Redaction | null {
    return this.#redactions.get(text) ?? null;
  }
}
