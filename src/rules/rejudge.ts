// Judges what was kept again, by other rules. What was redacted can still be compared: two values were
// equal if their hashes are. A rule that needs the value itself says `unjudged(redacted)`.

import { isWrite } from '../wire/http-method.ts';
import { type Answer, judgeAnswers } from './compare/answers.ts';
import { type Acquaintance, compare } from './compare/compare.ts';
import type { CompiledRules, TypePlan } from './compare/compile.ts';
import { namesAtMost } from './compare/excuse.ts';
import type { IdClasses } from './compare/ids.ts';
import { type Allowed, type Place, stepFrom, stepsOf } from './compare/place.ts';
import { isRecord } from './compare/record.ts';
import { isUserField } from './compare/rules.ts';
import { MOST_DIFFERENCES } from './evidence-batch.ts';
import { OpaqueEvents } from './opaque-events.ts';
import type { Difference, Finding, UnjudgedReason, Verdict } from './verdict.ts';

/** The session's user is not kept under his name: of nobody it is said that he is this one. */
const NOBODY = ['\u0000'];
/** As where nobody is named. */
const ANYBODY: readonly string[] = [];
/** Verdicts on what two events say; the others are about which events there were. */
const ON_CONTENT: ReadonlySet<Verdict> = new Set([
  'match',
  'noise',
  'failed-alike',
  'mismatch',
  'unjudged',
]);

/** Whatever the two say: one of them may have been asked for another thing. */
const ON_WRITES: ReadonlySet<UnjudgedReason | null> = new Set(['beside-write', 'write-left-out']);

export type Rejudged = Pick<Finding, 'verdict' | 'because' | 'differences'>;

/**
 * Null where nothing can be judged again: there is one event alone, or the verdict is not about what
 * it says. `ids` are those that were learned from the session's findings before.
 */
export function rejudge(
  finding: Omit<Finding, 'legacy' | 'candidate'> & Partial<Finding>,
  rules: CompiledRules,
  ids: IdClasses,
): Rejudged | null {
  if (!ON_CONTENT.has(finding.verdict) || finding.sides.length < 2) return null;
  if (ON_WRITES.has(finding.because)) return null;
  if (finding.legacy === undefined || finding.candidate === undefined) return null;
  const events = new OpaqueEvents();
  const legacy = events.made(finding.legacy);
  const candidate = events.made(finding.candidate);
  const plan = rules.planOf(finding.eventType);
  const known = { ids, subject: addedNobodyElse(finding) ? ANYBODY : NOBODY };
  const judged =
    isAnswer(legacy) && isAnswer(candidate)
      ? judgeAnswers(rules, { ...answerFacts(finding), legacy, candidate, ...known })
      : judgeEvents(plan, legacy, candidate, known);
  const differences = judged.differences.map(each => events.restored(each));
  if (judged.verdict === 'mismatch') {
    const isCertain = !judged.differences.every(each => needsValue(plan, each, events));
    if (isCertain) return { verdict: 'mismatch', because: null, differences };
    return { verdict: 'unjudged', because: 'redacted', differences };
  }
  if (events.lost !== null) return { verdict: 'unjudged', because: events.lost, differences };
  return { verdict: judged.verdict, because: judged.because, differences };
}

/** As pairing does with two events that it has brought together. */
function judgeEvents(
  plan: TypePlan,
  legacy: unknown,
  candidate: unknown,
  known: Acquaintance,
): Rejudged {
  const found = compare(plan, legacy, candidate, known);
  const { differences, excused, stopped } = found;
  const judged = (verdict: Verdict, of = differences) => ({
    verdict,
    because: null,
    differences: of,
  });
  if (differences.length > 0) return judged('mismatch');
  if (stopped !== null) return { verdict: 'unjudged', because: stopped, differences };
  for (const each of found.learned) known.ids.learn(each.idClass, each.legacy, each.candidate);
  if (plan.isFailure) return judged('failed-alike');
  return excused.length > 0 ? judged('noise', excused) : judged('match');
}

/**
 * Where the candidate alone names a user (`candidate-adds`), it was the session's own if that was no
 * difference when it was found: no other rule excuses it.
 */
function addedNobodyElse({
  verdict,
  differences,
}: Pick<Finding, 'verdict' | 'differences'>): boolean {
  if (verdict === 'unjudged' || differences.length >= MOST_DIFFERENCES) return false;
  return !differences.some(
    each =>
      isUserField(each.path.slice(each.path.lastIndexOf('/') + 1)) ||
      !namesAtMost([], addedBy(each)),
  );
}

/** What the candidate has at a place where legacy has nothing. */
function addedBy(difference: Difference): unknown {
  const isAdded = !('legacy' in difference) || (difference.legacy ?? null) === null;
  return isAdded && 'candidate' in difference ? difference.candidate : undefined;
}

function answerFacts({ route, session, eventType, at }: Omit<Finding, 'legacy' | 'candidate'>) {
  const method = eventType.split(' ')[0] ?? '';
  return { route, id: session, method, isWrite: isWrite(method), at };
}

function isAnswer(event: unknown): event is Answer {
  return isRecord(event) && 'status' in event && 'isCut' in event && 'latencyMs' in event;
}

/** Whether a rule is about this place that looks at the value, which is not there any more. */
function needsValue(plan: TypePlan, difference: Difference, events: OpaqueEvents): boolean {
  const { path } = difference;
  const legacy = 'legacy' in difference ? difference.legacy : undefined;
  const candidate = 'candidate' in difference ? difference.candidate : undefined;
  if (!namesAtMost([], addedBy(difference))) return allowedAt(plan, path)?.candidateAdds === true;
  if (events.leafOf(legacy) === undefined && events.leafOf(candidate) === undefined) return false;
  const allowed = allowedAt(plan, path);
  if (allowed === null) return false;
  if (allowed.candidateAdds && (legacy ?? null) === null) return true;
  if (legacy === undefined || candidate === undefined) return false;
  return allowed.timeWithinMs >= 0 || allowed.numberWithin >= 0 || allowed.replay;
}

function allowedAt(plan: TypePlan, path: string): Allowed | null {
  const [first = '', ...rest] = stepsOf(path);
  // Of an answer the rules are about its body; head and body differ in their first step.
  const steps = first === 'body' ? rest : [first, ...rest];
  const envelope = plan.envelopes.find(({ name }) => name === steps[0]);
  let place: Place | null = envelope === undefined ? plan.root : envelope.fields;
  for (const step of envelope === undefined ? steps : steps.slice(1)) place = stepFrom(place, step);
  return place?.allowed ?? null;
}
