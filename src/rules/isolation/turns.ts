// Which service a client heard at a time that is past: its session may have changed sides since.
import type { Side } from '../decide.ts';
import { otherSide } from '../pairing/legs.ts';

/** A session's change of sides. Epoch ms. */
export interface Turn {
  readonly to: Side;
  /** From then on its client was given what that side sent, be it later: of what had waited the oldest. */
  readonly fromMs: number;
  /** Until then what the other one sent. */
  readonly untilMs: number;
}

export interface Heard {
  /** Whom it hears now. */
  readonly side: Side;
  /** Of late, oldest first. */
  readonly turns: readonly Turn[];
}

/** Was its client given what that side sent at that time (epoch ms)? In doubt it was. */
export function wasHeard({ side, turns }: Heard, of: Side, atMs: number): boolean {
  const [first] = turns;
  let heard = first === undefined ? side : otherSide(first.to);
  let fromMs = Number.NEGATIVE_INFINITY;
  for (const turn of turns) {
    if (heard === of && atMs >= fromMs && atMs <= turn.untilMs) return true;
    ({ to: heard, fromMs } = turn);
  }
  return heard === of && atMs >= fromMs;
}
