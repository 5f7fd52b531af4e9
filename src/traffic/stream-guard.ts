// The guard in the stream of a WebSocket's messages to the client: those that need no look pass as they
// came, in one write; the others are held until they are whole. A control frame waits for none of them.
import { MOST_INSPECTED_BYTES } from '../rules/isolation/inspect.ts';
import { OPCODE, wholeFrame } from '../wire/frames.ts';
import { areWholeTexts, type MessageUnit, UnitSplitter } from '../wire/message-units.ts';
import type { HeldRoom } from './held-room.ts';
import { type GuardFacts, IsolationGuard } from './isolation-guard.ts';

/** A message's frames beside its content: what is longer is not held. */
const MOST_HELD_BYTES = MOST_INSPECTED_BYTES + 65_536;
const OPCODE_BITS = 0x0f;

export interface StreamGuardOptions extends GuardFacts {
  readonly room: HeldRoom;
}

export class StreamGuard {
  readonly #guard: IsolationGuard;
  readonly #room: HeldRoom;
  readonly #splitter: UnitSplitter;
  #isFull = false;
  #isPassing = false;
  #out: Buffer[] = [];

  /** Of a stream that is at a message boundary. */
  constructor({ room, ...facts }: StreamGuardOptions) {
    this.#room = room;
    this.#guard = new IsolationGuard(facts);
    this.#splitter = new UnitSplitter(
      {
        unit: unit => this.#take(unit),
        tooLong: (piece, isFirst) => this.#pass(piece, isFirst),
      },
      MOST_HELD_BYTES,
    );
  }

  get mode(): 'sanitize' | 'block' {
    return this.#guard.mode;
  }

  /** What is pushed from now on has come at that time (epoch ms) and waited; null: it comes now. */
  waitedSince(cameAt: number | null): void {
    this.#guard.cameAt = cameAt;
  }

  /** True between two messages. */
  get atBoundary(): boolean {
    return this.#splitter.atBoundary;
  }

  /** A message has begun, and the client has nothing of it. */
  get holdsAll(): boolean {
    return this.#splitter.holdsAll;
  }

  /** The frames can not be followed, and what can not be looked into is withheld: nothing passes any more. */
  get isShut(): boolean {
    return this.#splitter.lost && !this.#isPassing;
  }

  /** True where a message is withheld by what it says; nobody is told. */
  withholds({
    payload,
    isBinary,
  }: {
    readonly payload: Buffer | null;
    readonly isBinary: boolean;
  }): boolean {
    return this.#guard.withholds(payload, { isBinary });
  }

  /** What of these bytes, and of what was held, goes to the client now; may lie in the same memory. */
  push(view: Buffer): Buffer | null {
    const splitter = this.#splitter;
    if (splitter.atBoundary && areWholeTexts(view) && this.#guard.isClean(view)) {
      return view;
    }
    const before = splitter.heldBytes;
    splitter.push(view);
    if (!this.#room.change(splitter.heldBytes - before)) {
      this.#isFull = true;
      splitter.letGo();
      this.#isFull = false;
      this.#room.change(-before);
    }
    const out = this.#out;
    this.#out = [];
    return out.length === 0 ? null : Buffer.concat(out);
  }

  /** Gives back the room that it took. */
  close(): void {
    this.#room.change(-this.#splitter.heldBytes);
  }

  #take(unit: MessageUnit): void {
    const { raw } = unit;
    if (areWholeTexts(raw) && this.#guard.isClean(raw)) return this.#give(raw);
    const message = unit.message();
    // A control frame, or frames in an order that no reader may follow.
    if (message === null) {
      const isData = ((raw[0] as number) & OPCODE_BITS) < OPCODE.close;
      if (!isData || this.#guard.uninspectable('unframeable') === 'pass') this.#give(raw);
      return;
    }
    const isBinary = message.opcode === OPCODE.binary;
    const ruling = this.#guard.rule(message.payload, { isBinary });
    if (ruling === 'pass') return this.#give(raw);
    if (ruling !== 'withhold') this.#give(wholeFrame(message.opcode, ruling));
  }

  #pass(piece: Buffer, isFirst: boolean): void {
    if (isFirst) {
      const because = this.#isFull ? 'no-room' : this.#splitter.lost ? 'unframeable' : 'too-large';
      this.#isPassing = this.#guard.uninspectable(because) === 'pass';
    }
    if (this.#isPassing) this.#give(piece);
  }

  #give(bytes: Buffer): void {
    // Pieces of the read buffer that all legs share.
    if (bytes.length > 0) this.#out.push(bytes);
  }
}
