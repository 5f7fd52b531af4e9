// What the tour says of what it has planted: by what the proxy has counted of it, whatever that is.
import type { KeptGroup } from '../control/evidence/kept.ts';
import type { Incident } from '../control/incidents.ts';
import type { Proof } from '../control/proofs.ts';
import type { Outcome } from '../rules/isolation/incident.ts';

const BECAME: Readonly<Record<Outcome, string>> = {
  sanitized: 'was put right on its way',
  blocked: 'was withheld',
  delivered: 'reached its user as it was',
  'not-shown': 'was seen by no user',
  unknown: 'was on its way to somebody who has left',
  unasked: 'was one of very many',
};

/** `sent`: events that the candidate has handed to users since the fault was planted. */
export function faultLine(
  { verdict, path }: Pick<KeptGroup, 'verdict' | 'path'>,
  eventType: string,
  took: string,
  sent: number,
): string {
  const whose =
    sent === 0 ? 'No user got it' : `It may be among the ${sent} events that users got of it since`;
  return `Found after ${took}: ${verdict} at ${path} of ${eventType}. ${whose}. (cutover evidence list)`;
}

export function leakLine(
  { eventType, outcome }: Pick<Incident, 'eventType' | 'outcome'>,
  took: string,
): string {
  return `Its ${eventType} ${BECAME[outcome]}, and the guardrail took everybody back ${took} later.`;
}

/** The tour tells of it itself, behind what brought it about. */
export function isOfLeak({ by }: Pick<Proof, 'by'>): boolean {
  return by === 'guardrail contamination';
}

/** The rollback of that route by the guardrail for other users' data; `before` are proofs that are older than the leak. */
export function proofOf(
  route: string,
  proofs: readonly Proof[],
  before: ReadonlySet<string>,
): Proof | undefined {
  return proofs.find(
    proof =>
      !before.has(proof.id) &&
      isOfLeak(proof) &&
      proof.scope === route &&
      proof.state !== 'running',
  );
}
