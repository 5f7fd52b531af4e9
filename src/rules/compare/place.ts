// The allowances of one event type as a tree that is walked along with the event.
import { type Allowance, isUserField, OF_USERS } from './rules.ts';

/** What may differ at one place; several allowances may meet there. Negative: no tolerance. */
export interface Allowed {
  readonly timeWithinMs: number;
  readonly numberWithin: number;
  readonly idClass: string | null;
  readonly nullOrAbsent: boolean;
  readonly candidateAdds: boolean;
  readonly replay: boolean;
  readonly anyOrder: boolean;
  /** Steps into an element; null: the whole element tells it apart. */
  readonly orderBy: readonly string[] | null;
  readonly anything: boolean;
  /** A measured profile excuses the value. */
  readonly noisy: boolean;
}

export interface Place {
  readonly allowed: Allowed | null;
  readonly steps: ReadonlyMap<string, Place> | null;
  /** Of every element or key that `steps` does not name, but for those that name a user. */
  readonly each: Place | null;
  /** Of keys that name a user and are not in `steps`. */
  readonly users: Place | null;
}

/** An allowance on its way down the tree. */
export interface Placed {
  readonly steps: readonly string[];
  readonly allowance: Allowance | 'noisy';
}

export const NOWHERE: Place = Object.freeze({
  allowed: null,
  steps: null,
  each: null,
  users: null,
});

/**
 * The tree of some allowances; `*` applies to the steps that are named as well. Of what applies to a field that names
 * a user there is no more than may be said of him by name: whoever writes a `*` has not thought of him.
 */
export function placeOf(placed: readonly Placed[]): Place {
  if (placed.length === 0) return NOWHERE;
  const here = placed.filter(({ steps }) => steps.length === 0);
  const below = placed.filter(({ steps }) => steps.length > 0);
  const names = new Set(below.map(({ steps }) => steps[0] ?? ''));
  const wild = names.delete('*');
  const under = (name: string) =>
    below
      .filter(({ steps }) => steps[0] === name || steps[0] === '*')
      .map(({ steps, allowance }) => ({ steps: steps.slice(1), allowance }));
  const ofName = (name: string) =>
    isUserField(name) ? under(name).filter(isOfUsers) : under(name);
  const ofAny = wild ? under('*') : [];
  const ofUsers = ofAny.filter(isOfUsers);
  const each = wild ? placeOf(ofAny) : null;
  return {
    allowed: here.length === 0 ? null : here.reduce(allow, NOTHING_ALLOWED),
    steps: names.size === 0 ? null : new Map([...names].map(name => [name, placeOf(ofName(name))])),
    each,
    // The same one where it is the same: made anew at every step they would be without number.
    users: ofUsers.length === ofAny.length ? each : placeOf(ofUsers),
  };
}

function isOfUsers({ allowance }: Placed): boolean {
  return allowance !== 'noisy' && OF_USERS.has(allowance.as);
}

/** The place one step further down; null where nothing is allowed. */
export function stepFrom(place: Place | null, step: string): Place | null {
  if (place === null) return null;
  const named = place.steps?.get(step);
  if (named !== undefined) return named;
  return place.each !== null && isUserField(step) ? place.users : place.each;
}

const NOTHING_ALLOWED: Allowed = Object.freeze({
  timeWithinMs: -1,
  numberWithin: -1,
  idClass: null,
  nullOrAbsent: false,
  candidateAdds: false,
  replay: false,
  anyOrder: false,
  orderBy: null,
  anything: false,
  noisy: false,
});

function allow(before: Allowed, { allowance }: Placed): Allowed {
  if (allowance === 'noisy') return { ...before, noisy: true };
  switch (allowance.as) {
    case 'time':
      return { ...before, timeWithinMs: allowance.withinMs };
    case 'number':
      return { ...before, numberWithin: allowance.within };
    case 'generated-id':
      return { ...before, idClass: allowance.class ?? lastStep(allowance.path) };
    case 'null-or-absent':
      return { ...before, nullOrAbsent: true };
    case 'candidate-adds':
      return { ...before, candidateAdds: true };
    case 'replay':
      return { ...before, replay: true };
    case 'any-order': {
      const { by } = allowance;
      return { ...before, anyOrder: true, orderBy: by === undefined ? null : stepsOf(by) };
    }
    case 'anything':
      return { ...before, anything: true };
  }
}

/** The steps of a JSON pointer (RFC 6901) that is known to be one. */
export function stepsOf(pointer: string): readonly string[] {
  return pointer
    .split('/')
    .slice(1)
    .map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function lastStep(pointer: string): string {
  return stepsOf(pointer).at(-1) ?? '';
}
