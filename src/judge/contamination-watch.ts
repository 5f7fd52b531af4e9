// What the judge knows of whose data is whose, on all routes, and whom it tells when some is on its way to
// another user.
import { generalType } from '../rules/evidence-group.ts';
import { IdentityFit } from '../rules/isolation/identity-fit.ts';
import type { Contamination } from '../rules/isolation/incident.ts';
import { emptyIsolationBooks, type IsolationBooks } from '../rules/isolation/isolation-books.ts';
import { type Marker, Markers } from '../rules/isolation/marker.ts';
import { type Hash64, Ownership } from '../rules/isolation/ownership.ts';
import { PersonalTypes } from '../rules/isolation/personal-types.ts';
import { Isolation, type IsolationRules } from '../rules/isolation/rules.ts';
import { type SecretHash, secretHash } from '../rules/isolation/secret-hash.ts';

/** A million identifiers for sure: 34 MB at most for each of two halves. */
const IDENTIFIERS = { entries: 1_000_000, maxAgeMs: 24 * 3_600_000 };
/** Contents of the last minutes: a leak comes with the event that it is of. */
const CONTENTS = { entries: 100_000, maxAgeMs: 10 * 60_000 };
/**
 * So long the other service has to send the same: what both send one user is the same fault in both. Half
 * of the 100 ms in which a rollback is to begin.
 */
export const HOLD_MS = 50;
/** Beyond, the oldest is told at once. */
const MOST_HELD = 1_000;
/** Places in which legacy itself names others, for so long after it last did: as long as contents are known. */
const MOST_PLACES = 1_000;
const PLACE_MS = 10 * 60_000;
/** Names of users by their hash, for those whose data it was. */
const MOST_NAMES = 20_000;

/** A contamination that may yet turn out to be both services'. */
export interface Held {
  contamination: Contamination;
  /** ms of `now`. */
  readonly dueAt: number;
  isTold: boolean;
}

/** One route's. */
export interface RouteWatch {
  isolation: Isolation;
  fit: IdentityFit;
  readonly personal: PersonalTypes;
  /**
   * Types, each with a place, in which legacy has named another user, and when it did last (ms of `now`), the
   * latest one last: it may well do so again.
   */
  readonly legacyNames: Map<string, number>;
  readonly books: IsolationBooks;
}

export interface ContaminationWatchOptions {
  /** 32 random bytes, which are nowhere else. */
  readonly secret: Uint8Array;
  /** Strings that were planted, each with the user who alone may see it. */
  readonly markers: readonly Marker[];
  /** Called once for each. */
  readonly onContamination: (contamination: Contamination) => void;
  /** So long an event waits for its pair; and what legacy is known to do as well, for legacy. */
  readonly windowMs: number;
  /** Something is held: `settle` is to be called in `HOLD_MS`. */
  readonly onHeld: () => void;
  /** ms of a clock that never steps. */
  readonly now: () => number;
}

export class ContaminationWatch {
  readonly hash: SecretHash;
  readonly markers: Markers;
  readonly identifiers = new Ownership(IDENTIFIERS);
  readonly contents = new Ownership(CONTENTS);
  readonly now: () => number;
  readonly #options: ContaminationWatchOptions;
  readonly #routes = new Map<string, RouteWatch>();
  readonly #names = new Map<string, string>();
  /** Looked at again when legacy has had its window. */
  readonly #later: { readonly dueAt: number; readonly look: () => void }[] = [];
  /** In order: for a moment, and for a window. */
  readonly #briefly: Held[] = [];
  readonly #longer: Held[] = [];

  constructor(options: ContaminationWatchOptions) {
    this.#options = options;
    this.now = options.now;
    this.hash = secretHash(options.secret);
    this.markers = new Markers(options.markers);
  }

  /** So long an event waits for its pair, ms. */
  get windowMs(): number {
    return this.#options.windowMs;
  }

  /** For streams that begin from now on; names that do not fit are to be seen anew. */
  setRules(route: string, rules: IsolationRules): void {
    const isolation = new Isolation(rules);
    const known = this.#routes.get(route);
    if (known === undefined) {
      const [fit, personal] = [new IdentityFit(), new PersonalTypes()];
      const books = emptyIsolationBooks();
      this.#routes.set(route, { isolation, fit, personal, legacyNames: new Map(), books });
    } else {
      known.isolation = isolation;
      known.fit = new IdentityFit();
      known.books.identityMismatch = false;
    }
  }

  route(name: string): RouteWatch | undefined {
    return this.#routes.get(name);
  }

  books(): Map<string, IsolationBooks> {
    return new Map([...this.#routes].map(([name, { books }]) => [name, books]));
  }

  /** The user's hash, by which he owns things. */
  user(id: string): Hash64 {
    const hash = this.hash('user', id);
    const key = `${hash.high} ${hash.low}`;
    this.#names.delete(key);
    this.#names.set(key, id);
    const [oldest] = this.#names.keys();
    if (this.#names.size > MOST_NAMES && oldest !== undefined) this.#names.delete(oldest);
    return hash;
  }

  /** Null: he has not been here of late. */
  nameOf({ high, low }: Hash64): string | null {
    return this.#names.get(`${high} ${low}`) ?? null;
  }

  tell(contamination: Contamination): void {
    const { route, side, rule, onBoth } = contamination;
    const books = this.#routes.get(route)?.books.sides[side];
    if (books !== undefined) {
      if (onBoth) books.onBoth += 1;
      else books.contaminated[rule] += 1;
    }
    this.#options.onContamination(contamination);
  }

  /** `mayEcho`: it may be the client's own words, which both services repeat in their time. */
  hold(contamination: Contamination, mayEcho = false): Held {
    const { route, side } = contamination;
    const names = this.#routes.get(route)?.legacyNames;
    const place = placeOf(contamination);
    const now = this.now();
    const isUsual = now - (names?.get(place) ?? -PLACE_MS) < PLACE_MS;
    const isKnown = side === 'candidate' && (isUsual || mayEcho);
    if (side === 'legacy' && names !== undefined) setLatest(names, place, now);
    const [queue, ms] = isKnown ? [this.#longer, this.#options.windowMs] : [this.#briefly, HOLD_MS];
    const held = { contamination, dueAt: now + ms, isTold: false };
    queue.push(held);
    if (queue.length > MOST_HELD) this.#releaseFirst(queue);
    this.#options.onHeld();
    return held;
  }

  /** Calls `look` when legacy has had its window; beyond so many, not at all. */
  lookLater(look: () => void): void {
    if (this.#later.length >= MOST_HELD) return;
    this.#later.push({ dueAt: this.now() + this.#options.windowMs, look });
    this.#options.onHeld();
  }

  /** The other service sent the same, or will not any more: `onBoth`. */
  release(held: Held, onBoth: boolean): void {
    if (held.isTold) return;
    held.isTold = true;
    this.tell({ ...held.contamination, onBoth });
  }

  /** Tells what was held for long enough. Returns in how many ms there is more; null: nothing is held. */
  settle(): number | null {
    const now = this.now();
    let next = Number.POSITIVE_INFINITY;
    for (const queue of [this.#briefly, this.#longer]) {
      while ((queue[0]?.dueAt ?? Number.POSITIVE_INFINITY) <= now) this.#releaseFirst(queue);
      next = Math.min(next, queue[0]?.dueAt ?? Number.POSITIVE_INFINITY);
    }
    while ((this.#later[0]?.dueAt ?? Number.POSITIVE_INFINITY) <= now) this.#later.shift()?.look();
    next = Math.min(next, this.#later[0]?.dueAt ?? Number.POSITIVE_INFINITY);
    return next === Number.POSITIVE_INFINITY ? null : next - now;
  }

  /** All of it, at the end. */
  settleAll(): void {
    for (const { look } of this.#later.splice(0)) look();
    for (const queue of [this.#briefly, this.#longer]) {
      while (queue.length > 0) this.#releaseFirst(queue);
    }
  }

  #releaseFirst(queue: Held[]): void {
    const held = queue.shift();
    if (held !== undefined) this.release(held, false);
  }
}

/** Of too many the one goes that was set longest ago. */
function setLatest(times: Map<string, number>, key: string, ms: number): void {
  times.delete(key);
  times.set(key, ms);
  const [oldest] = times.keys();
  if (times.size > MOST_PLACES && oldest !== undefined) times.delete(oldest);
}

function placeOf({ rule, eventType, path }: Contamination): string {
  return `${rule} ${generalType(eventType)} ${path}`;
}
