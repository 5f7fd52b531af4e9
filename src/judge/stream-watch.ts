// Watches both streams of one session for data of another user: at once by what stands in an event, and
// when its pair has not come by what legacy has sent to whom.
//
//   event ──► marker, routing fields ──► contaminated ──► the same from the other side? ──► told
//     └─ legacy's ──► whose identifiers, whose content             ▲
//                          └── asked when no pair came ────────────┘
import type { StreamFacts } from '../ports.ts';
import { contentPrint } from '../rules/compare/canonical.ts';
import type { TypePlan } from '../rules/compare/compile.ts';
import { isRecord, type JsonRecord, read } from '../rules/compare/record.ts';
import type { Side, Subject } from '../rules/decide.ts';
import { keyOf, typeOf } from '../rules/event-key.ts';
import { type Contamination, type IsolationRule, nameIn } from '../rules/isolation/incident.ts';
import { inspect, type MessageForm } from '../rules/isolation/inspect.ts';
import { type Hash64, isSame, SHARED } from '../rules/isolation/ownership.ts';
import { Recipient } from '../rules/isolation/recipient.ts';
import { pointerTo } from '../rules/isolation/rules.ts';
import { hasRoutingField } from '../rules/isolation/scan.ts';
import { otherSide } from '../rules/pairing/legs.ts';
import type { ContaminationWatch, Held, RouteWatch } from './contamination-watch.ts';

/** Identifiers of one session that were told of lately, and need no telling again. */
const MOST_TAUGHT = 64;
/** Contaminated events of one side that the other may send as well. */
const MOST_RECENT = 64;
/** The shortest text that makes a content somebody's own. */
const LEAST_CHARACTERS = 12;

/** Of what both services name, so much is compared. */
const MOST_NAMED = 4_096;

/** What an event is known by here. */
export interface WatchedEvent {
  readonly value: unknown;
  readonly plan: TypePlan;
  /** There is one of it on each side, whatever it holds. */
  readonly isAnswer?: boolean;
}

/** Of a stream, or of one request with its answers. */
export type WatchedFacts = Pick<StreamFacts, 'route' | 'id' | 'subject'>;

/** What was found, before it is put on record. */
interface Finding {
  readonly rule: IsolationRule;
  readonly path: string;
  readonly owner: string | null;
  /** What both services must have said for it to be the same. */
  readonly what: string;
}

export class StreamWatch {
  readonly #watch: ContaminationWatch;
  readonly #route: RouteWatch;
  readonly #facts: WatchedFacts & { readonly subject: Subject };
  readonly #recipient: Recipient;
  readonly #user: Hash64;
  readonly #taught = new Set<string>();
  /** By what an event is, what was found in it on each side. */
  readonly #recent: Record<Side, Map<string, Held | null>> = {
    legacy: new Map(),
    candidate: new Map(),
  };

  constructor(
    watch: ContaminationWatch,
    route: RouteWatch,
    facts: WatchedFacts & { readonly subject: Subject },
  ) {
    this.#watch = watch;
    this.#route = route;
    this.#facts = facts;
    this.#recipient = new Recipient(facts.subject);
    this.#user = watch.user(facts.subject.id);
  }

  /**
   * An event that has come, as it was written and as it was read. `mayBoth`: the other service may send it
   * as well. Null, or another user's data is in it: the same text for the same fault in both.
   */
  arrived(
    side: Side,
    payload: Buffer,
    { value, plan, isAnswer = false }: WatchedEvent,
    form: MessageForm,
    at: number,
    mayBoth: boolean,
  ): string | null {
    const found = this.#marker(payload) ?? this.#routing(side, payload, form);
    if (found === null) {
      if (side === 'legacy' && isRecord(value)) this.#learn(value, plan, at);
      return null;
    }
    const key = isRecord(value) && !isAnswer ? keyOf(plan, value).key : '';
    const contamination = this.#contamination(side, found, typeOf(value), at);
    const what = JSON.stringify([key, found.rule, found.what]);
    this.#tell(contamination, what, mayBoth);
    return what;
  }

  /**
   * Legacy did not send this user the candidate's event, at least not so: null, or legacy's that it was
   * paired with. True: it is another user's, by what legacy sends to whom.
   */
  isOthers(candidate: WatchedEvent, legacy: WatchedEvent | null, at: number): boolean {
    const { value } = candidate;
    if (!isRecord(value)) return false;
    const found =
      this.#foreignIdentifier(value, candidate.plan, legacy) ??
      this.#foreignContent(value, candidate.plan);
    if (found !== null) {
      this.#watch.tell(this.#contamination('candidate', found, typeOf(value), at));
      return true;
    }
    // A pair that differs has its verdict long before legacy has told everybody what is his.
    if (legacy !== null && this.#hasNewIdentifier(value, candidate.plan, legacy)) {
      this.#watch.lookLater(() => {
        const late = this.#foreignIdentifier(value, candidate.plan, legacy);
        if (late !== null) {
          this.#watch.tell(this.#contamination('candidate', late, typeOf(value), at));
        }
      });
    }
    return false;
  }

  #marker(payload: Buffer): Finding | null {
    const { id, aliases } = this.#facts.subject;
    const owner = this.#watch.foreignMarker(payload, user => user === id || aliases.includes(user));
    return owner === null ? null : { rule: 'marker', path: '', owner, what: owner };
  }

  #routing(side: Side, payload: Buffer, form: MessageForm): Finding | null {
    const { isolation, fit, books } = this.#route;
    if (form.isBinary !== true && !hasRoutingField(isolation, payload)) return null;
    const inspection = inspect(isolation, this.#recipient, payload, form);
    const counts = books.sides[side];
    if (inspection.kind === 'uninspectable') {
      counts.uninspectable[inspection.because] += 1;
      return null;
    }
    const own = inspection.fields.filter(({ says }) => says === 'own').length;
    const foreign = inspection.fields.filter(({ says }) => says === 'foreign');
    counts.fields += own + foreign.length;
    counts.foreign += foreign.length;
    if (side === 'legacy') {
      fit.note(own + foreign.length, foreign.length, this.#user);
      books.identityMismatch = fit.isMismatch;
    }
    const [first] = foreign;
    if (first === undefined || books.identityMismatch) return null;
    const named = foreign.map(({ path, start, end }) => [
      path,
      payload.toString('utf8', start, end),
    ]);
    const what = JSON.stringify(named).slice(0, MOST_NAMED);
    return { rule: 'routing', path: first.path, owner: nameIn(named[0]?.[1] ?? ''), what };
  }

  /** Whose identifiers and content: as legacy sends them. */
  #learn(value: JsonRecord, plan: TypePlan, at: number): void {
    const { isolation, personal } = this.#route;
    for (const steps of isolation.identifiers) {
      const name = identifierAt(value, steps, plan);
      if (name === null) continue;
      const key = `${steps.at(-1)} ${name}`;
      if (this.#taught.has(key)) continue;
      if (this.#taught.size >= MOST_TAUGHT) this.#taught.clear();
      this.#taught.add(key);
      this.#watch.identifiers.teach(this.#watch.hash(steps.at(-1) ?? '', name), this.#user, at);
    }
    const type = typeOf(value);
    if (!this.#saysWhose(type, value, plan)) return;
    const print = contentPrint(plan, value);
    const before = this.#watch.contents.ownerOf(print);
    const owner = this.#watch.contents.teach(print, this.#user, at);
    if (before === null) personal.note(type, this.#user, 'new');
    else if (owner === SHARED) personal.note(type, this.#user, 'shared');
  }

  #foreignIdentifier(
    value: JsonRecord,
    plan: TypePlan,
    legacy: WatchedEvent | null,
  ): Finding | null {
    for (const steps of this.#route.isolation.identifiers) {
      const name = identifierAt(value, steps, plan);
      if (name === null) continue;
      const others = legacy !== null && isRecord(legacy.value) ? legacy.value : null;
      if (others !== null && identifierAt(others, steps, plan) === name) continue;
      const owner = this.#watch.identifiers.ownerOf(this.#watch.hash(steps.at(-1) ?? '', name));
      if (owner === null || owner === SHARED || isSame(owner, this.#user)) continue;
      return { rule: 'ledger', path: pointerTo(steps), owner: this.#watch.nameOf(owner), what: '' };
    }
    return null;
  }

  /** Is there an identifier in it that legacy has not given anybody yet, nor its own event? */
  #hasNewIdentifier(value: JsonRecord, plan: TypePlan, { value: legacy }: WatchedEvent): boolean {
    return this.#route.isolation.identifiers.some(steps => {
      const name = identifierAt(value, steps, plan);
      if (name === null) return false;
      if (isRecord(legacy) && identifierAt(legacy, steps, plan) === name) return false;
      return this.#watch.identifiers.ownerOf(this.#watch.hash(steps.at(-1) ?? '', name)) === null;
    });
  }

  #foreignContent(value: JsonRecord, plan: TypePlan): Finding | null {
    const type = typeOf(value);
    if (!this.#saysWhose(type, value, plan) || !this.#route.personal.isPersonal(type)) return null;
    const owner = this.#watch.contents.ownerOf(contentPrint(plan, value));
    if (owner === null || owner === SHARED || isSame(owner, this.#user)) return null;
    return { rule: 'fingerprint', path: '', owner: this.#watch.nameOf(owner), what: '' };
  }

  /** Can content of this type say whose it is? Answers, failures and what is for everybody can not. */
  #saysWhose(type: string, value: JsonRecord, plan: TypePlan): boolean {
    if (plan.isReply || plan.isFailure || this.#route.isolation.everyone.has(type)) return false;
    const hasOwn = (record: JsonRecord) =>
      Object.entries(record).some(
        ([name, text]) =>
          name !== 'type' && typeof text === 'string' && text.length >= LEAST_CHARACTERS,
      );
    return (
      hasOwn(value) ||
      plan.envelopes.some(({ name }) => {
        const inner = value[name];
        return isRecord(inner) && hasOwn(inner);
      })
    );
  }

  #contamination(side: Side, found: Finding, eventType: string, at: number): Contamination {
    const { route, id, subject } = this.#facts;
    return {
      ...{ route, session: id, side, eventType, at },
      ...{ rule: found.rule, path: found.path, owner: found.owner },
      ...{ user: subject.id, onBoth: false },
    };
  }

  #tell(contamination: Contamination, what: string, mayBoth: boolean): void {
    const { side } = contamination;
    const others = this.#recent[otherSide(side)];
    const twin = others.get(what);
    if (twin !== undefined) {
      others.delete(what);
      if (twin !== null) this.#watch.release(twin, true);
      this.#watch.tell({ ...contamination, onBoth: true });
      return;
    }
    const recent = this.#recent[side];
    const [oldest] = recent.keys();
    if (recent.size >= MOST_RECENT && oldest !== undefined) recent.delete(oldest);
    if (mayBoth) recent.set(what, this.#watch.hold(contamination));
    else {
      recent.set(what, null);
      this.#watch.tell(contamination);
    }
  }
}

/** A text or number that is there; as text. */
function identifierAt(value: JsonRecord, steps: readonly string[], plan: TypePlan): string | null {
  const found = read(value, steps, plan.envelopes);
  if (typeof found === 'number') return String(found);
  return typeof found === 'string' && found !== '' ? found : null;
}
