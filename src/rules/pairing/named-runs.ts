// What a client has said in the first seconds of its connection, and nobody was heard to say before: a run of that name
// was most likely begun by it.
import { wordsOf } from '../words.ts';

/** Of more is not known that it said them. */
const MOST_WORDS = 256;

export class NamedRuns {
  /** When each was said. */
  readonly #words = new Map<number, number>();

  /** `words`: see `wordsOf`. */
  note(words: readonly number[], atMs: number): void {
    for (const word of words) {
      if (this.#words.size >= MOST_WORDS) return;
      this.#words.set(word, atMs);
    }
  }

  /** Had it said all words of that by then? */
  has(name: string, byMs: number): boolean {
    if (this.#words.size === 0) return false;
    const words = wordsOf(name);
    return words.length > 0 && words.every(word => (this.#words.get(word) ?? Infinity) <= byMs);
  }

  forget(): void {
    this.#words.clear();
  }
}
