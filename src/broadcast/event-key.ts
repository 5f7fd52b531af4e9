// What makes an event of the reference services "the same one": the definition that pairing uses.
import { compileRules } from '../rules/compare/compile.ts';
import { eventKey } from '../rules/event-key.ts';
import { broadcasterRules } from './compare-rules.ts';
import type { BroadcastEvent } from './event.ts';

const RULES = compileRules(broadcasterRules());

/** `k1:["type","run_id","step"]`, see `rules/event-key.ts`. */
export function eventKeyOf(event: BroadcastEvent): string {
  return eventKey(RULES, event);
}
