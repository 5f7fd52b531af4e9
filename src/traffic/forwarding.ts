// The bytes of a session: from the client to its leg and back, as they came, one write a read; the
// slower side holds the faster one back.
//
//   client ──data──► [tracker] ──► leg
//   client ◄──── [tracker] ◄──onBytes── leg
//                    └─ copies for the judge, and for the tail where there is a second leg
import type net from 'node:net';
import type { EndCause } from '../ports.ts';
import type { LegEnd } from '../rules/pairing/legs.ts';
import { ABNORMAL, CLOSE_BYTE, type StopAt } from '../wire/frames.ts';
import type { Leg } from './leg.ts';
import type { Session } from './session.ts';
import { writeView } from './write-view.ts';

const kSession = Symbol('session');
type SessionSocket = net.Socket & { [kSession]?: Session | undefined };

/** From now on what the client sends and does is the session's. */
export function attachClient(session: Session): void {
  const client: SessionSocket = session.client;
  client[kSession] = session;
  client.on('data', clientOnData).on('drain', clientOnDrain);
  client.on('end', clientOnEnd).on('error', clientOnError).on('close', clientOnClose);
}

/** From now on that leg is the session's primary. */
export function attachLeg(session: Session, leg: Leg): void {
  const socket: SessionSocket = leg.socket;
  socket[kSession] = session;
  leg.onBytes = view => forwardToClient(session, view);
  socket.on('drain', legOnDrain).on('end', legOnEnd);
  socket.on('error', legOnError).on('close', legOnClose);
}

/** It no longer is: what it sends from now on is nobody's, until somebody takes it over. */
export function detachLeg(leg: Leg): void {
  const { socket } = leg;
  leg.onBytes = nobody;
  socket.off('drain', legOnDrain).off('end', legOnEnd);
  socket.off('error', legOnError).off('close', legOnClose);
  // Deleted, it would cost every later look at the socket its quick way.
  (socket as SessionSocket)[kSession] = undefined;
}

function nobody(): void {
  // A function for each would be kept for thousands at once.
}

export function forwardToClient(session: Session, view: Buffer): void {
  if (session.cut) return;
  const { leg } = session;
  // Behind its cut it is the second leg from now on, or speaks on if that was lost.
  if (session.hurry()) {
    if (session.state.phase === 'held') return session.keep(leg, view);
    return leg.onBytes(view);
  }
  // What it has heard just now may have ended it.
  if (session.cut) return;
  const isToGuard = session.guarding !== session.isolation && !guardAnew(session);
  const isCutting = session.state.phase === 'cutting';
  const stopsSoon = isCutting || isToGuard || session.closeWaiting !== null;
  const stop = stopsSoon ? 'message' : 'never';
  const taken = follow(session, view, stop);
  const bytes = taken === view.length ? view : view.subarray(0, taken);
  const { tracker } = leg;
  if (tracker.closeCode !== null && session.cause === null) {
    if (failsOver(session, bytes)) return;
    noteClose(session, 'closed-by-upstream', tracker.closeCode);
  }
  session.lastWord = tracker.closeCode !== null;
  const flowing = deliver(session, bytes);
  if (session.closeWaiting !== null && tracker.atMessageBoundary) {
    putClose(session, session.closeWaiting);
  } else if (isCutting && tracker.atMessageBoundary) {
    // A goodbye of which a part had gone out before the cut is the client's: nobody speaks behind it.
    if (session.lastWord) session.handle({ kind: 'switch', to: leg.side, atBoundary: true });
    else session.handle({ kind: 'boundary' });
    if (taken < view.length) leg.onBytes(view.subarray(taken));
  } else if (isToGuard && taken < view.length) {
    forwardToClient(session, view.subarray(taken));
  } else if (!flowing && !isCutting && session.closeWaiting === null) {
    // But what is waited for has to come: the rest of one message at most, and for `boundaryMs`.
    leg.socket.pause();
    session.comparison?.holdBack();
  }
}

/** Lets the primary's tracker follow; judge and tail get their copies. Returns how much was consumed. */
function follow(session: Session, view: Buffer, stop: StopAt): number {
  const { tracker, tailedSince } = session.leg;
  const isPlain = stop !== 'never' || tailedSince === Number.POSITIVE_INFINITY;
  if (isPlain || tracker.atMessageBoundary) return followTo(session, view, stop);
  // What comes behind a message is found in the tail, though the beginning of that one may be gone.
  const taken = followTo(session, view, 'message');
  if (taken === view.length) return taken;
  return taken + followTo(session, view.subarray(taken), 'never');
}

function followTo(session: Session, view: Buffer, stop: StopAt): number {
  const { leg, comparison, ear, counters } = session;
  const { tracker } = leg;
  const { messages: before, atMessageBoundary: atBoundary } = tracker;
  const { pinged } = leg;
  let taken: number;
  if (comparison !== null) taken = comparison.fromPrimary(leg.side, view, tracker, stop);
  else if (ear !== null) taken = ear.tap.follow(leg.side, view, tracker, stop);
  else taken = tracker.push(view, stop);
  // The client's answer goes where the rest of its message goes. One is enough (RFC 6455 5.5.3).
  if (session.up !== leg && leg.pinged !== null && leg.pinged !== pinged) leg.pong(leg.pinged);
  if (leg.tailedSince < Number.POSITIVE_INFINITY) {
    leg.tail = session.host.tails.append(leg.tail, {
      bytes: taken === view.length ? view : view.subarray(0, taken),
      messages: before,
      atBoundary,
      time: performance.now(),
    });
  }
  session.messagesToClient += tracker.messages - before;
  counters.messagesToClient += tracker.messages - before;
  counters.bytesToClient += taken;
  return taken;
}

/** False: the client holds it back. */
function deliver(session: Session, bytes: Buffer): boolean {
  const { client, gate } = session;
  if (gate === null) return writeToClient(session, bytes);
  const now = performance.now();
  if (gate.isDone(now)) {
    session.gate = null;
    return writeToClient(session, bytes);
  }
  gate.push(bytes, now);
  return !client.writableNeedDrain;
}

/** The last door of a service's bytes. False: the client holds them back. */
export function writeToClient(session: Session, bytes: Buffer): boolean {
  const { client, guard, leg, rollbacks } = session;
  const passed = guard === null ? bytes : guard.push(bytes);
  if (rollbacks.length > 0 && passed !== null && leg.side === 'candidate') {
    for (const run of rollbacks) run.handedOver();
  }
  // The view lies in the read buffer that all legs share.
  const flowing = passed === null ? !client.writableNeedDrain : writeView(client, passed);
  if (guard?.isShut) session.destroy();
  return flowing;
}

/** A decision says something else about isolation. False: that holds from the next message on. */
function guardAnew(session: Session): boolean {
  const { leg, guard } = session;
  if (!leg.tracker.atMessageBoundary || guard?.atBoundary === false) return false;
  session.guardAnew();
  return true;
}

/** Puts a close frame of ours into the client's stream, the last thing that it gets. */
export function putClose(session: Session, frame: Buffer): void {
  session.closeWaiting = null;
  session.cut = true;
  const isOurs = session.cause === 'ended-by-proxy';
  session.handle({ kind: 'client-gone' });
  for (const run of session.rollbacks) {
    run.cut(session);
    if (isOurs) run.closed(session);
    else run.left(session);
  }
  const { client, toUpstream } = session;
  // A service that closed already has the last word, and one that has ended it in the middle of a message.
  if (!session.lastWord && client.writable) client.write(frame);
  // Otherwise the client's answer does (RFC 6455 7.1.1). Here that has none, or has come already.
  if (!isOurs || toUpstream.closeCode !== null || client.readableEnded) client.end();
  // What the service still sends is read and thrown away, so that its own close is seen.
  session.leg.socket.resume();
  client.resume();
}

export function noteClose(session: Session, cause: EndCause, code: number): void {
  if (session.cause !== null) return;
  session.cause = cause;
  session.code = code;
  session.causedAt = performance.now();
}

/**
 * The primary says goodbye in the bytes at hand: true if the session goes on without it. Its close
 * frame does not reach the client then; what came before it does.
 */
function failsOver(session: Session, bytes: Buffer): boolean {
  const { tracker } = session.leg;
  const from = bytes.length - tracker.closeBytes;
  // A part of the frame has gone out already, or something follows it: then it is the client's.
  if (from < 0 || bytes[from] !== CLOSE_BYTE) return false;
  if (!primaryLost(session, tracker.closeCode ?? ABNORMAL)) return false;
  if (from > 0) deliver(session, bytes.subarray(0, from));
  return true;
}

/** Asks the state machine whether the session goes on without its primary. */
function primaryLost(session: Session, code: number): boolean {
  session.hear();
  // It is known, and its client waits to be told.
  if (session.isLeaving) return true;
  if (session.cause !== null || session.closeWaiting !== null) return false;
  if (session.state.primaryLost) return true;
  const { atMessageBoundary: atBoundary } = session.leg.tracker;
  const clientClosed = session.toUpstream.closeCode !== null;
  // A shadow is only compared: nobody is served by it because the other one failed.
  const isStandby = session.comparison?.plan?.role === 'standby';
  const failover = session.facts.route.failover && isStandby;
  session.handle({ kind: 'primary-lost', code, atBoundary, failover, clientClosed });
  return session.state.phase !== 'ended';
}

function sessionOf(socket: SessionSocket): Session {
  const session = socket[kSession];
  if (session === undefined) throw new Error('a listener of a session ran on another socket');
  return session;
}

function clientOnData(this: SessionSocket, chunk: Buffer): void {
  const session = sessionOf(this);
  if (session.isUnheard) return lookForAnswer(session, chunk);
  // It is meant for whoever speaks next.
  if (session.hurry() && session.state.phase === 'held') return void this.unshift(chunk);
  const { toUpstream, counters, up, leg } = session;
  const before = toUpstream.messages;
  // A message that was begun with another primary is brought to its end there.
  const stopsSoon = up !== leg || up.midMessage || session.skipsMessage;
  const taken = toUpstream.push(chunk, stopsSoon ? 'message' : 'never');
  counters.messagesToUpstream += toUpstream.messages - before;
  counters.bytesToUpstream += taken;
  if (toUpstream.closeCode !== null) {
    // Begun with another primary, it ends there: whoever speaks now is told as well, and answers.
    if (up !== leg && session.cause === null) session.sayGoodbye(toUpstream.closeCode);
    noteClose(session, 'closed-by-client', toUpstream.closeCode);
    endAnswered(session);
  }
  const whole = taken === chunk.length;
  const bytes = whole ? chunk : chunk.subarray(0, taken);
  // An old primary that was let go, or died, takes nothing any more, and never says that it would again.
  const isOver = up !== leg && !up.socket.writable;
  const flowing = isOver || up.socket.write(bytes);
  readMessages(session, bytes);
  if ((up !== leg || up.midMessage) && toUpstream.atMessageBoundary) {
    up.midMessage = false;
    up.answerPing();
    session.up = leg;
    if (up === leg) session.pingAnew();
  }
  if (!whole) return clientOnData.call(this, chunk.subarray(taken));
  if (flowing || session.up !== up) return;
  this.pause();
  if (up !== leg) goOnAfter(session, up);
}

/** In what goes nowhere. */
function lookForAnswer(session: Session, chunk: Buffer): void {
  session.toUpstream.push(chunk);
  if (session.toUpstream.closeCode !== null) endAnswered(session);
}

/** An old primary has none of the session's handlers: the client waits until it takes more, or is gone. */
function goOnAfter(session: Session, { socket }: Leg): void {
  const goOn = () => {
    socket.off('drain', goOn).off('close', goOn);
    readClientOn(session);
  };
  socket.on('drain', goOn).on('close', goOn);
}

/** Unless both directions are stopped for a move: that reads it on at its end. */
function readClientOn({ state, client }: Session): void {
  if (state.phase === 'steady' || state.phase === 'ended') client.resume();
}

/** Where somebody must know what the client says; the judge, what only the primary hears. */
function readMessages(session: Session, bytes: Buffer): void {
  const { messages, comparison, toUpstream } = session;
  session.ear?.heard(bytes, toUpstream.atMessageBoundary);
  if (messages === null) return;
  if (session.skipsMessage) {
    session.skipsMessage = !toUpstream.atMessageBoundary;
    if (!session.skipsMessage) comparison?.saidAlone(session.facts.route.mirror !== 'none');
    return;
  }
  const { notMirrored, unheard } = messages;
  messages.push(bytes);
  comparison?.flush();
  if (messages.notMirrored > notMirrored) comparison?.saidAlone(messages.unheard > unheard);
}

function clientOnDrain(this: SessionSocket): void {
  const session = sessionOf(this);
  const { phase } = session.state;
  if (phase !== 'held') session.leg.socket.resume();
  // Otherwise the handover lets it go on, or the session's end.
  if (phase === 'steady') session.comparison?.goOn();
}

function clientOnEnd(this: SessionSocket): void {
  const session = sessionOf(this);
  // Where nobody is to speak yet, it is the primary that hears of it.
  if (session.hurry() && session.state.phase === 'held')
    session.handle({ kind: 'switch', to: session.leg.side, atBoundary: true });
  noteClose(session, 'client-lost', ABNORMAL);
  session.leg.socket.end();
  endAnswered(session);
}

/** A close of ours is answered: its client must not wait for a service that hangs before it can come again. */
function endAnswered({ cut, client }: Session): void {
  if (cut) client.end();
}

function clientOnError(this: SessionSocket): void {
  // What matters is that it is gone, and 'close' says so next.
  const session = sessionOf(this);
  session.hear();
  noteClose(session, 'client-lost', ABNORMAL);
}

function clientOnClose(this: SessionSocket): void {
  const session = sessionOf(this);
  session.hear();
  noteClose(session, 'client-lost', ABNORMAL);
  session.handle({ kind: 'client-gone' });
  // What the client had sent still goes to the service; what the service sends has no reader.
  session.cut = true;
  session.leg.socket.resume();
  session.leg.socket.destroySoon();
  finishIfClosed(session);
}

/** Without a cause its service has ended it, and said nothing of it. */
function endOfPrimary({ cause }: Session): LegEnd {
  const isByService = cause === null || cause === 'closed-by-upstream' || cause === 'upstream-lost';
  return isByService ? 'by-service' : 'left';
}

function legOnDrain(this: SessionSocket): void {
  readClientOn(sessionOf(this));
}

function legOnEnd(this: SessionSocket): void {
  const session = sessionOf(this);
  session.comparison?.primaryClosed(session.leg.side, endOfPrimary(session));
  if (primaryLost(session, ABNORMAL)) return;
  noteClose(session, 'upstream-lost', ABNORMAL);
  session.client.end();
}

function legOnError(this: SessionSocket): void {
  // What matters is that it is gone, and 'close' says so next.
}

function legOnClose(this: SessionSocket): void {
  const session = sessionOf(this);
  session.comparison?.primaryClosed(session.leg.side, endOfPrimary(session));
  if (primaryLost(session, ABNORMAL)) return;
  noteClose(session, 'upstream-lost', ABNORMAL);
  // The client still gets what the service had sent.
  session.client.resume();
  session.client.destroySoon();
  finishIfClosed(session);
}

function finishIfClosed(session: Session): void {
  // Both sockets may close in one turn: then each handler finds both closed.
  if (session.finished || !session.client.closed || !session.leg.socket.closed) return;
  session.finished = true;
  session.guard?.close();
  session.counters.sessionsOpen -= 1;
  session.host.ended(session);
}
