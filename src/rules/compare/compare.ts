// Compares two events that are to be the same one: reads through their envelopes, so that a field is
// the same wherever it stands, and says in which places they differ.
import type { Envelope, TypePlan } from './compile.ts';
import type { Acquaintance } from './excuse.ts';
import { type Place, stepFrom } from './place.ts';
import { isRecord, type JsonRecord, own } from './record.ts';
import { type Comparison, isContainer, pathOf, Walk } from './walk.ts';

export type { Acquaintance } from './excuse.ts';
export type { Comparison, Stopped } from './walk.ts';

/** Compares by the plan of legacy's type. Learns no ids: only a pair does, see `Comparison.learned`. */
export function compare(
  plan: TypePlan,
  legacy: unknown,
  candidate: unknown,
  known: Acquaintance,
): Comparison {
  return compareAt('', plan, legacy, candidate, known);
}

/** The same for values that are part of something: `path` is put before every path that is reported. */
export function compareAt(
  path: string,
  plan: TypePlan,
  legacy: unknown,
  candidate: unknown,
  known: Acquaintance,
): Comparison {
  const walk = new Walk(known);
  if (isRecord(legacy) && isRecord(candidate))
    new Fields(walk).compare(plan, legacy, candidate, path);
  // One is JSON, the other is not: nothing says which of the two was meant to be what.
  else if (isText(legacy, candidate) || isText(candidate, legacy)) walk.stopped = 'not-comparable';
  else walk.value(legacy, candidate, path, null, plan.root, 0);
  return walk;
}

export function isSame({ differences, stopped }: Comparison): boolean {
  return differences.length === 0 && stopped === null;
}

/** A field of one side that the other one does not have at the same place. */
interface Loose {
  readonly parent: string;
  readonly name: string;
  readonly value: unknown;
  readonly place: Place | null;
}

/** The wire's only invariant stands at the root: an event that says it elsewhere has none for its readers. */
const UNMOVED = 'type';

const NO_FIELDS: JsonRecord = Object.freeze({});

class Fields {
  readonly #walk: Walk;
  #looseLegacy: Loose[] | null = null;
  #looseCandidate: Loose[] | null = null;

  constructor(walk: Walk) {
    this.#walk = walk;
  }

  /** Fields are compared where both have them; then those that moved; what is left is one side's own. */
  compare(plan: TypePlan, legacy: JsonRecord, candidate: JsonRecord, path: string): void {
    const { envelopes } = plan;
    this.#fields(legacy, candidate, path, plan.root, envelopes);
    for (const envelope of envelopes) {
      const { name, fields } = envelope;
      const [left, right] = [own(legacy, name), own(candidate, name)];
      if (left === undefined && right === undefined) continue;
      if (left === undefined || right === undefined) this.#walk.unlike();
      if (!isDress(left) || !isDress(right)) continue;
      this.#fields(left ?? NO_FIELDS, right ?? NO_FIELDS, pathOf(path, name), fields, null);
    }
    if (this.#looseLegacy === null && this.#looseCandidate === null) return;
    this.#walk.unlike();
    this.#reconcile(path);
  }

  /** `envelopes` is null inside of one. */
  #fields(
    legacy: JsonRecord,
    candidate: JsonRecord,
    parent: string,
    place: Place,
    envelopes: readonly Envelope[] | null,
  ): void {
    let common = 0;
    for (const name in legacy) {
      const left = legacy[name];
      const right = own(candidate, name);
      if (right !== undefined) common++;
      if (envelopes !== null && isEnvelope(envelopes, name) && isDress(left) && isDress(right)) {
        continue;
      }
      if (right === undefined) {
        this.#looseLegacy ??= [];
        this.#looseLegacy.push({ parent, name, value: left, place: stepFrom(place, name) });
        this.#walk.count();
      } else this.#walk.value(left, right, parent, name, stepFrom(place, name), 1);
      if (this.#walk.isOver) return;
    }
    const names = Object.keys(candidate);
    if (names.length === common) return;
    for (const name of names) {
      if (own(legacy, name) !== undefined) continue;
      const value = candidate[name];
      if (envelopes !== null && isEnvelope(envelopes, name) && isDress(value)) continue;
      this.#looseCandidate ??= [];
      this.#looseCandidate.push({ parent, name, value, place: stepFrom(place, name) });
      this.#walk.count();
      if (this.#walk.isOver) return;
    }
  }

  /** `root` is the path of the event itself. */
  #reconcile(root: string): void {
    const stays = ({ name, parent }: Loose) => name === UNMOVED && parent === root;
    const moved = new Map<string, Loose[]>();
    const stayed: Loose[] = [];
    for (const field of this.#looseCandidate ?? []) {
      const namesakes = moved.get(field.name);
      if (stays(field)) stayed.push(field);
      else if (namesakes === undefined) moved.set(field.name, [field]);
      else namesakes.push(field);
    }
    for (const field of this.#looseLegacy ?? []) {
      const { parent, name, value, place } = field;
      const other = stays(field) ? undefined : moved.get(name)?.shift();
      if (other === undefined) this.#walk.value(value, undefined, parent, name, place, 1);
      else this.#walk.value(value, other.value, parent, name, place ?? other.place, 1);
      if (this.#walk.isOver) return;
    }
    for (const fields of [stayed, ...moved.values()]) {
      for (const { parent, name, value, place } of fields) {
        this.#walk.value(undefined, value, parent, name, place, 1);
        if (this.#walk.isOver) return;
      }
    }
  }
}

const isText = (one: unknown, other: unknown): boolean =>
  typeof one === 'string' && isContainer(other);

/** Can it be an envelope, or the lack of one? Anything else is a field like others. */
function isDress(value: unknown): value is JsonRecord | undefined {
  return value === undefined || isRecord(value);
}

function isEnvelope(envelopes: readonly Envelope[], name: string): boolean {
  for (const envelope of envelopes) if (envelope.name === name) return true;
  return false;
}
