// Watches both streams of one session for data of another user: at once by what stands in an event, and
// when its pair has not come by what legacy has sent to whom.
//
//   event ──► marker, routing fields ──► contaminated ──► the same from the other side? ──► told
//     └─ legacy's ──► whose identifiers, whose content             ▲
//                          └── asked when no pair came ────────────┘
import type { StreamFacts } from '../ports.ts';
import type { CompiledRules } from '../rules/compare/compile.ts';
import { isRecord } from '../rules/compare/record.ts';
import { namesOf, type Side, type Subject } from '../rules/decide.ts';
import { keyOf, typeOf } from '../rules/event-key.ts';
import type { Contamination } from '../rules/isolation/incident.ts';
import {
  inspect,
  type MessageForm,
  type RoutingField,
  textAt,
  type UninspectableBecause,
} from '../rules/isolation/inspect.ts';
import type { MarkerSearch } from '../rules/isolation/marker.ts';
import type { Hash64 } from '../rules/isolation/ownership.ts';
import { allNamed, Recipient } from '../rules/isolation/recipient.ts';
import type { Isolation } from '../rules/isolation/rules.ts';
import { hasRoutingField } from '../rules/isolation/scan.ts';
import { namesIn } from '../rules/known-values.ts';
import { otherSide } from '../rules/pairing/legs.ts';
import type { ContaminationWatch, Held, RouteWatch } from './contamination-watch.ts';
import { type Found, OwnedData, type WatchedEvent } from './owned-data.ts';

/** Contaminated events of one side that the other may send as well: as many as are held of all sessions. */
const MOST_RECENT = 1_000;
/** Of what both services name, so much is compared. */
const MOST_NAMED = 4_096;

/**
 * What the other service does about it: it may say the same yet, says no such thing, has the same by its own word, or
 * has said that nothing has changed, of which nobody knows what it is.
 */
export type OtherSays = 'maybe' | 'nothing' | 'the-same' | 'unchanged';

/** Of a stream, or of one request with its answers. */
export type WatchedFacts = Pick<StreamFacts, 'route' | 'id' | 'subject' | 'primary'>;

export class StreamWatch {
  readonly #watch: ContaminationWatch;
  readonly #route: RouteWatch;
  readonly #facts: WatchedFacts & { readonly subject: Subject };
  readonly #recipient: Recipient;
  readonly #user: Hash64;
  readonly #owned: OwnedData;
  /** By what an event is, those of each side that the other has not sent, oldest first. */
  readonly #recent: Record<Side, Map<string, Held[]>> = {
    legacy: new Map(),
    candidate: new Map(),
  };
  readonly #recentCount = { legacy: 0, candidate: 0 };
  /** He is not compared: there is legacy, and nothing that the other service may send as well. */
  readonly #isOverheard: boolean;
  #isLegacyHeard: (since: number) => boolean = () => true;
  #isLegacyTold: (since: number) => boolean = () => true;

  constructor(
    watch: ContaminationWatch,
    route: RouteWatch,
    rules: Pick<CompiledRules, 'planOf'>,
    facts: WatchedFacts & { readonly subject: Subject },
    isOverheard = false,
  ) {
    this.#isOverheard = isOverheard;
    this.#watch = watch;
    this.#route = route;
    this.#facts = facts;
    this.#recipient = new Recipient(facts.subject);
    this.#user = watch.user(facts.subject.id);
    this.#owned = new OwnedData(watch, route, rules, this.#user, namesOf(facts.subject));
  }

  /**
   * Asked of a time. `isHeard`: is all that legacy has sent him since then known here? `isTold`: does it know all that
   * he has said of late?
   */
  askOfLegacy(
    isHeard: (since: number) => boolean,
    isTold: (since: number) => boolean = () => true,
  ): void {
    this.#isLegacyHeard = isHeard;
    this.#isLegacyTold = isTold;
  }

  /**
   * Legacy has sent its own of that event of the candidate's (at that time) in which `arrived` has found `what`, and
   * names somebody else or nobody. Without a time: it has answered, and there is nothing else that it may send.
   */
  differs(what: string, atMs?: number): void {
    const isAll = atMs === undefined;
    const held = this.#of(what, atMs).find(each => each.isSpokenFor || isAll);
    if (held !== undefined) this.#watch.differs(held, isAll);
  }

  /** That event of the candidate's has its verdict, and none of legacy's: may that have sent it, and was not heard? */
  isLeftInDoubt(what: string, atMs?: number): boolean {
    return this.#of(what, atMs).some(held => this.#watch.isLeftInDoubt(held));
  }

  #of(what: string, atMs: number | undefined): readonly Held[] {
    const alike = this.#recent.candidate.get(what) ?? [];
    return alike.filter(({ contamination }) => atMs === undefined || contamination.at === atMs);
  }

  /** Has legacy given to him alone what is in it? */
  isHis(event: WatchedEvent): boolean {
    return this.#owned.isHis(event);
  }

  /**
   * An event that has come, as it was written and as it was read. Null, or another user's data is in it that is not
   * the other service's as well by its word: the same text for the same fault in both.
   */
  arrived(
    side: Side,
    payload: Buffer,
    event: WatchedEvent,
    form: MessageForm,
    at: number,
    other: OtherSays,
  ): string | null {
    const found = this.#marker(payload) ?? this.#routing(side, payload, form);
    if (found === null) {
      if (side === 'legacy') this.#owned.learn(event, at);
      return null;
    }
    const { value, status } = event;
    const type = typeOf(value) || (form.type ?? '');
    const key = status === undefined ? keyOfNaming(event, type) : '';
    const contamination = this.#contamination(side, found, type, at);
    const what = JSON.stringify([key, found.rule, found.what]);
    // What was planted for somebody else no service has of its own.
    if (found.rule === 'routing' && other === 'the-same') {
      this.#watch.tell({ ...contamination, onBoth: true });
      return null;
    }
    if (found.rule === 'routing' && other === 'unchanged') {
      this.#watch.tell({ ...contamination, inDoubt: true });
      return null;
    }
    this.#tell(contamination, what, other === 'maybe', found);
    return what;
  }

  /**
   * Legacy did not send this user the candidate's event, at least not so: null, or legacy's that it was
   * paired with. True: it is another user's, by what legacy sends to whom; `byIdsAlone`: whatever its content.
   * `inDoubt`: legacy may say the same, and nobody is accused.
   */
  isOthers(
    candidate: WatchedEvent,
    legacy: WatchedEvent | null,
    at: number,
    { byIdsAlone = false, inDoubt = false }: { byIdsAlone?: boolean; inDoubt?: boolean } = {},
  ): boolean {
    const found =
      this.#owned.foreignIdentifier(candidate, legacy) ??
      (byIdsAlone ? null : this.#foreignContent(candidate, at));
    const eventType = typeOf(candidate.value);
    if (found !== null) {
      const contamination = this.#contamination('candidate', found, eventType, at);
      this.#watch.tell(inDoubt ? { ...contamination, inDoubt } : contamination);
      return !inDoubt;
    }
    if (inDoubt) return false;
    // A pair that differs has its verdict long before legacy has told everybody what is his.
    const unknown = legacy === null ? [] : this.#owned.newIdentifiers(candidate, legacy);
    if (unknown.length > 0) {
      const look = () => {
        const late = this.#owned.foreignOf(unknown);
        if (late !== null) this.#watch.tell(this.#contamination('candidate', late, eventType, at));
      };
      this.#watch.lookLater({ route: this.#facts.route, look });
    }
    return false;
  }

  /**
   * Where legacy was not told what he said, what the candidate tells him may be what it tells whoever says so: his
   * thread is another's all the same, his content is not.
   */
  #foreignContent(candidate: WatchedEvent, at: number): Found | null {
    const found = this.#owned.foreignContent(candidate);
    if (found === null || this.#isLegacyTold(at)) return found;
    this.#route.books.sides.candidate.inDoubt += 1;
    return null;
  }

  /** For what is too long to be kept; null where nothing was planted. */
  search(): MarkerSearch | null {
    return this.#watch.markers.search(namesOf(this.#facts.subject));
  }

  /** Something came that can not be looked into, but for whose marker was in it. Returns as `arrived`. */
  unread(
    side: Side,
    because: UninspectableBecause,
    owner: string | null,
    at: number,
    other: OtherSays,
    eventType = '',
  ): string | null {
    this.#route.books.sides[side].uninspectable[because] += 1;
    if (owner === null) return null;
    const what = JSON.stringify(['', 'marker', owner]);
    const contamination = this.#contamination(side, markerOf(owner), eventType, at);
    this.#tell(contamination, what, other === 'maybe');
    return what;
  }

  #marker(payload: Buffer): Found | null {
    const owner = this.#watch.markers.foreignIn(payload, namesOf(this.#facts.subject));
    return owner === null ? null : markerOf(owner);
  }

  #routing(side: Side, payload: Buffer, form: MessageForm): Found | null {
    const { isolation, fit, books } = this.#route;
    if (form.isBinary !== true && !hasRoutingField(isolation, payload, form.ascii)) return null;
    const inspection = inspect(isolation, this.#recipient, payload, form);
    const counts = books.sides[side];
    if (inspection.kind === 'uninspectable') {
      counts.uninspectable[inspection.because] += 1;
      return null;
    }
    const own = inspection.fields.filter(isOwn).length;
    const foreign = inspection.fields.filter(({ says }) => says === 'foreign');
    counts.fields += own + foreign.length;
    counts.foreign += foreign.length;
    const names = foreign.map(({ start, end }) => textAt(payload, start, end));
    // What another user made it say proves nothing of the names that events use.
    const isTyped = (name: string) => this.#watch.isAnothersWord(this.#user, name);
    if (side === 'legacy' && !(names.length > 0 && names.every(isTyped))) {
      fit.note(own + foreign.length, foreign.length, this.#user);
      books.identityMismatch = fit.isMismatch;
      books.oftenForeign = fit.isOftenForeign;
    }
    const [first] = foreign;
    if (first === undefined || books.identityMismatch) return null;
    const what = JSON.stringify(namedIn(isolation, payload, foreign)).slice(0, MOST_NAMED);
    const isSaid = names.every(name => this.#watch.isSaid(this.#user, name));
    const mayEcho = isSaid || names.every(name => this.#watch.mayBeSaid(this.#user, name));
    const { path, eventType } = first;
    const owner = this.#recipient.other(isolation, names[0] ?? '');
    const all = names.flatMap(name => allNamed(isolation, name) ?? []);
    return { rule: 'routing', path, owner, names: all, eventType, what, mayEcho, isSaid };
  }

  #contamination(side: Side, found: Found, eventType: string, at: number): Contamination {
    const { route, id, subject, primary } = this.#facts;
    const { owner, names = [] } = found;
    const type = found.eventType ?? eventType;
    return {
      ...{ route, session: id, side, eventType: type, at },
      ...namesIn([...namesOf(subject), ...names, ...(owner === null ? [] : [owner])], type, id),
      isShown: primary === undefined ? null : primary === side,
      ...{ rule: found.rule, path: found.path, owner },
      ...{ user: subject.id, onBoth: false },
    };
  }

  #tell(
    contamination: Contamination,
    what: string,
    mayBoth: boolean,
    { mayEcho = false, isSaid = false }: Pick<Found, 'mayEcho' | 'isSaid'> = {},
  ): void {
    const { side, at } = contamination;
    // However it comes, and whichever was first: it does so.
    if (side === 'legacy') this.#watch.legacyNames(contamination);
    if (this.#isOverheard) return this.#watch.tellOverheard(contamination);
    const twin = this.#takeTwin(otherSide(side), what, at);
    if (twin !== null) {
      this.#watch.release(twin, true);
      this.#watch.tell({ ...contamination, onBoth: true });
      return;
    }
    const isSpokenFor = this.#watch.isSpokenFor(contamination, isSaid);
    const known = { isSpokenFor, isLegacyHeard: () => this.#isLegacyHeard(at) };
    const held = mayBoth
      ? this.#watch.hold(contamination, mayEcho, known)
      : this.#watch.tellAtOnce(contamination, known);
    this.#remember(side, what, held);
  }

  /** The first that the other side sent alike, in the time in which two events are one. */
  #takeTwin(side: Side, what: string, at: number): Held | null {
    const alike = this.#recent[side].get(what) ?? [];
    for (let first = alike.shift(); first !== undefined; first = alike.shift()) {
      this.#recentCount[side] -= 1;
      if (alike.length === 0) this.#recent[side].delete(what);
      if (at - first.contamination.at <= 2 * this.#watch.windowMs) return first;
    }
    return null;
  }

  #remember(side: Side, what: string, held: Held): void {
    const all = this.#recent[side];
    const alike = all.get(what);
    if (alike === undefined) all.set(what, [held]);
    else alike.push(held);
    this.#recentCount[side] += 1;
    if (this.#recentCount[side] <= MOST_RECENT) return;
    const [oldest] = all as Iterable<[string, Held[]]>;
    if (oldest === undefined) return;
    this.#watch.crowded(this.#facts.route, side, 'twin-forgotten');
    const forgotten = oldest[1].shift();
    if (forgotten?.isSpokenFor) this.#watch.giveUp(forgotten);
    if (oldest[1].length === 0) all.delete(oldest[0]);
    this.#recentCount[side] -= 1;
  }
}

/** Whom they name, whichever envelope they stand in and however they are written: two services may differ there. */
function namedIn(
  isolation: Isolation,
  payload: Buffer,
  fields: readonly RoutingField[],
): readonly string[] {
  const named = fields.map(({ path, start, end }) => {
    const text = textAt(payload, start, end);
    const names = allNamed(isolation, text);
    return `${path.slice(path.lastIndexOf('/'))} ${names === null ? text : JSON.stringify(names)}`;
  });
  return [...new Set(named)].sort();
}

/** A key of all that it says would tell two apart by what has nothing to do with whom they name. */
function keyOfNaming({ value, plan }: WatchedEvent, type: string): string {
  const named = isRecord(value) ? keyOf(plan, value) : null;
  return named?.isPointed === true ? named.key : type;
}

function isOwn({ says }: RoutingField): boolean {
  return says === 'own' || says === 'among';
}

function markerOf(owner: string): Found {
  return { rule: 'marker', path: '', owner, what: owner };
}
