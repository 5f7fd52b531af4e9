// The judge's ear in what legacy alone sends to somebody who is not compared.
import type { OverheardTap, StreamFacts } from '../ports.ts';
import { namesOf, type Side } from '../rules/decide.ts';
import type { FrameTracker, StopAt } from '../wire/frames.ts';

/** The batches, as far as it needs them. */
export interface OverheardHost {
  open(stream: number, facts: StreamFacts): void;
  /** False: there is no room. */
  piece(stream: number, bytes: Buffer, afterGap: boolean): boolean;
  said(names: Buffer, text: Buffer | null, facts: StreamFacts): void;
  leftOut(bytes: number): void;
  close(stream: number): void;
}

export class TappedOverheard implements OverheardTap {
  readonly #host: OverheardHost;
  readonly #number: number;
  readonly #facts: StreamFacts;
  #names: Buffer | null = null;
  #isInGap = false;
  #closed = false;

  constructor(host: OverheardHost, number: number, facts: StreamFacts) {
    this.#host = host;
    this.#number = number;
    this.#facts = facts;
    host.open(number, facts);
  }

  legOpened(_side: Side, tracker?: FrameTracker): void {
    this.#isInGap = tracker?.atMessageBoundary === false;
  }

  /** Its end teaches nothing. */
  legClosed(): void {
    this.close();
  }

  follow(_side: Side, view: Buffer, tracker: FrameTracker, stop: StopAt = 'never'): number {
    // What is torn is left out up to where the next message begins.
    const start = this.#isInGap && !tracker.atMessageBoundary ? tracker.push(view, 'message') : 0;
    if (start > 0) {
      this.#host.leftOut(start);
      if (start === view.length || !tracker.atMessageBoundary || stop !== 'never') return start;
    }
    const rest = start === 0 ? view : view.subarray(start);
    const taken = tracker.push(rest, stop);
    this.#copy(taken === rest.length ? rest : rest.subarray(0, taken));
    return start + taken;
  }

  bytes(_side: Side, view: Buffer): void {
    this.#copy(view);
  }

  hears(): boolean {
    return !this.#isInGap;
  }

  said(text: Buffer | null): void {
    if (this.#closed) return;
    this.#names ??= Buffer.from(JSON.stringify(namesOf(this.#facts.subject)));
    this.#host.said(this.#names, text, this.#facts);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#host.close(this.#number);
  }

  /** A new judge knows nothing of it. */
  beginAnew(): void {
    this.#isInGap = true;
    this.#host.open(this.#number, this.#facts);
  }

  #copy(bytes: Buffer): void {
    if (this.#closed) return;
    this.#isInGap = !this.#host.piece(this.#number, bytes, this.#isInGap);
    if (this.#isInGap) this.#host.leftOut(bytes.length);
  }
}
