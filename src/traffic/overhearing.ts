// A session of which nothing is compared, heard all the same: what legacy sends its client, and what the client says
// to legacy, go to the judge.
import type { OverheardTap } from '../ports.ts';
import { type FrameTracker, OPCODE } from '../wire/frames.ts';
import { MessageReader } from '../wire/message-reader.ts';

/** Of what clients say no more of one message is heard, and so no more is kept. */
const MOST_SAID_BYTES = 65_536;

export class Overhearing {
  readonly tap: OverheardTap;
  #isAtBoundary: boolean;
  /** Null until the client speaks: most listen. */
  #reader: MessageReader | null = null;

  /** `isAtBoundary`: of what the client says. */
  constructor(tap: OverheardTap, fromLegacy: FrameTracker, isAtBoundary: boolean) {
    this.tap = tap;
    this.#isAtBoundary = isAtBoundary;
    tap.legOpened('legacy', fromLegacy);
  }

  /** The client's bytes; `isAtBoundary`: behind them. */
  heard(bytes: Buffer, isAtBoundary: boolean): void {
    if (this.#reader === null && this.#isAtBoundary) this.#reader = this.#newReader();
    this.#isAtBoundary = isAtBoundary;
    this.#reader?.push(bytes);
  }

  #newReader(): MessageReader {
    return new MessageReader(
      {
        message: (opcode, payload) => this.tap.said(opcode === OPCODE.text ? payload : null),
        tooLong: () => this.tap.said(null),
      },
      MOST_SAID_BYTES,
    );
  }
}
