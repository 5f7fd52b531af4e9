// What the end of a primary leg means for its session: is it the service's word to this client, or a
// failure that the other service need not share?

/** The client is told, with the same code; or the session goes on with the other leg. */
export type EndOfLeg = 'pass' | 'fail-over';

/** `moving`: the session is on its way to the other service, which is dialled or waits for a boundary. */
export type Situation = 'steady' | 'moving';

const PASSES = { steady: 'pass', moving: 'pass' } as const;
const FAILS_OVER = { steady: 'fail-over', moving: 'fail-over' } as const;

/**
 * By close code (RFC 6455 7.4.1; IANA WebSocket Close Code Number Registry). 1006 stands for a
 * connection that was lost without a close frame, by a reset or an early end.
 *
 * During a move the service is left anyway. What it says of itself (it goes, it fails) is nothing to the
 * client, who is about to be served by the other one; what it says of the client (it is done with him, he
 * is banned, he sent something wrong) is, and the other one must not be asked to look away. That holds up to
 * the cut: a close behind it comes from a leg that does not speak any more. Whatever a leg says that a session
 * is moving *to*, it can not be had: the session stays where it is.
 */
const TABLE: Readonly<Record<number, Readonly<Record<Situation, EndOfLeg>>>> = {
  /** The purpose is fulfilled. */
  1000: PASSES,
  /**
   * Going away: for a service, its own goodbye. Clients know what to do with it; in the middle of a rollback it is
   * what a candidate says that is shut down for it.
   */
  1001: { steady: 'pass', moving: 'fail-over' },
  /** 1002, 1003, 1007, 1009, 1010: about what the client sent; the other service would say the same. */
  1002: PASSES,
  1003: PASSES,
  /** Reserved: whatever the service means by it is between it and its client. */
  1004: PASSES,
  /** A close frame without a code is a close all the same. */
  1005: PASSES,
  1006: FAILS_OVER,
  1007: PASSES,
  /** Policy: an expired token, a ban. Another service must not be asked to look away. */
  1008: PASSES,
  1009: PASSES,
  1010: PASSES,
  /** The service met a condition that it did not expect; restarts; is overloaded; its own upstream failed. */
  1011: FAILS_OVER,
  1012: FAILS_OVER,
  1013: FAILS_OVER,
  1014: FAILS_OVER,
  /** Never on the wire; where it is, something between the services is broken. */
  1015: FAILS_OVER,
};

/**
 * 3000–4999 belong to applications and libraries: their own word to their client, in every situation. So is
 * what nobody has defined yet.
 */
export function endOfLeg(code: number, situation: Situation): EndOfLeg {
  return TABLE[code]?.[situation] ?? 'pass';
}
