// Where in events of one type the ledger finds identifiers that prove something, and what counts as one.
import type { TypePlan } from '../compare/compile.ts';
import { type Place, stepFrom } from '../compare/place.ts';
import { isRecord, type JsonRecord, own, valueAt, worn } from '../compare/record.ts';
import type { Isolation } from './rules.ts';

/** As lanes of events are named; what is longer is no identifier. */
const MOST_CHARACTERS = 256;
/** What a service counts for itself is below: another one is at the same number for somebody else. */
const COUNTED_BELOW = 2 ** 32;
const MOST_DIGITS = 10;
const DIGITS = /^\d+$/;

/** A place of the configuration's, as far as it proves anything in events of one type. */
export interface IdentifierPlace {
  readonly steps: readonly string[];
  /** Identifiers of the same name are of one kind, wherever they stand. */
  readonly kind: string;
  readonly isAtRoot: boolean;
  readonly envelopes: readonly { readonly name: string }[];
}

interface Compiled {
  readonly isolation: Isolation;
  readonly places: readonly IdentifierPlace[];
}

const COMPILED = new WeakMap<TypePlan, Compiled>();

/**
 * Without those where `compare.allow` says that each service makes up its own, or that anything may stand there, and
 * without content: what two services number by themselves says nothing of whose it is.
 */
export function identifierPlaces(isolation: Isolation, plan: TypePlan): Compiled['places'] {
  const known = COMPILED.get(plan);
  if (known?.isolation === isolation) return known.places;
  const places = isolation.identifiers.flatMap(steps => {
    const [first = ''] = steps;
    const isAtRoot = !isolation.isContent([], first) && !isMadeUp(plan.root, steps);
    const envelopes = plan.envelopes.filter(
      ({ name, fields }) =>
        !isolation.isContent([], name) &&
        !isolation.isContent([name], first) &&
        !isMadeUp(fields, steps),
    );
    const isNowhere = !isAtRoot && envelopes.length === 0;
    return isNowhere ? [] : [{ steps, kind: steps.at(-1) ?? '', isAtRoot, envelopes }];
  });
  COMPILED.set(plan, { isolation, places });
  return places;
}

/** Calls `take` with each identifier that stands there, as text. */
export function identifiersIn(
  event: JsonRecord,
  plan: TypePlan,
  isolation: Isolation,
  take: (name: string, place: IdentifierPlace) => void,
): void {
  const isBare = worn(event, plan.envelopes).length === 0;
  for (const place of identifierPlaces(isolation, plan)) {
    const { steps, isAtRoot, envelopes } = place;
    const atRoot = isAtRoot ? identifierOf(valueAt(event, steps), isolation) : null;
    if (atRoot !== null) take(atRoot, place);
    if (isBare) continue;
    for (const { name } of envelopes) {
      const inner = own(event, name);
      const within = isRecord(inner) ? identifierOf(valueAt(inner, steps), isolation) : null;
      if (within !== null) take(within, place);
    }
  }
}

/** A text or a number. Small numbers are, where the route names the place itself. */
function identifierOf(found: unknown, { countsNumbers }: Isolation): string | null {
  if (typeof found === 'number') {
    return countsNumbers || found >= COUNTED_BELOW ? String(found) : null;
  }
  if (typeof found !== 'string' || found === '' || found.length > MOST_CHARACTERS) return null;
  if (countsNumbers || found.length > MOST_DIGITS || !DIGITS.test(found)) return found;
  return Number(found) < COUNTED_BELOW ? null : found;
}

function isMadeUp(from: Place, steps: readonly string[]): boolean {
  let place: Place | null = from;
  for (const step of steps) {
    place = stepFrom(place, step);
    const allowed = place?.allowed;
    if (allowed && (allowed.anything || allowed.noisy || allowed.idClass !== null)) return true;
  }
  return false;
}
