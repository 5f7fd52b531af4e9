// Legs to a twin of legacy, beside sessions that are compared while somebody measures how legacy differs from
// itself. A twin is told nothing by clients: what it sends of itself is held against what legacy sends.
import type { Socket } from 'node:net';
import type { StreamTap } from '../ports.ts';
import type { SecondLegEnd } from '../rules/second-leg-end.ts';
import type { LegRequest } from './leg.ts';
import { SecondLeg } from './second-leg.ts';

/** At a time; a sample needs no more, and each is a connection to the twin. */
const MOST_LEGS = 200;

export interface TwinLegOptions {
  /** It leaves with its client. */
  readonly client: Socket;
  readonly request: LegRequest;
  /** Its word stands in the candidate's place. */
  readonly tap: () => StreamTap;
  /** False once nobody measures any more. */
  readonly isWanted: () => boolean;
  /** Told once: why it is over, or was never there. */
  readonly onEnd: (end: SecondLegEnd) => void;
}

export class TwinLegs {
  readonly #legs = new Map<SecondLeg, () => boolean>();

  get size(): number {
    return this.#legs.size;
  }

  /** Dials, if there is room. */
  open({ client, request, tap, isWanted, onEnd }: TwinLegOptions): void {
    if (this.#legs.size >= MOST_LEGS) return onEnd('busy');
    const stream = tap();
    const leave = () => leg.leave('ended');
    const leg = SecondLeg.dial(request, {
      ...{ side: 'candidate', role: 'shadow', tap: stream, tails: null },
      onOpen: () => undefined,
      onSpeaks: () => undefined,
      onRefused: () => undefined,
      onEnd: end => {
        this.#legs.delete(leg);
        client.off('close', leave);
        stream.close();
        onEnd(end);
      },
    });
    this.#legs.set(leg, isWanted);
    client.once('close', leave);
  }

  /** Called about once a second. */
  sweep(): void {
    for (const [leg, isWanted] of this.#legs) {
      if (isWanted()) leg.sweep(0);
      else leg.leave('unwanted');
    }
  }

  end(): void {
    for (const leg of this.#legs.keys()) leg.leave('ended');
  }
}
