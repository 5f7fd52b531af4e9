// Ids that each service makes up for itself: which of legacy's is which of the candidate's. One to
// one, so that an id which later stands for another thing shows.
import { hash } from 'node:crypto';

/**
 * Pairs of a class in one generation; two are kept. An id is spoken of again soon or never: these are
 * at least the latest 256, some 50 kB, and a user whose every event has one keeps them for a minute.
 */
const MOST_PAIRS = 256;
/** Of a longer one its hash is kept: a signed URL has a kilobyte, and a service may send a megabyte. */
const MOST_CHARACTERS = 64;

export type Id = string | number | bigint;

interface Generation {
  readonly toCandidate: Map<Id, Id>;
  readonly toLegacy: Map<Id, Id>;
}

interface IdClass {
  young: Generation;
  old: Generation;
}

/** One user's generated ids, shared by his sessions. */
export class IdClasses {
  readonly #classes = new Map<string, IdClass>();

  /** How many are kept. */
  get pairs(): number {
    let sum = 0;
    for (const { young, old } of this.#classes.values()) {
      sum += young.toCandidate.size + old.toCandidate.size;
    }
    return sum;
  }

  /** Are the two known to be one (`same`), each or one to be another's (`other`), or not at all? */
  relation(idClass: string, legacy: Id, candidate: Id): 'same' | 'other' | 'unknown' {
    const known = this.#classes.get(idClass);
    if (known === undefined) return 'unknown';
    const { young, old } = known;
    const [left, right] = [kept(legacy), kept(candidate)];
    const its = young.toCandidate.get(left) ?? old.toCandidate.get(left);
    if (its !== undefined) return its === right ? 'same' : 'other';
    const isTaken = young.toLegacy.has(right) || old.toLegacy.has(right);
    return isTaken ? 'other' : 'unknown';
  }

  /** From now on two that were `unknown` are one. */
  learn(idClass: string, legacy: Id, candidate: Id): void {
    let known = this.#classes.get(idClass);
    if (known === undefined) {
      known = { young: newGeneration(), old: newGeneration() };
      this.#classes.set(idClass, known);
    } else if (known.young.toCandidate.size >= MOST_PAIRS) {
      known.old = known.young;
      known.young = newGeneration();
    }
    const [left, right] = [kept(legacy), kept(candidate)];
    known.young.toCandidate.set(left, right);
    known.young.toLegacy.set(right, left);
  }
}

function newGeneration(): Generation {
  return { toCandidate: new Map(), toLegacy: new Map() };
}

/** What is equal where the ids are, and short. */
function kept(id: Id): Id {
  if (typeof id === 'number') return id;
  const text = String(id);
  if (text.length <= MOST_CHARACTERS) return id;
  // UTF-16, as texts are: in UTF-8 all lone surrogates look alike.
  return `${typeof id} ${hash('sha256', Buffer.from(text, 'utf16le'), 'base64')}`;
}
