// Does a stream of events end with what it is about, as one that is opened for one run, or whenever it has lasted long
// enough, as one that its client opens anew? Then an event that only one service had still sent says nothing.
//
// By when legacy's end comes: right behind the last event, or anywhere between two. Of one stream that is chance; of
// so many in a row it is not.

/** A tenth of the distance between two events is hit by chance once in ten times; so often in a row once in 10^8. */
const SHARE = 1 / 10;
const LEAST_STREAMS = 8;

/** Of legacy's events in one stream, epoch ms. */
export interface StreamTimes {
  readonly firstAt: number;
  readonly lastAt: number;
  readonly events: number;
}

/** Did it end right behind its last event? Of fewer than two nobody knows how far apart they are. */
export function endedWithLast({ firstAt, lastAt, events }: StreamTimes, endedAt: number): boolean {
  if (events < 2) return false;
  return endedAt - lastAt <= (SHARE * (lastAt - firstAt)) / (events - 1);
}

/** Of one route: its latest streams that both services have brought to their end. */
export class StreamEnds {
  #inARow = 0;

  get areOfRuns(): boolean {
    return this.#inARow >= LEAST_STREAMS;
  }

  note(withLast: boolean): void {
    this.#inARow = withLast ? this.#inARow + 1 : 0;
  }
}
