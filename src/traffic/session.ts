// One open WebSocket: the client's socket, the leg that serves it, and the bytes between them.
//
//   client ──data──► [tracker] ──► leg          as they came, one write a read;
//   client ◄────── [tracker] ◄──onBytes── leg   the slower side holds the faster one back
//                      └─ copies for the judge, where there is a second leg to compare with
import type net from 'node:net';
import type { RouteConfig } from '../config/schema.ts';
import type { Decided, EndCause, LaneCounters } from '../ports.ts';
import type { Decision, Subject } from '../rules/decide.ts';
import { ABNORMAL, closeFrame, FrameTracker } from '../wire/frames.ts';
import type { Comparison } from './comparison.ts';
import type { TrafficContext } from './context.ts';
import type { Leg } from './leg.ts';
import { Progress } from './progress.ts';
import type { RequestFacts } from './upstream.ts';

/** What a session began with, and what another leg is dialled with later. */
export interface Opening {
  readonly id: string;
  /** The configuration that it began with, and keeps. */
  readonly context: TrafficContext;
  readonly route: RouteConfig;
  readonly request: RequestFacts;
  readonly subject: Subject | null;
  /** The credential is good for one service only. */
  readonly singleUse: boolean;
  readonly decided: Decided;
  readonly startedAt: number;
}

export interface SessionFacts extends Opening {
  readonly counters: LaneCounters;
}

const kSession = Symbol('session');
type SessionSocket = net.Socket & { [kSession]?: Session };

/** State record of one session. The socket listeners below this class are its only users. */
export class Session {
  readonly facts: SessionFacts;
  readonly client: SessionSocket;
  readonly leg: Leg;
  readonly toClient = new FrameTracker();
  readonly toUpstream = new FrameTracker();
  /** First thing that ended it; later ones are consequences. */
  cause: EndCause | null = null;
  code = ABNORMAL;
  /** What follows in the leg's stream is no longer the client's: a close of ours went out. */
  cut = false;
  /** A close of ours waits for the next message to end. */
  closeWaiting: Buffer | null = null;
  /** Both sockets are closed, and it was reported. */
  finished = false;
  /** Null where nothing is compared. */
  comparison: Comparison | null;
  readonly onEnd: (session: Session) => void;
  readonly #clientProgress: Progress;
  readonly #legProgress: Progress;

  constructor(
    facts: SessionFacts,
    client: net.Socket,
    leg: Leg,
    comparison: Comparison | null,
    onEnd: (session: Session) => void,
  ) {
    this.facts = facts;
    this.comparison = comparison;
    this.client = client;
    this.leg = leg;
    this.onEnd = onEnd;
    this.#clientProgress = new Progress(facts.startedAt);
    this.#legProgress = new Progress(facts.startedAt);
  }

  get decision(): Decision {
    return this.facts.decided.decision;
  }

  /** Begins forwarding. `fromClient` and `fromLeg` are bytes that came during the handshake. */
  start(fromClient: Buffer, fromLeg: Buffer): void {
    const { client, leg } = this;
    const upstream = leg.socket as SessionSocket;
    client[kSession] = this;
    upstream[kSession] = this;
    leg.onBytes = view => forwardToClient(this, view);
    client.on('data', clientOnData).on('drain', clientOnDrain);
    client.on('end', clientOnEnd).on('error', clientOnError).on('close', clientOnClose);
    upstream.on('drain', legOnDrain);
    upstream.on('end', legOnEnd).on('error', legOnError).on('close', legOnClose);
    this.facts.counters.sessionsOpen += 1;
    this.comparison?.primaryOpened(leg.side, this.toClient);
    if (fromLeg.length > 0) forwardToClient(this, fromLeg);
    if (fromClient.length > 0) clientOnData.call(client, fromClient);
    client.resume();
  }

  /** From now on it is compared with that. */
  compare(comparison: Comparison | null): void {
    this.comparison = comparison;
    comparison?.primaryOpened(this.leg.side, this.toClient);
  }

  /**
   * Ends the session for a reason of the proxy's: a close frame where the next message could have
   * begun, and if that does not come within `boundaryMs`, between two fragments, or by closing
   * the connection inside a frame. The client's answer still reaches the service.
   */
  end(code: number, reason: string): void {
    if (this.cause !== null) return;
    this.#becauseOfProxy(code);
    if (this.toClient.lost) return void this.client.destroy();
    const frame = closeFrame(code, reason);
    if (this.toClient.atMessageBoundary) return putClose(this, frame);
    this.closeWaiting = frame;
    setTimeout(() => {
      if (this.closeWaiting === null) return;
      if (this.toClient.atFrameBoundary) putClose(this, frame);
      else this.client.destroy();
    }, this.facts.context.limits.boundaryMs).unref();
  }

  /** Cuts the session off at once. */
  destroy(): void {
    if (this.cause === null) this.#becauseOfProxy(ABNORMAL);
    this.client.destroy();
    this.leg.socket.destroy();
  }

  /** Called about once a second: gives up peers that take nothing, or do not follow a close. */
  sweep(nowMs: number): void {
    const { closeMs, stallMs } = this.facts.context.limits;
    const ending = this.cause !== null;
    const limitMs = ending ? closeMs : stallMs;
    this.comparison?.sweep(nowMs);
    if (this.#clientProgress.isStuck(this.client, nowMs, limitMs, ending)) {
      this.#giveUp('client-stalled');
    } else if (this.#legProgress.isStuck(this.leg.socket, nowMs, limitMs, ending)) {
      this.#giveUp('upstream-stalled');
    }
  }

  #giveUp(cause: EndCause): void {
    this.cause ??= cause;
    this.destroy();
  }

  #becauseOfProxy(code: number): void {
    this.cause = 'ended-by-proxy';
    this.code = code;
  }
}

function forwardToClient(session: Session, view: Buffer): void {
  if (session.cut) return;
  const { toClient, client } = session;
  const { counters } = session.facts;
  const before = toClient.messages;
  const stop = session.closeWaiting === null ? 'never' : 'message';
  const taken =
    session.comparison === null
      ? toClient.push(view, stop)
      : session.comparison.fromPrimary(session.leg.side, view, toClient, stop);
  counters.messagesToClient += toClient.messages - before;
  counters.bytesToClient += taken;
  // The view lies in the read buffer that all legs share: what is written must be a copy.
  const flowing = client.write(Buffer.from(taken === view.length ? view : view.subarray(0, taken)));
  if (toClient.closeCode !== null) noteClose(session, 'closed-by-upstream', toClient.closeCode);
  if (session.closeWaiting !== null && toClient.atMessageBoundary)
    putClose(session, session.closeWaiting);
  else if (!flowing) session.leg.socket.pause();
}

/** Puts a close frame of ours into the client's stream, the last thing that it gets. */
function putClose(session: Session, frame: Buffer): void {
  session.closeWaiting = null;
  session.cut = true;
  // A service that closed already has the last word.
  if (session.toClient.closeCode === null) session.client.write(frame);
  // What the service still sends is read and thrown away, so that its own close is seen.
  session.leg.socket.resume();
}

function noteClose(session: Session, cause: EndCause, code: number): void {
  if (session.cause !== null) return;
  session.cause = cause;
  session.code = code;
}

function sessionOf(socket: SessionSocket): Session {
  const session = socket[kSession];
  if (session === undefined) throw new Error('a listener of a session ran on another socket');
  return session;
}

function clientOnData(this: SessionSocket, chunk: Buffer): void {
  const session = sessionOf(this);
  const { toUpstream } = session;
  const { counters } = session.facts;
  const before = toUpstream.messages;
  toUpstream.push(chunk);
  session.comparison?.fromClient(chunk);
  counters.messagesToUpstream += toUpstream.messages - before;
  counters.bytesToUpstream += chunk.length;
  if (toUpstream.closeCode !== null) noteClose(session, 'closed-by-client', toUpstream.closeCode);
  if (!session.leg.socket.write(chunk)) this.pause();
}

function clientOnDrain(this: SessionSocket): void {
  sessionOf(this).leg.socket.resume();
}

function clientOnEnd(this: SessionSocket): void {
  const session = sessionOf(this);
  noteClose(session, 'client-lost', ABNORMAL);
  session.leg.socket.end();
}

function clientOnError(this: SessionSocket): void {
  // What matters is that it is gone, and 'close' says so next.
  noteClose(sessionOf(this), 'client-lost', ABNORMAL);
}

function clientOnClose(this: SessionSocket): void {
  const session = sessionOf(this);
  noteClose(session, 'client-lost', ABNORMAL);
  // What the client had sent still goes to the service; what the service sends has no reader.
  session.cut = true;
  session.leg.socket.resume();
  session.leg.socket.destroySoon();
  finishIfClosed(session);
}

function legOnDrain(this: SessionSocket): void {
  sessionOf(this).client.resume();
}

function legOnEnd(this: SessionSocket): void {
  const session = sessionOf(this);
  session.comparison?.primaryClosed(session.leg.side);
  noteClose(session, 'upstream-lost', ABNORMAL);
  session.client.end();
}

function legOnError(this: SessionSocket): void {
  noteClose(sessionOf(this), 'upstream-lost', ABNORMAL);
}

function legOnClose(this: SessionSocket): void {
  const session = sessionOf(this);
  noteClose(session, 'upstream-lost', ABNORMAL);
  // The client still gets what the service had sent.
  session.client.resume();
  session.client.destroySoon();
  session.comparison?.primaryClosed(session.leg.side);
  finishIfClosed(session);
}

function finishIfClosed(session: Session): void {
  // Both sockets may close in one turn: then each handler finds both closed.
  if (session.finished || !session.client.closed || !session.leg.socket.closed) return;
  session.finished = true;
  session.comparison?.end();
  session.facts.counters.sessionsOpen -= 1;
  session.onEnd(session);
}
