// One user's data on a route, by what legacy sends: whose identifiers and contents are, and whether what
// somebody else is sent is his.
import { contentPrint } from '../rules/compare/canonical.ts';
import type { TypePlan } from '../rules/compare/compile.ts';
import { isRecord, type JsonRecord, read } from '../rules/compare/record.ts';
import { typeOf } from '../rules/event-key.ts';
import type { IsolationRule } from '../rules/isolation/incident.ts';
import { type Hash64, isSame, SHARED } from '../rules/isolation/ownership.ts';
import { pointerTo } from '../rules/isolation/rules.ts';
import type { ContaminationWatch, RouteWatch } from './contamination-watch.ts';

/** Identifiers of one session that the ledger's young half has, and that need no telling again. */
const MOST_TAUGHT = 64;
/** As lanes of events are named. */
const MOST_CHARACTERS = 256;
/** The shortest text that makes a content somebody's own. */
const LEAST_CHARACTERS = 12;

/** What an event is known by here. */
export interface WatchedEvent {
  readonly value: unknown;
  readonly plan: TypePlan;
  /** There is one of it on each side, whatever it holds. */
  readonly isAnswer?: boolean;
}

/** An identifier without its name. */
interface NewIdentifier {
  /** JSON pointer. */
  readonly path: string;
  readonly hash: Hash64;
}

/** What was found, before it is put on record. */
export interface Found {
  readonly rule: IsolationRule;
  readonly path: string;
  readonly owner: string | null;
  /** What both services must have said for it to be the same. */
  readonly what: string;
}

export class OwnedData {
  readonly #watch: ContaminationWatch;
  readonly #route: RouteWatch;
  readonly #user: Hash64;
  readonly #taught = new Set<string>();
  /** Of the ledger, when they were taught. */
  #generation = 0;

  constructor(watch: ContaminationWatch, route: RouteWatch, user: Hash64) {
    this.#watch = watch;
    this.#route = route;
    this.#user = user;
  }

  /** Legacy has sent this to the user. */
  learn(value: JsonRecord, plan: TypePlan, at: number): void {
    const { isolation, personal } = this.#route;
    const { identifiers } = this.#watch;
    for (const steps of isolation.identifiers) {
      const name = identifierAt(value, steps, plan);
      if (name === null) continue;
      const key = `${steps.at(-1)} ${name}`;
      // What was taught before is in the half that is forgotten next: it is used still, and stays his.
      const isOld = identifiers.generation !== this.#generation;
      if (!isOld && this.#taught.has(key)) continue;
      if (isOld || this.#taught.size >= MOST_TAUGHT) this.#taught.clear();
      this.#taught.add(key);
      identifiers.teach(this.#watch.hash(steps.at(-1) ?? '', name), this.#user, at);
      this.#generation = identifiers.generation;
    }
    const type = typeOf(value);
    if (!this.#saysWhose(type, value, plan)) return;
    const print = contentPrint(plan, value);
    const before = this.#watch.contents.ownerOf(print);
    const owner = this.#watch.contents.teach(print, this.#user, at);
    if (before === null) personal.note(type, this.#user, 'new');
    else if (owner === SHARED) personal.note(type, this.#user, 'shared');
  }

  /** In an event of the candidate's, less what is in legacy's own that it was paired with. */
  foreignIdentifier(value: JsonRecord, plan: TypePlan, legacy: WatchedEvent | null): Found | null {
    for (const steps of this.#route.isolation.identifiers) {
      const name = identifierAt(value, steps, plan);
      if (name === null) continue;
      const others = legacy !== null && isRecord(legacy.value) ? legacy.value : null;
      if (others !== null && identifierAt(others, steps, plan) === name) continue;
      const owner = this.#ownedByOther(this.#watch.hash(steps.at(-1) ?? '', name));
      if (owner === null) continue;
      return { rule: 'ledger', path: pointerTo(steps), owner: this.#watch.nameOf(owner), what: '' };
    }
    return null;
  }

  /** Identifiers in it that legacy has not given anybody yet, and that are not in its own event. */
  newIdentifiers(
    value: JsonRecord,
    plan: TypePlan,
    { value: legacy }: WatchedEvent,
  ): readonly NewIdentifier[] {
    return this.#route.isolation.identifiers.flatMap(steps => {
      const name = identifierAt(value, steps, plan);
      if (name === null) return [];
      if (isRecord(legacy) && identifierAt(legacy, steps, plan) === name) return [];
      const hash = this.#watch.hash(steps.at(-1) ?? '', name);
      return this.#watch.identifiers.ownerOf(hash) === null
        ? [{ path: pointerTo(steps), hash }]
        : [];
    });
  }

  /** The first of them that has become another user's. */
  foreignOf(identifiers: readonly NewIdentifier[]): Found | null {
    for (const { path, hash } of identifiers) {
      const owner = this.#ownedByOther(hash);
      if (owner !== null)
        return { rule: 'ledger', path, owner: this.#watch.nameOf(owner), what: '' };
    }
    return null;
  }

  foreignContent(value: JsonRecord, plan: TypePlan): Found | null {
    const type = typeOf(value);
    if (!this.#saysWhose(type, value, plan) || !this.#route.personal.isPersonal(type)) return null;
    const owner = this.#watch.contents.ownerOf(contentPrint(plan, value));
    if (owner === null || owner === SHARED || isSame(owner, this.#user)) return null;
    return { rule: 'fingerprint', path: '', owner: this.#watch.nameOf(owner), what: '' };
  }

  #ownedByOther(identifier: Hash64): Hash64 | null {
    const owner = this.#watch.identifiers.ownerOf(identifier);
    return owner === null || owner === SHARED || isSame(owner, this.#user) ? null : owner;
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
}

/** A text or number that is there, as text; what is longer is no identifier. */
function identifierAt(value: JsonRecord, steps: readonly string[], plan: TypePlan): string | null {
  const found = read(value, steps, plan.envelopes);
  if (typeof found === 'number') return String(found);
  if (typeof found !== 'string' || found === '' || found.length > MOST_CHARACTERS) return null;
  return found;
}
