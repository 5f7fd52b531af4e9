// Ids that each service makes up for itself: which of legacy's is which of the candidate's. One to
// one, so that an id which later stands for another thing shows.

/**
 * Pairs kept of each class. An id is spoken of again soon or never; 256 take some 50 kB, and a user
 * whose every event carries one has them for the last minute.
 */
const MOST_PAIRS = 256;

export type Id = string | number;

interface IdPairs {
  readonly toCandidate: Map<Id, Id>;
  readonly toLegacy: Map<Id, Id>;
}

/** One user's generated ids, shared by his sessions. */
export class IdClasses {
  readonly #classes = new Map<string, IdPairs>();

  /** Could these be one and the same thing, by all that is known? */
  fits(idClass: string, legacy: Id, candidate: Id): boolean {
    const pairs = this.#classes.get(idClass);
    if (pairs === undefined) return true;
    const known = pairs.toCandidate.get(legacy);
    if (known !== undefined) return known === candidate;
    return !pairs.toLegacy.has(candidate);
  }

  /** From now on they are one; nothing changes where `fits` is false. The oldest pair is forgotten. */
  learn(idClass: string, legacy: Id, candidate: Id): void {
    let pairs = this.#classes.get(idClass);
    if (pairs === undefined) {
      pairs = { toCandidate: new Map(), toLegacy: new Map() };
      this.#classes.set(idClass, pairs);
    }
    const { toCandidate, toLegacy } = pairs;
    if (toCandidate.has(legacy) || toLegacy.has(candidate)) return;
    toCandidate.set(legacy, candidate);
    toLegacy.set(candidate, legacy);
    if (toCandidate.size <= MOST_PAIRS) return;
    for (const [oldest, its] of toCandidate) {
      toCandidate.delete(oldest);
      toLegacy.delete(its);
      return;
    }
  }
}
