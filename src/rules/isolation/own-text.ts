// Whether a content says enough to be one user's own: many are told "ok", and none of them another's.
import type { TypePlan } from '../compare/compile.ts';
import { isRecord, type JsonRecord } from '../compare/record.ts';

/** The shortest text that makes a content somebody's own. */
export const LEAST_CHARACTERS = 12;

/** At its root or in an envelope; the type is everybody's. */
export function hasOwnText(value: JsonRecord, { envelopes }: Pick<TypePlan, 'envelopes'>): boolean {
  return (
    isLong(value) ||
    envelopes.some(({ name }) => {
      const inner = value[name];
      return isRecord(inner) && isLong(inner);
    })
  );
}

function isLong(record: JsonRecord): boolean {
  for (const name in record) {
    const text = record[name];
    if (name !== 'type' && typeof text === 'string' && text.length >= LEAST_CHARACTERS) return true;
  }
  return false;
}
