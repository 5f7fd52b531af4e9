// What a message says, for comparing: JSON as a value, other text as it is, binary by its digest.
import { isAscii, isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';
import { isRecord } from '../rules/compare/record.ts';
import type { UnjudgedReason } from '../rules/verdict.ts';
import { OPCODE } from '../wire/frames.ts';
import type { SseEvent } from '../wire/sse-reader.ts';

export type Decoded =
  | {
      readonly value: unknown;
      /** JSON of all of it, for numbers that have lost digits on their way into a value; null: it is no JSON. */
      readonly text: string | null;
    }
  | { readonly because: UnjudgedReason };

/** As `MessageForm`: the message, where it is ASCII alone; null: it is not, or nothing of text. */
export interface Read {
  readonly decoded: Decoded;
  readonly ascii: string | null;
}

export function decodeMessage(opcode: number, payload: Buffer): Read {
  if (opcode !== OPCODE.text) {
    const value = `binary, ${payload.length} bytes, sha256 ${hash('sha256', payload)}`;
    return { decoded: { value, text: null }, ascii: null };
  }
  // One string for all who read it: the first look takes half of what it does as UTF-8, and a second one is none.
  if (isAscii(payload)) {
    const ascii = payload.toString('latin1');
    return { decoded: decodeText(ascii), ascii };
  }
  // Replacement characters would make two different messages the same.
  if (!isUtf8(payload)) return { decoded: { because: 'not-comparable' }, ascii: null };
  return { decoded: decodeText(payload.toString('utf8')), ascii: null };
}

/** As JSON's objects and arrays begin. */
const [OBJECT, ARRAY] = [0x7b, 0x5b] as const;

/** As the line of the stream begins, and as hardly a field of the data is called. */
const EVENT_LINE = 'event:';

/**
 * An event stream names the type beside the data: it stands for one that the data does not name itself, else
 * it is a field of its own, since a browser listens for that name and not for the data's.
 */
export function decodeSse({ event, data }: SseEvent): Decoded {
  const decoded = decodeText(data);
  if (!('value' in decoded)) return decoded;
  const { value, text } = decoded;
  if (!isRecord(value)) {
    if (event === 'message') return decoded;
    const whole = text === null ? null : `{"type":${JSON.stringify(event)},"data":${text}}`;
    return { value: { type: event, data: value }, text: whole };
  }
  const isTyped = Object.hasOwn(value, 'type');
  if (isTyped && event === 'message') return decoded;
  const name = isTyped ? EVENT_LINE : 'type';
  const whole = text === null ? null : withField(text, name, event);
  return { value: { ...value, [name]: event }, text: whole };
}

/** An object's text, with one field more at its end: of two that are called alike the last counts. */
function withField(text: string, name: string, value: string): string {
  const before = text.slice(0, text.lastIndexOf('}')).trimEnd();
  const comma = before.endsWith('{') ? '' : ',';
  return `${before}${comma}${JSON.stringify(name)}:${JSON.stringify(value)}}`;
}

/** A JSON object or array as a value, anything else as the text that it is. */
export function decodeText(text: string): Decoded {
  if (!isBegun(text) && !isBegun(text.trimStart())) return { value: text, text: null };
  try {
    return { value: JSON.parse(text), text };
  } catch (error) {
    // Not JSON after all: compared as text. A stack that is too small for it is another matter.
    return error instanceof SyntaxError ? { value: text, text: null } : { because: 'too-deep' };
  }
}

function isBegun(text: string): boolean {
  const first = text.charCodeAt(0);
  return first === OBJECT || first === ARRAY;
}
