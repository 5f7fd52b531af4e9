// The faults that can be planted, and what each makes of an event.
import { InvalidArgumentError } from 'commander';
import { type BroadcastEvent, ENVELOPES, field, isRecord, PROVENANCE_FIELDS } from './event.ts';
import { eventKeyOf } from './event-key.ts';

export const FAULTS = [
  'drop',
  'duplicate',
  'reorder',
  'wrong-type',
  'rewrite-provenance',
  'routing-field',
  'nested-routing-field',
  'misroute',
  'slow',
  'crash',
] as const;
export type FaultKind = (typeof FAULTS)[number];

/** One event in a hundred, when no rate is named. */
const DEFAULT_RATE = 0.01;

export interface FaultSetting {
  readonly kind: FaultKind;
  /** Share of events, 0–1; less where an event has nothing that the fault could alter. */
  readonly rate: number;
}

/** Reads `NAME` or `NAME:RATE`. Throws `RangeError` with a sentence for whoever typed it. */
export function parseFault(text: string): FaultSetting {
  const [name, rateText, ...rest] = text.split(':');
  const kind = FAULTS.find(each => each === name);
  if (kind === undefined) {
    throw new RangeError(`no fault "${name}"; faults are ${FAULTS.join(', ')}`);
  }
  const rate = rateText === undefined ? DEFAULT_RATE : Number(rateText);
  if (rest.length > 0 || rateText === '' || !(rate >= 0 && rate <= 1)) {
    throw new RangeError(`"${text}" is not NAME or NAME:RATE with a rate from 0 to 1`);
  }
  return { kind, rate };
}

/** One more `--fault` of a command line. Throws `InvalidArgumentError` with a sentence. */
export function addFault(text: string, before: readonly FaultSetting[]): readonly FaultSetting[] {
  try {
    return [...before, parseFault(text)];
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
  }
}

/** Which run an event belongs to; an event without one is a run of its own. */
export function runOf(userId: string, event: BroadcastEvent): string {
  const runId = field(event, 'run_id');
  return JSON.stringify([userId, typeof runId === 'string' ? runId : eventKeyOf(event)]);
}

export interface Altered {
  readonly event: BroadcastEvent;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** The event with the fault in it; `undefined` when it has nothing that the fault could alter. */
export function alter(
  kind: 'wrong-type' | 'rewrite-provenance' | 'routing-field' | 'nested-routing-field',
  event: BroadcastEvent,
  userId: string,
  other: string,
): Altered | undefined {
  switch (kind) {
    case 'wrong-type': {
      // Reasoning really did arrive so once.
      const type = event.type === 'agent_thinking' ? 'reasoning' : `${event.type}_event`;
      return { event: { ...event, type }, detail: { type } };
    }
    case 'rewrite-provenance': {
      const fields = PROVENANCE_FIELDS.filter(
        name => typeof event[name] === 'string' && event[name] !== userId,
      );
      if (fields.length === 0) return undefined;
      const rewritten = Object.fromEntries(fields.map(name => [name, userId]));
      return { event: { ...event, ...rewritten }, detail: { fields } };
    }
    case 'routing-field':
      return { event: { ...event, target_user_id: other }, detail: { other } };
    case 'nested-routing-field': {
      const envelope = ENVELOPES.find(name => isRecord(event[name]));
      if (envelope === undefined) return undefined;
      const inner = event[envelope];
      const foreign = { ...(isRecord(inner) ? inner : {}), target_user_id: other };
      return { event: { ...event, [envelope]: foreign }, detail: { envelope, other } };
    }
  }
}
