// The event of the WebSocket benchmarks: a text frame with 512 bytes of JSON that carries the time at
// which it was sent, its number in its connection's stream, and who sent it.
import type { Side } from '../src/rules/decide.ts';

export const EVENT_BYTES = 512;
/** Length in 16 bits, from server to client: no mask (RFC 6455 5.2). */
const HEADER_BYTES = 4;
export const FRAME_BYTES = HEADER_BYTES + EVENT_BYTES;
/** µs of the machine's monotonic clock, which all processes share; 16 digits are 300 years. */
const TIME_DIGITS = 16;
const BEFORE_TIME = '{"type":"agent_thinking","run_id":"run_1","sent_us":"';
const TIME_AT = HEADER_BYTES + BEFORE_TIME.length;
const NUMBER_DIGITS = 10;
const BEFORE_NUMBER = '","number":"';
const NUMBER_AT = TIME_AT + TIME_DIGITS + BEFORE_NUMBER.length;

const BEFORE_SIDE = '","side":"';
const SIDE_AT = NUMBER_AT + NUMBER_DIGITS + BEFORE_SIDE.length;
/** In place of the text's beginning, where the event says whom it is for. */
const BEFORE_ADDRESS = '","recipient_id":"';
const ADDRESS_AT = SIDE_AT + 1 + BEFORE_ADDRESS.length;
/** All names of the benchmarks' users are as long. */
const NAME_LENGTH = 'user_1000'.length;
/** One letter of each name. */
const TAGS = { legacy: 'l', candidate: 'c' } as const;

const TEMPLATE = template();

export function nowUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000_000 + Math.floor(nanoseconds / 1_000);
}

/** A frame of its own for each call: a write that waits still points into it. */
export function eventFrame(sentUs: number, number = 0, side: Side = 'legacy'): Buffer {
  const frame = Buffer.from(TEMPLATE);
  frame.write(String(sentUs).padStart(TIME_DIGITS, '0'), TIME_AT, 'latin1');
  frame.write(String(number).padStart(NUMBER_DIGITS, '0'), NUMBER_AT, 'latin1');
  frame.write(TAGS[side], SIDE_AT, 'latin1');
  return frame;
}

/** The same frame with a routing field. */
export function addressed(frame: Buffer, user: string): Buffer {
  frame.write(`${BEFORE_ADDRESS}${user}","text":"`, SIDE_AT + 1, 'latin1');
  return frame;
}

/** Whom the routing field of the frame that begins at `at` names; null where it has none. */
export function addresseeOf(bytes: Buffer, at: number): string | null {
  const from = at + ADDRESS_AT;
  const before = bytes.toString('latin1', from - BEFORE_ADDRESS.length, from);
  return before === BEFORE_ADDRESS ? bytes.toString('latin1', from, from + NAME_LENGTH) : null;
}

/** When the frame that begins at `at` was sent. */
export function sentUsOf(bytes: Buffer, at: number): number {
  return Number(bytes.toString('latin1', at + TIME_AT, at + TIME_AT + TIME_DIGITS));
}

export function numberOf(bytes: Buffer, at: number): number {
  return Number(bytes.toString('latin1', at + NUMBER_AT, at + NUMBER_AT + NUMBER_DIGITS));
}

export function sideOf(bytes: Buffer, at: number): Side {
  return bytes[at + SIDE_AT] === TAGS.candidate.charCodeAt(0) ? 'candidate' : 'legacy';
}

function template(): Buffer {
  const before = `${BEFORE_TIME}${'0'.repeat(TIME_DIGITS)}${BEFORE_NUMBER}${'0'.repeat(NUMBER_DIGITS)}${BEFORE_SIDE}l","text":"`;
  const text = 'Comparing spend by region. '.repeat(20).slice(0, EVENT_BYTES - before.length - 2);
  const frame = Buffer.alloc(FRAME_BYTES);
  frame.set([0x81, 126]);
  frame.writeUInt16BE(EVENT_BYTES, 2);
  frame.write(`${before}${text}"}`, HEADER_BYTES, 'latin1');
  return frame;
}
