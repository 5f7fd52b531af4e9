// A request body that is needed whole before it is known where it goes.
import type { IncomingMessage } from 'node:http';
import type { ErrorCode } from '../errors.ts';
import { GatheredBytes } from '../wire/gathered-bytes.ts';

/** A body larger than that is not held; it streams to one service only. */
export const MOST_HELD_BYTES = 1_048_576;
/** All bodies that are held at a time. Without a bound, slow services and fast clients fill the memory. */
const MOST_BYTES = 268_435_456;

/** True if a request has a body at all (RFC 9112 6.3). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}

export interface HeldBody {
  readonly bytes: Buffer;
  /** Gives its room back; to be called once, when nothing holds the bytes any more. */
  readonly release: () => void;
}

/** A body that is not whole yet. */
interface Coming {
  readonly body: GatheredBytes;
  /** Refuses it. */
  readonly giveWay: () => void;
}

/** The client left before its body was whole, or before anybody could look at it. */
export class BrokenOff extends Error {
  constructor() {
    super('the client broke off');
  }
}

export class HeldBodies {
  #bytes = 0;
  /** The oldest first. */
  readonly #coming = new Set<Coming>();
  readonly #mostBytes: number;

  constructor(mostBytes = MOST_BYTES) {
    this.#mostBytes = mostBytes;
  }

  /** Bytes that are held. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * The whole body; null if it is larger than `MOST_HELD_BYTES`, and then the request can still be
   * read from its beginning; or why it can not be had: `overloaded` if there is no room, and of all that have not
   * come whole it is the one that is coming for longest. Rejects if the client breaks off. `onStart` is
   * called when the body is about to be read.
   */
  hold(incoming: IncomingMessage, onStart: () => void): Promise<HeldBody | null | ErrorCode> {
    if (Number(incoming.headers['content-length'] ?? 0) > MOST_HELD_BYTES)
      return Promise.resolve(null);
    // It may have gone while its credential was being verified.
    if (incoming.destroyed) return Promise.reject(new BrokenOff());
    onStart();
    return new Promise((resolve, reject) => {
      const body = new GatheredBytes(MOST_HELD_BYTES);
      const stop = () => {
        this.#coming.delete(coming);
        incoming.off('data', onData).off('end', onEnd).off('error', onClose).off('close', onClose);
      };
      const release = () => {
        this.#bytes -= body.length;
      };
      const refuse = (why: null | ErrorCode) => {
        stop();
        release();
        resolve(why);
      };
      const coming = { body, giveWay: () => refuse('overloaded') };
      this.#coming.add(coming);
      const onData = (chunk: Buffer) => {
        body.add(chunk);
        this.#bytes += chunk.length;
        this.#makeRoom();
        if (!this.#coming.has(coming) || body.length <= MOST_HELD_BYTES) return;
        incoming.pause();
        refuse(null);
        incoming.unshift(body.view);
      };
      const onEnd = () => {
        stop();
        resolve({ bytes: body.view, release });
      };
      const onClose = () => {
        stop();
        release();
        reject(new BrokenOff());
      };
      incoming.on('data', onData).on('end', onEnd).on('error', onClose).on('close', onClose);
    });
  }

  /**
   * Not whoever comes last is refused: clients that send most of a body and then next to nothing would keep
   * everybody else out for as long as they like.
   */
  #makeRoom(): void {
    for (const { body, giveWay } of this.#coming) {
      if (this.#bytes <= this.#mostBytes) return;
      if (body.length > 0) giveWay();
    }
  }
}
