// Both answers to one request, looked at while they go where they go and held until they can be compared.

import type { ErrorCode } from '../errors.ts';
import type { AnswerSample } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import type { MarkerSearch } from '../rules/isolation/marker.ts';
import { GatheredBytes } from '../wire/gathered-bytes.ts';
import type { AnswerSink } from './exchange.ts';

/** More of a body is not held for comparing; as much as of a request that is to go twice. */
const MOST_BODY_BYTES = 1_048_576;
/** Of all that are held at a time: what has no room is not compared, and counts as such. */
const MOST_BYTES = 64 * 1_048_576;

/** Room for all bodies that wait to be compared. */
export class SampleRoom {
  readonly #most: number;
  #bytes = 0;

  constructor(most = MOST_BYTES) {
    this.#most = most;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** False: there is none. */
  take(bytes: number): boolean {
    if (this.#bytes + bytes > this.#most) return false;
    this.#bytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
  }
}

export interface PairOptions {
  readonly room: SampleRoom;
  /** For each of them, to find what was planted in bodies that are not held as well. */
  readonly search: () => MarkerSearch | null;
  /** Told of each answer as soon as it is whole. True: it was handed over by itself. */
  readonly each: (side: Side, sample: AnswerSample) => boolean;
  /** Told once, if both services had their say. */
  readonly both: (samples: Readonly<Record<Side, AnswerSample>>) => void;
  /** Told once, if only that side had. */
  readonly alone: (side: Side, sample: AnswerSample) => void;
  /** Told once, when neither has more to say. */
  readonly over: () => void;
}

export class SamplePair {
  readonly #options: PairOptions;
  readonly #found: Partial<Record<Side, AnswerSample | 'none'>> = {};
  readonly #handed: Partial<Record<Side, boolean>> = {};
  #bytes = 0;

  constructor(options: PairOptions) {
    this.#options = options;
  }

  /** `sink`, with that side's sample taken of what goes there. */
  sampling(sink: AnswerSink, side: Side): AnswerSink {
    const startedAt = performance.now();
    const search = this.#options.search();
    let status = 0;
    let headers: readonly string[] = [];
    const held = new GatheredBytes(MOST_BODY_BYTES);
    let bytes = 0;
    /** Why the body is not held. */
    let without: null | 'overload' | undefined;
    const leave = (why: null | 'overload'): void => {
      without = why;
      held.take();
      this.#give(bytes);
    };
    const finish = (end: AnswerSample['end'], code: ErrorCode | null): void => {
      const body = without === undefined ? held.take() : without;
      const ms = performance.now() - startedAt;
      const marker = search?.found ?? null;
      const sample = { status, headers, body, marker, end, code, ms };
      if (this.#found[side] === undefined) this.#handed[side] = this.#options.each(side, sample);
      this.found(side, sample);
    };
    return {
      interim: (code, fields) => sink.interim(code, fields),
      head(code, reason, fields) {
        status = code;
        headers = fields;
        sink.head(code, reason, fields);
      },
      data: chunk => {
        search?.push(chunk);
        if (without === undefined && this.#found[side] === undefined) {
          if (bytes + chunk.length > MOST_BODY_BYTES) leave(null);
          else if (!this.#options.room.take(chunk.length)) leave('overload');
          else {
            bytes += chunk.length;
            this.#bytes += chunk.length;
            held.add(chunk);
          }
        }
        return sink.data(chunk);
      },
      end(trailers) {
        finish('complete', null);
        sink.end(trailers);
      },
      fail(code, detail) {
        finish(status === 0 ? 'failed' : 'cut', code);
        sink.fail(code, detail);
      },
      left: () => {
        // What is held of a pair that was told is given with that.
        if (without === undefined && this.#found[side] === undefined) leave(null);
        finish('left', null);
      },
    };
  }

  /** That side's answer was handed over, whatever becomes of the other one. */
  isHanded(side: Side): boolean {
    return this.#handed[side] === true;
  }

  /** The other side has its sample, and that one's may still come. */
  waitsFor(side: Side): boolean {
    const other = this.#found[side === 'legacy' ? 'candidate' : 'legacy'];
    return other !== undefined && other !== 'none' && this.#found[side] === undefined;
  }

  /** That side's sample; its first one counts. */
  found(side: Side, sample: AnswerSample | 'none'): void {
    if (this.#found[side] !== undefined) return;
    this.#found[side] = sample;
    const { legacy, candidate } = this.#found;
    if (legacy === undefined || candidate === undefined) return;
    if (legacy !== 'none' && candidate !== 'none') this.#options.both({ legacy, candidate });
    else if (legacy !== 'none') this.#options.alone('legacy', legacy);
    else if (candidate !== 'none') this.#options.alone('candidate', candidate);
    this.#options.over();
    this.#give(this.#bytes);
  }

  #give(bytes: number): void {
    this.#options.room.give(bytes);
    this.#bytes -= bytes;
  }
}
