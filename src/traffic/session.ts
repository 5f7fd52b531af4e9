// One open WebSocket: the client's socket, the leg that serves it, perhaps a second one, and what state
// they are in. The bytes between them are `forwarding.ts`; which leg speaks is `rules/handover`.
import type net from 'node:net';
import type { RouteConfig } from '../config/schema.ts';
import { ERRORS } from '../errors.ts';
import type { Decided, EndCause, LaneCounters } from '../ports.ts';
import type { Decision, IsolationMode, SecondLeg, Side, Subject } from '../rules/decide.ts';
import {
  type Handover,
  type HandoverAction,
  type HandoverInput,
  steady,
  step,
} from '../rules/handover/handover.ts';
import type { Turn } from '../rules/isolation/turns.ts';
import { ABNORMAL, closeFrame, FrameTracker, OPCODE, wholeFrame } from '../wire/frames.ts';
import { type ClientMessage, ClientMessages } from './client-messages.ts';
import type { Comparison, SecondLegListener } from './comparison.ts';
import type { TrafficContext } from './context.ts';
import { Ending } from './ending.ts';
import { attachClient, attachLeg, forwardToClient, noteClose, putClose } from './forwarding.ts';
import { type Leg, mask } from './leg.ts';
import type { Overhearing } from './overhearing.ts';
import { Progress } from './progress.ts';
import type { RollbackRun, RolledBack } from './rollback-run.ts';
import type { StreamGuard } from './stream-guard.ts';
import type { SuppressGate } from './suppress-gate.ts';
import type { TailRing } from './tail-ring.ts';
import type { RequestFacts } from './upstream.ts';

/** Of a session that goes to and fro: what is asked of is seconds old. */
const MOST_TURNS = 8;
/** Asked once: it is a getter. */
const TIME_ORIGIN = performance.timeOrigin;

/** What a session began with, and what another leg is dialled with later. */
export interface Opening {
  readonly id: string;
  /** The configuration that it began with, and keeps; legs that are dialled later ask the one in force. */
  readonly context: TrafficContext;
  readonly route: RouteConfig;
  readonly request: RequestFacts;
  readonly subject: Subject | null;
  /** The credential is good for one service only. */
  readonly singleUse: boolean;
  /** Of the credential: epoch milliseconds; null: never, or nobody knows when. */
  readonly expiresAt: number | null;
  readonly decided: Decided;
  readonly startedAt: number;
}

/** The lane, as far as a session needs it. */
export interface SessionHost {
  readonly tails: TailRing;
  /** What stands guard over what that leg sends to the client; null where nothing does. */
  guardOf(session: Session): StreamGuard | null;
  countersOf(route: string, side: Side): LaneCounters;
  ended(session: Session): void;
  /** What the state machine says and the lane does: dialling, waiting for a boundary, reconciling. */
  act(session: Session, action: HandoverAction): void;
  /** Counts what was asked of all sessions at once; each hears of it in its turn, or before anything is done with it. */
  readonly asked: number;
  hear(session: Session): void;
  /** It is held, and must not wait for its turn. */
  reconcileNow(session: Session): void;
  /** It is to have that second leg, in its turn. */
  secondWanted(session: Session, plan: SecondLeg): void;
  /** A dial of it is through, or given up. */
  secondDialled(session: Session): void;
  secondOpened(session: Session, side: Side): void;
  /** A leg of that side could not be had, or is over; `refusesClient`: so would be another one. */
  secondLost(session: Session, side: Side, refusesClient: boolean): void;
}

/** State record of one session. */
export class Session implements SecondLegListener, RolledBack {
  readonly facts: Opening;
  readonly host: SessionHost;
  readonly client: net.Socket;
  /** What it was decided by last. */
  decided: Decided;
  counters: LaneCounters;
  /** The primary. */
  leg: Leg;
  /** The leg that gets the client's bytes: the primary, but for a message begun before a handover. */
  up: Leg;
  readonly toUpstream = new FrameTracker(payload => this.#onClientPing(payload));
  /** Reads what the client says, where a second leg needs it, or one that is dialled later. */
  messages: ClientMessages | null = null;
  /** The client was in the middle of a message when they began to be read. */
  skipsMessage = false;
  /** Null where nothing is compared. */
  comparison: Comparison | null = null;
  /** Where nothing is compared, and legacy's stream is heard all the same. */
  ear: Overhearing | null = null;
  state: Handover;
  /** As far as it has heard; see `SessionHost`. */
  heard: number;
  /** While it is on its way to another side; a rollback is urgent. */
  move: { readonly urgent: boolean; redialled: boolean } | null = null;
  /** Served by the other side than its decision says, and to be gone by then (ms of `performance.now()`). */
  leaveBy = Number.POSITIVE_INFINITY;
  /** After a handover, while the client has events that the new primary is still going to send. */
  gate: SuppressGate | null = null;
  /** Where another user's data is not to reach the client. */
  guard: StreamGuard | null = null;
  /** What it was made for; null before the first byte. */
  guarding: IsolationMode | null = null;
  /** First thing that ended it; later ones are consequences. */
  cause: EndCause | null = null;
  code = ABNORMAL;
  /** When that was (ms of `performance.now()`). */
  causedAt = Number.POSITIVE_INFINITY;
  /** What follows in the leg's stream is no longer the client's: a close of ours went out. */
  cut = false;
  /** What the client says goes nowhere: a close of ours went out, and the service takes nothing any more. */
  isUnheard = false;
  /** The service's own close frame has gone to the client. */
  lastWord = false;
  /** A close of ours waits for the next message to end. */
  closeWaiting: Buffer | null = null;
  /** Both sockets are closed, and it was reported. */
  finished = false;
  /** The other service chose another subprotocol: its messages would not be what the client agreed to. */
  protocolsDiffer = false;
  /**
   * What the other service says to what its client came with; a leg of it that opens says otherwise. `in-doubt`: it
   * has let in nobody of late, and may refuse everybody.
   */
  refused: 'no' | 'in-doubt' | 'for-good' = 'no';
  messagesToClient = 0;
  /** Its last changes of sides, oldest first. */
  turns: readonly Turn[] = [];
  /** What came of the primary behind its cut, while the other leg is not to speak yet. */
  #kept: { readonly leg: Leg; readonly bytes: Buffer } | null = null;
  /** The rollbacks that are taking it to legacy. */
  rollbacks: readonly RollbackRun[] = [];
  /** When one end said something to the other last, to the second (ms of `performance.now()`). */
  activeAt: number;
  /** How its end comes along; null before that. */
  #ending: Ending | null = null;
  /** The client's last ping. */
  #pinged: Buffer | null = null;
  #messagesSeen = 0;
  /** Messages of the client from before anybody read them. */
  #saidBefore = 0;
  readonly #clientProgress: Progress;
  readonly #legProgress: Progress;

  constructor(facts: Opening, client: net.Socket, leg: Leg, host: SessionHost) {
    this.facts = facts;
    this.host = host;
    this.decided = facts.decided;
    this.client = client;
    this.leg = leg;
    this.up = leg;
    this.counters = host.countersOf(facts.route.name, leg.side);
    this.state = steady(leg.side);
    this.heard = host.asked;
    this.activeAt = facts.startedAt;
    this.#clientProgress = new Progress(facts.startedAt);
    this.#legProgress = new Progress(facts.startedAt);
  }

  get route(): string {
    return this.facts.route.name;
  }

  get decision(): Decision {
    return this.decided.decision;
  }

  /** What is to be done about others' data in what its leg sends, whoever is to serve it. */
  get isolation(): IsolationMode {
    const { decision, leg } = this;
    return leg.side === decision.primary ? decision.isolation : decision.otherIsolation;
  }

  /** It has no leg any more, and is going to be told to come again. */
  get isLeaving(): boolean {
    return this.state.phase === 'leaving';
  }

  /** A close of ours could be put in: the client has whole frames, whatever the service is in the middle of. */
  get hasWholeFrames(): boolean {
    const { leg, guard, gate } = this;
    return leg.tracker.atFrameBoundary || guard?.holdsAll === true || gate?.holdsAll === true;
  }

  /** `leg` speaks from now on, and is given to the client from then on (ms of `performance.now()`). */
  turned(fromMs: number): void {
    const turn = {
      to: this.leg.side,
      fromMs: Math.floor(TIME_ORIGIN + fromMs),
      untilMs: Math.ceil(TIME_ORIGIN + performance.now()),
    };
    this.turns = this.turns.length === 0 ? [turn] : [...this.turns, turn].slice(-MOST_TURNS);
  }

  /** As the decision says by now; the client's stream is between two messages. */
  guardAnew(): void {
    this.guard?.close();
    this.guarding = this.isolation;
    this.guard = this.host.guardOf(this);
  }

  /** Begins forwarding. `fromClient` and `fromLeg` are bytes that came during the handshake. */
  start(comparison: Comparison | null, fromClient: Buffer, fromLeg: Buffer): void {
    const { client, leg } = this;
    if (this.facts.route.preamble.length > 0) this.readMessages();
    attachClient(this);
    attachLeg(this, leg);
    this.counters.sessionsOpen += 1;
    // Whoever the candidate serves can be asked back at any moment: what he has is known from his first byte on.
    if (comparison !== null || leg.side === 'candidate') {
      leg.tailedSince = Number.NEGATIVE_INFINITY;
    }
    if (comparison !== null) this.compare(comparison);
    if (fromLeg.length > 0) forwardToClient(this, fromLeg);
    if (fromClient.length > 0) client.emit('data', fromClient);
    client.resume();
  }

  /** From now on that hears what legacy sends, or nobody does. */
  overhear(ear: Overhearing | null): void {
    this.ear?.tap.close();
    this.ear = ear;
  }

  /** From now on it is compared with that. */
  compare(comparison: Comparison): void {
    this.overhear(null);
    this.comparison = comparison;
    this.leg.tailedSince = Math.min(this.leg.tailedSince, performance.now());
    this.readMessages();
    comparison.primaryOpened(this.leg, this);
    // What it has said before, nobody else has heard.
    if (this.toUpstream.messages > 0) {
      comparison.saidAlone(this.facts.route.mirror !== 'none');
    }
  }

  /**
   * The client has said what only the primary heard: what comes of it, only that will send. A planned
   * move would take it away from the client.
   */
  get hasSaidAlone(): boolean {
    if (this.messages === null) return this.toUpstream.messages > 0;
    return this.#saidBefore > 0 || this.messages.notMirrored > 0;
  }

  /** ... and how many messages that were, since it was last asked. */
  takeSaidAlone(): number {
    const { messages, toUpstream } = this;
    if (messages === null) return toUpstream.messages;
    const count = this.#saidBefore + messages.takeNotMirrored();
    this.#saidBefore = 0;
    return count;
  }

  /** The client's messages, from the next one on. */
  readMessages(): void {
    if (this.messages !== null) return;
    this.#saidBefore = this.toUpstream.messages;
    this.skipsMessage = !this.toUpstream.atMessageBoundary;
    this.messages = new ClientMessages(
      this.facts.route,
      message => {
        const { up, leg, comparison } = this;
        // It was begun with an old primary, which has it; the new one gets it now.
        if (up !== leg) this.#sayToPrimary(message.opcode, message.payload);
        if (up !== leg && up === comparison?.leg) return true;
        return comparison?.mirror(message) ?? false;
      },
      message => this.comparison?.said(message),
    );
  }

  /**
   * Asks the primary what the client asked last: the answer of the one before may come when nobody listens to
   * that any more. A second pong is harmless (RFC 6455 5.5.3); a client without one thinks that it is alone.
   */
  pingAnew(): void {
    // Inside a message of the client's it waits for the end of that.
    if (this.#pinged !== null && !this.leg.midMessage)
      this.#sayToPrimary(OPCODE.ping, this.#pinged);
  }

  /** The client's, to the primary. */
  sayGoodbye(code: number): void {
    this.leg.socket.write(closeFrame(code, '', mask()));
  }

  /** Tells the state machine what happened, and does what it says. */
  handle(input: HandoverInput): void {
    const { state, actions } = step(this.state, input);
    this.state = state;
    for (const action of actions) this.host.act(this, action);
  }

  secondWanted(plan: SecondLeg): void {
    this.host.secondWanted(this, plan);
  }

  /** A leg that can not become the primary is only compared: the state machine does not hear of it. */
  secondOpened(side: Side): void {
    this.hear();
    this.host.secondDialled(this);
    this.refused = 'no';
    const { comparison, leg, facts, state } = this;
    this.protocolsDiffer = comparison?.leg?.protocol !== leg.protocol;
    if (this.protocolsDiffer && state.wanted === side) {
      return this.end(ERRORS.draining.close, 'service restart');
    }
    const isMarked = facts.route.shadowMark && comparison?.plan?.role === 'shadow';
    if (this.protocolsDiffer || isMarked) return;
    this.handle({ kind: 'second-opened', side });
    this.host.secondOpened(this, side);
  }

  secondSpeaks(): void {
    this.hurry();
  }

  /** Before anything is done with it. */
  hear(): void {
    if (this.heard !== this.host.asked) this.host.hear(this);
  }

  /** One of its ends speaks: what is asked of all, and a move that is under way, does not wait for its turn. False: none is. */
  hurry(): boolean {
    this.hear();
    if (this.state.phase !== 'held') return false;
    this.host.reconcileNow(this);
    return true;
  }

  /** Bytes of the primary's that are nobody's yet; it is read no further. */
  keep(leg: Leg, bytes: Buffer): void {
    const before = this.#kept?.bytes ?? Buffer.alloc(0);
    this.#kept = { leg, bytes: Buffer.concat([before, bytes]) };
  }

  /** They are whoever's that leg speaks to now. */
  giveKept(): void {
    const kept = this.#kept;
    this.#kept = null;
    kept?.leg.onBytes(kept.bytes);
  }

  preamble(): readonly ClientMessage[] {
    return this.messages?.preamble ?? [];
  }

  secondLost(side: Side, refusesClient = false): void {
    this.hear();
    this.host.secondDialled(this);
    // Another one that is dialled has not heard what this one has.
    this.messages?.forgetMirrored();
    if (this.state.second === side) this.handle({ kind: 'second-lost' });
    this.host.secondLost(this, side, refusesClient);
  }

  /**
   * Ends the session for a reason of the proxy's: a close frame where the next message could have
   * begun, and if that does not come within `boundaryMs`, between two fragments, or by closing
   * the connection inside a frame that the client has the beginning of. The client's answer still reaches the service.
   */
  end(code: number, reason: string): void {
    this.hear();
    // Without a leg it has ended for a reason of the service's, and its client has still to be told.
    if (this.cause !== null && !this.isLeaving) return;
    if (this.isLeaving) for (const run of this.rollbacks) run.closed(this);
    noteClose(this, 'ended-by-proxy', code);
    this.#putCloseSoon(closeFrame(code, reason));
  }

  /**
   * Answers a client that has said goodbye in its service's place, as `end` does: nothing of that follows. One that
   * has ended its side without a word is told to come again.
   */
  answerGoodbye(): void {
    if (this.cut || this.closeWaiting !== null) return;
    const isSaid = this.cause === 'closed-by-client';
    const code = isSaid ? this.code : ERRORS.draining.close;
    this.#putCloseSoon(closeFrame(code, isSaid ? '' : 'service restart'));
  }

  #putCloseSoon(frame: Buffer): void {
    const { tracker } = this.leg;
    if (tracker.lost) {
      this.cut = true;
      return void this.client.destroy();
    }
    if (tracker.atMessageBoundary) return putClose(this, frame);
    this.closeWaiting = frame;
    // It may stand still for a client that is behind in reading.
    this.leg.socket.resume();
    setTimeout(() => {
      if (this.closeWaiting === null) return;
      if (this.hasWholeFrames) putClose(this, frame);
      else this.client.destroy();
    }, this.facts.context.limits.boundaryMs).unref();
  }

  /** Cuts the session off at once. */
  destroy(): void {
    noteClose(this, 'ended-by-proxy', ABNORMAL);
    // Behind that: it is in the tally of a rollback, and goes nowhere.
    this.hear();
    this.client.destroy();
    this.leg.socket.destroy();
  }

  /** Called about once a second: gives up peers that take nothing, or do not follow a close. */
  sweep(nowMs: number): void {
    const { limits } = this.facts.context;
    const { client } = this;
    const { socket } = this.leg;
    this.comparison?.sweep(nowMs);
    const messages = this.messagesToClient + this.toUpstream.messages;
    if (messages !== this.#messagesSeen) this.activeAt = nowMs;
    this.#messagesSeen = messages;
    // A client that is yet to be told is not late.
    if (this.cause !== null && !this.isLeaving) {
      this.#ending ??= new Ending(nowMs, this.cause !== 'ended-by-proxy');
      if (this.#ending.isLate([client, socket], nowMs, limits)) return this.destroy();
    }
    // The client's answer to a close of ours lies behind what waits: it is read on for that.
    if (this.cut && this.#legProgress.isStuck(socket, nowMs, limits.closeMs)) {
      this.isUnheard = true;
      client.resume();
    }
    if (this.#clientProgress.isStuck(client, nowMs, limits.stallMs)) {
      this.#giveUp('client-stalled');
    } else if (this.#legProgress.isStuck(socket, nowMs, limits.stallMs)) {
      this.#giveUp('upstream-stalled');
    }
  }

  #onClientPing(payload: Buffer): void {
    this.#pinged = payload;
    // It was in the middle of it when the primary changed, and the rest goes where its beginning went.
    if (this.up !== this.leg) this.pingAnew();
  }

  #sayToPrimary(opcode: number, payload: Buffer): void {
    this.leg.socket.write(wholeFrame(opcode, payload, mask()));
  }

  #giveUp(cause: EndCause): void {
    this.hear();
    noteClose(this, cause, ABNORMAL);
    this.destroy();
  }
}
