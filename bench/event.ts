// The event of the WebSocket benchmark: a text frame with 512 bytes of JSON that carries the time at
// which it was sent.

export const EVENT_BYTES = 512;
/** Length in 16 bits, from server to client: no mask (RFC 6455 5.2). */
const HEADER_BYTES = 4;
export const FRAME_BYTES = HEADER_BYTES + EVENT_BYTES;
/** µs of the machine's monotonic clock, which all processes share; 16 digits are 300 years. */
const TIME_DIGITS = 16;
const BEFORE_TIME = '{"type":"agent_thinking","run_id":"run_1","sent_us":"';
const TIME_AT = HEADER_BYTES + BEFORE_TIME.length;

const TEMPLATE = template();

export function nowUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1_000_000 + Math.floor(nanoseconds / 1_000);
}

/** A frame of its own for each call: a write that waits still points into it. */
export function eventFrame(sentUs: number): Buffer {
  const frame = Buffer.from(TEMPLATE);
  frame.write(String(sentUs).padStart(TIME_DIGITS, '0'), TIME_AT, 'latin1');
  return frame;
}

/** When the frame that begins at `at` was sent. */
export function sentUsOf(bytes: Buffer, at: number): number {
  return Number(bytes.toString('latin1', at + TIME_AT, at + TIME_AT + TIME_DIGITS));
}

function template(): Buffer {
  const before = `${BEFORE_TIME}${'0'.repeat(TIME_DIGITS)}","text":"`;
  const text = 'Comparing spend by region. '.repeat(20).slice(0, EVENT_BYTES - before.length - 2);
  const frame = Buffer.alloc(FRAME_BYTES);
  frame.set([0x81, 126]);
  frame.writeUInt16BE(EVENT_BYTES, 2);
  frame.write(`${before}${text}"}`, HEADER_BYTES, 'latin1');
  return frame;
}
