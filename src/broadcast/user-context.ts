// On whose behalf something runs. Made anew for every run or posted event; nothing in it is shared
// with another context, of the same user or of anybody else.
import { hash } from 'node:crypto';
import { field } from './event.ts';

/** Ids that a sender may choose himself; longer ones are not taken over. */
const MAX_ID_LENGTH = 128;

export interface UserExecutionContext {
  readonly userId: string;
  readonly threadId: string;
  readonly runId: string;
  readonly requestId: string;
  /** A deep copy of what was sent, so that a later change of it changes nothing here. */
  readonly input: Readonly<Record<string, unknown>>;
}

/**
 * The context of a client's message or a posted event. Ids are the sender's own (`run_id`,
 * `thread_id`, `request_id`, at the root or in an envelope) or follow from what was sent, so that
 * every service that is shown the same input uses the same ids. It also means that a user who sends
 * the very same message twice starts the same run twice: clients tell messages apart by a
 * `message_id`.
 */
export function createUserExecutionContext(
  userId: string,
  input: Readonly<Record<string, unknown>>,
): UserExecutionContext {
  const threadId = ownId(input, 'thread_id') ?? `thread_${digest('thread', userId)}`;
  const content = JSON.stringify(input);
  return Object.freeze({
    userId,
    threadId,
    runId: ownId(input, 'run_id') ?? `run_${digest('run', userId, threadId, content)}`,
    requestId: ownId(input, 'request_id') ?? `req_${digest('request', userId, threadId, content)}`,
    input: Object.freeze(structuredClone(input)),
  });
}

function ownId(input: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = field(input, name);
  return typeof value === 'string' && value !== '' && value.length <= MAX_ID_LENGTH
    ? value
    : undefined;
}

/** 80 bits, enough for ids; JSON keeps the parts apart whatever characters they hold. */
function digest(...parts: readonly string[]): string {
  return hash('sha256', JSON.stringify(parts)).slice(0, 20);
}
