// Where both services address the same user's events to somebody else: nobody's leak, and no incident; but the
// lane rewrites or withholds them where the candidate serves, and whoever sends users there is to know before.
import { generalType, OTHER } from '../rules/evidence-group.ts';

/** Of one route; beyond, they are counted as one. */
const MOST_PLACES = 100;

export interface SharedAddress {
  /** Names nobody. */
  readonly eventType: string;
  /** JSON pointer; empty where it is one of many. */
  readonly path: string;
  /** Events of the candidate's, since the start. */
  readonly count: number;
  /** Events of either service that a lane rewrote or withheld. */
  readonly prevented: number;
}

export interface SharedPlace extends Pick<SharedAddress, 'path'> {
  /** As the service said it, and what is kept of it: asked for the first one alone. */
  readonly eventType: string;
  readonly kept: () => string;
}

type Counts = { -readonly [K in keyof SharedAddress]: SharedAddress[K] };

export class SharedAddresses {
  readonly #routes = new Map<string, Map<string, Counts>>();

  /** Cheap: legacy may do so in all that it sends. */
  add(route: string, place: SharedPlace, more: Pick<SharedAddress, 'count' | 'prevented'>): void {
    const counts = this.#countsAt(route, place);
    counts.count += more.count;
    counts.prevented += more.prevented;
  }

  /** Counts an event that a lane rewrote or withheld, where both services are known to name others. False: they are not. */
  prevented(
    route: string,
    { eventType, path }: Pick<SharedAddress, 'eventType' | 'path'>,
  ): boolean {
    const counts = this.#routes.get(route)?.get(placeKey(eventType, path));
    if (counts !== undefined) counts.prevented += 1;
    return counts !== undefined;
  }

  /** The most frequent first. */
  of(route: string): readonly SharedAddress[] {
    return [...(this.#routes.get(route)?.values() ?? [])].sort((a, b) => b.count - a.count);
  }

  #countsAt(route: string, { eventType, path, kept }: SharedPlace): Counts {
    const places = this.#routes.get(route) ?? new Map<string, Counts>();
    this.#routes.set(route, places);
    const key = placeKey(eventType, path);
    const isFull = places.size >= MOST_PLACES;
    const known = places.get(key) ?? (isFull ? places.get(OTHER) : undefined);
    if (known !== undefined) return known;
    const place = isFull ? { eventType: OTHER, path: '' } : { eventType: kept(), path };
    const counts = { ...place, count: 0, prevented: 0 };
    places.set(isFull ? OTHER : key, counts);
    return counts;
  }
}

function placeKey(eventType: string, path: string): string {
  return `${generalType(eventType)} ${path}`;
}
