// Whether a route's users have the names that its events call them by. Where a token says `u-17` and
// events say `user_17`, every address looks foreign, and nothing that does is a leak.
import type { Hash64 } from './ownership.ts';

/** Of legacy's routing fields that name somebody; more than that share of foreign ones is no leak. */
const MOST_FOREIGN = 0.001;
/** Fewer fields, or of fewer users, are too few to tell. */
const LEAST_FIELDS = 1_000;
const LEAST_USERS = 20;
/**
 * Names that do not fit are foreign to nearly everybody. One user who has legacy repeat what he types, however
 * often, to himself or to a few, is not to disarm a route.
 */
const LEAST_SHARE_OF_USERS = 0.5;
/** It is told by the last so many fields, and by up to twice as many: names may be put right, or go wrong. */
const STRETCH_FIELDS = 10_000;

interface Stretch {
  fields: number;
  foreign: number;
  /** True: he was sent foreign ones. Users by half of their hash. */
  readonly users: Map<number, boolean>;
}

export class IdentityFit {
  readonly #presumed: boolean;
  #young = emptyStretch();
  #old = emptyStretch();
  /** Of both stretches. */
  #users = 0;
  #foreignUsers = 0;

  /** `presumed`: what is known from before, until there is enough to tell. */
  constructor(presumed = false) {
    this.#presumed = presumed;
  }

  /** Of an event of legacy's: its routing fields that name somebody, and those that name another. */
  note(fields: number, foreign: number, { low: user }: Hash64): void {
    if (fields === 0) return;
    const young = this.#young;
    young.fields += fields;
    young.foreign += foreign;
    const now = young.users.get(user);
    const before = now ?? this.#old.users.get(user);
    if (now === undefined || (foreign > 0 && !now)) young.users.set(user, foreign > 0);
    if (before === undefined) this.#users += 1;
    if (foreign > 0 && now !== true && this.#old.users.get(user) !== true) this.#foreignUsers += 1;
    // Of few users it says too little to take the place of what more have said.
    if (young.fields >= STRETCH_FIELDS && young.users.size >= LEAST_USERS) this.#turn();
  }

  /** True: routing fields prove nothing on this route. */
  get isMismatch(): boolean {
    if (!this.#isEnough) return this.#presumed;
    return this.isOftenForeign && this.#foreignUsers > LEAST_SHARE_OF_USERS * this.#users;
  }

  /** Legacy names others more often than by mistake, if only to some of its users. */
  get isOftenForeign(): boolean {
    const { fields, foreign } = this.#young;
    const most = MOST_FOREIGN * (fields + this.#old.fields);
    return this.#isEnough && foreign + this.#old.foreign > most;
  }

  get #isEnough(): boolean {
    return this.#young.fields + this.#old.fields >= LEAST_FIELDS && this.#users >= LEAST_USERS;
  }

  #turn(): void {
    this.#old = this.#young;
    this.#young = emptyStretch();
    this.#users = this.#old.users.size;
    this.#foreignUsers = [...this.#old.users.values()].filter(isForeign => isForeign).length;
  }
}

function emptyStretch(): Stretch {
  return { fields: 0, foreign: 0, users: new Map() };
}
