// Incidents and kept evidence are of the same events: each shows the way to the other, where both are kept.
import { CutoverError } from '../errors.ts';
import { generalPath, OTHER } from '../rules/evidence-group.ts';
import type { Evidence } from './evidence/evidence.ts';
import type {
  ForeignPlace,
  GroupExamples,
  KeptContamination,
  KeptFinding,
  KeptGroup,
} from './evidence/kept.ts';
import type { Incident } from './incidents.ts';
import type { Entry } from './journal.ts';

/**
 * Of one event: an incident has the time of its last byte, evidence that of the later one of its pair, which is
 * waited for up to 10 s.
 */
const SAME_EVENT_MS = 15_000;

/** Where the event is kept: `cutover evidence show <group>`, and there the example of that number. */
export interface EvidenceReference {
  readonly group: number;
  readonly example: number;
}

export type ShownIncident = Entry<Incident> & { readonly evidence: EvidenceReference | null };

/** `evidence` null: nothing of it is kept, or evidence can not be read now. */
export async function withEvidence(
  incidents: readonly Entry<Incident>[],
  evidence: Pick<Evidence, 'ask'>,
): Promise<readonly ShownIncident[]> {
  const kept = await keptOf(new Set(incidents.map(({ session }) => session)), evidence);
  return incidents.map(incident => {
    const found = nearest(incident, kept.get(incident.session) ?? []);
    const reference = found === null ? null : { group: found.group, example: found.example };
    return { ...incident, evidence: reference };
  });
}

/** Kinds of contaminated events with what told of them, and where: those incidents are of them. */
export function withPlaces(
  groups: readonly KeptGroup[],
  incidents: readonly Incident[],
): readonly KeptGroup[] {
  return groups.map(group => {
    if (group.verdict !== 'contaminated') return group;
    const counts = new Map<string, { readonly place: ForeignPlace; count: number }>();
    for (const incident of incidents) {
      if (!isOf(incident, group)) continue;
      const place = { rule: incident.rule, path: generalPath(incident.path) };
      const known = counts.get(`${place.rule} ${place.path}`);
      if (known !== undefined) known.count += 1;
      else counts.set(`${place.rule} ${place.path}`, { place, count: 1 });
    }
    const found = [...counts.values()].toSorted((a, b) => b.count - a.count);
    return { ...group, foreign: found.map(({ place }) => place) };
  });
}

function isOf({ route, eventType, at, inDoubt }: Incident, group: KeptGroup): boolean {
  const time = Date.parse(at);
  return (
    inDoubt !== true &&
    route === group.route &&
    eventType === group.eventType &&
    time >= group.firstAt - SAME_EVENT_MS &&
    time <= group.lastAt + SAME_EVENT_MS
  );
}

/** Examples with the numbers of the incidents that tell of the same event. */
export function withIncidents(
  { group, examples }: GroupExamples,
  incidents: readonly Entry<Incident>[],
): GroupExamples {
  if (group.verdict !== 'contaminated') return { group, examples };
  const [placed = group] = withPlaces([group], incidents);
  const { route, eventType } = group;
  const kept = examples.map(({ id, session, at }) => ({
    ...{ group: group.id, example: id },
    ...{ route, eventType, session, at },
  }));
  const told = new Map<number, number[]>();
  for (const incident of incidents) {
    const of = kept.filter(({ session }) => session === incident.session);
    const found = nearest(incident, of);
    if (found !== null) told.set(found.example, [...(told.get(found.example) ?? []), incident.seq]);
  }
  const shown = examples.map(
    (example): KeptFinding => ({ ...example, incidents: told.get(example.id) ?? [] }),
  );
  return { group: placed, examples: shown };
}

async function keptOf(
  sessions: ReadonlySet<string>,
  evidence: Pick<Evidence, 'ask'>,
): Promise<ReadonlyMap<string, KeptContamination[]>> {
  if (sessions.size === 0) return new Map();
  try {
    const kept = await evidence.ask('contaminated', [...sessions]);
    return Map.groupBy(kept, ({ session }) => session);
  } catch (error) {
    // What became of evidence is told by `status`; an incident is worth being shown without it.
    if (!(error instanceof CutoverError)) throw error;
    return new Map();
  }
}

/** Of the incident's session. */
function nearest(
  { route, eventType, at }: Pick<Incident, 'route' | 'eventType' | 'at'>,
  kept: readonly KeptContamination[],
): KeptContamination | null {
  const away = (each: KeptContamination) => Math.abs(each.at - Date.parse(at));
  const alike = kept.filter(
    each => each.route === route && (each.eventType === eventType || isVague(each.eventType)),
  );
  const [first] = alike.toSorted((a, b) => away(a) - away(b));
  return first !== undefined && away(first) <= SAME_EVENT_MS ? first : null;
}

/**
 * Incidents have the event's own type. Evidence has one for a whole answer, by what legacy answered (`GET 2xx`,
 * `GET none`), none for a batch, and another where there are too many.
 */
function isVague(eventType: string): boolean {
  return eventType === '' || eventType === OTHER || /^[A-Z]+ (?:\dxx|none)$/.test(eventType);
}
