// What a client says, message by message: which of it a second leg gets as well, and the preamble that
// a leg dialled later needs first.
import type { RouteConfig } from '../config/schema.ts';
import { OPCODE } from '../wire/frames.ts';
import { MessageReader } from '../wire/message-reader.ts';

/** Longer messages are not mirrored; the largest that the services advertise. */
const MOST_MESSAGE_BYTES = 1_048_576;
/** Only so much is searched for a message's type. */
const MOST_TYPED_BYTES = 65_536;
/** Subscriptions and the like; a session that says more of them can not be set up anew elsewhere. */
const MOST_PREAMBLE_BYTES = 65_536;

export interface ClientMessage {
  readonly opcode: number;
  readonly payload: Buffer;
}

export class ClientMessages {
  /** Messages that every new leg of the session is sent first, in order. */
  readonly preamble: ClientMessage[] = [];
  /** There was more of it than is kept. */
  preambleOverrun = false;
  /** Of those that only the primary got, what the second leg was to get as well. */
  unheard = 0;
  #notMirrored = 0;
  /** Messages that both have heard, and nobody who comes later. */
  #mirrored = 0;
  readonly #reader: MessageReader;
  readonly #route: Pick<RouteConfig, 'mirror' | 'preamble'>;
  readonly #onMirrored: (message: ClientMessage) => boolean;
  readonly #onMessage: (message: ClientMessage | null) => void;
  #preambleBytes = 0;

  /** `onMirrored` says whether there was a second leg to hear it; `onMessage` gets null for one that is too long. */
  constructor(
    route: Pick<RouteConfig, 'mirror' | 'preamble'>,
    onMirrored: (message: ClientMessage) => boolean,
    onMessage: (message: ClientMessage | null) => void = () => undefined,
  ) {
    this.#route = route;
    this.#onMirrored = onMirrored;
    this.#onMessage = onMessage;
    this.#reader = new MessageReader(
      {
        message: (opcode, payload) => this.#take({ opcode, payload }),
        tooLong: () => {
          this.#notMirrored += 1;
          if (this.#route.mirror !== 'none') this.unheard += 1;
          this.#onMessage(null);
        },
      },
      MOST_MESSAGE_BYTES,
    );
  }

  /** The second leg is gone: whoever comes in its place has not heard what it has. */
  forgetMirrored(): void {
    this.#notMirrored += this.#mirrored;
    this.#mirrored = 0;
  }

  /** Messages that only the primary got, since they were last taken. */
  get notMirrored(): number {
    return this.#notMirrored;
  }

  /** ... and takes them. */
  takeNotMirrored(): number {
    const count = this.#notMirrored;
    this.#notMirrored = 0;
    return count;
  }

  /** The client's bytes as they came. */
  push(bytes: Buffer): void {
    this.#reader.push(bytes);
  }

  #take(message: ClientMessage): void {
    this.#onMessage(message);
    const { mirror, preamble } = this.#route;
    const needsType = preamble.length > 0 || typeof mirror === 'object';
    const type = needsType ? typeOf(message) : undefined;
    const isPreamble = type !== undefined && preamble.includes(type);
    if (isPreamble) this.#keep(message);
    const isMirrored =
      isPreamble ||
      mirror === 'all' ||
      (typeof mirror === 'object' && type !== undefined && mirror.types.includes(type));
    const isHeard = isMirrored && this.#onMirrored(message);
    // What every leg is told first, the next one is told, too.
    if (isPreamble) return;
    if (isHeard) this.#mirrored += 1;
    else this.#notMirrored += 1;
    if (isMirrored && !isHeard) this.unheard += 1;
  }

  #keep({ opcode, payload }: ClientMessage): void {
    this.#preambleBytes += payload.length;
    if (this.#preambleBytes > MOST_PREAMBLE_BYTES) this.preambleOverrun = true;
    else this.preamble.push({ opcode, payload: Buffer.from(payload) });
  }
}

/** The string at `type` of a JSON object; undefined for anything else. */
function typeOf({ opcode, payload }: ClientMessage): string | undefined {
  if (opcode !== OPCODE.text || payload.length > MOST_TYPED_BYTES) return undefined;
  try {
    const message: unknown = JSON.parse(payload.toString('utf8'));
    if (typeof message !== 'object' || message === null || !Object.hasOwn(message, 'type')) {
      return undefined;
    }
    const { type } = message as { type: unknown };
    return typeof type === 'string' ? type : undefined;
  } catch {
    // Not JSON: a message without a type, like any other.
    return undefined;
  }
}
