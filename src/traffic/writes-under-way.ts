// Writes to both services that one of them has not answered yet, by the connection that they came on and the user
// whom they are about: what is read meanwhile may hold them at one service and lack them at the other.
import type { Subject } from '../rules/decide.ts';
import type { ClientLink } from './affinity.ts';

type Key = ClientLink | string;

/** A request that both services are asked, and that changes nothing. */
export interface Reading {
  /** A write was under way as it began, or has begun since. */
  readonly isBesideWrite: boolean;
  /** Both services have had their say; harmless if it is told again. */
  over(): void;
}

/** Holds no more than there are writes (`double-write.ts`) and requests under way. */
export class WritesUnderWay {
  readonly #writes = new Map<Key, number>();
  readonly #readings = new Map<Key, Set<{ isBesideWrite: boolean }>>();

  /** A copy for one service. Call what is returned once, when that has answered it or will not. */
  begin(link: ClientLink, subject: Subject | null): () => void {
    const keys = keysOf(link, subject);
    for (const key of keys) {
      this.#writes.set(key, (this.#writes.get(key) ?? 0) + 1);
      for (const reading of this.#readings.get(key) ?? []) reading.isBesideWrite = true;
    }
    return () => {
      for (const key of keys) {
        const left = (this.#writes.get(key) ?? 0) - 1;
        if (left > 0) this.#writes.set(key, left);
        else this.#writes.delete(key);
      }
    };
  }

  /** He begins to read, on that connection. */
  read(link: ClientLink, subject: Subject | null): Reading {
    const keys = keysOf(link, subject);
    const reading = {
      isBesideWrite: keys.some(key => this.#writes.has(key)),
      over: () => {
        for (const key of keys) {
          const those = this.#readings.get(key);
          those?.delete(reading);
          if (those?.size === 0) this.#readings.delete(key);
        }
      },
    };
    for (const key of keys) {
      const those = this.#readings.get(key);
      if (those === undefined) this.#readings.set(key, new Set([reading]));
      else those.add(reading);
    }
    return reading;
  }
}

const keysOf = (link: ClientLink, subject: Subject | null): readonly Key[] =>
  subject === null ? [link] : [link, subject.id];
