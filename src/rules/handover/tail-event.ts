// A message of a leg's tail, read for what a handover has to know of it.
import type { CompiledRules } from '../compare/compile.ts';
import { isRecord, read } from '../compare/record.ts';
import { keyOf, typeOf } from '../event-key.ts';
import type { TailEvent } from './reconcile.ts';

/** Lane of what names no run or thread. */
const SESSION = 'session';

/** `value` is the parsed message, or anything else for one that is no JSON. */
export function tailEvent(
  value: unknown,
  rules: CompiledRules,
  greeting: readonly string[],
): TailEvent {
  if (!isRecord(value)) return { key: null, lane: SESSION, isGreeting: false, isReplay: false };
  const type = typeOf(value);
  const plan = rules.planOf(type);
  const ownLane = plan.isTimer ? 'timers' : plan.isReply ? 'replies' : null;
  let lane = ownLane ?? SESSION;
  for (const { level, pointer } of ownLane === null ? plan.lanes : []) {
    const name = read(value, pointer, plan.envelopes);
    if (typeof name !== 'string' && typeof name !== 'number') continue;
    lane = `${level} ${name}`;
    break;
  }
  return {
    key: keyOf(plan, value).key,
    lane,
    isGreeting: greeting.includes(type),
    isReplay: plan.replay !== null && read(value, plan.replay, plan.envelopes) === true,
  };
}
