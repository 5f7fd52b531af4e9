// One service's bytes of a stream, read into events: WebSocket messages or events of an event stream.
import type { StreamFacts } from '../ports.ts';
import type { MessageForm } from '../rules/isolation/inspect.ts';
import type { MarkerSearch } from '../rules/isolation/marker.ts';
import { OPCODE } from '../wire/frames.ts';
import { MessageReader } from '../wire/message-reader.ts';
import { SseReader } from '../wire/sse-reader.ts';
import { type Decoded, decodeMessage, decodeSse } from './decode.ts';

/** Longer events are not compared. As much as the services advertise, and sixteen are held at most. */
const MOST_EVENT_BYTES = 1_048_576;

export interface EventReader {
  /** What lies there from `start` to `end`. Throws, behind all of it, what the listener has thrown first. */
  push(bytes: Buffer, start: number, end: number): void;
  /** Bytes are missing. Returns how many events that had begun are lost with them. */
  gap(): number;
  /** Frames can not be followed. */
  readonly lost: boolean;
}

export interface EventListener {
  event(decoded: Decoded, payload: Buffer, form: MessageForm): void;
  /** An event that is not kept; `owner`: whose planted marker was in it, null: nobody's. */
  tooLong(owner: string | null): void;
  /** Looks through what is too long to be kept, as it comes; null: nothing was planted. */
  readonly search: MarkerSearch | null;
}

export function eventReader(
  format: StreamFacts['format'],
  { event: tell, tooLong, search }: EventListener,
): EventReader {
  const faults: unknown[] = [];
  // Out of the middle of a piece it would leave the reader inside of something, and what follows be read as anything.
  const event: EventListener['event'] = (decoded, payload, form) => {
    try {
      tell(decoded, payload, form);
    } catch (error) {
      faults.push(error);
    }
  };
  const throwFirst = () => {
    if (faults.length > 0) throw faults.splice(0)[0];
  };
  const overlong = {
    overlong: (part: string | Buffer) =>
      search?.push(typeof part === 'string' ? Buffer.from(part) : part),
    tooLong: () => {
      tooLong(search?.found ?? null);
      search?.begin();
    },
  };
  if (format === 'sse') {
    const reader = new SseReader(
      {
        event: read => {
          const { data, event: type } = read;
          event(decodeSse(read), Buffer.from(data), type === 'message' ? {} : { type });
        },
        ...overlong,
      },
      MOST_EVENT_BYTES,
    );
    return {
      push: (bytes, start, end) => {
        reader.push(bytes.subarray(start, end));
        throwFirst();
      },
      // Events of a stream are not counted in the lanes: how many are lost is not known.
      gap: () => {
        search?.begin();
        reader.skipToNextEvent();
        return 1;
      },
      lost: false,
    };
  }
  const reader = new MessageReader(
    {
      message: (opcode, payload) => {
        const { decoded, ascii } = decodeMessage(opcode, payload);
        event(decoded, payload, { isBinary: opcode !== OPCODE.text, ascii });
      },
      ...overlong,
    },
    MOST_EVENT_BYTES,
  );
  const messages = {
    push: (bytes: Buffer, start: number, end: number) => {
      reader.push(bytes, start, end);
      messages.lost = reader.lost;
      throwFirst();
    },
    gap: () => {
      search?.begin();
      const torn = reader.inMessage ? 1 : 0;
      reader.reset();
      return torn;
    },
    lost: false,
  };
  return messages;
}
