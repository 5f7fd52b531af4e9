// What the end of a primary leg means for its session: is it the service's word to this client, or a
// failure that the other service need not share?

/** The client is told, with the same code; or the session goes on with the other leg. */
export type EndOfLeg = 'pass' | 'fail-over';

/**
 * By close code (RFC 6455 7.4.1; IANA WebSocket Close Code Number Registry). 1006 stands for a
 * connection that was lost without a close frame, by a reset or an early end.
 */
const TABLE: Readonly<Record<number, EndOfLeg>> = {
  /** The purpose is fulfilled. */
  1000: 'pass',
  /** Going away: for a service, its own goodbye. Clients know what to do with it. */
  1001: 'pass',
  /** 1002, 1003, 1007, 1009, 1010: about what the client sent; the other service would say the same. */
  1002: 'pass',
  1003: 'pass',
  /** Reserved: whatever the service means by it is between it and its client. */
  1004: 'pass',
  /** A close frame without a code is a close all the same. */
  1005: 'pass',
  1006: 'fail-over',
  1007: 'pass',
  /** Policy: an expired token, a ban. Another service must not be asked to look away. */
  1008: 'pass',
  1009: 'pass',
  1010: 'pass',
  /** The service met a condition that it did not expect; restarts; is overloaded; its own upstream failed. */
  1011: 'fail-over',
  1012: 'fail-over',
  1013: 'fail-over',
  1014: 'fail-over',
  /** Never on the wire; where it is, something between the services is broken. */
  1015: 'fail-over',
};

/** 3000–4999 belong to applications and libraries: their own word to their client. */
export function endOfLeg(code: number): EndOfLeg {
  return TABLE[code] ?? 'pass';
}
