// One user's data on a route, by what legacy sends: whose identifiers and contents are, and whether what
// somebody else is sent is his.
import { contentPrint } from '../rules/compare/canonical.ts';
import type { CompiledRules, TypePlan } from '../rules/compare/compile.ts';
import { isRecord, type JsonRecord, readAll } from '../rules/compare/record.ts';
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
  readonly #rules: Pick<CompiledRules, 'planOf'>;
  readonly #user: Hash64;
  readonly #taught = new Set<string>();
  /** Of the ledger, when they were taught. */
  #generation = 0;

  constructor(
    watch: ContaminationWatch,
    route: RouteWatch,
    rules: Pick<CompiledRules, 'planOf'>,
    user: Hash64,
  ) {
    this.#watch = watch;
    this.#route = route;
    this.#rules = rules;
    this.#user = user;
  }

  /** Legacy has sent this to the user: an event, or a batch of them. */
  learn(value: unknown, plan: TypePlan, at: number): void {
    if (isRecord(value)) return this.#learn(value, plan, at, false);
    this.#members(value, (member, itsPlan) => this.#learn(member, itsPlan, at, true));
  }

  /** In an event of the candidate's, less what is in legacy's own that it was paired with. */
  foreignIdentifier(event: WatchedEvent, legacy: WatchedEvent | null): Found | null {
    for (const steps of this.#route.isolation.identifiers) {
      const others = new Set(legacy === null ? [] : this.#identifiers(legacy, steps));
      for (const name of this.#identifiers(event, steps)) {
        if (others.has(name)) continue;
        const owner = this.#ownedByOther(this.#watch.hash(steps.at(-1) ?? '', name));
        if (owner === null) continue;
        const path = pointerTo(steps);
        return { rule: 'ledger', path, owner: this.#watch.nameOf(owner), what: '' };
      }
    }
    return null;
  }

  /** Identifiers in it that legacy has not given anybody yet, and that are not in its own event. */
  newIdentifiers(event: WatchedEvent, legacy: WatchedEvent): readonly NewIdentifier[] {
    return this.#route.isolation.identifiers.flatMap(steps => {
      const others = new Set(this.#identifiers(legacy, steps));
      return [...this.#identifiers(event, steps)]
        .filter(name => !others.has(name))
        .map(name => ({
          path: pointerTo(steps),
          hash: this.#watch.hash(steps.at(-1) ?? '', name),
        }))
        .filter(({ hash }) => this.#watch.identifiers.ownerOf(hash) === null);
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

  /** In an event of the candidate's, or in one of a batch. */
  foreignContent({ value, plan }: WatchedEvent): Found | null {
    if (isRecord(value)) return this.#foreignContent(value, plan, false);
    let found: Found | null = null;
    this.#members(value, (member, itsPlan) => {
      found ??= this.#foreignContent(member, itsPlan, true);
    });
    return found;
  }

  #learn(value: JsonRecord, plan: TypePlan, at: number, isMember: boolean): void {
    const { isolation, personal } = this.#route;
    for (const steps of isolation.identifiers) {
      readAll(value, steps, plan.envelopes, name => this.#teach(steps, identifierOf(name), at));
    }
    const type = typeOf(value);
    if (!this.#saysWhose(type, value, plan, isMember)) return;
    const print = contentPrint(plan, value);
    const before = this.#watch.contents.ownerOf(print);
    const owner = this.#watch.contents.teach(print, this.#user, at);
    if (before === null) personal.note(type, this.#user, 'new');
    else if (owner === SHARED) personal.note(type, this.#user, 'shared');
  }

  #teach(steps: readonly string[], name: string | null, at: number): void {
    if (name === null) return;
    const { identifiers } = this.#watch;
    const key = `${steps.at(-1)} ${name}`;
    // What was taught before is in the half that is forgotten next: it is used still, and stays his.
    const isOld = identifiers.generation !== this.#generation;
    if (!isOld && this.#taught.has(key)) return;
    if (isOld || this.#taught.size >= MOST_TAUGHT) this.#taught.clear();
    this.#taught.add(key);
    identifiers.teach(this.#watch.hash(steps.at(-1) ?? '', name), this.#user, at);
    this.#generation = identifiers.generation;
  }

  /** All that stand at that place: its own, those in its envelopes, and those of each of a batch. */
  #identifiers({ value, plan }: WatchedEvent, steps: readonly string[]): Set<string> {
    const names = new Set<string>();
    const add = (found: unknown) => {
      const name = identifierOf(found);
      if (name !== null) names.add(name);
    };
    if (isRecord(value)) readAll(value, steps, plan.envelopes, add);
    else this.#members(value, (member, of) => readAll(member, steps, of.envelopes, add));
    return names;
  }

  /** Of an array at the top, which is as many events. */
  #members(value: unknown, take: (member: JsonRecord, plan: TypePlan) => void): void {
    if (!Array.isArray(value)) return;
    for (const member of value) {
      if (isRecord(member)) take(member, this.#rules.planOf(typeOf(member)));
    }
  }

  #foreignContent(value: JsonRecord, plan: TypePlan, isMember: boolean): Found | null {
    const type = typeOf(value);
    const isHis = this.#saysWhose(type, value, plan, isMember);
    if (!isHis || !this.#route.personal.isPersonal(type)) return null;
    const owner = this.#watch.contents.ownerOf(contentPrint(plan, value));
    if (owner === null || owner === SHARED || isSame(owner, this.#user)) return null;
    return { rule: 'fingerprint', path: '', owner: this.#watch.nameOf(owner), what: '' };
  }

  #ownedByOther(identifier: Hash64): Hash64 | null {
    const owner = this.#watch.identifiers.ownerOf(identifier);
    return owner === null || owner === SHARED || isSame(owner, this.#user) ? null : owner;
  }

  /**
   * Can content of this type say whose it is? Answers, failures and what is for everybody can not; nor a row of
   * a list, which has no type that would tell.
   */
  #saysWhose(type: string, value: JsonRecord, plan: TypePlan, isMember: boolean): boolean {
    if (isMember && type === '') return false;
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

/** A text or number, as text; what is longer is no identifier. */
function identifierOf(found: unknown): string | null {
  if (typeof found === 'number') return String(found);
  if (typeof found !== 'string' || found === '' || found.length > MOST_CHARACTERS) return null;
  return found;
}
