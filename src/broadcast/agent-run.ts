// What an agent does for a message: five steps whose content follows from the context alone, so
// that both services tell the same story in their own envelopes.
import { hash } from 'node:crypto';
import { type CriticalEvent, field } from './event.ts';
import type { UserExecutionContext } from './user-context.ts';

/** Of the user's own words; enough to recognise them, and it keeps events small. */
const MAX_WORDS = 200;
const DEFAULT_AGENT = 'triage';
const TOOL = 'spend_by_region';

/** One step before it is put into an envelope. */
export interface RunStep {
  readonly type: CriticalEvent;
  readonly agentName: string;
  /** Always at the root of the event. */
  readonly fields: Readonly<Record<string, unknown>>;
  /** At the root or inside `data`, as the service's envelope has it. */
  readonly detail: Readonly<Record<string, unknown>>;
}

/** The five critical events' content, in order. Pure. */
export function agentRun(context: UserExecutionContext): readonly RunStep[] {
  const agentName = text(field(context.input, 'agent_name')) ?? DEFAULT_AGENT;
  const words = wordsOf(context.input);
  const figure = Number.parseInt(hash('sha256', context.runId).slice(0, 6), 16);
  const agentId = `${agentName}_${figure % 1000}`;
  const answer = `Spend of ${figure} in ${1 + (figure % 7)} regions for: ${words}`;
  // The agent acts for the user: who sent an event is not who receives it.
  const made = { sender_id: `agent_${agentId}` };
  const step = (
    type: CriticalEvent,
    fields: RunStep['fields'],
    detail: RunStep['detail'],
  ): RunStep => ({ type, agentName, fields: { ...made, ...fields }, detail });
  return [
    step('agent_started', {}, { status: 'started', message: `${agentName} has started` }),
    step(
      'agent_thinking',
      { critical: true, reasoning: `Comparing spend for: ${words}` },
      { step_number: 1 },
    ),
    step(
      'tool_executing',
      { critical: true, tool_name: TOOL, parameters: { query: words, limit: 1 + (figure % 7) } },
      { status: 'executing' },
    ),
    step(
      'tool_completed',
      { tool_name: TOOL, results: { total: figure }, duration: (figure % 900) / 1000 },
      { status: 'completed' },
    ),
    step(
      'agent_completed',
      {
        creator_id: `agent_${agentId}`,
        owner_id: context.userId,
        status: 'completed',
        final_response: answer,
      },
      { message: answer, agent_id: agentId },
    ),
  ];
}

function wordsOf(input: Readonly<Record<string, unknown>>): string {
  for (const name of ['message', 'content', 'text', 'user_request']) {
    const words = text(field(input, name));
    // A cut may fall between the halves of a surrogate pair, which JSON on a wire can not carry.
    if (words !== undefined) return words.slice(0, MAX_WORDS).toWellFormed();
  }
  return '';
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
