// A batch of evidence as it may be written to a disk.
import type { EvidenceBatch } from './evidence-batch.ts';
import { KnownValues } from './known-values.ts';
import type { Redactor } from './redaction.ts';

/** `redactorOf` knows what is configured for a route. */
export function redactedBatch(
  batch: EvidenceBatch,
  redactorOf: (route: string) => Redactor,
): EvidenceBatch {
  // A path names keys of the events that are its examples.
  const known = batch.groups.map(() => new KnownValues());
  const examples = batch.examples.map(example => {
    const { finding, groups } = example;
    const redactor = redactorOf(finding.route);
    const learned = redactor.learn(finding.legacy, finding.candidate);
    learned.noteNames(example.subject);
    for (const index of groups) known[index]?.add(learned);
    return { ...example, finding: redactor.finding(finding, learned), subject: [] };
  });
  const groups = batch.groups.map(({ names = [], ...group }, index) => {
    const redactor = redactorOf(group.route);
    const learned = known[index] ?? new KnownValues();
    learned.noteNames(names);
    const eventType = redactor.type(group.eventType, learned);
    return { ...group, eventType, path: redactor.pointer(group.path, learned).path };
  });
  const units = batch.units.map(({ names = [], ...count }) => {
    const { route, eventType } = count;
    if (eventType === null) return count;
    const learned = new KnownValues();
    learned.noteNames(names);
    return { ...count, eventType: redactorOf(route).type(eventType, learned) };
  });
  return { ...batch, groups, examples, units };
}
