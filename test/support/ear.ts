// Stands where the judge listens: keeps what the lanes hand over, for tests of the lanes.
import type {
  AnswerSample,
  ExchangeFacts,
  ExchangeSample,
  StreamFacts,
  StreamTap,
  Tap,
} from '../../src/ports.ts';
import type { Side, Subject } from '../../src/rules/decide.ts';
import type { LegEnd } from '../../src/rules/pairing/legs.ts';
import type { FrameTracker, StopAt } from '../../src/wire/frames.ts';
import { MessageReader } from '../../src/wire/message-reader.ts';

/** What was heard of one stream. */
export class HeardStream implements StreamTap {
  readonly synced = null;
  waits = false;
  /** There is no room for what comes. */
  isDeaf = false;
  settled: () => void = () => undefined;
  readonly facts: StreamFacts;
  readonly bytesOf: Record<Side, Buffer[]> = { legacy: [], candidate: [] };
  /** `open legacy`, `close candidate`, `end`, in order. */
  readonly notes: string[] = [];

  constructor(facts: StreamFacts) {
    this.facts = facts;
  }

  follow(side: Side, view: Buffer, tracker: FrameTracker, stop: StopAt = 'never'): number {
    const taken = tracker.push(view, stop);
    this.bytesOf[side].push(Buffer.from(view.subarray(0, taken)));
    return taken;
  }

  hears(): boolean {
    return !this.isDeaf;
  }

  bytes(side: Side, view: Buffer): void {
    this.bytesOf[side].push(Buffer.from(view));
  }

  legOpened(side: Side): void {
    this.notes.push(`open ${side}`);
  }

  saidAlone(unheardBy: Side, isMeant: boolean): void {
    this.notes.push(isMeant ? `unheard by ${unheardBy}` : `not for ${unheardBy}`);
  }

  said(text: Buffer | null): void {
    this.notes.push(`said ${text}`);
  }

  held(isHeld: boolean): void {
    this.notes.push(isHeld ? 'held' : 'released');
  }

  legClosed(side: Side, how: LegEnd): void {
    this.notes.push(how === 'left' ? `left ${side}` : `close ${side}`);
  }

  /** Nothing is compared here, so nothing waits; or, with `waits`, until that is called. */
  onceSettled(settled: () => void): void {
    if (this.waits) this.settled = settled;
    else settled();
  }

  close(): void {
    this.notes.push('end');
  }

  /** Whole messages of a side, as text. */
  messages(side: Side): string[] {
    const texts: string[] = [];
    const message = (_opcode: number, payload: Buffer) => void texts.push(payload.toString());
    const reader = new MessageReader({ message, tooLong: () => undefined }, 1e7);
    reader.push(Buffer.concat(this.bytesOf[side]));
    return texts;
  }
}

export class Ear implements Tap {
  readonly streams: HeardStream[] = [];
  readonly exchanges: ExchangeSample[] = [];
  /** Looked at before the other one was there. */
  readonly answers: string[] = [];
  isDeaf = false;
  /** What requests said, and by whom. */
  readonly words: string[] = [];
  readonly twinned: ExchangeSample[] = [];
  readonly unpairedOnes: string[] = [];
  /** Who was not given a write. */
  readonly leftOut: Side[] = [];
  /** ... that the other one has to answer yet. */
  leftOutOpen = 0;
  /** Of each write that went to both services, who has answered, in order. */
  readonly writes: Side[][] = [];
  /** ... and whom it was about. */
  readonly writesAbout: (string | null)[] = [];

  /** Of whom nothing is compared: streams, and bodies of answers by whom they are for. */
  readonly overheard: HeardStream[] = [];
  readonly overheardAnswers: string[] = [];

  overhear(facts: StreamFacts): HeardStream {
    const stream = new HeardStream(facts);
    this.overheard.push(stream);
    return stream;
  }

  overhearAnswer({ subject }: ExchangeFacts, { body }: AnswerSample): boolean {
    if (this.isDeaf) return false;
    this.overheardAnswers.push(`${subject?.id} ${body}`);
    return true;
  }

  stream(facts: StreamFacts): StreamTap {
    const stream = new HeardStream(facts);
    this.streams.push(stream);
    return stream;
  }

  exchange(sample: ExchangeSample): void {
    this.exchanges.push(sample);
  }

  answered(_facts: ExchangeFacts, side: Side, { body }: AnswerSample): boolean {
    if (this.isDeaf) return false;
    this.answers.push(`${side} ${body}`);
    return true;
  }

  said(subject: Subject | null, text: Buffer | null, isOverheard = false): void {
    this.words.push(`${subject?.id}${isOverheard ? ' to legacy' : ''} ${text}`);
  }

  markersAt(): null {
    return null;
  }

  twins(sample: ExchangeSample): void {
    this.twinned.push(sample);
  }

  unpaired(route: string, side: Side): void {
    this.unpairedOnes.push(`${route} ${side}`);
  }

  writeLeftOut(side: Side): () => void {
    this.leftOut.push(side);
    this.leftOutOpen += 1;
    return () => {
      this.leftOutOpen -= 1;
    };
  }

  write(about: Subject | null): (answered: Side) => void {
    const answered: Side[] = [];
    this.writesAbout.push(about?.id ?? null);
    this.writes.push(answered);
    return side => void answered.push(side);
  }
}
