// Puts foreign addresses right: the value of each is replaced where it stands, and every other byte
// stays what it was.
import type { RoutingField } from './inspect.ts';
import type { Recipient } from './recipient.ts';

const OPEN_ARRAY = 0x5b;
const NUMBER = /^-?\d/;
/** What can be written as a number and is the same text when it is read. */
const DIGITS = /^(?:0|[1-9]\d{0,14})$/;

/**
 * The message with `fields` (of the same bytes, in order, the foreign ones) naming the recipient by
 * his id: a list becomes a list of him alone, a number a number where his id can be one.
 */
export function sanitize(
  payload: Buffer,
  fields: readonly RoutingField[],
  recipient: Recipient,
): Buffer {
  const parts: Buffer[] = [];
  let from = 0;
  for (const { start, end } of fields) {
    parts.push(payload.subarray(from, start), Buffer.from(inPlaceOf(payload, start, recipient)));
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
