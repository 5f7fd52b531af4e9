// Counts how often two answers differ, and in which places: legacy's from what legacy (or its twin) says to
// the same request once more, and legacy's from the candidate's.
import type { DifferRate } from './compare/noise.ts';
import { generalPath, generalType } from './evidence-group.ts';
import { ANY_SEGMENT, PointerTree, pointerOf, segmentsOf } from './pointer-tree.ts';
import type { Difference, Finding, Verdict } from './verdict.ts';

/** Of one route; both are more than a person reviews. */
const MOST_TYPES = 200;
const MOST_PLACES = 2_000;

/** With whom legacy was compared. */
export type Measured = 'twin' | 'candidate';

export interface PlaceCounts {
  /** Pairs that differed there in the value alone. */
  readonly values: Record<Measured, number>;
  /** In another way: absent, of another type, in another order. Nothing excuses that. */
  readonly otherwise: Record<Measured, number>;
}

export interface TypeCounts {
  readonly pairs: Record<Measured, number>;
  /** HTTP answers: paths are those of an `Answer`. */
  readonly isAnswer: boolean;
  /** By JSON pointer, indexes as `*`. */
  readonly places: Map<string, PlaceCounts>;
}

/** Plain data, by event type. */
export type NoiseCounts = ReadonlyMap<string, TypeCounts>;

const COMPARED: ReadonlySet<Verdict> = new Set(['match', 'noise', 'mismatch', 'failed-alike']);

export class NoiseTally {
  readonly counts = new Map<string, TypeCounts>();
  readonly #redact: PointerTree;
  #places = 0;

  /** `redact`: pointers of the configuration; what a `*` in them stands for is no name of a field. */
  constructor(redact: readonly string[], envelopes: readonly string[]) {
    this.#redact = new PointerTree(redact, ['body', ...envelopes]);
  }

  /** A pair that was compared without a profile. */
  add(measured: Measured, finding: Finding, isAnswer: boolean): void {
    const { verdict, eventType, differences, sides } = finding;
    // A profile names types; one with an id in it is met once.
    if (sides.length < 2 || !COMPARED.has(verdict) || generalType(eventType) !== eventType) return;
    const type = this.#typeOf(eventType, isAnswer);
    if (type === null) return;
    type.pairs[measured] += 1;
    // What noise differs in is excused by a rule.
    if (verdict !== 'mismatch') return;
    for (const [path, isValue] of this.#placesOf(differences)) {
      const place = this.#placeOf(type, path);
      if (place !== null) place[isValue ? 'values' : 'otherwise'][measured] += 1;
    }
  }

  #typeOf(eventType: string, isAnswer: boolean): TypeCounts | null {
    const known = this.counts.get(eventType);
    if (known !== undefined || this.counts.size >= MOST_TYPES) return known ?? null;
    const type = { pairs: { twin: 0, candidate: 0 }, isAnswer, places: new Map() };
    this.counts.set(eventType, type);
    return type;
  }

  #placeOf({ places }: TypeCounts, path: string): PlaceCounts | null {
    const known = places.get(path);
    if (known !== undefined || this.#places >= MOST_PLACES) return known ?? null;
    const place = { values: { twin: 0, candidate: 0 }, otherwise: { twin: 0, candidate: 0 } };
    this.#places += 1;
    places.set(path, place);
    return place;
  }

  /** Each place once a pair, however many elements of an array it stands for. */
  #placesOf(differences: readonly Difference[]): ReadonlyMap<string, boolean> {
    const places = new Map<string, boolean>();
    for (const { kind, path } of differences) {
      const place = generalPath(this.#withoutData(path));
      places.set(place, kind === 'value' && (places.get(place) ?? true));
    }
    return places;
  }

  #withoutData(path: string): string {
    let place = this.#redact.start;
    const segments = segmentsOf(path).map(segment => {
      place = this.#redact.step(place, segment);
      return place.isAny ? ANY_SEGMENT : segment;
    });
    return pointerOf(segments);
  }
}

/** As a rate, for Diffy's rule. */
export function rateOf({ pairs }: TypeCounts, differed: number, measured: Measured): DifferRate {
  return { pairs: pairs[measured], differed };
}
