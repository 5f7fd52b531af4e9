// What a message says, for comparing: JSON as a value, other text as it is, binary by its digest.
import { isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';
import type { UnjudgedReason } from '../rules/verdict.ts';
import { OPCODE } from '../wire/frames.ts';
import type { SseEvent } from '../wire/sse-reader.ts';

export type Decoded = { readonly value: unknown } | { readonly because: UnjudgedReason };

/** Sixteen digits may be more than a double holds exactly (2^53 has sixteen). */
const LONG_DIGITS = /\d{16}/;

export function decodeMessage(opcode: number, payload: Buffer): Decoded {
  if (opcode !== OPCODE.text) {
    return { value: `binary, ${payload.length} bytes, sha256 ${hash('sha256', payload)}` };
  }
  // Replacement characters would make two different messages the same.
  if (!isUtf8(payload)) return { because: 'not-comparable' };
  return decodeText(payload.toString('utf8'));
}

/** An event stream names the type beside the data, where the data does not name it itself. */
export function decodeSse({ event, data }: SseEvent): Decoded {
  const decoded = decodeText(data);
  if (!('value' in decoded)) return decoded;
  const { value } = decoded;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return event === 'message' ? decoded : { value: { type: event, data: value } };
  }
  return Object.hasOwn(value, 'type') ? decoded : { value: { ...value, type: event } };
}

/** A JSON object or array as a value, anything else as the text that it is. */
export function decodeText(text: string): Decoded {
  const first = text.trimStart()[0];
  if (first !== '{' && first !== '[') return { value: text };
  try {
    return { value: LONG_DIGITS.test(text) ? parseExactly(text) : JSON.parse(text) };
  } catch (error) {
    // Not JSON after all: compared as text. A stack that is too small for it is another matter.
    return error instanceof SyntaxError ? { value: text } : { because: 'too-deep' };
  }
}

/** Numbers that a double would round are kept as they are written: two ids must not become one. */
function parseExactly(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown, ...rest: unknown[]) => {
    if (typeof value !== 'number' || Number.isSafeInteger(value)) return value;
    const source = sourceOf(rest[0]);
    return source !== undefined && String(value) !== source ? { $number: source } : value;
  });
}

/** JSON.parse tells a reviver the text of a primitive (ECMAScript 2026, JSON.parse source text access). */
function sourceOf(context: unknown): string | undefined {
  if (typeof context !== 'object' || context === null || !('source' in context)) return undefined;
  return typeof context.source === 'string' ? context.source : undefined;
}
