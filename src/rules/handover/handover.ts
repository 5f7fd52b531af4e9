// Which leg of a session speaks to the client, and how that changes: a pure state machine. The lane
// tells it what happens and does what it says; bytes, sockets and clocks are the lane's.
//
//            switch, warm second          both directions cut        reconciled
//   steady ─────────────────────► cutting ────────────────► held ─────────────► steady, roles changed
//     │ switch, none                 │ no boundary in time     │ second lost, or switched back
//     └► dial, steady                └► end                    ├► steady, roles as before
//                                                              │ no boundary of the second's in time
//                                                              └► end
//
//   no leg left ─► leaving: the client is told to come again, in its turn
import type { Side } from '../decide.ts';
import { endOfLeg } from './close-codes.ts';

export type Phase = 'steady' | 'cutting' | 'held' | 'leaving' | 'ended';

/** One per session; replaced, never changed. */
export interface Handover {
  readonly phase: Phase;
  readonly primary: Side;
  /** The side whose leg stands beside it, open and warm; null without one. */
  readonly second: Side | null;
  /** The side that is to serve, while it does not yet. */
  readonly wanted: Side | null;
  /** The primary died; nothing more comes from it. */
  readonly primaryLost: boolean;
  /** It was taken from the service that it was opened with. */
  readonly moved: boolean;
}

export type HandoverInput =
  /** That side is to serve. `atBoundary`: the client could get another leg's message next. */
  | { readonly kind: 'switch'; readonly to: Side; readonly atBoundary: boolean }
  /** The primary's message to the client has ended. */
  | { readonly kind: 'boundary' }
  /** It did not end in time, or the other leg is in the middle of one that is nothing for the client. */
  | { readonly kind: 'late' }
  | { readonly kind: 'reconciled' }
  | { readonly kind: 'second-opened'; readonly side: Side }
  | { readonly kind: 'second-lost' }
  /** `code` as in `endOfLeg`; `clientClosed`: the client had said goodbye before. */
  | {
      readonly kind: 'primary-lost';
      readonly code: number;
      readonly atBoundary: boolean;
      readonly failover: boolean;
      readonly clientClosed: boolean;
    }
  | { readonly kind: 'client-gone' };

export type HandoverAction =
  /** A second leg on that side is needed, as soon as it can be had. */
  | { readonly kind: 'dial'; readonly side: Side }
  /** The primary's bytes up to the next boundary are delivered, and none of the second leg's before that. */
  | { readonly kind: 'cut' }
  /** Neither leg speaks: find out what the client still has to get, then say `reconciled`. */
  | { readonly kind: 'reconcile' }
  /** The new primary speaks; the old one is the second leg from now on, or gone if it was lost. */
  | { readonly kind: 'change-roles'; readonly lost: boolean }
  /** The primary speaks on. */
  | { readonly kind: 'resume' }
  /** The end goes to the client as it came. */
  | { readonly kind: 'pass-end' }
  /** Cut off, for want of a boundary or of a leg: 1012 between frames, else the connection is closed. */
  | { readonly kind: 'end' }
  /** As `end`, in its turn: a service that dies leaves thousands, who would all come again at once. */
  | { readonly kind: 'leave' };

const CUT: HandoverAction = { kind: 'cut' };
const RECONCILE: HandoverAction = { kind: 'reconcile' };
/** Thousands take the same steps at once: what these say is made once. */
const NONE: readonly HandoverAction[] = [];
const TO_CUT: readonly HandoverAction[] = [CUT];
const TO_HOLD: readonly HandoverAction[] = [RECONCILE];
const TO_CUT_AND_HOLD: readonly HandoverAction[] = [CUT, RECONCILE];
const TO_CHANGE: readonly HandoverAction[] = [{ kind: 'change-roles', lost: false }];

export interface Step {
  readonly state: Handover;
  readonly actions: readonly HandoverAction[];
}

export function steady(primary: Side, second: Side | null = null): Handover {
  return { phase: 'steady', primary, second, wanted: null, primaryLost: false, moved: false };
}

/** Total: whatever comes in whatever state has a defined answer; what comes late is ignored. */
export function step(state: Handover, input: HandoverInput): Step {
  if (state.phase === 'ended') return stay(state);
  // There is nobody to go back to; what comes to be had now is for whoever comes again.
  if (state.phase === 'leaving' && input.kind !== 'client-gone') return stay(state);
  switch (input.kind) {
    case 'switch':
      return onSwitch(state, input.to, input.atBoundary);
    case 'boundary':
      return state.phase === 'cutting' ? hold(state) : stay(state);
    case 'late':
      return onLate(state);
    case 'reconciled':
      return state.phase === 'held' ? changeRoles(state) : stay(state);
    case 'second-opened':
      return stay({ ...state, second: input.side });
    case 'second-lost':
      return onSecondLost(state);
    case 'primary-lost':
      return onPrimaryLost(state, input);
    case 'client-gone':
      return stay({ ...state, phase: 'ended' });
  }
}

function onSwitch(state: Handover, to: Side, atBoundary: boolean): Step {
  if (state.phase !== 'steady') {
    // Under way there already, or it can not stay: brought to its end, and the last word counts after that.
    if (to !== state.primary || state.primaryLost) return stay({ ...state, wanted: to });
    // Nothing of the other leg's has reached the client, and nothing is to.
    return { state: { ...state, phase: 'steady', wanted: null }, actions: [{ kind: 'resume' }] };
  }
  if (to === state.primary) return stay({ ...state, wanted: null });
  if (state.second !== to) {
    return { state: { ...state, wanted: to }, actions: [{ kind: 'dial', side: to }] };
  }
  if (atBoundary) {
    return { state: { ...state, phase: 'held', wanted: to }, actions: TO_CUT_AND_HOLD };
  }
  return { state: { ...state, phase: 'cutting', wanted: to }, actions: TO_CUT };
}

function hold(state: Handover): Step {
  return { state: { ...state, phase: 'held' }, actions: TO_HOLD };
}

function changeRoles(state: Handover): Step {
  const { primary, second, primaryLost, wanted } = state;
  // `held` is only reached with a second leg; without one there is nobody to change roles with.
  if (second === null) return end(state, { kind: 'end' });
  const changed: Handover = {
    phase: 'steady',
    primary: second,
    second: primaryLost ? null : primary,
    wanted: wanted === second ? null : wanted,
    primaryLost: false,
    moved: true,
  };
  const actions: Step['actions'] = primaryLost ? [{ kind: 'change-roles', lost: true }] : TO_CHANGE;
  return { state: changed, actions };
}

function onLate(state: Handover): Step {
  if (state.phase === 'steady') return stay(state);
  return state.primaryLost ? leave(state) : end(state, { kind: 'end' });
}

function onSecondLost(state: Handover): Step {
  const without: Handover = { ...state, second: null };
  if (state.phase === 'steady') return stay(without);
  // Both are gone.
  if (state.primaryLost) return leave(without);
  // The session stays where it was; whoever wanted it elsewhere asks again once there is a leg.
  return { state: { ...without, phase: 'steady' }, actions: [{ kind: 'resume' }] };
}

function onPrimaryLost(
  state: Handover,
  input: Extract<HandoverInput, { kind: 'primary-lost' }>,
): Step {
  const { second, phase, wanted } = state;
  const lost: Handover = { ...state, primaryLost: true };
  // Its last message is complete and the other leg is about to speak: nothing changes by it.
  if (phase === 'held') return stay(lost);
  const isMoving = wanted !== null;
  const isFailure =
    !input.clientClosed && endOfLeg(input.code, isMoving ? 'moving' : 'steady') === 'fail-over';
  // Legacy stands by for the candidate, and never the other way round, whatever leg is there.
  const goesOn = isMoving || (input.failover && state.primary === 'candidate');
  // Where it was not asked for, and nobody took the client there, a service's failure is its own word, too.
  if (!isFailure || !(goesOn || state.moved)) return end(lost, { kind: 'pass-end' });
  // Nobody to go on with, or no place in the client's stream to do so.
  if (!goesOn || second === null || !input.atBoundary) return leave(lost);
  const held = hold({ ...lost, wanted: second });
  return {
    state: held.state,
    actions: phase === 'cutting' ? TO_HOLD : TO_CUT_AND_HOLD,
  };
}

function leave(state: Handover): Step {
  return { state: { ...state, phase: 'leaving' }, actions: [{ kind: 'leave' }] };
}

function end(state: Handover, action: HandoverAction): Step {
  return { state: { ...state, phase: 'ended' }, actions: [action] };
}

function stay(state: Handover): Step {
  return { state, actions: NONE };
}
