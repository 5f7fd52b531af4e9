// What makes an event "the same one", on either service and in any envelope. The one definition, used
// by pairing, handover and isolation, and by the reference services to write down what they planted.
import { hash } from 'node:crypto';
import { canonical, quoted } from './compare/canonical.ts';
import type { CompiledRules, Envelope, TypePlan } from './compare/compile.ts';
import { isRecord, type JsonRecord, read, worn } from './compare/record.ts';
import { isUserField } from './compare/rules.ts';
import { isInexact } from './compare/walk.ts';

/** Keys are stored and sent to other replicas: another definition gets another name. */
const VERSION = 'k1:';
/** Ids of 100 characters are long; whatever makes longer keys is not worth the memory. */
const MOST_CHARACTERS = 512;
/** 96 bits. */
const DIGEST_CHARACTERS = 24;

/**
 * `k1:["type", …all, first]`, values read through the envelopes, null for those that are absent. An
 * event with none of them is known by a digest of its content in the last place, less what services
 * may change and what names a user: who an event is for is not what it is, and a change there must
 * show as a difference. Null for what is no JSON object.
 */
export function eventKey(rules: CompiledRules, event: JsonRecord): string;
export function eventKey(rules: CompiledRules, event: unknown): string | null;
export function eventKey(rules: CompiledRules, event: unknown): string | null {
  if (!isRecord(event)) return null;
  return keyOf(rules.planOf(typeOf(event)), event).key;
}

/** An event's type; empty where it has none. */
export function typeOf(event: unknown): string {
  if (!isRecord(event)) return '';
  // Not by a name that varies, and JSON's objects inherit none.
  const { type } = event;
  return typeof type === 'string' ? type : '';
}

/** A key and what it is made of. Its text is put together once somebody asks: a pair is mostly found without it. */
export class EventKey {
  /** False: the content had to stand in. */
  readonly isPointed: boolean;
  /** It has one of `first` that is not `shared`: no other event of its type and run has the same. */
  readonly isNamed: boolean;
  /** One of its numbers is an integer beyond 2^53, of which a parser keeps no more than 53 bits. */
  readonly isRounded: boolean;
  /**
   * What tells it from most others, and what there is beside that and the type: where `rest` is not null, two of one
   * type have one key if both are equal. The text takes long to be looked up: it is put together of many pieces.
   */
  readonly lead: unknown;
  readonly rest: string | null;
  readonly #plan: TypePlan;
  /** Null once the text is there: one that was parsed for its digits is not to be kept. */
  #event: JsonRecord | null;
  readonly #envelopes: readonly Envelope[];
  #first: unknown;
  #text = '';

  constructor(plan: TypePlan, event: JsonRecord, envelopes: readonly Envelope[]) {
    const { keyAll, keyFirst } = plan;
    let isPointed = false;
    let isRounded = false;
    let rest: string | null = '';
    for (const pointer of keyAll) {
      const value = read(event, pointer, envelopes);
      if (value === undefined) continue;
      isPointed = true;
      rest = typeof value === 'string' && value !== '' && keyAll.length === 1 ? value : null;
      if (isInexact(value)) isRounded = true;
    }
    let first: unknown;
    let isNamed = false;
    for (const { pointer, isShared } of keyFirst) {
      first = read(event, pointer, envelopes);
      if (first === undefined) continue;
      isPointed = true;
      isNamed = !isShared;
      if (isInexact(first)) isRounded = true;
      break;
    }
    this.isPointed = isPointed;
    this.isNamed = isNamed;
    this.isRounded = isRounded;
    this.#plan = plan;
    this.#event = event;
    this.#envelopes = envelopes;
    this.#first = first;
    const hasLead = rest !== null && (typeof first === 'string' || Number.isFinite(first));
    this.lead = hasLead ? first : this.key;
    this.rest = hasLead ? rest : null;
  }

  /** `k1:…` */
  get key(): string {
    if (this.#event !== null) {
      this.#text = this.#put(this.#event);
      this.#event = null;
      this.#first = undefined;
    }
    return this.#text;
  }

  #put(event: JsonRecord): string {
    const plan = this.#plan;
    let text = `${VERSION}[${quoted(typeOf(event))}`;
    for (const pointer of plan.keyAll) text += `,${textOf(read(event, pointer, this.#envelopes))}`;
    text += this.isPointed ? `,${textOf(this.#first)}]` : `,"${digestOf(plan, event)}"]`;
    return text.length <= MOST_CHARACTERS ? text : `${VERSION}${digest(text)}`;
  }
}

/** `envelopes`: as `worn` of the event, if whoever asks knows. */
export function keyOf(
  plan: TypePlan,
  event: JsonRecord,
  envelopes: readonly Envelope[] = worn(event, plan.envelopes),
): EventKey {
  return new EventKey(plan, event, envelopes);
}

function textOf(value: unknown): string {
  return value === undefined ? 'null' : canonical(value);
}

/** Of the fields at the root and in the envelopes, as if they stood in one place. */
function digestOf({ undigested, envelopes }: TypePlan, event: JsonRecord): string {
  const fields: string[] = [];
  const add = (name: string, value: unknown) => {
    if (value === null || name === 'type' || undigested.has(name) || isUserField(name)) return;
    fields.push(`${JSON.stringify(name)}:${canonical(value)}`);
  };
  for (const [name, value] of Object.entries(event)) {
    if (!isRecord(value) || !envelopes.some(envelope => envelope.name === name)) add(name, value);
    else for (const [inner, its] of Object.entries(value)) add(inner, its);
  }
  return digest(fields.sort().join());
}

function digest(text: string): string {
  return hash('sha256', text).slice(0, DIGEST_CHARACTERS);
}
