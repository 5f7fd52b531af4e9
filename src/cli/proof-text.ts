// A rollback's proof as people read it.
import type { Proof } from '../control/proofs.ts';
import { paint, plain } from './output.ts';

/** Counts of what occurred, as `in place 12, closed 3`. */
const SESSIONS = [
  ['inPlace', 'moved in place'],
  ['redialled', 'moved to a new leg'],
  ['closed', 'told to come again'],
  ['left', 'gone by themselves'],
  ['failed', 'still on the candidate, because legacy can not be had'],
  ['pending', 'pending'],
] as const;
const ANSWERS = [
  ['finished', 'finished'],
  ['ended', 'ended'],
  ['pending', 'pending'],
] as const;

/** Of a legacy that has refused somebody. */
export const REFUSES_ALL = 'it has let in nobody of late, so it may refuse everybody';

export function proofText(proof: Proof): string {
  const { id, scope, reason, by, sever, state, command, sessions, answers } = proof;
  const { lastCandidateByte, queuedBytes, tookMs, stillOnCandidate, refused = 0 } = proof;
  const what = scope === '*' ? 'everything' : `route ${plain(scope)}`;
  const last =
    lastCandidateByte === null
      ? 'none was handed to a client after the command'
      : `${ms(lastCandidateByte.afterMs)} after the command, at ${lastCandidateByte.at}`;
  const lines = [
    `rollback ${id} of ${what}${sever ? ', severed' : ''}: ${stateText(state)}`,
    `  command              ${command.at}, by ${plain(by)}: ${plain(reason)}`,
    `  last candidate byte  ${last}; ${queuedBytes} bytes waited in the proxy then`,
    `  sessions             ${tallyText(sessions, SESSIONS)}`,
  ];
  if (refused > 0) lines.push(`  refused by legacy    ${refused}, and ${REFUSES_ALL}`);
  if (answers.affected > 0) lines.push(`  answers, streams     ${tallyText(answers, ANSWERS)}`);
  if (tookMs !== null) lines.push(`  took                 ${ms(tookMs)}`);
  lines.push(`  on the candidate     ${stillOnCandidate} ${tookMs === null ? 'now' : 'then'}`);
  return lines.join('\n');
}

function stateText(state: Proof['state']): string {
  return {
    running: 'under way',
    complete: paint('green', 'complete'),
    partly: paint('red', 'partly'),
  }[state];
}

function tallyText<K extends string>(
  tally: Readonly<Record<K | 'affected', number>>,
  words: readonly (readonly [K, string])[],
): string {
  const counted = words
    .filter(([key]) => tally[key] > 0)
    .map(([key, word]) => `${tally[key]} ${word}`);
  return `${tally.affected}${counted.length === 0 ? '' : `: ${counted.join(', ')}`}`;
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`;
}
