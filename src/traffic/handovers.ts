// Moves live sessions from one leg to the other: each stops at its next message boundary, is reconciled, and
// goes on. Of thousands at once each does so when one of its ends speaks, so that nobody waits who has
// something to say, and nothing passes that should not any more; the silent ones in slices that give way to
// traffic, all cuts before the first is reconciled.
//
//   switch ─► second leg there? ─► cut ─► boundary ─► reconcile ─► change roles
//                │ no                       │ late: end
//                └► dial, at a pace ─► open, overlap ─► still due? ─► switch again
//                                                           └ no: stay
import type { RouteConfig } from '../config/schema.ts';
import { ERRORS } from '../errors.ts';
import type { Decided, HandoverCounts, MoveKind } from '../ports.ts';
import { type CompiledRules, compileRules } from '../rules/compare/compile.ts';
import { ofSide, type SecondLeg, SIDES, type Side } from '../rules/decide.ts';
import type { HandoverAction, HandoverInput } from '../rules/handover/handover.ts';
import { type Reconciled as Owed, reconcile, type TailEvent } from '../rules/handover/reconcile.ts';
import { ABNORMAL, closeFrame } from '../wire/frames.ts';
import type { Comparison } from './comparison.ts';
import type { Departures } from './departures.ts';
import { type DialPace, DialQueue, type InLine } from './dial-queue.ts';
import { attachLeg, detachLeg, noteClose, putClose, writeToClient } from './forwarding.ts';
import type { Leg } from './leg.ts';
import { Line } from './line.ts';
import type { Session } from './session.ts';
import { SuppressGate } from './suppress-gate.ts';
import {
  longEventOf,
  NO_TAIL,
  readTail,
  type Tail,
  type TailMessage,
  tailEventOf,
} from './tail.ts';
import type { TailRing } from './tail-ring.ts';
import { isCurrent } from './token.ts';

/** An event of one side that the other has not sent by then is not the same one: the judge's window. */
const WINDOW_MS = 5_000;
/** A leg that was dialled for a planned move stands beside the other so long: what was on its way comes. */
const OVERLAP_MS = 5_000;
/** ... and for a rollback, which does not wait for stragglers. */
const URGENT_OVERLAP_MS = 250;
/** In a rollback a leg that could not be had is tried again after so long, in its turn. */
const RETRY_MS = 1_000;
/**
 * One that legacy has refused is tried again once it is known whether those who were let in besides are in to stay: for
 * that they are there for a second (`LET_IN_MS`), and refusing takes less time than letting in.
 */
const RETRY_REFUSED_MS = 2_000;
/** Deadlines and dials are looked at so often. */
const TICK_MS = 5;
/**
 * Of a slice of looking at sessions, and of one of reconciling silent ones; whoever speaks waits no longer. In the
 * first moments every turn has events that move their sessions besides, and waits for those (bench/README.md). The
 * answer to a command waits for the looks.
 */
const LOOK_MS = 0.5;
const SLICE_MS = 0.25;

export interface HandoverOptions {
  readonly tails: TailRing;
  /** Lets a session have that second leg, or none. */
  readonly standBeside: (session: Session, plan: SecondLeg | null) => void;
  readonly pace: () => DialPace;
  readonly decide: (session: Session) => Decided;
  /** Legacy has let in somebody on that route of late. */
  readonly letsIn: (route: string) => boolean;
  readonly listener: HandoverListener;
  readonly departures: Departures<Session>;
}

/** What became of a move. */
export interface HandoverListener {
  moved(session: Session, how: MoveKind): void;
  counted(counts: HandoverCounts): void;
}

/** Somebody who is still to be let in, and is not to wait for the candidate any more. */
export interface CalledBack extends InLine {
  /** Ends that; then legacy is dialled for him. */
  readonly giveUp: AbortController;
}

/** Sessions that are visited, one after another. */
interface Look {
  readonly left: Iterator<Session>;
  readonly visit: (session: Session) => void;
  readonly over: () => void;
}

/** What the client gets of the new primary's, and how what follows is read. */
interface Reconciled {
  /** Lie in the ring. */
  readonly deliver: readonly TailMessage[];
  readonly partial: readonly Buffer[];
  readonly gate: SuppressGate | null;
}

const RECONCILED: HandoverInput = { kind: 'reconciled' };
/** Of who was silent, as nearly all of thousands are: garbage of the rest would be most of a rollback's. */
const NOTHING_OWED = reconcile({ delivered: [], sent: [], overrun: false, isAhead: false });
const NOTHING_LEFT: Reconciled = { deliver: [], partial: [], gate: null };

export class Handovers {
  readonly #options: HandoverOptions;
  /** Waiting for a boundary, by when it must have come. */
  readonly #cutting = new Map<Session, number>();
  /**
   * Held, while the other leg is in the middle of a message whose beginning is gone: how many it had begun. The
   * rest of it is nothing for a client.
   */
  readonly #torn = new Map<Session, number>();
  /** Whose fresh second leg is to stand beside the old one until then. */
  readonly #overlapping = new Map<Session, number>();
  /** Whose leg could not be had, and when it is tried again. */
  readonly #retrying = new Map<Session, number>();
  /** Who needs a leg, by the side of that: a service that does not answer must not keep them from the other one. */
  readonly #dials: Readonly<Record<Side, DialQueue<Session | CalledBack>>>;
  readonly #looks: Look[] = [];
  readonly #held = new Line<Session>();
  /** Of the session that changes roles next, at once. */
  #reconciled: Reconciled | null = null;
  readonly #rules = new WeakMap<RouteConfig, CompiledRules>();
  #ticker: NodeJS.Timeout | null = null;
  #isSlicing = false;

  constructor(options: HandoverOptions) {
    this.#options = options;
    const dials = (side: Side) =>
      new DialQueue<Session | CalledBack>(options.pace, who => {
        if (!('giveUp' in who)) return this.#dial(who, side);
        who.giveUp.abort();
        return false;
      });
    this.#dials = { legacy: dials('legacy'), candidate: dials('candidate') };
  }

  /** True if a session could go to the other side without being closed. */
  isMovable(session: Session): boolean {
    const { facts, leg, messages, hasSaidAlone, protocolsDiffer, refused, state } = session;
    return (
      !facts.singleUse &&
      // Where it is to be dialled for, it comes with what its client came with.
      (state.second !== null ||
        (refused !== 'for-good' && isCurrent(facts.expiresAt, Date.now()))) &&
      !leg.tracker.lost &&
      messages?.preambleOverrun !== true &&
      !hasSaidAlone &&
      !protocolsDiffer
    );
  }

  /** That side is to serve. What it is decided by is asked for when it does: that takes longer than a cut. */
  move(session: Session, to: Side): void {
    const isWanted = session.state.wanted === to;
    // Its legs have their time beside each other, whatever changes besides.
    if (isWanted && this.#overlapping.has(session)) return;
    // What is to be quick stays so, when flags change besides.
    const wasUrgent = session.move?.urgent === true && isWanted;
    this.#note(session, wasUrgent);
    this.#switch(session, to);
  }

  /**
   * It is to stay where it is, whatever was under way. What stands beside it was dialled for the move, and is for
   * the caller to say anew. False: its primary has died meanwhile, and it goes over all the same.
   */
  cancel(session: Session): boolean {
    this.#switch(session, session.leg.side);
    return session.state.phase === 'steady';
  }

  /** As `cancel`; beside it stands again what did before. */
  withdraw(session: Session): void {
    if (!this.cancel(session) || session.cause !== null) return;
    this.#options.standBeside(session, session.decision.second);
  }

  /** As `move`, for a rollback: whatever else was to become of it. */
  moveAtOnce(session: Session, to: Side): void {
    this.#note(session, true);
    this.#overlapping.delete(session);
    this.#switch(session, to);
  }

  /** Visits all of them from now on, in slices, before anybody who is held has his turn; then calls `over`. */
  lookAt(all: Iterable<Session>, visit: (session: Session) => void, over: () => void): void {
    this.#looks.push({ left: all[Symbol.iterator](), visit, over });
    try {
      this.#look(performance.now() + LOOK_MS);
    } catch (error) {
      // A fault of one session's is told as any stray, and does not keep the command from all others.
      setImmediate(() => {
        throw error;
      });
    }
    if (this.#looks.length > 0) this.#sliceSoon();
  }

  /** At the pace at which is dialled, and before those who are served meanwhile. */
  callBack(who: CalledBack): void {
    this.#dials.legacy.add(who, 'entry');
  }

  /** He has the candidate's answer, or none is to come. */
  answered(who: CalledBack): void {
    this.#dials.legacy.done(who);
  }

  /** What the state machine says. */
  act(session: Session, action: HandoverAction): void {
    switch (action.kind) {
      case 'dial': {
        const isUrgent = session.move?.urgent === true;
        return this.#dials[action.side].add(session, isUrgent ? 'rollback' : 'move');
      }
      case 'cut':
        // At a boundary already it is held next: nobody has to be stopped who is heard at once.
        if (session.state.phase !== 'cutting') return;
        session.comparison?.leg?.socket.pause();
        session.client.pause();
        // It may stand still for a client that is behind in reading.
        session.leg.socket.resume();
        this.#cutting.set(session, performance.now() + session.facts.context.limits.boundaryMs);
        return this.#tickSoon();
      case 'reconcile':
        // What came in one read with the end of its last message is not the client's.
        session.leg.given = session.leg.tracker.messages;
        for (const run of session.rollbacks) run.cut(session);
        this.#held.add(session);
        return this.#sliceSoon();
      case 'change-roles':
        return this.#changeRoles(session, action.lost);
      case 'resume':
        return this.#resume(session);
      case 'pass-end':
        return this.forget(session);
      case 'end':
        return this.#end(session);
      case 'leave':
        return this.#leave(session);
    }
  }

  secondWanted(session: Session, { side, role }: SecondLeg): void {
    if (!session.isLeaving && session.cause === null) this.#dials[side].add(session, role);
  }

  secondDialled(session: Session): void {
    for (const side of SIDES) this.#dials[side].done(session);
  }

  secondOpened(session: Session, side: Side): void {
    const { move } = session;
    if (move === null || session.state.wanted !== side) return;
    const overlap = move.urgent ? URGENT_OVERLAP_MS : OVERLAP_MS;
    this.#overlapping.set(session, performance.now() + overlap);
    this.#tickSoon();
  }

  secondLost(session: Session, side: Side, refusesClient: boolean): void {
    if (session.state.wanted !== side) return;
    // It is not to change sides then, but to be tried again behind the others.
    this.#overlapping.delete(session);
    if (session.state.phase !== 'steady') return;
    const isUrgent = session.move?.urgent === true;
    const isNew = session.refused === 'no';
    if (session.refused !== 'for-good') session.refused = refusesClient ? 'in-doubt' : 'no';
    // A service whose keys are broken refuses everybody, and so says nothing of anybody.
    if (isUrgent && refusesClient && this.#options.letsIn(session.route))
      return this.#tellRefused(session);
    const isOpen = isUrgent && refusesClient && isNew;
    if (!isOpen) {
      for (const run of session.rollbacks) run.failed(session, refusesClient);
    }
    if (!isUrgent) return;
    const waitMs = isOpen ? RETRY_REFUSED_MS : RETRY_MS;
    this.#retrying.set(session, performance.now() + waitMs);
    this.#tickSoon();
  }

  /** The session is over, or is where it is wanted. */
  forget(session: Session): void {
    // It is not tried again, and says nothing of what legacy does later.
    if (session.refused === 'in-doubt') session.refused = 'no';
    session.move = null;
    this.secondDialled(session);
    this.#retrying.delete(session);
    this.#cutting.delete(session);
    this.#torn.delete(session);
    this.#overlapping.delete(session);
  }

  close(): void {
    for (const side of SIDES) this.#dials[side].close();
    this.#stopTicking();
  }

  #note(session: Session, urgent: boolean): void {
    const redialled = session.move?.redialled ?? false;
    session.move = { urgent, redialled };
  }

  #switch(session: Session, to: Side): void {
    // It is over, and only the answer to a goodbye is still to come: from whoever was told.
    if (session.cause !== null) return this.forget(session);
    const { atMessageBoundary: atBoundary } = session.leg.tracker;
    session.handle({ kind: 'switch', to, atBoundary });
    if (session.state.phase === 'steady' && session.state.wanted === null) this.forget(session);
  }

  /** It is its turn; see `DialQueue`. */
  #dial(session: Session, side: Side): boolean {
    // It has no leg any more, and is only to be told to come again.
    if (session.isLeaving || session.cause !== null) return false;
    const { wanted, second } = session.state;
    const { move } = session;
    if (move !== null && wanted === side && second !== side) {
      if (!this.#isDue(session)) {
        this.withdraw(session);
        return false;
      }
      move.redialled = true;
      this.#options.standBeside(session, legFor(side));
    }
    const { comparison } = session;
    return comparison?.plan?.side === side && comparison.dialNow();
  }

  /**
   * A planned move takes its time, seconds where a leg is dialled for it, and longer where none can be had: is it
   * decided still, and has its client said nothing meanwhile that only one service heard? A rollback's is, until
   * that is over, and goes at any price.
   */
  #isDue(session: Session): boolean {
    if (session.move?.urgent === true) return true;
    const { primary } = this.#options.decide(session).decision;
    return primary === session.state.wanted && this.isMovable(session);
  }

  /** Neither leg speaks: what does the client still have to get? Whoever is not held is left alone. */
  reconcileNow(session: Session): void {
    session.hear();
    const { comparison, leg: old } = session;
    const next = comparison?.leg ?? null;
    if (session.state.phase !== 'held' || this.#isTorn(session)) return;
    // Nobody to change roles with after all: the session speaks on where it was.
    if (comparison === null || next === null) return session.handle({ kind: 'second-lost' });
    const now = performance.now();
    const sent = this.#tailOf(next, comparison, now);
    if (sent.isTorn) return this.#awaitBoundary(session, next);
    const given = this.#tailOf(old, comparison, now);
    const isSilent = sent === NO_TAIL && given === NO_TAIL;
    const result = isSilent ? NOTHING_OWED : this.#compare(session, next, { sent, given, now });
    const unreplayed = session.takeSaidAlone();
    const { missing, suppress: keys, unnamed } = result;
    // One that was waited for is lost, unless the client has it of the old primary.
    const unknown = result.unknown + (this.#torn.has(session) ? 1 : 0);
    this.#cutting.delete(session);
    this.#torn.delete(session);
    const newUntil = next.openedAt + WINDOW_MS;
    // What the client has had, or the new one has said, of late is not known: by one that both said it is.
    const isInDoubt = Math.max(given.since, sent.since) > now - WINDOW_MS;
    const isClear = keys.length === 0 && unnamed === 0 && !isInDoubt && now >= newUntil;
    const { listener } = this.#options;
    listener.counted({ unreplayed, unknown, missing });
    this.#reconciled =
      isSilent && isClear
        ? NOTHING_LEFT
        : {
            deliver: result.deliver.map(index => sent.messages[index] as TailMessage),
            partial: sent.partial,
            gate: isClear
              ? null
              : new SuppressGate({
                  ...{ keys, unnamed, certain: isInDoubt ? result.certain : null },
                  ...{ until: now + WINDOW_MS, newUntil, eventOf: this.#eventsOf(session) },
                  had: given.since > now - WINDOW_MS ? null : result.had,
                  write: bytes => void writeToClient(session, bytes),
                  onDoubt: () => listener.counted({ unreplayed: 0, unknown: 1, missing: 0 }),
                }),
          };
    session.handle(RECONCILED);
    this.#reconciled = null;
  }

  #tailOf(leg: Leg, { tap: { synced } }: Comparison, now: number): Tail {
    const from = synced === null ? null : ofSide(synced, leg.side);
    return readTail(this.#options.tails, leg, from, now - 2 * WINDOW_MS);
  }

  #compare(
    session: Session,
    next: Leg,
    { sent, given, now }: { sent: Tail; given: Tail; now: number },
  ): Owed {
    const eventOf = this.#eventsOf(session);
    const known = ({ payload, raw }: TailMessage) =>
      payload === null ? longEventOf(raw) : eventOf(payload);
    return reconcile({
      delivered: given.messages
        // What was withheld, as somebody else's or because nobody can look into it, the client has not had.
        .filter(message => message.index < session.leg.given && !session.guard?.withholds(message))
        .map(known),
      sent: sent.messages.map(message => ({
        ...known(message),
        hadAlready: message.index < next.given,
      })),
      overrun: Math.max(given.since, sent.since) > now - 2 * WINDOW_MS,
      isAhead: !given.isComplete,
    });
  }

  #eventsOf({ facts: { route } }: Session): (payload: Buffer) => TailEvent {
    const rules = this.#rulesOf(route);
    return payload => tailEventOf(payload, rules, route.greeting);
  }

  /** The other leg is still in the middle of what is nothing for the client. */
  #isTorn(session: Session): boolean {
    const begun = this.#torn.get(session);
    const tracker = session.comparison?.leg?.tracker;
    if (begun === undefined || tracker === undefined) return false;
    return tracker.messages === begun && !tracker.atMessageBoundary;
  }

  /** Until then nobody speaks; if it does not come in time, the client is told to come again. */
  #awaitBoundary(session: Session, next: Leg): void {
    const { client, leg, facts } = session;
    // The time that its cut had may be over.
    const isNew = !this.#torn.has(session);
    this.#torn.set(session, next.tracker.messages);
    client.pause();
    leg.socket.pause();
    next.socket.resume();
    const due = performance.now() + facts.context.limits.boundaryMs;
    if (isNew) this.#cutting.set(session, due);
    this.#tickSoon();
  }

  #changeRoles(session: Session, lost: boolean): void {
    const { comparison, leg: old, toUpstream } = session;
    const reconciled = this.#reconciled;
    const { move } = session;
    if (comparison === null || reconciled === null) return this.#end(session);
    const decided = move === null ? session.decided : this.#options.decide(session);
    detachLeg(old);
    const { wanted } = session.state;
    // A change of mind in the meantime, that has been told or is about to be: it goes back by the same leg.
    const goesBack = wanted === old.side || decided.decision.primary === old.side;
    const beside = goesBack ? legFor(old.side) : planBeside(old.side, decided);
    // A shadow that is to be marked is dialled anew: the old primary's service does not know it as one.
    const stays = !lost && !(session.facts.route.shadowMark && beside?.role === 'shadow');
    // A message of the client's that has begun ends with the old one, dead or not: the new one gets it whole.
    const isMidMessage = !toUpstream.atMessageBoundary;
    old.midMessage = isMidMessage && session.up === old;
    const next = comparison.exchange(stays ? old : null, beside);
    if (next === null) return this.#end(session);
    if (!stays || comparison.plan === null) {
      // Before its service stops: what it does not say from here on is no fault of its own.
      comparison.primaryClosed(old.side, lost ? 'by-service' : 'left');
      this.#letGo(old);
      session.secondLost(old.side);
    }
    session.decided = decided;
    session.leg = next;
    session.turned(reconciled.deliver[0]?.time ?? performance.now());
    session.counters.sessionsOpen -= 1;
    session.counters = session.host.countersOf(session.facts.route.name, next.side);
    session.counters.sessionsOpen += 1;
    attachLeg(session, next);
    if (!isMidMessage) session.up = next;
    session.pingAnew();
    session.guardAnew();
    for (const { raw, time } of reconciled.deliver) {
      session.guard?.waitedSince(performance.timeOrigin + time);
      for (const bytes of raw) writeToClient(session, bytes);
    }
    session.guard?.waitedSince(null);
    session.gate = reconciled.gate;
    for (const bytes of reconciled.partial) {
      if (session.gate !== null) session.gate.push(bytes, performance.now());
      else writeToClient(session, bytes);
    }
    const how = lost ? 'failover' : move?.redialled ? 'redialled' : 'in-place';
    this.#options.listener.moved(session, how);
    this.#goOn(session);
    session.giveKept();
    if (wanted !== null && move !== null) this.#switch(session, wanted);
    else this.forget(session);
  }

  /** The second leg was lost in the middle of it, or is not to speak after all: the primary speaks on. */
  #resume(session: Session): void {
    this.#cutting.delete(session);
    this.#torn.delete(session);
    // It was on its way to the candidate and has not left.
    if (session.leg.side === 'legacy') {
      for (const run of session.rollbacks) run.moved(session, 'in-place');
    }
    this.#goOn(session);
    session.giveKept();
  }

  #goOn({ client, leg, comparison }: Session): void {
    client.resume();
    // Both wait for a client that does not read, until it does.
    if (client.writableNeedDrain) {
      leg.socket.pause();
      return comparison?.holdBack();
    }
    leg.readOn();
    // The old primary, too: what it says is compared, and its pings are answered.
    comparison?.goOn();
  }

  /** A leg that is no longer wanted: told goodbye, and cut off if it does not answer. */
  #letGo(leg: Leg): void {
    leg.socket.on('error', () => undefined);
    leg.leave();
  }

  /** It would be refused again and again: its client comes with what is good by now, once it is told to. */
  #tellRefused(session: Session): void {
    session.refused = 'for-good';
    // It waits for its turn, and is not dialled for meanwhile.
    this.#retrying.delete(session);
    this.#options.standBeside(session, null);
    this.#options.departures.add(session, { isUrgent: true });
  }

  /** It has no leg any more, and is told so in its turn. */
  #leave(session: Session): void {
    // A rollback that could not bring it to legacy may be over.
    const isUrgent = session.rollbacks.length > 0 || session.move?.urgent === true;
    this.forget(session);
    // Its service's doing, whoever tells the client.
    const { closeCode } = session.leg.tracker;
    if (closeCode === null) noteClose(session, 'upstream-lost', ABNORMAL);
    else noteClose(session, 'closed-by-upstream', closeCode);
    // What follows its goodbye is nobody's.
    session.leg.onBytes = () => undefined;
    for (const run of session.rollbacks) run.cut(session);
    // What it says nobody hears.
    session.client.pause();
    session.leg.midMessage = session.up === session.leg && !session.toUpstream.atMessageBoundary;
    session.leg.leave();
    this.#options.departures.add(session, { isUrgent });
  }

  /** The client is told to come again, as after any restart of a service. */
  #end(session: Session): void {
    this.forget(session);
    for (const run of session.rollbacks) run.cut(session);
    noteClose(session, 'ended-by-proxy', ERRORS.draining.close);
    const frame = closeFrame(ERRORS.draining.close, 'service restart');
    if (session.hasWholeFrames) putClose(session, frame);
    else session.client.destroy();
  }

  #rulesOf(route: RouteConfig): CompiledRules {
    let rules = this.#rules.get(route);
    if (rules === undefined) {
      rules = compileRules(route.compare);
      this.#rules.set(route, rules);
    }
    return rules;
  }

  #sliceSoon(): void {
    if (this.#isSlicing) return;
    this.#isSlicing = true;
    setImmediate(() => this.#slice());
  }

  #slice(): void {
    const begun = performance.now();
    try {
      this.#look(begun + LOOK_MS);
      while (performance.now() < begun + SLICE_MS) {
        const session = this.#held.take();
        if (session === undefined) break;
        this.reconcileNow(session);
      }
    } finally {
      // A fault of one session's is not to be that of all behind it.
      this.#isSlicing = false;
      if (this.#looks.length + this.#held.length > 0) this.#sliceSoon();
    }
  }

  /** Until the time is over, or nobody is left. */
  #look(end: number): void {
    for (let look = this.#looks[0]; look !== undefined; look = this.#looks[0]) {
      for (;;) {
        const { done, value } = look.left.next();
        if (done) break;
        look.visit(value);
        if (performance.now() >= end) return;
      }
      this.#looks.shift();
      look.over();
    }
  }

  #stopTicking(): void {
    if (this.#ticker !== null) clearInterval(this.#ticker);
    this.#ticker = null;
  }

  #tickSoon(): void {
    this.#ticker ??= setInterval(() => this.#tick(performance.now()), TICK_MS).unref();
  }

  #tick(now: number): void {
    for (const [session, due] of this.#cutting) {
      // At its boundary it only waits for its turn, unless the other leg is to come to one, too.
      const waits = session.state.phase === 'cutting' || this.#torn.has(session);
      if (now < due || !waits) continue;
      session.hear();
      // Where it is to stay, it waits for none.
      if (!this.#cutting.delete(session)) continue;
      session.handle({ kind: 'late' });
    }
    for (const [session, due] of this.#overlapping) {
      if (now < due) continue;
      session.hear();
      if (!this.#overlapping.delete(session)) continue;
      const { wanted } = session.state;
      if (wanted === null) continue;
      if (this.#isDue(session)) this.#switch(session, wanted);
      else this.withdraw(session);
    }
    for (const [session, due] of this.#retrying) {
      if (now < due) continue;
      this.#retrying.delete(session);
      const { wanted } = session.state;
      if (wanted !== null) this.#dials[wanted].add(session, 'retry');
    }
    const waiting = this.#cutting.size + this.#overlapping.size + this.#retrying.size;
    if (waiting === 0) this.#stopTicking();
  }
}

/** A leg of that side that a session can go to: nothing to be broken off, and not marked. */
function legFor(side: Side): SecondLeg {
  return { side, role: 'standby' };
}

/** What stands beside the new primary: as the decision says, where that is the old one's side. */
function planBeside(old: Side, { decision }: Decided): SecondLeg | null {
  return decision.second?.side === old ? decision.second : null;
}
