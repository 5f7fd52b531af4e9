// All sessions that are being compared, and the books of their routes. Lives in the judge's thread;
// knows neither threads nor sockets.
import { isUtf8 } from 'node:buffer';
import type { Loaded } from '../config/load.ts';
import type { AnswerSample, ExchangeFacts, ExchangeSample, StreamFacts } from '../ports.ts';
import {
  type AnswerPair,
  answerType,
  comparesBodies,
  hasFailed,
  type JudgedAnswers,
  judgeAnswers,
  tagOf,
} from '../rules/compare/answers.ts';
import { type CompiledRules, compileRules } from '../rules/compare/compile.ts';
import { IdClasses } from '../rules/compare/ids.ts';
import type { NoiseProfile } from '../rules/compare/noise.ts';
import { type CompareRules, DEFAULT_RULES } from '../rules/compare/rules.ts';
import { namesOf, SIDES, type Side } from '../rules/decide.ts';
import { typeOf } from '../rules/event-key.ts';
import { isWide } from '../rules/isolation/inspect.ts';
import type { IsolationRules } from '../rules/isolation/rules.ts';
import { type Books, bookFinding, bookLatencies, emptyBooks } from '../rules/pairing/books.ts';
import { type LateBySide, WriteTimes } from '../rules/pairing/late-writes.ts';
import { LeftOutWrites } from '../rules/pairing/left-out-writes.ts';
import { otherSide } from '../rules/pairing/legs.ts';
import { Pairing } from '../rules/pairing/pairing.ts';
import type { WaitingRoom } from '../rules/pairing/pending.ts';
import { RunBeginnings } from '../rules/pairing/run-beginnings.ts';
import { StreamEnds } from '../rules/pairing/stream-ends.ts';
import type { Finding, UnjudgedReason } from '../rules/verdict.ts';
import { answerOf, exactTextOf, plainBody, saidIn } from './answer.ts';
import { AnswerIds } from './answer-ids.ts';
import { type Batch, type Note, type ReadPiece, readBatch, type Said } from './batch.ts';
import type { ContaminationWatch } from './contamination-watch.ts';
import { JudgedStream } from './judged-stream.ts';
import { NoiseMeter } from './noise-meter.ts';
import { OverheardStream } from './overheard-stream.ts';
import type { WatchedEvent } from './owned-data.ts';
import { type OtherSays, StreamWatch, type WatchedFacts } from './stream-watch.ts';
import type { Taken } from './tap.ts';
import type { JudgedWrites } from './unanswered-writes.ts';

/** An event waits so long for its pair: services that are further apart are not the same to a user. */
export const WINDOW_MS = 5_000;
/** Events of one session that wait at a time; a user's agents send some dozens a second. */
const MOST_PENDING = 2_000;
/**
 * As `bytesOf` counts them, of one side of a session and of all; a message of empty objects takes twenty times its
 * length once it is parsed, and the thread has 512 MB.
 */
const MOST_PENDING_BYTES = 4 * 1_048_576;
const MOST_WAITING_BYTES = 20 * 1_048_576;

/** Answers that were looked at and wait for the other one; one that is forgotten is looked at, and told of, again. */
const MOST_ANSWERS = 2_000;

/** A shorter tag may be a count of versions, which another's content has as well. */
const LEAST_TAG = 16;
/** A part of an answer (RFC 9110 15.3.7). */
const PARTIAL = 206;
/** A service that fails says nothing of what it would have answered (RFC 9110 15.6). */
const LEAST_FAILURE = 500;
/** Nor does one that wants to be asked again later (RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585 4). */
const LATER = new Set([408, 425, 429]);

/** By route, the rules in force for what begins from now on. */
export type RouteRules = Readonly<Record<string, JudgedRoute>>;

export interface JudgedRoute {
  readonly compare: CompareRules;
  readonly noise: NoiseProfile | null;
  readonly isolation: IsolationRules;
}

/** The rules of every route of a configuration. */
export function rulesByRoute({ config, noise }: Pick<Loaded, 'config' | 'noise'>): RouteRules {
  return Object.fromEntries(
    config.routes.map(({ name, compare, isolation }) => [
      name,
      { compare, noise: noise[name] ?? null, isolation },
    ]),
  );
}

export interface DocketOptions {
  readonly rules: RouteRules;
  readonly watch: ContaminationWatch;
  /** `subject`: names of the user whose events they are. */
  readonly onFinding: (finding: Finding, subject: readonly string[]) => void;
  /** The judge's own failures, contained per piece or answer. */
  readonly onFailure: (error: unknown) => void;
}

/** Ids that one user's sessions share. */
interface SharedIds {
  readonly ids: IdClasses;
  streams: number;
}

export class Docket {
  readonly #options: DocketOptions;
  readonly #streams = new Map<number, JudgedStream>();
  /** What legacy sends to users who are not compared. */
  readonly #overheard = new Map<number, OverheardStream>();
  /** Number of the batch at hand, and whose streams' pieces are in it. */
  #batch = 0;
  readonly #touched: { readonly number: number; readonly stream: JudgedStream }[] = [];
  /** By route: of all its sessions and exchanges. To add them up ten times a second takes a session 2 µs. */
  readonly #books = new Map<string, Books>();
  readonly #ids = new Map<string, SharedIds>();
  readonly #answerIds = new AnswerIds();
  readonly #compiled = new Map<string, CompiledRules>();
  /** By route, what was learned of its streams and runs. */
  readonly #learned = new Map<string, { ends: StreamEnds; runs: RunBeginnings }>();
  readonly #leftOut = new LeftOutWrites(WINDOW_MS);
  readonly #writes = new WriteTimes(WINDOW_MS);
  /** A write has named somebody who was here, as he is named here: others would be other users. */
  #namesFit = false;
  /** By request, what was found in an answer whose other one has not come yet. */
  readonly #answers = new Map<string, LookedAt>();
  /** Of the sweep that is under way: sessions that are still to come. */
  #sweeping: {
    readonly streams: IterableIterator<JudgedStream>;
    readonly time: number;
    readonly due: JudgedWrites['due'];
  } | null = null;
  readonly #room: WaitingRoom = { bytes: 0, mostBytes: MOST_WAITING_BYTES };
  readonly noise = new NoiseMeter();

  constructor(options: DocketOptions) {
    this.#options = options;
    this.setRules(options.rules);
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  setRules(rules: RouteRules): void {
    for (const [route, { compare, noise, isolation }] of Object.entries(rules)) {
      this.#compiled.set(route, compileRules(compare, noise));
      this.#options.watch.setRules(route, isolation);
    }
  }

  take(batch: Pick<Batch, 'bytes' | 'length' | 'notes' | 'time'>): Taken {
    this.#options.watch.sentAt = batch.time;
    this.#batch += 1;
    let time = 0;
    readBatch(batch, {
      piece: piece => {
        const stream = this.#streams.get(piece.stream);
        if (stream === undefined) return this.#overhear(piece);
        time = piece.time;
        this.#touch(piece.stream, stream);
        this.#piece(piece, stream);
      },
      note: note => {
        const stream = 'stream' in note ? this.#streams.get(note.stream) : undefined;
        if (stream !== undefined && note.kind === 'leg-closed') this.#touch(note.stream, stream);
        try {
          this.#note(note);
        } catch (error) {
          this.#failed(stream, null, batch.time, error);
        }
      },
      said: said => this.#contained(() => this.#said(said)),
    });
    // Nothing waits for longer, and while the judge is behind there is no sweep that would tell it so.
    this.#options.watch.heardUntil(batch.time - 2 * WINDOW_MS);
    const marks: number[] = [];
    const settled: number[] = [];
    for (const { number, stream } of this.#touched.splice(0)) {
      stream.mark(marks, number, time, WINDOW_MS);
      if (stream.isSettled) settled.push(number);
    }
    // From one thread to the other in one piece.
    return { marks: new Float64Array(marks), settled };
  }

  /** Gives their verdict to events that waited long enough: by side, those that arrived by `due`. */
  sweep(time: number, writes: JudgedWrites): void {
    this.beginSweep(time, writes);
    this.sweepOn();
  }

  /** The same in parts, which `sweepOn` does. A sweep that is under way is brought to its end before. */
  beginSweep(time: number, { due, late }: JudgedWrites): void {
    this.sweepOn();
    this.#writes.note(time, late);
    this.#namesFit ||= this.#isAboutSomebodyHere(late);
    // Those in which nothing waits as well: they have lanes and contents to forget.
    this.#sweeping = { streams: this.#streams.values(), time, due };
  }

  #isAboutSomebodyHere({ legacy, candidate }: LateBySide): boolean {
    const named = new Set([...legacy.whose, ...candidate.whose]);
    if (named.size === 0) return false;
    const isNamed = (name: string) => named.has(name);
    return [...this.#streams.values()].some(({ facts }) => namesOf(facts.subject).some(isNamed));
  }

  /** Asked after each session. True: all have been swept, or there is nothing to sweep. */
  sweepOn(mayGoOn: () => boolean = () => true): boolean {
    if (this.#sweeping === null) return true;
    const { streams, time, due } = this.#sweeping;
    for (const stream of streams) {
      try {
        stream.sweep(time, WINDOW_MS, due);
      } catch (error) {
        this.#failed(stream, null, time, error);
      }
      if (!mayGoOn()) return false;
    }
    this.#sweeping = null;
    this.#options.watch.heardUntil(due.candidate);
    return true;
  }

  /** By route, as they are kept: they go on. */
  books(): ReadonlyMap<string, Books> {
    return this.#books;
  }

  /** Of one session, by its id. */
  booksOf(session: string): Books | null {
    return this.#sessionOf(session)?.pairing.books ?? null;
  }

  /** Everything gets its verdict. */
  close(time: number): void {
    for (const number of [...this.#streams.keys()]) this.#close(number, time);
  }

  #said({ stream, names, text, time, isOverheard }: Said): void {
    const { watch } = this.#options;
    if (isOverheard) return watch.heard(names, text, true);
    const pairing = this.#streams.get(stream)?.pairing;
    if (pairing?.hearsNames(time)) pairing.named(watch.unsaid(names, text), time);
    watch.heard(names, text);
  }

  /** Something of it is in the batch at hand. */
  #touch(number: number, stream: JudgedStream): void {
    if (stream.touchedBy === this.#batch) return;
    stream.touchedBy = this.#batch;
    this.#touched.push({ number, stream });
  }

  #piece(piece: ReadPiece, stream: JudgedStream): void {
    try {
      stream.piece(piece);
    } catch (error) {
      this.#failed(stream, piece.side, piece.time, error);
    }
  }

  /** Whatever it was, the events around it are not judged, and nobody else's are touched. */
  #failed(stream: JudgedStream | undefined, side: Side | null, time: number, error: unknown): void {
    this.#options.onFailure(error);
    this.#contained(() => stream?.failed(side, time));
  }

  #overhear(piece: ReadPiece): void {
    this.#contained(() => this.#overheard.get(piece.stream)?.piece(piece));
  }

  #contained(work: () => void): void {
    try {
      work();
    } catch (error) {
      this.#options.onFailure(error);
    }
  }

  #note(note: Note): void {
    switch (note.kind) {
      case 'open':
        return note.isOverheard
          ? this.#openOverheard(note.stream, note.facts)
          : this.#open(note.stream, note.facts);
      case 'leg-opened':
        return this.#streams.get(note.stream)?.legOpened(note);
      case 'leg-closed':
        return this.#streams.get(note.stream)?.legClosed(note);
      case 'gap-began':
        return this.#streams.get(note.stream)?.gapBegan(note);
      case 'gap-ended':
        return this.#streams.get(note.stream)?.gapEnded(note.side, note.leftOut, note.time);
      case 'said-alone':
        return this.#streams.get(note.stream)?.saidAlone(note);
      case 'said-unread':
        return this.#options.watch.unread(note.user, note.isOverheard);
      case 'said-unheard':
        return this.#options.watch.unheard();
      case 'said-before':
        return this.#options.watch.unreadByAll();
      case 'held':
        return this.#streams.get(note.stream)?.held(note.isHeld, note.time);
      case 'close':
        return this.#close(note.stream, note.time);
      case 'unpaired':
        return this.#unjudged(note.route, note.side, 'no-second');
      case 'writes-left-out':
        return note.isOver
          ? this.#leftOut.over(note.side, note.time)
          : this.#leftOut.begin(note.side, note.time);
      case 'exchange-left-out':
        for (const side of SIDES) this.#unjudged(note.route, side, 'overload');
        return;
      case 'answered':
        return this.#answered(note.facts, note.side, note.sample, note.time);
      case 'overheard':
        return this.#overheardAnswer(note.facts, note.sample, note.time);
      case 'exchange':
        return note.isTwins
          ? this.#twins(note.sample, note.time)
          : this.#exchange(note.sample, note.time);
    }
  }

  #exchange(sample: ExchangeSample, time: number): void {
    const { route } = sample;
    const books = this.#routeBooks(route);
    let finding: Finding;
    try {
      finding = this.#findingOf(sample, time);
    } catch (error) {
      for (const side of SIDES) this.#unjudged(route, side, 'judge-restart');
      throw error;
    }
    bookFinding(books, finding);
    bookLatencies(books, { legacy: tookMs(sample.legacy), candidate: tookMs(sample.candidate) });
    this.noise.add('candidate', finding, true);
    this.#options.onFinding(finding, namesOf(sample.subject));
  }

  #findingOf(sample: ExchangeSample, time: number): Finding {
    const key = idKey(sample);
    const plain = plainBodies(sample);
    const pair = pairOf(sample, plain, this.#idsIn(sample, key), time);
    const judged = judgeAnswers(this.#rulesOf(sample.route), pair);
    const { hasAdded, ...found } = judged;
    this.#answerIds.learned(key);
    const excuse = this.#excuseOf(sample, time);
    if (this.#isAnothers(sample, pair, plain, judged, excuse !== null))
      return { ...found, verdict: 'contaminated', because: null };
    // A failure is none for want of a write.
    const isExcused =
      excuse !== null && found.verdict === 'mismatch' && !SIDES.some(side => hasFailed(pair[side]));
    return isExcused ? { ...found, verdict: 'unjudged', because: excuse } : found;
  }

  /** Why two answers may differ, and one of them not hold what the other one has. */
  #excuseOf({ isBesideWrite }: ExchangeSample, atMs: number): UnjudgedReason | null {
    if (isBesideWrite === true) return 'beside-write';
    return SIDES.some(side => this.#leftOut.mayExplain(side, atMs)) ? 'write-left-out' : null;
  }

  /** In nobody's books: only the noise in it is of interest. */
  #twins(sample: ExchangeSample, time: number): void {
    const rules = this.noise.rulesOf(sample.route);
    if (rules === null) return;
    // What legacy makes up for one answer is no other one's.
    const pair = pairOf(sample, plainBodies(sample), new IdClasses(), time);
    this.noise.add('twin', judgeAnswers(rules, pair), true);
  }

  /** Whether one of two answers holds another user's data. */
  #isAnothers(
    sample: ExchangeSample,
    pair: Pick<AnswerPair, Side>,
    plain: PlainBodies,
    { verdict, hasAdded, eventType, at }: JudgedAnswers,
    mayLack: boolean,
  ): boolean {
    const known = this.#answers.get(sample.id);
    this.#answers.delete(sample.id);
    const watch = known?.watch ?? this.#watchOf(sample);
    if (watch === null) return false;
    const isKnown = !mayLack && isHeard(sample.legacy, plain.legacy);
    watch.askOfLegacy(() => isKnown);
    const read = (side: Side) => {
      const value = saidIn(plain[side], pair[side].body);
      return { ...{ value, plain: plain[side] }, sample: sample[side] };
    };
    const said: Partial<Record<Side, string | null>> = { ...known?.said };
    for (const side of SIDES) {
      if (said[side] !== undefined) continue;
      const isFirst = said[otherSide(side)] === undefined;
      const other = isFirst ? 'maybe' : side === 'candidate' ? legacySays(sample, pair) : 'nothing';
      said[side] = this.#lookInto(watch, sample, side, read(side), at, other);
    }
    // What both answered alike is no difference between them: an outbox names others. Of one that did not send it
    // again nobody knows.
    if (said.legacy !== said.candidate) {
      const what = said.candidate ?? '';
      if (isKnown) watch.differs(what);
      if (!watch.isLeftInDoubt(what)) return pair.candidate.status !== 304;
    }
    const says = legacySays(sample, pair);
    if (says === 'the-same' || areAlike(plain)) return false;
    const isCompared = comparesBodies(this.#rulesOf(sample.route), sample.isWrite);
    // What was found alike says nothing, but for what the candidate may add.
    if (isCompared && verdict !== 'mismatch' && !hasAdded) return false;
    const byIdsAlone = isCompared && verdict !== 'mismatch';
    const eventOf = (side: Side) =>
      this.#answerEvent(sample.route, read(side).value, sample[side].status, eventType);
    // Of what legacy did not get to say nobody knows, nor of numbers that each service makes up for itself.
    const isPart = says === 'unchanged' || pair.legacy.status === PARTIAL;
    const inDoubt = !isCompared || isPart || !isKnown;
    return watch.isOthers(eventOf('candidate'), eventOf('legacy'), at, { byIdsAlone, inDoubt });
  }

  /** Of two answers the one that came first, or alone. */
  #answered(facts: ExchangeFacts, side: Side, sample: AnswerSample, at: number): void {
    const watch = this.#answers.get(facts.id)?.watch ?? this.#watchOf(facts);
    if (watch === null) return;
    watch.askOfLegacy(() => false);
    const plain = plainBody(sample, facts.method);
    const value = saidIn(plain, answerOf(sample, plain).body);
    const what = this.#lookInto(watch, facts, side, { plain, value, sample }, at, 'maybe');
    const said = { ...this.#answers.get(facts.id)?.said, [side]: what };
    this.#answers.set(facts.id, { watch, said });
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > MOST_ANSWERS && oldest !== undefined) this.#answers.delete(oldest);
  }

  /** Legacy's, to somebody who is not compared. */
  #overheardAnswer(facts: ExchangeFacts, sample: AnswerSample, at: number): void {
    const watch = this.#watchOf(facts, true);
    const plain = plainBody(sample, facts.method);
    // A download is nothing that could not be looked into: nobody would have compared it.
    if (watch === null || (plain === undefined && sample.marker === null)) return;
    const value = saidIn(plain, answerOf(sample, plain).body);
    this.#lookInto(watch, facts, 'legacy', { plain, value, sample }, at, 'nothing');
  }

  /** As `StreamWatch.arrived`. */
  #lookInto(
    watch: StreamWatch,
    { route, method }: ExchangeFacts,
    side: Side,
    { plain, value, sample }: ReadAnswer,
    at: number,
    other: OtherSays,
  ): string | null {
    const type = answerType(method, sample.status);
    if (plain === null) return null;
    if (plain === undefined) {
      const because = sample.body === null ? 'too-large' : 'coded';
      return watch.unread(side, because, sample.marker, at, other, type);
    }
    const form = { isBinary: isWide(plain) || !isUtf8(plain), type };
    const event = this.#answerEvent(route, value, sample.status, type);
    return watch.arrived(side, plain, event, form, at, other);
  }

  /** By the rules for what it is, or else for such answers: by those it is compared. */
  #answerEvent(route: string, value: unknown, status: number, answerType: string): WatchedEvent {
    const plan = this.#rulesOf(route).planOf(typeOf(value) || answerType);
    return { value, plan, status };
  }

  /** What legacy's twin says to a session, which lends what legacy says. */
  #openTwin(number: number, facts: StreamFacts): void {
    const { route, id, subject } = facts;
    const rules = this.noise.rulesOf(route);
    const session = this.#sessionOf(id);
    // Nobody measures any more: its pieces are nobody's.
    if (rules === null || session === undefined) return;
    const pairing = new Pairing({
      ...{ route, session: id, rules, subject: namesOf(subject), ids: new IdClasses() },
      ...{ windowMs: WINDOW_MS, maxPending: MOST_PENDING },
      ...{ maxPendingBytes: MOST_PENDING_BYTES, room: this.#room },
      onFinding: finding => this.noise.add('twin', finding, false),
    });
    session.tellTwin(pairing);
    this.#streams.set(number, new JudgedStream(facts, pairing, rules, null));
  }

  #sessionOf(id: string): JudgedStream | undefined {
    for (const stream of this.#streams.values())
      if (stream.facts.id === id && !stream.facts.isTwin) return stream;
    return undefined;
  }

  #openOverheard(number: number, facts: StreamFacts): void {
    const watch = this.#watchOf(facts, true);
    if (watch === null) return;
    const stream = new OverheardStream(facts, this.#rulesOf(facts.route), watch);
    this.#overheard.set(number, stream);
  }

  #open(number: number, facts: StreamFacts): void {
    if (facts.isTwin) return this.#openTwin(number, facts);
    const { route, id, subject } = facts;
    const watch = this.#watchOf(facts);
    const names = namesOf(subject);
    const learned = this.#learnedOf(route);
    const pairing = new Pairing({
      route,
      session: id,
      routeBooks: this.#routeBooks(route),
      rules: this.#rulesOf(route),
      subject: names,
      ids: this.#idsOf(facts).ids,
      windowMs: WINDOW_MS,
      ...{ leftOut: this.#leftOut, writes: this.#writes, runs: learned.runs },
      maxPending: MOST_PENDING,
      ...{ maxPendingBytes: MOST_PENDING_BYTES, room: this.#room },
      onFinding: finding => {
        this.noise.add('candidate', finding, false);
        this.#options.onFinding(finding, names);
      },
      ...(watch === null
        ? {}
        : {
            isOthers: (candidate, legacy, byIdsAlone) =>
              watch.isOthers(candidate, legacy, candidate.at, { byIdsAlone }),
            differs: ({ foreign, at }) => watch.differs(foreign ?? '', at),
            isHis: event => this.#namesFit && watch.isHis(event),
            isLeftInDoubt: ({ side, foreign, at }) =>
              side === 'candidate' && watch.isLeftInDoubt(foreign ?? '', at),
          }),
    });
    const lacksWrite = (side: Side, atMs: number) => this.#leftOut.mayExplain(side, atMs);
    const rules = this.#rulesOf(route);
    const { ends } = learned;
    this.#streams.set(number, new JudgedStream(facts, pairing, rules, watch, ends, lacksWrite));
  }

  /** Nobody anonymous has anything of his own. */
  #watchOf({ subject, ...facts }: WatchedFacts, isOverheard = false): StreamWatch | null {
    const { watch } = this.#options;
    const route = watch.route(facts.route);
    if (subject === null || route === undefined) return null;
    const rules = this.#rulesOf(facts.route);
    return new StreamWatch(watch, route, rules, { ...facts, subject }, isOverheard);
  }

  #close(number: number, time: number): void {
    this.#overheard.delete(number);
    const stream = this.#streams.get(number);
    if (stream === undefined) return;
    this.#streams.delete(number);
    try {
      stream.end(time);
    } catch (error) {
      this.#failed(stream, null, time, error);
    }
    if (stream.facts.isTwin) return this.#sessionOf(stream.facts.id)?.tellTwin(null);
    const key = idKey(stream.facts);
    const shared = this.#ids.get(key);
    if (shared === undefined) return;
    shared.streams -= 1;
    if (shared.streams === 0) this.#ids.delete(key);
  }

  #unjudged(route: string, side: Side, because: UnjudgedReason): void {
    const books = this.#routeBooks(route)[side];
    books.seen += 1;
    books.unjudged[because] += 1;
  }

  #rulesOf(route: string): CompiledRules {
    let rules = this.#compiled.get(route);
    if (rules === undefined) {
      rules = compileRules(DEFAULT_RULES);
      this.#compiled.set(route, rules);
    }
    return rules;
  }

  #learnedOf(route: string): { ends: StreamEnds; runs: RunBeginnings } {
    let learned = this.#learned.get(route);
    if (learned === undefined) {
      learned = { ends: new StreamEnds(), runs: new RunBeginnings() };
      this.#learned.set(route, learned);
    }
    return learned;
  }

  #routeBooks(route: string): Books {
    let books = this.#books.get(route);
    if (books === undefined) {
      books = emptyBooks();
      this.#books.set(route, books);
    }
    return books;
  }

  /** Of answers. Nobody anonymous comes back as the one who he was. */
  #idsIn({ subject }: ExchangeSample, key: string): IdClasses {
    const shared = this.#ids.get(key);
    if (shared !== undefined) return shared.ids;
    return subject === null ? new IdClasses() : this.#answerIds.of(key);
  }

  #idsOf(facts: StreamFacts): SharedIds {
    const key = idKey(facts);
    let shared = this.#ids.get(key);
    if (shared === undefined) {
      shared = { ids: new IdClasses(), streams: 0 };
      this.#ids.set(key, shared);
    }
    shared.streams += 1;
    return shared;
  }
}

interface LookedAt {
  readonly watch: StreamWatch;
  readonly said: Partial<Record<Side, string | null>>;
}

interface ReadAnswer {
  readonly plain: Buffer | null | undefined;
  readonly value: unknown;
  readonly sample: AnswerSample;
}

type PlainBodies = Readonly<Record<Side, Buffer | null | undefined>>;

/** Null of one that never ended: it was given up, and how long that took is the proxy's doing. */
function tookMs({ status, end, ms }: AnswerSample): number | null {
  return status === 0 || end !== 'complete' ? null : ms;
}

function plainBodies({ legacy, candidate, method }: ExchangeSample): PlainBodies {
  return { legacy: plainBody(legacy, method), candidate: plainBody(candidate, method) };
}

function pairOf(
  sample: ExchangeSample,
  plain: PlainBodies,
  ids: IdClasses,
  at: number,
): AnswerPair {
  const { route, id, method, isWrite, asksForLess = true, subject } = sample;
  return {
    ...{ route, id, method, isWrite, asksForLess, ids, at },
    legacy: answerOf(sample.legacy, plain.legacy),
    candidate: answerOf(sample.candidate, plain.candidate),
    textOf: side => exactTextOf(plain[side]),
    subject: namesOf(subject),
  };
}

/**
 * What legacy's answer says of a candidate's that names somebody else. Where legacy's client has the content already,
 * it is legacy's own if both call it by one tag. If not, it may be, and nobody has seen the candidate's; who is
 * served by the candidate has legacy asked without his tag (`asWhole` of the lane).
 */
function legacySays(
  { primary }: ExchangeSample,
  { legacy, candidate }: Pick<AnswerPair, Side>,
): OtherSays {
  if (legacy.status !== 304) return 'nothing';
  const tag = tagOf(legacy);
  if (tag !== null && tag.length >= LEAST_TAG && tag === tagOf(candidate)) return 'the-same';
  return primary === 'legacy' ? 'unchanged' : 'nothing';
}

/** Has legacy answered so that it is known whom it names? Not where it fails, has no time for it, or can not be read. */
function isHeard({ status, end }: AnswerSample, plain: Buffer | null | undefined): boolean {
  if (end !== 'complete' || plain === undefined || LATER.has(status)) return false;
  return status > 0 && status < LEAST_FAILURE;
}

/** Whatever a body says, both say it. */
function areAlike({ legacy, candidate }: PlainBodies): boolean {
  if (legacy === candidate) return true;
  if (legacy === null || legacy === undefined) return false;
  return candidate !== null && candidate !== undefined && legacy.equals(candidate);
}

/** Sessions of one user on one route share what is known of his ids; nobody anonymous shares anything. */
function idKey({ route, subject, id }: Pick<StreamFacts, 'route' | 'subject' | 'id'>): string {
  return JSON.stringify(subject === null ? [route, null, id] : [route, subject.id]);
}
