// What runs begin with, by what legacy sends on one route: an event of a type that is the first of its run, or of what
// comes of it after a pause, and but for one that is said again now and then never a later one. A run is what the first
// pointer of `lanes` names.
import type { Pending } from './pending.ts';

const LEAST_RUNS = 8;
/** Of so many runs one may have such an event later as well. */
const RUNS_A_LATER = 100;
const MOST_TYPES = 1_000;

interface Places {
  first: number;
  later: number;
}

export class RunBeginnings {
  readonly #types = new Map<string, Places>();

  /** An event of legacy's. */
  note({ type, lane, place, isReplay }: Pending): void {
    if (isReplay || lane === null || lane.level !== 0) return;
    let places = this.#types.get(type);
    if (places === undefined) {
      if (this.#types.size >= MOST_TYPES) return;
      places = { first: 0, later: 0 };
      this.#types.set(type, places);
    }
    if (place === 0) places.first += 1;
    else places.later += 1;
  }

  /** Do runs begin with such an event? */
  begins({ type, lane }: Pending): boolean {
    if (lane === null || lane.level !== 0) return false;
    const { first, later } = this.#types.get(type) ?? { first: 0, later: 0 };
    return first >= LEAST_RUNS && first >= RUNS_A_LATER * later;
  }
}
