// What the judge knows of whose data is whose, on all routes, and whom it tells when some is on its way to
// another user.
import type { Side } from '../rules/decide.ts';
import { generalType } from '../rules/evidence-group.ts';
import { IdentityFit } from '../rules/isolation/identity-fit.ts';
import type { Contamination } from '../rules/isolation/incident.ts';
import {
  type CrowdedBecause,
  emptyIsolationBooks,
  type IsolationBooks,
} from '../rules/isolation/isolation-books.ts';
import { type Marker, Markers } from '../rules/isolation/marker.ts';
import { type Hash64, Ownership } from '../rules/isolation/ownership.ts';
import { PersonalTypes } from '../rules/isolation/personal-types.ts';
import { Isolation, type IsolationRules } from '../rules/isolation/rules.ts';
import { SaidWords } from '../rules/isolation/said-words.ts';
import { type SecretHash, secretHash } from '../rules/isolation/secret-hash.ts';
import { LONGEST_FLUSH_MS } from './batch.ts';

/** A million identifiers for sure: 34 MB at most for each of two halves. */
const IDENTIFIERS = { entries: 1_000_000, maxAgeMs: 24 * 3_600_000 };
/** Contents of the last minutes: a leak comes with the event that it is of. */
const CONTENTS = { entries: 100_000, maxAgeMs: 10 * 60_000 };
/**
 * So long the other service has to send the same: what both send one user is the same fault in both. Half
 * of the 100 ms in which a rollback is to begin.
 */
const OTHERS_MS = 50;
/** From when an event came: what the other service sent in its time waits for its batch yet, however calm it was before. */
export const HOLD_MS = OTHERS_MS + LONGEST_FLUSH_MS;
/**
 * Of all users, in each of the three queues. Five events of each of 10,000 sessions within a window; at some
 * 400 bytes each, which none of them grows beyond, 60 MB of the thread's 512. Beyond, the oldest is told before its
 * time, or not looked at again, and is counted.
 */
const MOST_HELD = 50_000;
/** Places in which legacy itself names others, for so long after it last did: as long as contents are known. */
const MOST_PLACES = 1_000;
const PLACE_MS = 10 * 60_000;
/** Names of users by their hash, for those whose data it was. */
const MOST_NAMES = 100_000;
/** Of what legacy sends to users who are not compared, so much a second is told one by one. */
const MOST_OVERHEARD_TOLD = 100;

/**
 * What was found in one event, up to what it is told as:
 *
 *   found ──► held, for a moment or a window ──► due ──┬─► alone: a leak ◄──────────┐
 *               │       (not at all, if the other      │                            │ legacy answers otherwise
 *               │        one will not send any)        └─► in doubt ────────────────┤
 *               └─► both ◄──────────────────────────────────────────────────────────┘ legacy sends the same
 *
 * In doubt is what legacy is known to send as well, or a client has said (`isSpokenFor`), while legacy was not heard on
 * it, or could not know of it (`JudgedStream.#isLegacyHeard`), or there was no room to wait for it. It is due no sooner
 * than legacy has answered the writes under way (`heardUntil`). It is in doubt no more once legacy has had its say: its
 * own of that event, which names somebody else or nobody (`differs`), or that it has sent none when the event gets its
 * verdict, though it was heard (`isLeftInDoubt`). So an event's verdict and what is told of it are one, however soon
 * legacy or its client go afterwards. Each word claims what a lane did about it, and the second one what the first has
 * claimed: `Incidents`.
 */
export interface Held {
  readonly contamination: Contamination;
  /** ms of `now`. */
  readonly dueAt: number;
  /** See `isSpokenFor`; no more once legacy has had its say. */
  isSpokenFor: boolean;
  /** Asked when it is due: would legacy have been heard, had it sent the same? */
  readonly isLegacyHeard: () => boolean;
  toldAs: 'nothing' | 'in-doubt' | 'alone' | 'both';
}

type Known = Pick<Held, 'isSpokenFor' | 'isLegacyHeard'>;

const NOTHING_KNOWN: Known = { isSpokenFor: false, isLegacyHeard: () => true };

/** An event with identifiers that nobody has yet. */
export interface Later {
  readonly route: string;
  /** Asks again, when legacy has had its window. */
  readonly look: () => void;
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
  /** The same for those in which both have named the same other, since the start. */
  readonly bothName: Map<string, number>;
  readonly books: IsolationBooks;
}

export interface ContaminationWatchOptions {
  /** 32 random bytes, which are nowhere else. */
  readonly secret: Uint8Array;
  /** Strings that were planted, each with the user who alone may see it. */
  readonly markers: readonly Marker[];
  /** Routes of which it is known from before that addresses do not fit their users. */
  readonly mismatched?: readonly string[];
  /** Called once for each. */
  readonly onContamination: (contamination: Contamination) => void;
  /** So long an event waits for its pair; and what legacy is known to do as well, for legacy. */
  readonly windowMs: number;
  /** Something is held: `settle` is to be called in so many ms. */
  readonly onHeld: (ms: number) => void;
  /** ms of a clock that never steps. */
  readonly now: () => number;
}

export class ContaminationWatch {
  readonly hash: SecretHash;
  readonly markers: Markers;
  readonly identifiers = new Ownership(IDENTIFIERS);
  readonly contents = new Ownership(CONTENTS);
  readonly #said = new SaidWords();
  readonly now: () => number;
  readonly #options: ContaminationWatchOptions;
  readonly #routes = new Map<string, RouteWatch>();
  readonly #names = new Map<string, string>();
  /** Looked at again when legacy has had its window. */
  readonly #later = new Set<Later & { readonly dueAt: number }>();
  /** In order of when they came: for a moment, and for a window. What is told is in neither. */
  readonly #briefly = new Set<Held>();
  readonly #longer = new Set<Held>();

  /** When the batch was sent that is looked into, on the clock of its events. */
  sentAt = 0;

  #overheardSince = Number.NEGATIVE_INFINITY;
  #overheardTold = 0;

  /** What came by then has had its window: legacy has answered the writes before it, or had a window for that. */
  #heardUntil = Number.NEGATIVE_INFINITY;

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

  /**
   * For streams that begin from now on. Whether names fit is to be seen anew: until there is enough to tell, what was
   * known holds, or a reload for whatever else would have everybody's addresses rewritten.
   */
  setRules(route: string, rules: IsolationRules): void {
    const isolation = new Isolation(rules);
    const known = this.#routes.get(route);
    if (known === undefined) {
      const fit = new IdentityFit(this.#options.mismatched?.includes(route));
      const personal = new PersonalTypes();
      const books = { ...emptyIsolationBooks(), identityMismatch: fit.isMismatch };
      const places = { legacyNames: new Map(), bothName: new Map() };
      this.#routes.set(route, { isolation, fit, personal, ...places, books });
    } else {
      known.isolation = isolation;
      known.fit = new IdentityFit(known.books.identityMismatch);
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

  /** By the name in his credential; null: nobody who was here of late is called so. */
  knownUser(id: string): Hash64 | null {
    const hash = this.hash('user', id);
    return this.nameOf(hash) === null ? null : hash;
  }

  /** Null: he has not been here of late. */
  nameOf({ high, low }: Hash64): string | null {
    return this.#names.get(`${high} ${low}`) ?? null;
  }

  /** Words of a client's; see `SaidWords`. */
  heard(his: readonly string[], text: string, isOverheard = false): void {
    const [id] = his;
    const user = id === undefined ? null : numberOf(this.user(id));
    this.#said.note(user, his, text, this.now(), isOverheard);
  }

  /** Of a text that is heard next: see `SaidWords`. */
  unsaid(his: readonly string[], text: string): readonly number[] {
    return this.#said.unsaid(his, text, this.now());
  }

  unread(user: string, isOverheard = false): void {
    this.#said.unread(numberOf(this.user(user)), this.now(), isOverheard);
  }

  unreadByAll(): void {
    this.#said.unreadByAll(this.now());
  }

  unheard(): void {
    this.#said.unheard(this.now());
  }

  /** As `SaidWords`. */
  isHisWord(user: Hash64, text: string): boolean {
    return this.#said.isHis(numberOf(user), text, this.now());
  }

  isInDoubt(user: Hash64): boolean {
    return this.#said.isInDoubt(numberOf(user), this.now());
  }

  isInDoubtOfLegacy(user: Hash64): boolean {
    return this.#said.isInDoubtOfLegacy(numberOf(user), this.now());
  }

  mayBeSaid(user: Hash64, text: string): boolean {
    return this.#said.mayBeSaid(numberOf(user), text, this.now());
  }

  isSaid(user: Hash64, text: string): boolean {
    return this.#said.isSaid(numberOf(user), text, this.now());
  }

  isAnothersWord(user: Hash64, text: string): boolean {
    return this.#said.isAnothers(numberOf(user), text, this.now());
  }

  tell(contamination: Contamination): void {
    this.#count(contamination);
    this.#options.onContamination(contamination);
  }

  /** Legacy's, to somebody who is not compared: of very many only some are told one by one, and all are counted. */
  tellOverheard(contamination: Contamination): void {
    this.#count(contamination);
    const now = this.now();
    if (now - this.#overheardSince >= 1_000) {
      this.#overheardSince = now;
      this.#overheardTold = 0;
    }
    this.#overheardTold += 1;
    if (this.#overheardTold <= MOST_OVERHEARD_TOLD) this.#options.onContamination(contamination);
  }

  #count(contamination: Contamination): void {
    const { route, side, rule, onBoth, inDoubt } = contamination;
    const known = this.#routes.get(route);
    if (known !== undefined) {
      const books = known.books.sides[side];
      if (onBoth) books.onBoth += 1;
      else if (inDoubt) books.inDoubt += 1;
      else books.contaminated[rule] += 1;
      if (onBoth) setLatest(known.bothName, placeOf(contamination), this.now());
    }
  }

  /** Legacy names another user in this place of this type: what it does may come from both. */
  legacyNames(contamination: Contamination): void {
    const names = this.#routes.get(contamination.route)?.legacyNames;
    if (names !== undefined) setLatest(names, placeOf(contamination), this.now());
  }

  /**
   * Does anything say that an address of the candidate's may be both services', where legacy itself can not: a place
   * in which it names others, or both have, or a client's words (`isSaid`)?
   */
  isSpokenFor(contamination: Contamination, isSaid: boolean): boolean {
    const { route, side, rule } = contamination;
    if (side !== 'candidate' || rule !== 'routing') return false;
    const isShared = this.#routes.get(route)?.bothName.has(placeOf(contamination)) === true;
    return isSaid || isShared || this.#isUsual(contamination);
  }

  #isUsual(contamination: Contamination): boolean {
    const names = this.#routes.get(contamination.route)?.legacyNames;
    return this.now() - (names?.get(placeOf(contamination)) ?? -PLACE_MS) < PLACE_MS;
  }

  /**
   * For a moment; for a window what legacy is known to do as well, or may say that is not heard yet. `mayEcho`: it may
   * be what a client has said, which both services repeat in their time.
   */
  hold(contamination: Contamination, mayEcho: boolean, known: Known = NOTHING_KNOWN): Held {
    const { side, at } = contamination;
    const now = this.now();
    const isKnown =
      side === 'candidate' && (mayEcho || this.#isUsual(contamination) || isInDoubt(known));
    // It has waited for its batch, as the other's does. Of a judge that is behind nobody knows how long.
    const waitedMs = Math.min(LONGEST_FLUSH_MS, this.sentAt - at);
    const [queue, ms] = isKnown
      ? [this.#longer, this.#options.windowMs]
      : [this.#briefly, HOLD_MS - waitedMs];
    const held: Held = { contamination, dueAt: now + ms, ...known, toldAs: 'nothing' };
    queue.add(held);
    if (queue.size > MOST_HELD) {
      const [oldest] = queue as Iterable<Held>;
      if (oldest !== undefined) this.#tellEarly(oldest);
    }
    this.#options.onHeld(ms);
    return held;
  }

  /** The other service will not send any: it is due at once. */
  tellAtOnce(contamination: Contamination, known: Known): Held {
    const held: Held = { contamination, dueAt: this.now(), ...known, toldAs: 'nothing' };
    this.release(held, false);
    return held;
  }

  /** `look` keeps no event: identifiers are short, events are not. */
  lookLater(later: Later): void {
    if (this.#later.size >= MOST_HELD)
      return this.crowded(later.route, 'candidate', 'not-asked-again');
    this.#later.add({ ...later, dueAt: this.now() + this.#options.windowMs });
    this.#options.onHeld(this.#options.windowMs);
  }

  /** Something was given up for want of room. */
  crowded(route: string, side: Side, because: CrowdedBecause): void {
    const books = this.#routes.get(route)?.books.sides[side];
    if (books !== undefined) books.crowded[because] += 1;
  }

  /** The other service sent the same (`onBoth`), or it is due, or is in doubt no more. */
  release(held: Held, onBoth: boolean): void {
    this.#tellAs(held, onBoth ? 'both' : isInDoubt(held) ? 'in-doubt' : 'alone');
  }

  /** There is no room to wait for what legacy may send as well. */
  giveUp(held: Held): void {
    this.#tellAs(held, held.isSpokenFor ? 'in-doubt' : 'alone');
  }

  #tellAs(held: Held, as: Exclude<Held['toldAs'], 'nothing'>): void {
    const { contamination, toldAs } = held;
    const { rule, route } = contamination;
    if (isFinal(held) || toldAs === as) return;
    this.#briefly.delete(held);
    this.#longer.delete(held);
    held.toldAs = as;
    // By what has come since it was found, addresses prove nothing on this route.
    const isMismatch = this.#routes.get(route)?.books.identityMismatch === true;
    if (rule === 'routing' && isMismatch) return;
    this.tell({
      ...contamination,
      onBoth: as === 'both',
      ...(as === 'in-doubt' ? { inDoubt: true } : {}),
      ...(toldAs === 'in-doubt' ? { wasInDoubt: true } : {}),
    });
  }

  /** Legacy's own of that event names somebody else or nobody; `isAll`: and it sends nothing besides. */
  differs(held: Held, isAll: boolean): void {
    held.isSpokenFor = false;
    if (isAll || held.toldAs === 'in-doubt') this.release(held, false);
  }

  /** Its event gets its verdict, and legacy has sent none: that is its say, if it was heard. */
  isLeftInDoubt(held: Held): boolean {
    if (isFinal(held)) return false;
    if (isInDoubt(held)) return true;
    this.differs(held, false);
    return false;
  }

  /** Events of the candidate that came by `atMs` (on the clock of events) have had their window: `UnansweredWrites`. */
  heardUntil(atMs: number): void {
    this.#heardUntil = Math.max(this.#heardUntil, atMs);
  }

  /** Tells what was held for long enough. Returns in how many ms there is more; null: nothing is held. */
  settle(): number | null {
    const now = this.now();
    let next = Number.POSITIVE_INFINITY;
    for (const queue of [this.#briefly, this.#longer]) {
      for (const held of queue) {
        if (held.dueAt > now) {
          next = Math.min(next, held.dueAt);
          break;
        }
        // It is looked at again when `heardUntil` is told.
        if (queue === this.#longer && held.contamination.at > this.#heardUntil) break;
        this.release(held, false);
      }
    }
    for (const later of this.#later) {
      if (later.dueAt > now) {
        next = Math.min(next, later.dueAt);
        break;
      }
      this.#later.delete(later);
      later.look();
    }
    return next === Number.POSITIVE_INFINITY ? null : next - now;
  }

  /** All of it, at the end. */
  settleAll(): void {
    for (const { look } of this.#later) look();
    this.#later.clear();
    for (const held of [...this.#briefly, ...this.#longer]) this.release(held, false);
  }

  #tellEarly(held: Held): void {
    const { route, side } = held.contamination;
    this.crowded(route, side, 'told-early');
    this.giveUp(held);
  }
}

function isFinal({ toldAs }: Held): boolean {
  return toldAs === 'alone' || toldAs === 'both';
}

function isInDoubt({ isSpokenFor, isLegacyHeard }: Known): boolean {
  return isSpokenFor && !isLegacyHeard();
}

/** Two users have the same one by chance with odds of one in four thousand million. */
function numberOf({ low }: Hash64): number {
  return low;
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
