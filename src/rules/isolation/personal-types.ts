// Which event types are about one user each, learned from what legacy sends: content says whose it is
// only where every content of its type has been one user's.
import { generalType } from '../evidence-group.ts';
import { type Hash64, isSame } from './ownership.ts';

/** So many contents of a type, of so many users, before anything is concluded from one of them. */
const LEAST_CONTENTS = 10;
const LEAST_USERS = 3;
/** A type of whose contents that share went to several users is for everybody. */
const MOST_SHARED = 0.1;
/** A service that makes up types must not fill the memory. */
const MOST_TYPES = 1_000;

interface Known {
  readonly users: Hash64[];
  contents: number;
  shared: number;
}

export class PersonalTypes {
  readonly #types = new Map<string, Known>();
  /** Of the content before: the next one is mostly of its type. */
  #last: { readonly type: string; readonly known: Known } | null = null;

  /** Legacy sent this user a content: `new`, or one that somebody else had before. */
  note(type: string, user: Hash64, what: 'new' | 'shared'): void {
    const known = this.#last?.type === type ? this.#last.known : this.#knownOf(type);
    if (known === null) return;
    if (what === 'new') known.contents += 1;
    else known.shared += 1;
    if (known.users.length < LEAST_USERS && !known.users.some(each => isSame(each, user))) {
      known.users.push(user);
    }
  }

  #knownOf(type: string): Known | null {
    const name = generalType(type);
    let known = this.#types.get(name);
    if (known === undefined) {
      if (this.#types.size >= MOST_TYPES) return null;
      known = { users: [], contents: 0, shared: 0 };
      this.#types.set(name, known);
    }
    this.#last = { type, known };
    return known;
  }

  isPersonal(type: string): boolean {
    const known = this.#types.get(generalType(type));
    if (known === undefined) return false;
    const { users, contents, shared } = known;
    const isKnown = contents >= LEAST_CONTENTS && users.length >= LEAST_USERS;
    return isKnown && shared < MOST_SHARED * contents;
  }
}
