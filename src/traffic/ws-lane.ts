// The lane of WebSockets: from a client's upgrade request to an open session.
//
//   request ─► valid? ─► route ─► who is it? ─► decision ─► leg ─► 101 and a session
//                 └──────────┴────────┴─────────────┴─────────┴──► a clear refusal
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import type { Logger } from 'pino';
import { ERRORS, type ErrorCode } from '../errors.ts';
import type {
  Decider,
  EndCause,
  HandoverCounts,
  IsolationWatch,
  LaneCounters,
  MoveKind,
  RollbackOutlook,
  RouteScope,
  Tap,
  TrafficObserver,
  TwinSampling,
} from '../ports.ts';
import type { SecondLeg, Side } from '../rules/decide.ts';
import type { HandoverAction } from '../rules/handover/handover.ts';
import { matchRoute } from '../rules/routes.ts';
import { checkClientHandshake, offeredProtocols, saysWhoAsksMayNot } from '../wire/handshake.ts';
import { fieldValues } from '../wire/headers.ts';
import { writeHead } from '../wire/http-head.ts';
import { admit } from './admission.ts';
import { refuseSocket } from './answer.ts';
import { Breaker } from './breaker.ts';
import { Comparison } from './comparison.ts';
import type { TrafficContext } from './context.ts';
import type { Counters } from './counters.ts';
import { Departures } from './departures.ts';
import { EarlyBytes } from './early-bytes.ts';
import { type CalledBack, type HandoverListener, Handovers } from './handovers.ts';
import { HeldRoom } from './held-room.ts';
import { guardFacts, IsolationGuard } from './isolation-guard.ts';
import { dialLeg, type Leg, type LegAnswer, type LegRequest } from './leg.ts';
import { LET_IN_MS, LetIn } from './let-in.ts';
import { Overhearing } from './overhearing.ts';
import { paced, windowFor } from './pace.ts';
import { ReadingOn } from './reading-on.ts';
import { hasBody, relayRefusal, relayRefusalAlone } from './refusal.ts';
import { logRefusal, type RefusedRequest } from './refusal-log.ts';
import { idsOf, readRequest } from './request.ts';
import type { RollbackRun } from './rollback-run.ts';
import { showsTheDoor } from './second-leg.ts';
import { type Opening, Session, type SessionHost } from './session.ts';
import { fieldsToClient } from './shown-side.ts';
import { inSlices, SLICE_MS } from './slices.ts';
import { StreamGuard } from './stream-guard.ts';
import { TailRing } from './tail-ring.ts';
import { TwinLegs } from './twin-legs.ts';
import { fieldsFor, targetFor, type Upstream } from './upstream.ts';

/** Peers are looked at for progress so often; limits of theirs are seconds and more. */
const SWEEP_MS = 1_000;
/** A drain looks so often whether all have gone. */
const DRAIN_CHECK_MS = 20;

type TakeOver = (incoming: IncomingMessage, client: net.Socket, head: Buffer) => void;

export interface WebSocketLaneOptions {
  readonly context: () => TrafficContext;
  readonly decider: Decider;
  readonly observer: TrafficObserver;
  readonly isolation: IsolationWatch;
  readonly counters: Counters;
  readonly tap: Tap;
  readonly twins: TwinSampling;
  readonly tails?: TailRing;
  readonly logger: Logger;
  /** A connection to a service could not be had: nothing is left to make it of. */
  readonly onExhausted: () => void;
  /** Takes what no route names. */
  readonly unrouted: TakeOver;
  /** Takes who is still being let in when the bypass is engaged. */
  readonly bypassed: TakeOver;
}

/** A handshake that is decided and not through. */
interface UnderWay extends CalledBack {
  readonly opening: Opening;
  /** It goes to that service only if it is there already. */
  isCalledBack: boolean;
  /** What rollbacks want to know of its end. */
  readonly over: (() => void)[];
}

export class WebSocketLane implements SessionHost, HandoverListener {
  readonly sessions = new Set<Session>();
  connecting = 0;
  draining = false;
  /** Sessions end whose client asked before (ms, `performance.now`), also those that open later. */
  #endBeforeMs = 0;
  readonly #options: WebSocketLaneOptions;
  readonly #breakers = { legacy: new Breaker(), candidate: new Breaker() };
  readonly tails: TailRing;
  readonly #readingOn = new ReadingOn();
  readonly #twins = new TwinLegs();
  readonly #departures: Departures<Session>;
  readonly #letIn = new LetIn(() => this.#legsOnLegacy());
  readonly #handovers: Handovers;
  readonly #sweeper: NodeJS.Timeout;
  /** Counts changes of what decides. */
  #changes = 0;
  /** Counts those of them for which all sessions are looked at, one after another. */
  #visits = 0;
  /** Of a sweep that is under way: sessions that are still to come. */
  #sweeping: Iterable<Session> | null = null;
  readonly #rollbacks = new Set<RollbackRun>();
  asked = 0;
  /** Rollbacks of which not everybody has heard, and what `asked` was with each. */
  readonly #unheard = new Map<RollbackRun, number>();
  readonly #held = new HeldRoom();
  readonly #openings = new Set<UnderWay>();

  constructor(options: WebSocketLaneOptions) {
    this.#options = options;
    this.tails = options.tails ?? new TailRing();
    this.#departures = new Departures({
      perS: () => options.context().limits.movesPerS,
      isDue: session => this.#isToLeave(session),
      tell: endForRestart,
    });
    this.#handovers = new Handovers({
      tails: this.tails,
      standBeside: (session, plan) => this.#standBeside(session, plan),
      pace: () => options.context().limits,
      decide: ({ facts }) => options.decider(facts.route, facts.subject),
      letsIn: route => this.#letIn.lately(route),
      listener: this,
      departures: this.#departures,
    });
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS);
    this.#sweeper.unref();
  }

  #sweep(): void {
    // Not before the one before it is through.
    if (this.#sweeping !== null) return;
    const now = performance.now();
    this.#readingOn.sweep(now);
    this.#twins.sweep();
    this.#sweeping = this.sessions.values();
    this.#sweepOn();
  }

  /** In slices: thousands of sessions take some milliseconds. */
  #sweepOn(): void {
    const now = performance.now();
    const left = this.#sweeping ?? [];
    this.#sweeping = null;
    for (const session of left) {
      session.sweep(now);
      if (session.leaveBy <= now) this.#departures.add(session);
      if (performance.now() < now + SLICE_MS) continue;
      this.#sweeping = left;
      return void setImmediate(() => this.#sweepOn());
    }
  }

  /** Takes over a client's upgrade request. Every end of it is an answer or an open session. */
  async open(incoming: IncomingMessage, client: net.Socket, head: Buffer): Promise<void> {
    const context = this.#options.context();
    const early = new EarlyBytes(client, head, context.limits.earlyBytes);
    this.connecting += 1;
    try {
      await this.#open(incoming, client, context, early);
    } catch (error) {
      const ids = idsOf(incoming);
      this.#options.logger.error({ ...ids, err: error }, 'a WebSocket could not be opened');
      this.#refuse(client, early, 'internal', ids);
    } finally {
      this.connecting -= 1;
    }
  }

  async #open(
    incoming: IncomingMessage,
    client: net.Socket,
    context: TrafficContext,
    early: EarlyBytes,
  ): Promise<void> {
    const startedAt = performance.now();
    const ids = idsOf(incoming);
    const { method = '', httpVersion, rawHeaders } = incoming;
    const wrong = checkClientHandshake(method, httpVersion, rawHeaders);
    if (wrong !== null) return this.#refuse(client, early, wrong, ids);
    const request = readRequest(incoming, context);
    if (typeof request === 'string') return this.#refuse(client, early, request, ids);

    const route = matchRoute(context.routes, request.target.path, 'websocket');
    if (route === undefined) {
      const head = early.take();
      if (early.gone) return void client.destroy();
      return this.#options.unrouted(incoming, client, head);
    }
    const { name } = route;
    const admitted = await admit(context, request, incoming.url ?? '');
    if (!admitted.ok) return this.#refuse(client, early, 'unauthorized', { ...ids, route: name });

    const { subject, singleUse, expiresAt } = admitted;
    const decided = this.#options.decider(route, subject);
    const opening: Opening = {
      ...{ id: randomUUID(), context, route, request, subject, singleUse, expiresAt },
      ...{ decided, startedAt },
    };
    await this.#enter(incoming, client, early, opening);
  }

  /** Dials as it is decided; what calls that back meanwhile has it decided anew. */
  async #enter(
    incoming: IncomingMessage,
    client: net.Socket,
    early: EarlyBytes,
    opening: Opening,
  ): Promise<void> {
    const { id, context, route, subject, singleUse, decided, startedAt } = opening;
    const { name } = route;
    const { primary } = decided.decision;
    const about = {
      ...{ session: id, ...idsOf(incoming), route: name, side: primary },
      ...{ reason: decided.decision.reason, flags: decided.revision },
    };
    // Both are dialled at once, so that the second one hears all that the client says; nobody waits for it.
    const { second } = decided.decision;
    const comparison = second === null ? null : this.#compare(opening, second, null);
    const changes = this.#changes;
    const under: UnderWay = {
      ...{ opening, activeAt: startedAt, isCalledBack: false, over: [] },
      giveUp: new AbortController(),
    };
    this.#openings.add(under);
    const outcome = await dialLeg(
      legRequest(opening, context.upstreams[primary], false),
      AbortSignal.any([early.over, under.giveUp.signal]),
    );
    this.#openings.delete(under);
    if (under.isCalledBack) this.#handovers.answered(under);
    // After everything below: by then the session has joined those rollbacks, or there is none.
    for (const over of under.over) queueMicrotask(over);
    const isBypassed = changes !== this.#changes && this.#isBypassed(opening);
    const isPassedOn = outcome.kind === 'refused' && !isBypassed && !under.isCalledBack;
    if (isPassedOn && second !== null && saysWhoAsksMayNot(outcome.answer.status)) {
      const { observer } = this.#options;
      comparison?.endRefused(() => observer.sessionKept(name, second.side, 'let-in'));
    } else if (outcome.kind !== 'open' || isBypassed) comparison?.end();
    if (isBypassed) {
      if (outcome.kind === 'open') outcome.leg.leave();
      if (outcome.kind === 'refused') outcome.leg.socket.destroy();
      const first = early.take();
      return early.gone ? void client.destroy() : this.#options.bypassed(incoming, client, first);
    }
    if (outcome.kind !== 'open' && under.isCalledBack && !early.over.aborted) {
      if (outcome.kind === 'refused') outcome.leg.socket.destroy();
      const anew = { ...opening, decided: this.#options.decider(route, subject) };
      return this.#enter(incoming, client, early, anew);
    }
    if (outcome.kind === 'failed') {
      const { code, detail } = outcome;
      return this.#refuse(client, early, code, { ...about, detail });
    }
    const fromClient = early.take();
    if (outcome.kind === 'refused') {
      return this.#passOnRefusal(client, opening, about, outcome);
    }
    const session = new Session(opening, client, outcome.leg, this);
    this.sessions.add(session);
    if (comparison === null) this.#overhear(session);
    client.write(acceptance(fieldsToClient(outcome.answer, context, primary)));
    session.start(comparison, fromClient, outcome.early);
    if (comparison !== null && !singleUse) this.#standTwinBeside(opening, client);
    this.#options.observer.sessionOpened(
      name,
      primary,
      decided.decision.reason,
      performance.now() - startedAt,
    );
    // A connection that was accepted before the shutdown: told to come again, as the others are, by a
    // code that clients know, and not refused as if the service were down.
    if (this.draining || startedAt < this.#endBeforeMs) endForRestart(session);
    // What decides has changed while the service was dialled.
    else if (changes !== this.#changes) this.#catchUp(session);
  }

  #catchUp(session: Session): void {
    const runs = [...this.#rollbacks].filter(({ routes }) => routes.has(session.route));
    // Whoever has no part in a rollback is none of its business.
    const leaves = [...runs.map(run => this.#rollBack(session, run)), this.#reconsider(session)];
    if (leaves.includes('goodbye')) session.answerGoodbye();
    else if (leaves.includes('reconnect')) endForRestart(session);
  }

  /** A bypass leaves alone what is open; whose candidate has not answered yet is as new as who comes behind it. */
  #isBypassed({ route, subject, decided }: Opening): boolean {
    const { primary, reason } = this.#options.decider(route, subject).decision;
    return reason === 'bypass' && primary !== decided.decision.primary;
  }

  /** Where somebody measures how legacy differs from itself, and there is a twin of it. */
  #standTwinBeside(opening: Opening, client: net.Socket): void {
    const { context, route, id, subject } = opening;
    const { twins, tap, observer } = this.#options;
    if (context.twin === null || !twins.take(route.name)) return;
    this.#twins.open({
      client,
      request: legRequest(opening, context.twin, true),
      tap: () => tap.stream({ route: route.name, id, format: 'websocket', subject, isTwin: true }),
      isWanted: () => twins.isOn(route.name),
      onEnd: end => observer.secondLegEnded(route.name, 'legacy', 'shadow', end),
    });
  }

  #compare(opening: Opening, plan: SecondLeg, listener: Session | null): Comparison {
    const { id, route, subject, singleUse } = opening;
    const { tap, counters, observer } = this.#options;
    return new Comparison({
      ...{ route, plan, singleUse, observer, listener, tails: this.tails },
      readingOn: this.#readingOn,
      breakers: this.#breakers,
      tap: tap.stream({ route: route.name, id, format: 'websocket', subject }),
      counters: side => counters.of(route.name, side),
      // Where the service is by now: a session outlives reloads, and the address that it began with may be nobody's.
      request: ({ side, role }) => {
        const { upstreams } = this.#options.context();
        return legRequest(opening, upstreams[side], route.shadowMark && role === 'shadow');
      },
    });
  }

  #passOnRefusal(
    client: net.Socket,
    opening: Opening,
    about: RefusedRequest & { readonly route: string },
    { leg, answer, early }: LegAnswer<'refused'>,
  ): void {
    const { observer, logger } = this.#options;
    const { context, subject } = opening;
    const { status } = answer;
    observer.handshakeRefused(about.route, leg.side, status, subject);
    const { responseTimeoutMs } = context.upstreams[leg.side].config;
    const fields = fieldsToClient(answer, context, leg.side);
    if (hasBody(answer) && this.#withholdsRefusal(opening, leg.side)) {
      relayRefusalAlone(client, leg, answer, fields);
      return logger.info({ ...about, status }, 'a service refused an upgrade');
    }
    if (relayRefusal(client, leg, { answer, fields, early }, responseTimeoutMs)) {
      return logger.info({ ...about, status }, 'a service refused an upgrade');
    }
    observer.failed(about.route, leg.side, 'upstream-invalid');
    logRefusal(logger, 'an upgrade was refused', 'upstream-invalid', about);
    refuseSocket(client, 'upstream-invalid');
  }

  /** Nobody looks into the body of a refusal; where that side is guarded it is counted, and may be withheld. */
  #withholdsRefusal({ decided, ...about }: Opening, side: Side): boolean {
    const { primary, isolation, otherIsolation } = decided.decision;
    const mode = side === primary ? isolation : otherIsolation;
    const told = { watch: this.#options.isolation, compared: () => false };
    const facts = guardFacts(about, side, mode, told);
    return facts !== null && new IsolationGuard(facts).uninspectable('refusal') === 'withhold';
  }

  #refuse(client: net.Socket, early: EarlyBytes, code: ErrorCode, about: RefusedRequest): void {
    early.take();
    // A client that left is nobody's failure, and there is nobody to answer.
    if (early.gone) return void client.destroy();
    // What was under way for it was given up, and failed of that.
    const why = early.tooMuch ? 'too-much-early' : code;
    this.#options.observer.failed(about.route ?? 'none', about.side ?? 'none', why);
    logRefusal(this.#options.logger, 'an upgrade was refused', why, about);
    if (why === 'exhausted') this.#options.onExhausted();
    refuseSocket(client, why);
  }

  guardOf(session: Session): StreamGuard | null {
    const { facts, leg, isolation } = session;
    if (isolation === 'observe') return null;
    // An event of which the judge has no copy is told by nobody else: not in its window, but at once.
    const compared = () => (session.comparison ?? session.ear)?.tap.hears(leg.side) === true;
    const told = { watch: this.#options.isolation, compared };
    const guard = guardFacts(facts, leg.side, isolation, told);
    return guard === null ? null : new StreamGuard({ ...guard, room: this.#held });
  }

  countersOf(route: string, side: Side): LaneCounters {
    return this.#options.counters.of(route, side);
  }

  act(session: Session, action: HandoverAction): void {
    this.#handovers.act(session, action);
  }

  hear(session: Session): void {
    const { heard } = session;
    session.heard = this.asked;
    let isOver = false;
    for (const [run, asked] of this.#unheard) {
      if (asked <= heard || !run.routes.has(session.route)) continue;
      const next = this.#rollBack(session, run);
      if (next === 'reconnect') this.#departures.add(session, { isUrgent: true });
      else if (next === 'goodbye') isOver = true;
    }
    // Not before it has joined all of them, and before anything else that the candidate says.
    if (isOver) session.answerGoodbye();
  }

  reconcileNow(session: Session): void {
    this.#handovers.reconcileNow(session);
  }

  secondWanted(session: Session, plan: SecondLeg): void {
    this.#handovers.secondWanted(session, plan);
  }

  secondDialled(session: Session): void {
    this.#handovers.secondDialled(session);
  }

  secondOpened(session: Session, side: Side): void {
    this.#handovers.secondOpened(session, side);
  }

  secondLost(session: Session, side: Side, refusesClient: boolean): void {
    this.#handovers.secondLost(session, side, refusesClient);
  }

  moved(session: Session, how: MoveKind): void {
    if (session.leg.side === 'legacy') {
      for (const run of session.rollbacks) run.moved(session, how);
    }
    const { route, subject } = session.facts;
    this.#options.observer.sessionMoved(route.name, session.leg.side, how, subject);
  }

  counted(counts: HandoverCounts): void {
    this.#options.observer.handoverCounted(counts);
  }

  ended(session: Session): void {
    const { facts, decision, leg, code, causedAt } = session;
    const cause = session.cause ?? 'client-lost';
    this.#handovers.forget(session);
    this.#departures.forget(session);
    for (const run of session.rollbacks) {
      if (cause === 'ended-by-proxy') run.closed(session);
      else run.left(session);
    }
    const route = facts.route.name;
    this.sessions.delete(session);
    const { observer } = this.#options;
    observer.sessionClosed(route, leg.side, cause, code, facts.subject);
    const outlasted = session.comparison?.outlasted(cause, code, causedAt) ?? [];
    for (const [despite, side] of outlasted) observer.sessionKept(route, side, despite);
    session.overhear(null);
    this.#endComparison(session, cause);
    this.#options.logger.info(
      {
        session: facts.id,
        requestId: facts.request.requestId,
        traceparent: facts.request.traceparent,
        route,
        side: leg.side,
        reason: decision.reason,
        flags: session.decided.revision,
        cause,
        code,
        durationMs: Math.round(performance.now() - facts.startedAt),
        messagesToClient: session.messagesToClient,
        messagesToUpstream: session.toUpstream.messages,
      },
      'session ended',
    );
  }

  /** Some services accept whoever comes, and say then that he may not. Of who was moved another one has let him in. */
  #endComparison(session: Session, cause: EndCause): void {
    const { comparison, facts, leg, code, causedAt, state } = session;
    if (comparison === null) return;
    const isIn = state.moved || causedAt - leg.openedAt >= LET_IN_MS;
    if (isIn || cause !== 'closed-by-upstream' || !showsTheDoor(code)) return comparison.end();
    const { side } = comparison;
    comparison.endRefused(() =>
      this.#options.observer.sessionKept(facts.route.name, side, 'let-in'),
    );
  }

  /** Lets nobody in any more and ends every session over `windowMs`. Settles when none is left. */
  async drain(windowMs: number): Promise<void> {
    this.draining = true;
    this.#readingOn.end();
    this.#twins.end();
    await this.endOpen(windowMs);
    while (this.sessions.size > 0 || this.connecting > 0) await pause(DRAIN_CHECK_MS);
  }

  /**
   * Ends the sessions that are open now with 1012, spread evenly over `windowMs`: clients that all
   * reconnect at once are an outage of their own. Resolves once all are told, or `signal` is aborted:
   * then the rest stays.
   */
  async endOpen(windowMs: number, signal?: AbortSignal): Promise<void> {
    const now = performance.now();
    this.#endBeforeMs = now;
    signal?.addEventListener('abort', () => {
      if (this.#endBeforeMs === now) this.#endBeforeMs = 0;
    });
    await paced([...this.sessions], windowMs, endForRestart, signal);
  }

  /**
   * Asks for the decision of every open session anew: whoever is served by another side now moves as
   * its route says, and what is compared with follows. Gives way to traffic often; another change in the
   * middle of it begins it anew, and a rollback does not stop it. What rollbacks do not hold any more they let go of
   * first.
   */
  async reconsider(): Promise<void> {
    for (const rollback of this.#rollbacks) rollback.letGo();
    this.#changes += 1;
    this.#visits += 1;
    this.#callBack([...this.#openings].filter(({ opening }) => this.#isBypassed(opening)));
    const visits = this.#visits;
    const visit = (session: Session): void => {
      if (this.#reconsider(session) === 'reconnect') this.#departures.add(session);
    };
    await inSlices(this.sessions, visit, () => visits === this.#visits);
  }

  /**
   * Everything of those routes that the candidate serves goes to legacy: from here on no message of the candidate's
   * begins, since every session hears of it before anything is done with it, and the silent ones in slices.
   */
  rollBack(run: RollbackRun): void {
    this.#changes += 1;
    this.#rollbacks.add(run);
    const waiting = [...this.#openings].filter(under => isAskingCandidate(under, run.routes));
    for (const { over } of waiting) over.push(run.opening());
    this.#callBack(waiting);
    this.asked += 1;
    this.#unheard.set(run, this.asked);
    // To look at thousands takes milliseconds, in which nobody would be served.
    this.#handovers.lookAt(
      this.sessions,
      session => session.hear(),
      () => {
        this.#unheard.delete(run);
        run.allFound();
      },
    );
  }

  /** Whom the candidate has not let in yet goes to legacy; it may never answer. Whoever was called back has his turn. */
  #callBack(waiting: readonly UnderWay[]): void {
    for (const under of waiting) {
      // A ticket that is spent with the candidate lets nobody in elsewhere.
      if (under.isCalledBack || under.opening.singleUse) continue;
      under.isCalledBack = true;
      this.#handovers.callBack(under);
    }
  }

  /** Others that were to be looked at when it began are looked at now. */
  rolledBack(run: RollbackRun): void {
    this.#rollbacks.delete(run);
    // Not in the middle of the move that was the last of it.
    queueMicrotask(() => void this.reconsider());
  }

  /** `reconnect`: it is to be told to come again; `goodbye`: it has come to its end, and is to be answered. */
  #rollBack(session: Session, run: RollbackRun): 'reconnect' | 'goodbye' | undefined {
    if (session.isLeaving) return;
    if (session.cause !== null) return this.#seeOff(session, run);
    const { phase, wanted } = session.state;
    const isThere = session.leg.side === 'candidate';
    if (!isThere && phase === 'steady') {
      // At once: its time to go there, or to be dialled for, could come before its turn.
      if (wanted === 'candidate') this.#handovers.cancel(session);
      return;
    }
    // In the middle of a move to the candidate as well: it stays, unless legacy has died.
    const isOnItsWay = phase !== 'steady' || wanted === 'legacy';
    const isUnderWay = session.rollbacks.length > 0 && isOnItsWay;
    run.join(session);
    // It goes as the first one said; what is decided for it is asked for when it is there.
    if (isUnderWay) {
      // Behind its cut already: what waits for its client waits by this one as well.
      if (isThere && phase === 'held') run.cut(session);
      return;
    }
    // Again: it keeps its turn, or has a new one.
    if (isThere && !this.#isToMove(session)) return 'reconnect';
    this.#handovers.moveAtOnce(session, 'legacy');
  }

  /** It has come to its end already, and goes nowhere; but the candidate says nothing more. */
  #seeOff(session: Session, run: RollbackRun): 'goodbye' | undefined {
    const { leg, cut, lastWord, client } = session;
    if (leg.side !== 'candidate' || cut || lastWord || !client.writable) return;
    run.join(session);
    return 'goodbye';
  }

  #isToMove(session: Session): boolean {
    return session.facts.route.onSwitch === 'in-place' && this.#handovers.isMovable(session);
  }

  *#legsOnLegacy(): Generator<{ route: string; leg: Leg }> {
    for (const { route, leg, comparison } of this.sessions) {
      const mine = leg.side === 'legacy' ? leg : comparison?.leg;
      if (mine?.side === 'legacy') yield { route, leg: mine };
    }
  }

  /** It is still served by a side that is not to serve it, or by nobody. */
  #isToLeave(session: Session): boolean {
    if (session.isLeaving) return true;
    const { facts, leg, cause } = session;
    if (cause !== null) return false;
    return this.#options.decider(facts.route, facts.subject).decision.primary !== leg.side;
  }

  /** Or is going to be, once it hears of it. */
  #isRolledBack({ heard, route, rollbacks }: Session): boolean {
    if (heard === this.asked || rollbacks.length > 0) return rollbacks.length > 0;
    return [...this.#unheard.keys()].some(run => run.routes.has(route));
  }

  /** What a rollback of those routes would meet; `paceMs` without answers. */
  rollbackOutlook(routes: RouteScope): Omit<RollbackOutlook, 'answers'> {
    const count = { warm: 0, toDial: 0, notMovable: 0, refused: 0 };
    /** Of other routes, which are being rolled back already, and go first. */
    const before = { warm: 0, toDial: 0, notMovable: 0 };
    for (const session of this.sessions) {
      if (session.leg.side !== 'candidate') continue;
      const isAsked = routes.has(session.route);
      if (!isAsked && !this.#isRolledBack(session)) continue;
      // It has come to its end: its client has still to close, or to be told, and nothing is to be done.
      if (session.cause !== null) continue;
      const counts = isAsked ? count : before;
      if (!this.#isToMove(session)) counts.notMovable += 1;
      else if (session.state.second === 'legacy') counts.warm += 1;
      else counts.toDial += 1;
      if (isAsked && session.refused === 'in-doubt') count.refused += 1;
    }
    const { movesPerS } = this.#options.context().limits;
    // Who is still to be let in stands in line with those who are dialled for.
    const [asking, called] = [{ ...count }, { ...before }];
    for (const under of this.#openings) {
      if (under.opening.singleUse) continue;
      if (isAskingCandidate(under, routes)) asking.toDial += 1;
      else if (under.isCalledBack) called.toDial += 1;
    }
    const lines = (['toDial', 'notMovable'] as const).filter(how => asking[how] > 0);
    const slowest = Math.max(0, ...lines.map(how => called[how] + asking[how]));
    return { ...count, paceMs: windowFor(slowest, movesPerS) };
  }

  /** `reconnect`: the session is to be told to come again. */
  #reconsider(session: Session): 'reconnect' | undefined {
    session.hear();
    // A rollback comes first.
    if (session.cause !== null || session.isLeaving || session.rollbacks.length > 0) return;
    const { route, subject } = session.facts;
    const decided = this.#options.decider(route, subject);
    const { primary, second, reason } = decided.decision;
    const goesTo = session.state.wanted;
    if (reason === 'bypass') {
      // Only what is new goes to the emergency lane; what is open stays as it is, and goes nowhere else.
      if (goesTo !== null && goesTo !== primary) this.#handovers.withdraw(session);
      return;
    }
    if (primary !== session.leg.side) {
      if (route.onSwitch === 'reconnect' || session.protocolsDiffer) return 'reconnect';
      if (route.onSwitch === 'in-place' && this.#handovers.isMovable(session)) {
        this.#handovers.move(session, primary);
      } else if (route.onSwitch === 'drain' && session.leaveBy === Number.POSITIVE_INFINITY) {
        session.leaveBy = performance.now() + this.#options.context().limits.leaveMs;
      }
      return;
    }
    if (goesTo !== null && !this.#handovers.cancel(session)) return;
    session.leaveBy = Number.POSITIVE_INFINITY;
    session.decided = decided;
    this.#standBeside(session, second);
  }

  /** Lets a session have that second leg, or none. */
  #standBeside(session: Session, plan: SecondLeg | null): void {
    if (session.comparison !== null) session.comparison.change(plan);
    else if (plan !== null) session.compare(this.#compare(session.facts, plan, session));
    else this.#overhear(session);
  }

  /** Nothing of it is compared: is what legacy sends heard all the same? */
  #overhear(session: Session): void {
    const { facts, decision, ear } = session;
    if (!decision.overhear || session.leg.side !== 'legacy') return session.overhear(null);
    if (ear !== null) return;
    const { id, route, subject } = facts;
    const about = {
      route: route.name,
      id,
      format: 'websocket',
      subject,
      primary: 'legacy',
    } as const;
    const tap = this.#options.tap.overhear(about);
    if (tap === null) return;
    const { leg, toUpstream } = session;
    session.overhear(new Overhearing(tap, leg.tracker, toUpstream.atMessageBoundary));
  }

  /** Those routes show the candidate nothing any more; open sessions ask for their decisions anew. */
  sever(routes: RouteScope): void {
    this.#readingOn.sever('candidate', routes);
  }

  /** Cuts off what is left. */
  close(): void {
    clearInterval(this.#sweeper);
    this.#handovers.close();
    this.#departures.close();
    this.#readingOn.end();
    this.#twins.end();
    for (const session of this.sessions) session.destroy();
    // Behind that: who has not heard yet is in their tallies as well.
    this.#unheard.clear();
  }
}

function isAskingCandidate({ opening }: UnderWay, routes: RouteScope): boolean {
  const { route, decided } = opening;
  return routes.has(route.name) && decided.decision.primary === 'candidate';
}

function endForRestart(session: Session): void {
  session.end(ERRORS.draining.close, 'service restart');
}

/** The client's own handshake as the service gets it: its key, subprotocols and credentials. */
function legRequest({ request, id }: Opening, upstream: Upstream, isMarked: boolean): LegRequest {
  const fields = fieldsFor(
    upstream,
    request,
    // No extension is offered: compressed frames could be neither followed nor compared. And nothing is to be awaited.
    name => name === 'sec-websocket-extensions' || name === 'expect',
  );
  return {
    upstream,
    key: fieldValues(request.headers, 'sec-websocket-key')[0] ?? '',
    offered: offeredProtocols(request.headers),
    head: writeHead(`GET ${targetFor(upstream, request.target)} HTTP/1.1`, [
      ...fields,
      'Upgrade',
      'websocket',
      'Connection',
      'Upgrade',
      'X-Cutover-Session',
      id,
      ...(isMarked ? ['X-Cutover-Role', 'shadow'] : []),
    ]),
  };
}

/** The service's own 101 as the client gets it; it fits, since the service saw the client's key. */
function acceptance(fields: readonly string[]): Buffer {
  return writeHead('HTTP/1.1 101 Switching Protocols', [
    'Upgrade',
    'websocket',
    'Connection',
    'Upgrade',
    ...fields,
  ]);
}
