// Puts foreign addresses right: the value of each is replaced where it stands, and every other byte
// stays what it was.
import { isUtf8 } from 'node:buffer';
import { type RoutingField, textAt } from './inspect.ts';
import type { Recipient } from './recipient.ts';
import type { Isolation } from './rules.ts';

const OPEN_ARRAY = 0x5b;
const NUMBER = /^-?\d/;
/** What can be written as a number and is the same text when it is read. */
const DIGITS = /^(?:0|[1-9]\d{0,14})$/;

/**
 * The message with `fields` (of the same bytes, in order, those that name others) naming the recipient alone: a
 * list that has him in it, wherever it stands there, keeps his entries, any other becomes a list of his id, a number a
 * number where his id can be one.
 */
export function sanitize(
  isolation: Isolation,
  recipient: Recipient,
  payload: Buffer,
  fields: readonly RoutingField[],
): Buffer {
  const written = isUtf8(payload) ? (json: string) => json : inAscii;
  const parts: Buffer[] = [];
  let from = 0;
  for (const { says, start, end } of fields) {
    const mended =
      says === 'among'
        ? recipient.alone(isolation, textAt(payload, start, end))
        : inPlaceOf(payload, start, recipient);
    parts.push(payload.subarray(from, start), Buffer.from(written(mended)));
    from = end;
  }
  parts.push(payload.subarray(from));
  return Buffer.concat(parts);
}

function inPlaceOf(payload: Buffer, start: number, { id }: Recipient): string {
  const name = JSON.stringify(id);
  if (payload[start] === OPEN_ARRAY) return `[${name}]`;
  const isNumber = NUMBER.test(payload.toString('latin1', start, start + 2));
  return isNumber && DIGITS.test(id) ? id : name;
}

/** JSON that is the same in whatever the bytes around it are written. */
function inAscii(json: string): string {
  return json.replaceAll(
    /[^\0-\x7f]/g,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
