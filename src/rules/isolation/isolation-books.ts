// What isolation has counted on a route; plain data, for `status`, metrics and other threads.
import { SIDES, type Side } from '../decide.ts';
import { ISOLATION_RULES, type IsolationRule } from './incident.ts';
import { UNINSPECTABLE, type UninspectableBecause } from './inspect.ts';

/** What was given up because too much waited, or was known, at a time; on the route that had no room. */
export const CROWDED = {
  'told-early': 'told, or in doubt, before the other service had its time to send the same',
  'not-asked-again':
    'not asked again whose its identifiers are, when legacy had told everybody his',
  'twin-forgotten': 'the other service may send the same, and it will not be known',
  'identifiers-forgotten':
    'the older half of all that are known, of any route, made room, and whose they were is not known but for those that came again',
  'contents-forgotten': 'the same of contents',
} as const;
export type CrowdedBecause = keyof typeof CROWDED;

export interface SideIsolation {
  /** Routing fields that name somebody, and those of them that name another user. */
  fields: number;
  foreign: number;
  readonly uninspectable: Record<UninspectableBecause, number>;
  /** Contaminated events by what told; those that both services sent to the same user apart. */
  readonly contaminated: Record<IsolationRule, number>;
  onBoth: number;
  /**
   * What names another and proves nothing: an identifier that its user may have asked for, in what nobody can read; an
   * address in an answer that nobody was shown, where legacy only said that nothing has changed; one that legacy is
   * known to send too, or that a client has said, where legacy was not heard or had no time, whatever it has said since.
   */
  inDoubt: number;
  readonly crowded: Record<CrowdedBecause, number>;
}

export interface IsolationBooks {
  readonly sides: Readonly<Record<Side, SideIsolation>>;
  /** Legacy's own routing fields do not fit the names of its users: they prove nothing here. */
  identityMismatch: boolean;
  /** They name others too often for mistakes, if only to some of its users: their names may not fit. */
  oftenForeign: boolean;
}

const RULES = Object.keys(ISOLATION_RULES) as IsolationRule[];
const CROWDING = Object.keys(CROWDED) as CrowdedBecause[];
const CAUSES = Object.keys(UNINSPECTABLE) as UninspectableBecause[];

export function emptyIsolationBooks(): IsolationBooks {
  const side = (): SideIsolation => ({
    ...{ fields: 0, foreign: 0, onBoth: 0, inDoubt: 0 },
    uninspectable: zeros(CAUSES),
    contaminated: zeros(RULES),
    crowded: zeros(CROWDING),
  });
  const sides = { legacy: side(), candidate: side() };
  return { sides, identityMismatch: false, oftenForeign: false };
}

/** Adds `more` to `into`. */
export function addIsolationBooks(into: IsolationBooks, more: IsolationBooks): void {
  for (const side of SIDES) {
    const [sum, part] = [into.sides[side], more.sides[side]];
    sum.fields += part.fields;
    sum.foreign += part.foreign;
    sum.onBoth += part.onBoth;
    sum.inDoubt += part.inDoubt;
    for (const cause of CROWDING) sum.crowded[cause] += part.crowded[cause];
    for (const cause of CAUSES) sum.uninspectable[cause] += part.uninspectable[cause];
    for (const rule of RULES) sum.contaminated[rule] += part.contaminated[rule];
  }
  into.identityMismatch = more.identityMismatch;
  into.oftenForeign = more.oftenForeign;
}

function zeros<K extends string>(names: readonly K[]): Record<K, number> {
  return Object.fromEntries(names.map(name => [name, 0])) as Record<K, number>;
}
