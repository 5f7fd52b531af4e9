// Counts of batches that could not be written, until they can be. Examples are not carried: those are
// dropped and counted as such.
import type { EvidenceBatch, GroupCount } from './evidence-batch.ts';
import { OTHER } from './evidence-group.ts';
import { isOf, type UnitCount } from './unit-tracker.ts';

/** Groups; types of routes have a limit of their own where units are counted. */
const MOST_GROUPS = 2_000;

export class CarriedCounts {
  readonly #groups = new Map<string, GroupCount>();
  readonly #units = new Map<string, UnitCount>();

  add({ groups, units }: Pick<EvidenceBatch, 'groups' | 'units'>): void {
    for (const group of groups) this.#addGroup(group);
    for (const count of units) this.#addUnits(count);
  }

  /** The batch with what is carried; the places of its groups stay. */
  with(batch: EvidenceBatch): EvidenceBatch {
    return {
      ...batch,
      groups: [...batch.groups, ...this.#groups.values()],
      units: [...batch.units, ...this.#units.values()],
    };
  }

  clear(): void {
    // V8 gives a map that is cleared another table, be it empty, and an old one's is old at once: garbage of every batch.
    if (this.#groups.size > 0) this.#groups.clear();
    if (this.#units.size > 0) this.#units.clear();
  }

  /** Of that route, or (null) all. */
  forgetUnits(route: string | null): void {
    for (const [key, count] of this.#units) if (isOf(count, route)) this.#units.delete(key);
  }

  #addGroup(group: GroupCount): void {
    const key = keyOf(group);
    const known = this.#groups.get(key);
    if (known === undefined && this.#groups.size >= MOST_GROUPS && group.eventType !== OTHER) {
      // Routes and verdicts are closed lists.
      this.#addGroup({ ...group, eventType: OTHER, kind: '', path: '' });
      return;
    }
    this.#groups.set(key, {
      ...group,
      count: group.count + (known?.count ?? 0),
      firstAt: Math.min(group.firstAt, known?.firstAt ?? group.firstAt),
      lastAt: Math.max(group.lastAt, known?.lastAt ?? group.lastAt),
    });
  }

  /** All hours count as the last one. */
  #addUnits(count: UnitCount): void {
    const key = JSON.stringify([count.route, count.eventType, count.of]);
    const known = this.#units.get(key);
    this.#units.set(key, {
      ...count,
      hour: Math.max(count.hour, known?.hour ?? count.hour),
      units: count.units + (known?.units ?? 0),
      diverged: count.diverged + (known?.diverged ?? 0),
    });
  }
}

function keyOf({ route, eventType, verdict, kind, path }: GroupCount): string {
  return JSON.stringify([route, eventType, verdict, kind, path]);
}
