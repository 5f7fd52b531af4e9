// Where traffic and control meet: what the lanes need of the rest of the program, and what they show
// of themselves. `main` connects both ends; neither imports the other.
import type { MessagePort } from 'node:worker_threads';
import type { RouteConfig } from './config/schema.ts';
import type { ErrorCode } from './errors.ts';
import type { CompareRules } from './rules/compare/rules.ts';
import type { Decision, SecondLeg, Side, Subject } from './rules/decide.ts';
import type { EvidenceDrop } from './rules/evidence-batch.ts';
import type { UninspectableBecause } from './rules/isolation/inspect.ts';
import type { IsolationBooks } from './rules/isolation/isolation-books.ts';
import type { MarkerSearch } from './rules/isolation/marker.ts';
import type { Heard } from './rules/isolation/turns.ts';
import type { NoiseCounts } from './rules/noise-tally.ts';
import type { Books } from './rules/pairing/books.ts';
import type { LegEnd } from './rules/pairing/legs.ts';
import type { SecondLegEnd } from './rules/second-leg-end.ts';
import type { FrameTracker, StopAt } from './wire/frames.ts';
import type { RawHeaders } from './wire/headers.ts';

/** A decision with the revision of the flags it was made on, for logs and `explain`. */
export interface Decided {
  readonly decision: Decision;
  readonly revision: string;
}

/** Asked once per request or connection. Synchronous, never throws, never waits. */
export type Decider = (route: RouteConfig, subject: Subject | null) => Decided;

/** How a WebSocket session ended. */
export type EndCause =
  /** A close frame came from the client or from the service. */
  | 'closed-by-client'
  | 'closed-by-upstream'
  /** TCP ended without a close frame. */
  | 'client-lost'
  | 'upstream-lost'
  /** A peer took no bytes for `limits.stallMs`, or did not follow a close in `limits.closeMs`. */
  | 'client-stalled'
  | 'upstream-stalled'
  /** The proxy ended it: shutdown, bypass. */
  | 'ended-by-proxy';

/**
 * What a session's second leg did that its primary did not: it ended so, or (`sooner`) its service ended it up to 5 s
 * before the primary's did, which had said more by then. `let-in`: it opened, and the primary's service refused its client.
 */
export type KeptDespite = SecondLegEnd | 'sooner' | 'let-in';

/** How many second legs on that side ended so, sessions' and requests' that were shown; or how many sessions had one. */
export interface SecondLegsEnded {
  readonly route: string;
  readonly side: Side;
  readonly cause: KeptDespite;
  readonly count: number;
}

/** How a live session came to another leg: one that stood by, one dialled for it, or for want of its own. */
export type MoveKind = 'in-place' | 'redialled' | 'failover';

/** What a handover could not do without a doubt. */
export interface HandoverCounts {
  /** Messages of the client that only the old primary has seen. */
  readonly unreplayed: number;
  /**
   * Events that were delivered though nobody can say whether the client had them, or had all before them; and those
   * that could not be, since their beginning is gone.
   */
  readonly unknown: number;
  /** Events that the old primary left out and the new one had sent before: not delivered late. */
  readonly missing: number;
}

/** Told about every thing worth a metric. Called on the client's path: must be cheap. */
export interface TrafficObserver {
  /** The 101 went to the client; `handshakeMs` is from the client's request to there. */
  sessionOpened(route: string, side: Side, reason: string, handshakeMs: number): void;
  /** `code` is the close code that was seen, 1006 without one (RFC 6455 7.1.5); `subject` as far as it is known. */
  sessionClosed(
    route: string,
    side: Side,
    cause: EndCause,
    code: number,
    subject: Subject | null,
  ): void;
  /** The service itself refused the handshake with this HTTP status; `subject` as far as it is known. */
  handshakeRefused(route: string, side: Side, status: number, subject: Subject | null): void;
  /** Turned away or failed with a code of the error table; route `none` before one is known. */
  failed(route: string, side: Side | 'none', code: ErrorCode): void;
  /** A live session is served by that side from now on. */
  sessionMoved(route: string, to: Side, how: MoveKind, subject: Subject | null): void;
  handoverCounted(counts: HandoverCounts): void;
  /** A second leg could not be had, or is over. */
  secondLegEnded(route: string, side: Side, role: SecondLeg['role'], end: SecondLegEnd): void;
  /**
   * A session is over that its primary kept, though a second leg on that side had ended so and its client had not
   * left: once for each cause. What both services ended within seconds, after as many messages since the second leg
   * came, is no such session.
   */
  sessionKept(route: string, side: Side, despite: KeptDespite): void;
  /**
   * A plain HTTP answer went out; `durationMs` from request to its last byte. `by` the proxy: it failed itself, and the
   * service was not asked, or not heard.
   */
  requestDone(
    route: string,
    side: Side,
    status: number,
    durationMs: number,
    by: 'service' | 'proxy',
  ): void;
}

/** Told what the lanes' guards see. Called on the client's path: must be cheap. */
export interface IsolationWatch {
  /**
   * False: by legacy's own streams the routing fields of the route do not hold the names that its users go by
   * here, so what they say proves nothing and is left alone.
   */
  fits(route: string): boolean;
  /** Another user's data was on its way to a client, and did not reach him as it was. */
  prevented(event: Prevented): void;
  /** A message of the client's own named others beside him, in a list, and reached him without their names. */
  narrowed(route: string, side: Side): void;
  /** Looking, or telling, failed of itself. Must not throw. */
  failed(route: string, error: unknown): void;
  /** A message could not be looked into; withheld or passed on as the route says. */
  uninspected(route: string, side: Side, because: UninspectedBecause, withheld: boolean): void;
}

/** An event with a routing field that names somebody else, stopped in the lane. */
export interface Prevented {
  readonly route: string;
  readonly side: Side;
  /** Of the session, or of the request. */
  readonly session: string;
  /** To whom it was on its way. */
  readonly subject: Subject;
  /** JSON pointer to the first such field. */
  readonly path: string;
  readonly eventType: string;
  /** Whom that field names, as in `Contamination`. Nobody's business but a pseudonym's: never logged, never kept. */
  readonly owner: string | null;
  /** As there. */
  readonly names?: readonly string[];
  readonly outcome: 'sanitized' | 'blocked';
  /** The judge has a copy of it, and will say so, too. */
  readonly compared: boolean;
  /** When it came (epoch ms), of what a handover has handed over later: the judge may have told of it by then. */
  readonly cameAt?: number;
}

/**
 * As the rules say it, or: no room to hold it, frames that can not be followed, a fault in looking, the body with which
 * a service refuses a handshake.
 */
export type UninspectedBecause =
  | UninspectableBecause
  | 'no-room'
  | 'unframeable'
  | 'failed'
  | 'refusal';

/** Running totals of one route and side; plain numbers, counted on the client's path. */
export interface LaneCounters {
  sessionsOpen: number;
  /** Answers under way, and those of them that are streams of events. */
  answersOpen: number;
  streamsOpen: number;
  /** Of routes: what WebSockets carry, and bodies of HTTP; the bypass counts none. */
  bytesToClient: number;
  bytesToUpstream: number;
  /** Plain HTTP requests that were answered. */
  requests: number;
  /** Data messages begun (text and binary, not continuations or control frames). */
  messagesToClient: number;
  messagesToUpstream: number;
  /** Shadows and standbys of sessions and streams that the other side serves. */
  secondLegsOpen: number;
}

/** What became of the sessions that a rollback found on the candidate. */
export interface SessionTally {
  readonly affected: number;
  /** Moved to a leg that stood by. */
  readonly inPlace: number;
  /** Moved to a leg that was dialled for it. */
  readonly redialled: number;
  /** Told to come again (1012), because they could not be moved, or their route says so. */
  readonly closed: number;
  /** Their client, or the candidate, ended them meanwhile. */
  readonly left: number;
  /** Legacy could not be had, or refuses everybody: the candidate serves them still, and legacy is tried again. */
  readonly failed: number;
  readonly pending: number;
}

/** The same for HTTP: answers and event streams that the candidate was giving. */
export interface AnswerTally {
  readonly affected: number;
  /** Over by themselves in the time of grace. */
  readonly finished: number;
  /** Ended: streams behind an event, answers cut off. */
  readonly ended: number;
  readonly pending: number;
}

/** A rollback under way in the lanes. */
export interface RollbackProgress {
  /** Settles once all that it concerns are found: until then there are more than `sessions` says. */
  readonly found: Promise<void>;
  readonly sessions: SessionTally;
  /** Of those that failed, whom legacy has refused, though it has let in nobody of late: it may refuse everybody. */
  readonly refused: number;
  readonly answers: AnswerTally;
  /** When the last byte of the candidate's was handed to a client's socket since (ms, `performance.now`). */
  readonly lastCandidateByteAt: number | null;
  /**
   * Bytes that waited in this process when the candidate's last one was handed over, of all clients together. What a
   * kernel or a network holds is not among them.
   */
  readonly queuedBytes: number;
  /** Settles when all are found and nothing is pending, or by `end`. */
  readonly done: Promise<void>;
  /** What is pending stays so; it is served on as decided, without being watched. */
  end(): void;
}

/** Which routes: by name, since open sessions keep one that a new configuration no longer has. */
export interface RouteScope {
  has(route: string): boolean;
}

/** What a rollback of some routes would meet, as of now. */
export interface RollbackOutlook {
  /** Sessions that the candidate serves: with a leg that stands by, without one, and not to be moved. */
  readonly warm: number;
  readonly toDial: number;
  readonly notMovable: number;
  /** Whom legacy has refused in a rollback, though it has let in nobody of late: they are dialled for again. */
  readonly refused: number;
  /** Event streams and other answers under way. */
  readonly answers: number;
  /**
   * Until the last one is told or dialled; who is being rolled back already, whatever his route, goes before. A dial
   * takes its own time besides.
   */
  readonly paceMs: number;
}

/** How short descriptors were: few were left, or none to dial a service. */
export type Shortage = 'low' | 'exhausted';

/** What the operator's side can ask of traffic at any time. */
export interface TrafficView {
  /** One entry per route and side that has seen traffic. */
  counters(): Iterable<{ route: string; side: Side; counters: Readonly<LaneCounters> }>;
  /** Open sessions and streams of a route: whom each serves and from which side. */
  sessionsOf(route: string): Iterable<{ id: string; subject: Subject | null } & Heard>;
  /** True while a session or stream of the route is open that has a leg there. */
  hasLeg(route: string, side: Side): boolean;
  /** True while a session is open, or an answer under way, that comes from there. */
  serves(route: string, side: Side): boolean;
  /**
   * Begins to end the sessions and streams of routes, spread over `windowMs`, sessions also if they
   * open only now for a client that has asked before. Returns how many are open.
   */
  endOpen(windowMs: number): number;
  /** What `endOpen` has begun comes to its end: those that it has not told yet stay. */
  stopEnding(): void;
  /**
   * Takes everything of these routes that the candidate serves to legacy, at once where a leg stands by.
   * The decisions must say legacy by then. `sever`: they say that the candidate is shown nothing either.
   * `routes` is asked again later: what has been released by then goes where flags say (`reconsider`).
   */
  rollBack(routes: RouteScope, how?: { readonly sever?: boolean }): RollbackProgress;
  rollbackOutlook(routes: RouteScope): RollbackOutlook;
  /** Asks for every open session's and stream's decision anew, once rollbacks have let go of what they do not hold any more. */
  reconsider(): Promise<void>;
  /** Sessions whose handshake is under way. */
  readonly connecting: number;
  /** Idle HTTP connections of clients that gave way where descriptors were short: running totals. */
  readonly letGo: Readonly<Record<Shortage, number>>;
  readonly draining: boolean;
}

/** It was not sent at all: it found too many under way, or its service was to get nothing any more when it had its turn. */
export type NotSent = 'overload' | 'severed';
/** Status of an answer, a code of the error table, or why there is none. */
export type WriteOutcome = number | ErrorCode | NotSent;

/**
 * Why a write reached one service and not the other: `second-refused` and `primary-refused` go by
 * their answers; `too-large` could not be held, `overload` found too many second writes under way,
 * `severed` was still to be sent when a rollback severed the candidate.
 */
export const SPLIT_CAUSES = [
  'second-refused',
  'primary-refused',
  'too-large',
  'overload',
  'severed',
] as const;
export type SplitCause = (typeof SPLIT_CAUSES)[number];

/** A write that one side took and the other did not. No body, no path, no user. */
export interface WriteSplit {
  readonly route: string;
  readonly cause: SplitCause;
  /** The idempotency key that both got; null where the body was not held. */
  readonly key: string | null;
  /** SHA-256 of the body, hexadecimal, and its length. */
  readonly digest: string | null;
  readonly bytes: number | null;
  readonly primary: { readonly side: Side; readonly outcome: WriteOutcome };
  readonly second: { readonly side: Side; readonly outcome: WriteOutcome } | null;
}

/** Where writes are noted. Called on the client's path: must not wait. */
export interface WriteLedger {
  /** A write goes out; one to `both` ends by `agreed` or by `split`. */
  begun(route: string, to: Decision['writeTo']): void;
  /** Both services took it, or neither did. */
  agreed(route: string): void;
  split(split: WriteSplit): void;
}

export type EvidenceHand = (line: MessagePort, examples: number) => void;

/** Where findings are kept, in a thread of its own. */
export interface EvidenceSink {
  /**
   * Calls `hand` with a line for a judge's thread, to be given over in a transfer list and to
   * `EvidenceLine.use`, as is how many examples of a kind are wanted: at once, and again whenever that
   * changes or the store's thread had to begin anew. The result ends that. A judge that begins anew is
   * supplied anew.
   */
  supply(hand: EvidenceHand): () => void;
  /** Running totals of examples, as of the last batch. */
  readonly counts: EvidenceCounts;
}

export interface EvidenceCounts {
  readonly kept: number;
  readonly dropped: Readonly<Record<EvidenceDrop, number>>;
}

/** By what legacy is compared with itself; `redact` are pointers whose `*` stands for data. */
export interface NoiseAsked {
  readonly rules: CompareRules;
  readonly redact: readonly string[];
}

/** A session or stream whose two sides are to be compared. */
export interface StreamFacts {
  readonly route: string;
  readonly id: string;
  readonly format: 'websocket' | 'sse';
  readonly subject: Subject | null;
  /** Whose events the client is sent, where that does not change. */
  readonly primary?: Side;
  /** What legacy's twin says to the session of that id, in the candidate's place; see `TwinSampling`. */
  readonly isTwin?: boolean;
}

/** Copies of one session's streams for the judge. Called on the client's path: copies, never waits. */
export interface StreamTap {
  /**
   * Numbers of messages, by side, up to which both streams are known to be paired off, with nothing
   * waiting; null where that is not known. As of some milliseconds ago.
   */
  readonly synced: Readonly<Record<Side, number>> | null;
  /**
   * Lets `tracker` follow the bytes, copies what it consumed, and returns how much that was (see
   * `FrameTracker.push`). When the judge is behind, bytes are left out up to a message boundary.
   */
  follow(side: Side, view: Buffer, tracker: FrameTracker, stop?: StopAt): number;
  /** As `follow`, for a stream without frames. */
  bytes(side: Side, view: Buffer): void;
  /** False: what came last of that side was left out. */
  hears(side: Side): boolean;
  /**
   * From now on this side's stream is there; with `tracker` from the next message boundary on.
   * `agoMs`: its leg has been open for so long, though nobody compared. `isPrimary`: it has what its client says.
   */
  legOpened(side: Side, tracker?: FrameTracker, agoMs?: number, isPrimary?: boolean): void;
  /**
   * The client said something that `unheardBy` does not get: what answers it has no pair. `isMeant`: it was to get it,
   * and what it begins, that side does not send.
   */
  saidAlone(unheardBy: Side, isMeant: boolean): void;
  /** See `Tap.said`. */
  said(text: Buffer | null): void;
  /** The client holds both sides back, or no more: no event's window ends meanwhile. */
  held(isHeld: boolean): void;
  /** Nothing more comes from that side. */
  legClosed(side: Side, how: LegEnd): void;
  /** Calls `settled` once nothing that a side sent before it was closed waits for its pair on the other one. */
  onceSettled(settled: () => void): void;
  /** Both are at their end. Further calls do nothing. */
  close(): void;
}

/**
 * Copies of what legacy sends somebody who is not compared: by that the judge knows whose data is whose. Where it is
 * behind they are left out before anything else.
 */
export type OverheardTap = Pick<
  StreamTap,
  'follow' | 'bytes' | 'hears' | 'legOpened' | 'legClosed' | 'said' | 'close'
>;

/** A service's answer to one request, as far as it is compared. */
export interface AnswerSample {
  readonly status: number;
  readonly headers: RawHeaders;
  /** Null where there was more than is held for comparing, `overload` where there was no room. */
  readonly body: Buffer | null | 'overload';
  /** Whose planted marker was in it, if it is not his answer; null: nobody's, or nobody has looked. */
  readonly marker: string | null;
  /** `cut`: it broke off. `failed`: there was none, `status` is 0. `left`: the rest of it was not read. */
  readonly end: 'complete' | 'cut' | 'failed' | 'left';
  readonly code: ErrorCode | null;
  /** From the request to the answer's last byte, ms. */
  readonly ms: number;
}

/** A request that both services answer, or are to. */
export interface ExchangeFacts {
  readonly route: string;
  readonly id: string;
  readonly subject: Subject | null;
  readonly method: string;
  /** Whose answer the client is sent. */
  readonly primary: Side;
}

/** What both answered to one. */
export interface ExchangeSample extends ExchangeFacts {
  /** A write that went to both: compared by a rule of its own. */
  readonly isWrite: boolean;
  /** It asks for no more than what has changed, or for a part (RFC 9110 13.1, 14.2). Not given: nobody knows. */
  readonly asksForLess?: boolean;
  /** While it was under way a write of its user or connection was, too: either answer may hold it, or lack it. */
  readonly isBesideWrite?: boolean;
  readonly legacy: AnswerSample;
  readonly candidate: AnswerSample;
}

/** Where the lanes hand over what is to be compared. */
export interface Tap {
  stream(facts: StreamFacts): StreamTap;
  /** Null: nobody anonymous has anything of his own, or too many are heard. */
  overhear(facts: StreamFacts): OverheardTap | null;
  /** As `overhear`, of a plain answer. False: it is left out. */
  overhearAnswer(facts: ExchangeFacts, sample: AnswerSample): boolean;
  exchange(sample: ExchangeSample): void;
  /**
   * One of two answers, in which another user's data may be: looked at now, since the other one may be long in
   * coming, and compared by `exchange` if it comes. False: it is left out.
   */
  answered(facts: ExchangeFacts, side: Side, sample: AnswerSample): boolean;
  /** Looks for what a run has planted in what comes to that user; null where nothing was planted. */
  markersAt(subject: Subject | null): MarkerSearch | null;
  /**
   * A client has told a service that: both may say it again, to whomever. Null: something that can not be read, or
   * is too much to be. `isOverheard`: legacy alone is told, and says it again at most.
   */
  said(subject: Subject | null, text: Buffer | null, isOverheard?: boolean): void;
  /** The same of legacy asked twice, its second answer in the candidate's place; see `TwinSampling`. */
  twins(sample: ExchangeSample): void;
  /** A request that was to be compared and was sent to one service only. */
  unpaired(route: string, side: Side): void;
  /**
   * A write goes to both services. The result is to be told of each, once it has answered or will not any
   * more: until then events that the write causes may still come from there. `about`: whose they are; null where
   * nobody knows, so that they may be anybody's.
   */
  write(about: Subject | null): (answered: Side) => void;
  /**
   * That side's copy of a write is not sent: what it does not say for want of it is not its fault. To be called when the
   * other one has the write; the result is to be told once when that has answered it, or will not any more. It counts
   * until some time after that, and for a minute at most where it hangs.
   */
  writeLeftOut(side: Side): () => void;
}

/** Says when legacy is to be asked the same thing twice, to learn how often it differs from itself. */
export interface TwinSampling {
  /** Asked for each safe request that legacy serves, and each session that opens, on the client's path. */
  take(route: string): boolean;
  /** The route is being measured. */
  isOn(route: string): boolean;
}

/** What the operator's side can ask of the judge. */
export interface JudgeView {
  /** False while a thread that failed is replaced. */
  readonly running: boolean;
  readonly restarts: number;
  /** Events or answers at which comparing itself failed. */
  readonly failures: number;
  readonly lagMs: number;
  readonly bytesLeftOut: number;
  /** The same of those who are not compared, by whose streams it would know whose data is whose. */
  readonly bytesUnheard: number;
  /** Those of them that were one too many. */
  readonly streamsUnheard: number;
  books(): ReadonlyMap<string, Books>;
  isolationBooks(): ReadonlyMap<string, IsolationBooks>;
  /** True while legacy's own routing fields do not fit the names of its users. */
  identityMismatch(route: string): boolean;
  booksOf(session: string): Promise<Books | null>;
  /** Counts how often legacy differs from itself on a route, from nothing on; null ends it. */
  measureNoise(route: string, asked: NoiseAsked | null): void;
  /** What was counted so far; null while nothing is. */
  noise(route: string): Promise<NoiseCounts | null>;
}
