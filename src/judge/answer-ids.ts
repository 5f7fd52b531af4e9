// Ids that services made up in their answers to one user, kept between his requests: they are his as long
// as he comes back soon enough.
import { IdClasses } from '../rules/compare/ids.ts';

/** Users of all routes; of more, those who asked last. An empty one takes some 300 bytes. */
const MOST_USERS = 20_000;
/** Of all of them, 100 to 300 bytes each: a few users with many ids must not take the room of the others. */
const MOST_PAIRS = 200_000;

interface Known {
  readonly ids: IdClasses;
  /** As many as were counted in `#pairs`. */
  pairs: number;
}

export class AnswerIds {
  /** Who asked last comes last. */
  readonly #known = new Map<string, Known>();
  #pairs = 0;

  /** `key` names a route and a user. */
  of(key: string): IdClasses {
    const known = this.#known.get(key) ?? { ids: new IdClasses(), pairs: 0 };
    this.#known.delete(key);
    this.#known.set(key, known);
    for (const [oldest, { pairs }] of this.#known) {
      const isTooMuch = this.#known.size > MOST_USERS || this.#pairs > MOST_PAIRS;
      if (!isTooMuch || oldest === key) break;
      this.#known.delete(oldest);
      this.#pairs -= pairs;
    }
    return known.ids;
  }

  /** Something may have been learned of that user. */
  learned(key: string): void {
    const known = this.#known.get(key);
    if (known === undefined) return;
    this.#pairs += known.ids.pairs - known.pairs;
    known.pairs = known.ids.pairs;
  }
}
