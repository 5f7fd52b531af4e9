// One user's data on a route, by what legacy sends: whose identifiers and contents are, and whether what
// somebody else is sent is his.
import { type ContentPrint, contentPrint } from '../rules/compare/canonical.ts';
import type { CompiledRules, TypePlan } from '../rules/compare/compile.ts';
import { stepFrom } from '../rules/compare/place.ts';
import { isRecord, type JsonRecord, own } from '../rules/compare/record.ts';
import { PROVENANCE_FIELDS } from '../rules/compare/rules.ts';
import { typeOf } from '../rules/event-key.ts';
import { type IdentifierPlace, identifiersIn } from '../rules/isolation/identifier-places.ts';
import type { IsolationRule } from '../rules/isolation/incident.ts';
import { hasOwnText, ownTexts } from '../rules/isolation/own-text.ts';
import { type Hash64, isSame, SHARED } from '../rules/isolation/ownership.ts';
import { pointerTo } from '../rules/isolation/rules.ts';
import type { ContaminationWatch, RouteWatch } from './contamination-watch.ts';

/** Identifiers of one session and kind that the ledger's young half has, and that need no telling again. */
const MOST_TAUGHT = 32;
/** Of legacy's: it is not for him. Others say that it is not now, or that legacy has failed. */
const REFUSED: ReadonlySet<number> = new Set([401, 403, 404, 410]);
/** Statuses from there on say that there is nothing for him. */
const LEAST_REFUSAL = 400;

/** Of one kind. */
interface Taught {
  readonly names: Set<string>;
  /** The next event mostly has it too. */
  last: string;
}

/** What an event is known by here. */
export interface WatchedEvent {
  readonly value: unknown;
  readonly plan: TypePlan;
  /** Its `exactPrint`, where that was made on the way. */
  exact?: number | null;
  /** Of an answer of HTTP, of which there is one on each side, whatever it holds. */
  readonly status?: number;
}

/** An identifier without its name. */
interface FoundIdentifier {
  /** JSON pointer. */
  readonly path: string;
  readonly hash: Hash64;
  /** He may have asked for it by its name, in what nobody can read. */
  readonly isInDoubt: boolean;
}

/** What was found, before it is put on record. */
export interface Found {
  readonly rule: IsolationRule;
  readonly path: string;
  readonly owner: string | null;
  /** All whom it names. */
  readonly names?: readonly string[];
  /** Of the event that it stands in, which may be one of a batch; not given: of the whole. */
  readonly eventType?: string;
  /** What both services must have said for it to be the same. */
  readonly what: string;
  /** It may be what a client has said: both services repeat that, in their time. */
  readonly mayEcho?: boolean;
  /** ... by what was heard, and not only for what was not. */
  readonly isSaid?: boolean;
}

export class OwnedData {
  readonly #watch: ContaminationWatch;
  readonly #route: RouteWatch;
  readonly #rules: Pick<CompiledRules, 'planOf'>;
  readonly #user: Hash64;
  readonly #names: readonly string[];
  /** By kind. */
  readonly #taught = new Map<string, Taught>();
  /** Of the ledger, when they were taught. */
  #generation = 0;

  constructor(
    watch: ContaminationWatch,
    route: RouteWatch,
    rules: Pick<CompiledRules, 'planOf'>,
    user: Hash64,
    names: readonly string[],
  ) {
    this.#watch = watch;
    this.#route = route;
    this.#rules = rules;
    this.#user = user;
    this.#names = names;
  }

  /** Legacy has sent this to the user: an event, or a batch of them. Notes the event's `exact`, if it was made. */
  learn(event: WatchedEvent, at: number): void {
    const { value, plan, status = 0 } = event;
    // Nearly always, and a closure for each event is one too many.
    if (isRecord(value) && status < LEAST_REFUSAL) {
      if (saysIts(plan)) event.exact = this.#learn(value, plan, at, false)?.exact ?? null;
    } else this.#each(event, (member, its) => void this.#learn(member, its, at, true));
    const { identifiers, contents } = this.#watch;
    const { crowded } = this.#route.books.sides.legacy;
    crowded['identifiers-forgotten'] += identifiers.takeCrowdedOut();
    crowded['contents-forgotten'] += contents.takeCrowdedOut();
  }

  /** In an event of the candidate's, less what is in legacy's own that it was paired with. */
  foreignIdentifier(event: WatchedEvent, legacy: WatchedEvent | null): Found | null {
    return this.foreignOf(this.#unlikeLegacy(event, legacy));
  }

  /** Identifiers in it that legacy has not given anybody yet, and that are not in its own event. */
  newIdentifiers(event: WatchedEvent, legacy: WatchedEvent): readonly FoundIdentifier[] {
    return this.#unlikeLegacy(event, legacy).filter(
      ({ hash }) => this.#watch.identifiers.ownerOf(hash) === null,
    );
  }

  /** The first of them that has become another user's. */
  foreignOf(identifiers: readonly FoundIdentifier[]): Found | null {
    for (const { path, hash, isInDoubt } of identifiers) {
      const owner = this.#ownedByOther(hash);
      // Nobody takes everybody back by asking for another's in binary data, or in more than is heard.
      if (owner !== null && isInDoubt) this.#route.books.sides.candidate.inDoubt += 1;
      else if (owner !== null)
        return { rule: 'ledger', path, owner: this.#watch.nameOf(owner), what: '' };
    }
    return null;
  }

  /**
   * Does it have identifiers, and has legacy given each of them to him, and to nobody else? Not what another user has
   * made: he may have made it for both.
   */
  isHis(event: WatchedEvent): boolean {
    let his = 0;
    let others = 0;
    this.#each(event, (value, plan) => {
      others += this.#named(value, plan).filter(name => !this.#names.includes(name)).length;
      identifiersIn(value, plan, this.#route.isolation, (name, { kind }) => {
        const owner = this.#watch.identifiers.ownerOf(this.#watch.hash(kind, name));
        if (owner !== null && owner !== SHARED && isSame(owner, this.#user)) his += 1;
        else others += 1;
      });
    });
    return his > 0 && others === 0;
  }

  /** In an event of the candidate's, or in one of a batch. */
  foreignContent(event: WatchedEvent): Found | null {
    const isMember = !isRecord(event.value);
    let found: Found | null = null;
    this.#each(event, (value, plan) => {
      found ??= this.#foreignContent(value, plan, isMember);
    });
    return found;
  }

  #learn(value: JsonRecord, plan: TypePlan, at: number, isMember: boolean): ContentPrint | null {
    const { isolation, personal } = this.#route;
    identifiersIn(value, plan, isolation, (name, { kind }) => {
      if (!this.#isTaught(kind, name)) this.#teach(kind, name, at, value, plan);
    });
    const type = typeOf(value);
    if (!this.#saysWhose(type, value, plan, isMember)) return null;
    const print = contentPrint(plan, value);
    if (print === null) return null;
    const taught = this.#watch.contents.teach(print, this.#user, at);
    if (taught !== 'his') personal.note(type, this.#user, taught);
    return print;
  }

  /** What was taught before is in the half that is forgotten next: it is used still, and stays his. */
  #isTaught(kind: string, name: string): boolean {
    const { generation } = this.#watch.identifiers;
    if (generation !== this.#generation) this.#taught.clear();
    this.#generation = generation;
    const taught = this.#taught.get(kind);
    return taught !== undefined && (taught.last === name || taught.names.has(name));
  }

  #teach(kind: string, name: string, at: number, value: JsonRecord, plan: TypePlan): void {
    const { identifiers } = this.#watch;
    const what = this.#watch.hash(kind, name);
    // Nobody makes another's look shared by asking for it by its name; what he is given then is his as well.
    const mayBeHisWord = () =>
      this.#watch.isHisWord(this.#user, name) || this.#watch.isInDoubtOfLegacy(this.#user);
    if (this.#ownedByOther(what) !== null && mayBeHisWord()) {
      return void identifiers.teach(this.#given(what, this.#user), this.#user, at);
    }
    const taught = this.#taught.get(kind) ?? { names: new Set(), last: name };
    this.#taught.set(kind, taught);
    if (taught.names.size >= MOST_TAUGHT) taught.names.clear();
    taught.names.add(name);
    taught.last = name;
    identifiers.teach(what, this.#user, at);
    // Whom legacy sends it by mistake may be the only one: whose it is, by its own word, is to have it all the same.
    for (const other of this.#others(value, plan)) {
      identifiers.teach(this.#given(what, other), other, at);
    }
  }

  /** In the candidate's event, and not in legacy's own that it was paired with, wherever they stand there. */
  #unlikeLegacy(event: WatchedEvent, legacy: WatchedEvent | null): readonly FoundIdentifier[] {
    const { isolation } = this.#route;
    const known = new Set<string>();
    const found = new Map<string, FoundIdentifier>();
    const each = (of: WatchedEvent, take: (name: string, place: IdentifierPlace) => void) =>
      this.#each(of, (value, plan) => identifiersIn(value, plan, isolation, take));
    if (legacy !== null) each(legacy, (name, { kind }) => known.add(`${kind} ${name}`));
    // What he has asked for by its name is his to hear of, unless legacy refuses it to him.
    const mayQuote = !isRefused(legacy);
    const isInDoubt = mayQuote && this.#watch.isInDoubt(this.#user);
    each(event, (name, { steps, kind }) => {
      const key = `${kind} ${name}`;
      if (known.has(key) || found.has(key)) return;
      if (mayQuote && this.#watch.isHisWord(this.#user, name)) return;
      found.set(key, { path: pointerTo(steps), hash: this.#watch.hash(kind, name), isInDoubt });
    });
    return [...found.values()];
  }

  /**
   * Of an event, or of an array at the top, which is as many: those that can say whose they are. Answers to a client
   * and failures can not: they quote what he asked for, and nobody takes everybody back, or makes another's thread
   * look shared, by asking for it.
   */
  #each(
    { value, plan, status = 0 }: WatchedEvent,
    take: (value: JsonRecord, plan: TypePlan) => void,
  ): void {
    if (status >= LEAST_REFUSAL) return;
    const one = (each: JsonRecord, itsPlan: TypePlan) => {
      if (saysIts(itsPlan)) take(each, itsPlan);
    };
    if (isRecord(value)) return one(value, plan);
    if (!Array.isArray(value)) return;
    for (const each of value) if (isRecord(each)) one(each, this.#planOf(each, plan));
  }

  /** Of an element of a list: by its type, or by what the rules say of the list's. */
  #planOf(element: JsonRecord, ofList: TypePlan): TypePlan {
    const type = typeOf(element);
    return type === '' ? elementPlan(ofList) : this.#rules.planOf(type);
  }

  #foreignContent(value: JsonRecord, plan: TypePlan, isMember: boolean): Found | null {
    const type = typeOf(value);
    const isHis = this.#saysWhose(type, value, plan, isMember);
    if (!isHis || !this.#route.personal.isPersonal(type)) return null;
    // Legacy's, which says the very same, says that it is his, whomever it was sent.
    if (this.#named(value, plan).some(name => this.#names.includes(name))) return null;
    const print = contentPrint(plan, value);
    const owner = print === null ? null : this.#watch.contents.ownerOf(print);
    if (owner === null || owner === SHARED || isSame(owner, this.#user)) return null;
    // He may well say what another has said, and be told it again by the one service that heard him.
    if (ownTexts(value, plan).every(text => this.#watch.isHisWord(this.#user, text))) return null;
    if (this.#watch.isInDoubt(this.#user)) {
      this.#route.books.sides.candidate.inDoubt += 1;
      return null;
    }
    return { rule: 'fingerprint', path: '', owner: this.#watch.nameOf(owner), what: '' };
  }

  #ownedByOther(identifier: Hash64): Hash64 | null {
    const { identifiers } = this.#watch;
    const owner = identifiers.ownerOf(identifier);
    if (owner === null || owner === SHARED || isSame(owner, this.#user)) return null;
    return identifiers.ownerOf(this.#given(identifier, this.#user)) === null ? owner : null;
  }

  /** In the ledger: that this identifier, whosever it is, was given to that user too. */
  #given({ high, low }: Hash64, to: Hash64): Hash64 {
    return this.#watch.hash('given', `${high} ${low} ${to.high} ${to.low}`);
  }

  /** Who made or owns it by its own word, as it is written there. */
  #named(value: JsonRecord, plan: TypePlan): readonly string[] {
    const inner = plan.envelopes.map(({ name }) => own(value, name));
    const names = [value, ...inner.filter(isRecord)].flatMap(record =>
      PROVENANCE_FIELDS.map(field => own(record, field)),
    );
    return names.flatMap(name =>
      typeof name === 'string' || typeof name === 'number' ? [String(name)] : [],
    );
  }

  /** Those of them who are other users, and have been here of late. */
  #others(value: JsonRecord, plan: TypePlan): readonly Hash64[] {
    const names = this.#named(value, plan).filter(name => !this.#names.includes(name));
    return names.flatMap(name => this.#watch.knownUser(name) ?? []);
  }

  /**
   * Can content of this type say whose it is? What is for everybody can not; nor a row of a list, which has no
   * type that would tell.
   */
  #saysWhose(type: string, value: JsonRecord, plan: TypePlan, isMember: boolean): boolean {
    if (isMember && type === '') return false;
    const { everyone } = this.#route.isolation;
    if (everyone.size > 0 && everyone.has(type)) return false;
    return hasOwnText(value, plan);
  }
}

const ELEMENT_PLANS = new WeakMap<TypePlan, TypePlan>();

function elementPlan(plan: TypePlan): TypePlan {
  let known = ELEMENT_PLANS.get(plan);
  if (known === undefined) {
    const root = stepFrom(plan.root, '0');
    known = root === null ? plan : { ...plan, root };
    ELEMENT_PLANS.set(plan, known);
  }
  return known;
}

function saysIts({ isReply, isFailure }: TypePlan): boolean {
  return !isReply && !isFailure;
}

function isRefused(legacy: WatchedEvent | null): boolean {
  return legacy?.status !== undefined && REFUSED.has(legacy.status);
}
