// Walks through two JSON values side by side and notes where they are not the same.
import type { Difference } from '../verdict.ts';
import { canonical, isMadeAnew } from './canonical.ts';
import { type Acquaintance, excuse, type LearnedId } from './excuse.ts';
import { type Allowed, type Place, stepFrom } from './place.ts';
import { isRecord, type JsonRecord, own, read } from './record.ts';

/** Deeper values overflow the stack of whoever walks or copies them. */
const MOST_DEPTH = 64;
/** Some 5 ms; one event that is so large must not hold up the sessions behind it for longer. */
const MOST_VALUES = 100_000;
/** A longer list says no more; the walk ends here. */
const MOST_DIFFERENCES = 32;
/** Arrays up to here are looked through for the same elements in another order. */
const MOST_ORDERED = 1_000;

/** Why a comparison came to no end. */
export type Stopped = 'too-deep' | 'too-large' | 'not-comparable';

export interface Comparison {
  /** Where they differ and no rule allows it. Empty: the same, as far as was looked. */
  readonly differences: readonly Difference[];
  /** Where they differ in values that are not looked at; makes a pair noise. */
  readonly excused: readonly Difference[];
  readonly stopped: Stopped | null;
  /** Generated ids that belong together if the two are a pair. */
  readonly learned: readonly LearnedId[];
  /** Numbers beyond 2^53 were found equal as far as a double can tell, or are ids: to be looked at in full. */
  readonly inexact: boolean;
  /**
   * No more than what is made anew with each sending differs, and all stands in the same places: both have
   * one exact print, see `canonical.ts`.
   */
  readonly isAlike: boolean;
  /** The candidate says something where legacy says nothing, and a rule lets it. */
  readonly hasAdded: boolean;
}

const NO_DIFFERENCES: Difference[] = [];

export class Walk implements Comparison {
  // Shared as long as they are empty, as they nearly always are.
  differences = NO_DIFFERENCES;
  excused = NO_DIFFERENCES;
  readonly learned: LearnedId[] = [];
  stopped: Stopped | null = null;
  inexact = false;
  hasAdded = false;
  #isAlike = true;
  readonly #known: Acquaintance;
  #values = 0;

  constructor(known: Acquaintance) {
    this.#known = known;
  }

  /** One value more was looked at. */
  count(): void {
    if (++this.#values > MOST_VALUES) this.#stop('too-large');
  }

  get isAlike(): boolean {
    const isSame = this.differences.length === 0 && this.stopped === null;
    return this.#isAlike && isSame && !this.inexact;
  }

  /** Somewhere a rule lets the two say different things. */
  unlike(): void {
    this.#isAlike = false;
  }

  /** Nothing more needs to be looked at. */
  get isOver(): boolean {
    return this.stopped !== null || this.differences.length >= MOST_DIFFERENCES;
  }

  /** `undefined` is absent. The path is put together when it is needed: `name` null is the parent itself. */
  value(
    legacy: unknown,
    candidate: unknown,
    parent: string,
    name: string | null,
    place: Place | null,
    depth: number,
  ): void {
    this.count();
    const allowed = place === null ? null : place.allowed;
    if (allowed !== null) {
      // Which id stands for which is told by all of their digits.
      if (allowed.idClass !== null && (isInexact(legacy) || isInexact(candidate)))
        this.inexact = true;
      const word = excuse(allowed, legacy, candidate, name, this.#known, this.learned);
      if (word !== 'none' && legacy !== candidate && !areMadeAnew(allowed, legacy, candidate))
        this.unlike();
      if (word === 'same') {
        if ((legacy ?? null) === null && (candidate ?? null) !== null) this.hasAdded = true;
        return;
      }
      if (word !== 'none') {
        this.#excused(word, legacy, candidate, pathOf(parent, name), depth);
        return;
      }
    }
    if (legacy === candidate) {
      if (typeof legacy === 'number' && !Number.isSafeInteger(legacy)) this.#doubt(legacy);
    } else if (isContainer(legacy) && isContainer(candidate)) {
      this.#containers(legacy, candidate, pathOf(parent, name), place, depth);
    } else this.#report(differenceOf(legacy, candidate, pathOf(parent, name)));
  }

  #containers(
    legacy: object,
    candidate: object,
    path: string,
    place: Place | null,
    depth: number,
  ): void {
    if (depth >= MOST_DEPTH) this.#stop('too-deep');
    else if (Array.isArray(legacy) && Array.isArray(candidate)) {
      if (place?.allowed?.anyOrder) this.#anyOrder(legacy, candidate, path, place, depth);
      else this.#arrays(legacy, candidate, path, place, depth);
    } else if (isRecord(legacy) && isRecord(candidate)) {
      this.#records(legacy, candidate, path, place, depth);
    } else this.#report({ kind: 'type', path, legacy, candidate });
  }

  #records(
    legacy: JsonRecord,
    candidate: JsonRecord,
    path: string,
    place: Place | null,
    depth: number,
  ): void {
    let common = 0;
    for (const name in legacy) {
      const right = own(candidate, name);
      if (right !== undefined) common++;
      this.value(legacy[name], right, path, name, stepFrom(place, name), depth + 1);
      if (this.isOver) return;
    }
    const names = Object.keys(candidate);
    if (names.length === common) return;
    for (const name of names) {
      if (own(legacy, name) !== undefined) continue;
      this.value(undefined, candidate[name], path, name, stepFrom(place, name), depth + 1);
      if (this.isOver) return;
    }
  }

  #arrays(
    legacy: readonly unknown[],
    candidate: readonly unknown[],
    path: string,
    place: Place | null,
    depth: number,
  ): void {
    const { length } = legacy;
    if (length !== candidate.length) {
      this.#report({ kind: 'length', path, legacy: length, candidate: candidate.length });
      return;
    }
    const before = this.differences.length;
    const learnedBefore = this.learned.length;
    for (let index = 0; index < length; index++) {
      const step = String(index);
      this.value(legacy[index], candidate[index], path, step, stepFrom(place, step), depth + 1);
      if (this.isOver) break;
    }
    if (this.differences.length === before || length > MOST_ORDERED) return;
    if (!isReordered(legacy, candidate)) return;
    // One difference instead of one for every element; what was compared across means nothing.
    this.differences.length = before;
    this.learned.length = learnedBefore;
    this.#report({ kind: 'order', path, legacy, candidate });
  }

  /** Elements that are told apart by a key are compared with their like, wherever it stands. */
  #anyOrder(
    legacy: readonly unknown[],
    candidate: readonly unknown[],
    path: string,
    place: Place,
    depth: number,
  ): void {
    this.#values += legacy.length + candidate.length;
    this.unlike();
    const { likes, left } = likesOf(legacy, candidate, place.allowed?.orderBy ?? null);
    for (const [index, element] of legacy.entries()) {
      const step = String(index);
      const at = likes[index];
      const other = at === undefined ? undefined : candidate[at];
      this.value(element, other, path, step, stepFrom(place, step), depth + 1);
      if (this.isOver) return;
    }
    for (const index of left) {
      const step = String(index);
      this.value(undefined, candidate[index], path, step, stepFrom(place, step), depth + 1);
      if (this.isOver) return;
    }
  }

  #excused(
    word: 'differs' | 'unlooked' | 'noisy',
    legacy: unknown,
    candidate: unknown,
    path: string,
    depth: number,
  ): void {
    if (word === 'differs') this.#report({ kind: 'value', path, legacy, candidate });
    else if (word === 'noisy') this.#note({ kind: 'value', path, legacy, candidate });
    else if (legacy !== candidate && !isContainer(legacy) && !isContainer(candidate)) {
      this.count();
      this.#note(differenceOf(legacy, candidate, path));
    } else if (legacy !== candidate) {
      // Whether there is a difference at all has to be known: without one the pair is a match.
      const apart = new Walk(this.#known);
      apart.#values = this.#values;
      apart.value(legacy, candidate, path, null, null, depth);
      this.#values = apart.#values;
      if (apart.stopped !== null) this.#stop(apart.stopped);
      for (const difference of apart.differences) this.#note(difference);
    }
  }

  #note(difference: Difference): void {
    if (this.excused === NO_DIFFERENCES) this.excused = [];
    if (this.excused.length < MOST_DIFFERENCES) this.excused.push(difference);
  }

  #report(difference: Difference): void {
    if (this.differences === NO_DIFFERENCES) this.differences = [];
    if (this.differences.length < MOST_DIFFERENCES) this.differences.push(difference);
  }

  #stop(stopped: Stopped): void {
    this.stopped ??= stopped;
  }

  /** Fractions are what both sides wrote; large integers may have lost digits, and 1e400 all of them. */
  #doubt(number: number): void {
    if (!Number.isFinite(number)) this.#stop('not-comparable');
    else if (isInexact(number)) this.inexact = true;
  }
}

export function isContainer(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** Of two that are not the same, and not both arrays or objects; `undefined` is absent. */
function differenceOf(legacy: unknown, candidate: unknown, path: string): Difference {
  if (legacy === undefined) return { kind: 'extra', path, candidate };
  if (candidate === undefined) return { kind: 'missing', path, legacy };
  const kind = kindOf(legacy) === kindOf(candidate) ? 'value' : 'type';
  return { kind, path, legacy, candidate };
}

/** An exact print has neither of them in it. */
function areMadeAnew(allowed: Allowed, legacy: unknown, candidate: unknown): boolean {
  const isNotIn = (value: unknown) => value === undefined || isMadeAnew(allowed, value);
  return isNotIn(legacy) && isNotIn(candidate);
}

/** JSON's own kinds. */
function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (typeof value === 'bigint') return 'number';
  return Array.isArray(value) ? 'array' : typeof value;
}

/** For each element of legacy's the place of its like, if there is one, and the places that are nobody's. */
function likesOf(
  legacy: readonly unknown[],
  candidate: readonly unknown[],
  by: readonly string[] | null,
): { readonly likes: readonly (number | undefined)[]; readonly left: readonly number[] } {
  const byKey = placesBy(candidate, element => keyOfElement(element, by));
  const likes: (number | undefined)[] = new Array(legacy.length).fill(undefined);
  const taken = new Set<number>();
  const take = (index: number, places: number[] | undefined) => {
    let at = places?.shift();
    while (at !== undefined && taken.has(at)) at = places?.shift();
    if (at === undefined) return;
    likes[index] = at;
    taken.add(at);
  };
  // Where a key does not tell elements apart, or they have none, those that are equal are each other's.
  if (by !== null && byKey.size < candidate.length) {
    const whole = placesBy(candidate, element => canonical(element));
    for (const [index, element] of legacy.entries()) take(index, whole.get(canonical(element)));
  }
  for (const [index, element] of legacy.entries()) {
    if (likes[index] === undefined) take(index, byKey.get(keyOfElement(element, by)));
  }
  return { likes, left: [...candidate.keys()].filter(index => !taken.has(index)) };
}

function placesBy(
  array: readonly unknown[],
  keyOf: (element: unknown) => string,
): Map<string, number[]> {
  const places = new Map<string, number[]>();
  for (const [index, element] of array.entries()) {
    const key = keyOf(element);
    const known = places.get(key);
    if (known === undefined) places.set(key, [index]);
    else known.push(index);
  }
  return places;
}

/** As a double it may stand for another integer as well. */
export function isInexact(value: unknown): boolean {
  return typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value);
}

function keyOfElement(element: unknown, by: readonly string[] | null): string {
  if (by === null) return canonical(element);
  return isRecord(element) ? canonical(read(element, by, []) ?? null) : canonical(element);
}

function isReordered(legacy: readonly unknown[], candidate: readonly unknown[]): boolean {
  const sorted = (array: readonly unknown[]) => array.map(item => canonical(item)).sort();
  const right = sorted(candidate);
  return sorted(legacy).every((text, index) => text === right[index]);
}

/** `name` null is the parent itself. */
export function pathOf(parent: string, name: string | null): string {
  return name === null ? parent : `${parent}/${escaped(name)}`;
}

function escaped(step: string): string {
  if (!step.includes('~') && !step.includes('/')) return step;
  return step.replaceAll('~', '~0').replaceAll('/', '~1');
}
