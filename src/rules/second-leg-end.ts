/** Why a second leg, or a request that the other service is shown too, is over or was never there. */
export const SECOND_LEG_ENDS = {
  refused: 'its service answered the WebSocket handshake with another status than 101',
  failed:
    'its service could not be reached, gave no proper answer in time, or broke off one to a request',
  closed: 'its service closed the WebSocket in an orderly way',
  'broken-off': 'its service closed the WebSocket as one that fails (1011 to 1014), or vanished',
  unframeable: 'a frame header of its service that can not be followed',
  slow: 'its service did not take what clients said, or took too long with an answer',
  flooding: 'its service sent far more than the primary, or far more than is compared',
  broken: 'its service keeps failing, so it was not asked',
  busy: 'too many were under way',
  'single-use': "the client's credential is good for one service only, so the other was not asked",
  ended: 'with its session or request',
  unwanted: 'by a change of flags, or a rollback that severs',
} as const;
export type SecondLegEnd = keyof typeof SECOND_LEG_ENDS;

/** Of those that were there for as long as they were to be. */
export const AS_MEANT: ReadonlySet<string> = new Set<SecondLegEnd>(['ended', 'unwanted']);
