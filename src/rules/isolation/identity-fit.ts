// Whether a route's users have the names that its events call them by. Where a token says `u-17` and
// events say `user_17`, every address looks foreign, and nothing that does is a leak.
import { type Hash64, isSame } from './ownership.ts';

/** Of legacy's routing fields that name somebody; more than that share of foreign ones is no leak. */
const MOST_FOREIGN = 0.001;
/** Fewer fields, or of fewer users, are too few to tell. */
const LEAST_FIELDS = 1_000;
const LEAST_USERS = 20;

export class IdentityFit {
  readonly #users: Hash64[] = [];
  fields = 0;
  foreign = 0;

  get users(): number {
    return this.#users.length;
  }

  /** Of an event of legacy's: its routing fields that name somebody, and those that name another. */
  note(fields: number, foreign: number, user: Hash64): void {
    this.fields += fields;
    this.foreign += foreign;
    if (this.#users.length >= LEAST_USERS || fields === 0) return;
    if (!this.#users.some(each => isSame(each, user))) this.#users.push(user);
  }

  /** True: routing fields prove nothing on this route. */
  get isMismatch(): boolean {
    return (
      this.fields >= LEAST_FIELDS &&
      this.#users.length >= LEAST_USERS &&
      this.foreign > MOST_FOREIGN * this.fields
    );
  }
}
