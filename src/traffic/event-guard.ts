// The guard in a stream of events: whole events that need no look pass as they came; one that does is held
// until its blank line.
import { MOST_INSPECTED_BYTES } from '../rules/isolation/inspect.ts';
import { eventEnd, isBetweenEvents, TAIL_BYTES } from '../wire/event-end.ts';
import { GatheredBytes } from '../wire/gathered-bytes.ts';
import { type SseEvent, SseReader } from '../wire/sse-reader.ts';
import type { HeldRoom } from './held-room.ts';
import type { IsolationGuard } from './isolation-guard.ts';

const DATA_LINE = /^data(?::|$)/;
/** Byte order mark, which may begin a stream and is none of it. */
const MARK = Buffer.from('\uFEFF');
const LINE_END = /\r\n|\n|\r/;

export class EventGuard {
  readonly #guard: IsolationGuard;
  readonly #room: HeldRoom;
  readonly #give: (bytes: Buffer) => boolean;
  readonly #held = new GatheredBytes(MOST_INSPECTED_BYTES);
  /** The last bytes of the event under way, as Latin-1. */
  #tail = '';
  /** What becomes of the rest of an event that is too long to be held. */
  #rest: 'pass' | 'withhold' | null = null;
  /** Only the first event can stand behind a byte order mark. */
  #isFirst = true;

  constructor(guard: IsolationGuard, room: HeldRoom, give: (bytes: Buffer) => boolean) {
    this.#guard = guard;
    this.#room = room;
    this.#give = give;
  }

  /** False: the client holds it back. */
  push(chunk: Buffer): boolean {
    const text = chunk.toString('latin1');
    if (
      this.#isAtBoundary &&
      isBetweenEvents(text.slice(-1 - TAIL_BYTES)) &&
      !this.#guard.hasAddress(chunk)
    ) {
      this.#isFirst = false;
      return this.#give(chunk);
    }
    let flowing = true;
    for (let from = 0; from < text.length; ) {
      const end = eventEnd(this.#tail, text.slice(from));
      const part = chunk.subarray(from, end === null ? text.length : from + end);
      flowing = this.#take(part, end !== null) && flowing;
      this.#tail = end === null ? (this.#tail + text.slice(from)).slice(-TAIL_BYTES) : '';
      from += part.length;
    }
    return flowing;
  }

  /** Nothing more comes: what has not ended is no event (WHATWG HTML 9.2.6), and passes if nobody could mind. */
  end(): void {
    const held = this.#whole(Buffer.alloc(0));
    if (held.length > 0 && !this.#guard.hasAddress(held)) this.#give(held);
  }

  /** It is broken off: what is held is nobody's. */
  close(): void {
    this.#whole(Buffer.alloc(0));
  }

  get #isAtBoundary(): boolean {
    return this.#held.length === 0 && this.#tail === '' && this.#rest === null;
  }

  #take(part: Buffer, ends: boolean): boolean {
    if (this.#rest === null && this.#held.length + part.length > MOST_INSPECTED_BYTES) {
      this.#rest = this.#guard.uninspectable('too-large');
      const held = this.#whole(part);
      return this.#goOn(held, ends);
    }
    if (this.#rest !== null) return this.#goOn(part, ends);
    if (ends) return this.#event(this.#whole(part));
    if (!this.#room.change(part.length)) {
      this.#rest = this.#guard.uninspectable('no-room');
      return this.#goOn(this.#whole(part), false);
    }
    this.#held.add(part);
    return true;
  }

  #goOn(bytes: Buffer, ends: boolean): boolean {
    const rest = this.#rest;
    if (ends) this.#rest = null;
    return rest === 'withhold' || this.#give(bytes);
  }

  #event(raw: Buffer): boolean {
    const isFirst = this.#isFirst;
    this.#isFirst = false;
    // The client puts lines of data together: what they say is only told by that.
    if (!this.#guard.hasAddress(raw)) return this.#give(raw);
    const event = read(raw, isFirst);
    if (event === null) return this.#give(raw);
    const form = event.event === 'message' ? {} : { type: event.event };
    const ruling = this.#guard.rule(Buffer.from(event.data), form);
    if (ruling === 'pass') return this.#give(raw);
    const lines = isFirst && raw.indexOf(MARK) === 0 ? raw.subarray(MARK.length) : raw;
    return ruling === 'withhold' || this.#give(withData(lines, ruling));
  }

  #whole(part: Buffer): Buffer {
    if (this.#held.length === 0) return part;
    this.#room.change(-this.#held.length);
    this.#held.add(part);
    return this.#held.take();
  }
}

/** Null where it is no event but comments and fields alone. */
function read(raw: Buffer, isFirst: boolean): SseEvent | null {
  let found: SseEvent | null = null;
  const sink = {
    event: (event: SseEvent) => {
      found = event;
    },
    tooLong: () => undefined,
  };
  const reader = new SseReader(sink, raw.length);
  // What begins a stream may be a mark; anywhere else it is text.
  if (!isFirst) reader.push(Buffer.from(':\n'));
  reader.push(raw);
  return found;
}

/** The event with another text; its other lines stay. */
function withData(raw: Buffer, data: Buffer): Buffer {
  const lines = raw.toString('latin1').split(LINE_END);
  const others = lines.filter(line => line !== '' && !DATA_LINE.test(line));
  const texts = data
    .toString('latin1')
    .split(LINE_END)
    .map(text => `data: ${text}`);
  return Buffer.from([...others, ...texts, '', ''].join('\n'), 'latin1');
}
