// Whom a request is about, where its body says so.
import type { Subject } from '../rules/decide.ts';

/** Longer names are no users', and would be keys in flags and logs. */
const MOST_NAME_CHARS = 256;

/** The user at a JSON pointer (RFC 6901); null if the body is no JSON or names nobody there. */
export function subjectInBody(body: Buffer | null, pointer: string): Subject | null {
  if (body === null || body.length === 0) return null;
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    // The service will say what it thinks of it; nobody is named.
    return null;
  }
  for (const token of pointer.split('/').slice(1)) {
    const key = token.replaceAll('~1', '/').replaceAll('~0', '~');
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return null;
    value = (value as Record<string, unknown>)[key];
  }
  const isId = typeof value === 'number' && Number.isSafeInteger(value);
  const id = isId ? String(value) : value;
  if (typeof id !== 'string' || id === '' || id.length > MOST_NAME_CHARS) return null;
  return Object.freeze({ id, aliases: [] });
}
