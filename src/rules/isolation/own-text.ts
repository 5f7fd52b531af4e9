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

/** Those texts. */
export function ownTexts(value: JsonRecord, { envelopes }: Pick<TypePlan, 'envelopes'>): string[] {
  const inner = envelopes.map(({ name }) => value[name]);
  return [value, ...inner.filter(isRecord)].flatMap(record =>
    Object.entries(record).flatMap(([name, text]) => (isOwn(name, text) ? [text] : [])),
  );
}

function isLong(record: JsonRecord): boolean {
  for (const name in record) if (isOwn(name, record[name])) return true;
  return false;
}

function isOwn(name: string, text: unknown): text is string {
  return name !== 'type' && typeof text === 'string' && text.length >= LEAST_CHARACTERS;
}
