// The guard before an answer of HTTP: a JSON body, whatever it is said to be, is held until it is whole and
// looked into, a stream of events event by event, and everything else can only be passed on or refused.
import type { ErrorCode } from '../errors.ts';
import type { UninspectedBecause } from '../ports.ts';
import { answerType } from '../rules/compare/answers.ts';
import { isWide, MOST_INSPECTED_BYTES } from '../rules/isolation/inspect.ts';
import { codingsOf, decoded, decodedStart } from '../wire/content-coding.ts';
import { GatheredBytes } from '../wire/gathered-bytes.ts';
import { fieldValues, without } from '../wire/headers.ts';
import { EventGuard } from './event-guard.ts';
import type { AnswerSink } from './exchange.ts';
import type { HeldRoom } from './held-room.ts';
import { type GuardFacts, IsolationGuard, type Ruling } from './isolation-guard.ts';

const JSON_TYPE = /^(?:application|text)\/(?:[\w.-]+\+)?json\b/i;
/** Values one after another, each of which its client may wait for: held to the end they would be late. */
const JSON_LINES =
  /^[\w.-]+\/(?:[\w.-]+\+)?(?:x-)?(?:ndjson|jsonl|jsonlines|json-seq|stream\+json)\b/i;
const EVENT_STREAM = /^text\/event-stream\b/i;
/**
 * JSON is UTF-8 (RFC 8259 8.1), and a browser reads it so whatever this says. A client that believes it reads
 * the same where ASCII is itself, and may read something else in the others.
 */
const OTHER_CHARSET =
  /;\s*charset\s*=\s*"?(?!utf-?8|(?:us-)?ascii|iso[-_]?8859[-_]|latin|windows-?12|cp-?12)/i;
/**
 * So much of a body says whether it begins as JSON does: with more blanks, or in a coding that says nothing
 * until more of it is there, it is held until it is whole.
 */
const START_BYTES = 512;
/** Byte order mark. */
const MARK = Buffer.from('\uFEFF');
const NOTHING = Buffer.alloc(0);
/** They describe the bytes of the service's own body. */
const OF_THE_BODY: ReadonlySet<string> = new Set([
  'content-length',
  'content-encoding',
  'content-md5',
  'digest',
  'content-digest',
  'repr-digest',
  'etag',
]);

interface Head {
  readonly status: number;
  readonly reason: string;
  readonly headers: readonly string[];
}

/**
 * `sink`, with nothing in it that is addressed to somebody else. `method` is the request's. What is withheld
 * fails as `isolated`.
 */
export class AnswerGuard implements AnswerSink {
  readonly #guard: IsolationGuard;
  readonly #sink: AnswerSink;
  readonly #room: HeldRoom;
  readonly #method: string;
  /** Waits for the body that it stands before. */
  #head: Head | null = null;
  /** It is said to be JSON, or begins as it does; null: that is to be seen. */
  #isJson: boolean | null = null;
  #isOtherCharset = false;
  readonly #held = new GatheredBytes(MOST_INSPECTED_BYTES);
  #events: EventGuard | null = null;
  #isOver = false;

  constructor(sink: AnswerSink, method: string, facts: GuardFacts, room: HeldRoom) {
    this.#guard = new IsolationGuard(facts);
    this.#sink = sink;
    this.#room = room;
    this.#method = method;
  }

  interim(status: number, headers: readonly string[]): boolean {
    return this.#isOver || this.#sink.interim(status, headers);
  }

  head(status: number, reason: string, headers: readonly string[]): void {
    const [type = ''] = fieldValues(headers, 'content-type');
    const isCoded = codingsOf(headers).length > 0;
    const [length] = fieldValues(headers, 'content-length');
    if (this.#method === 'HEAD' || status === 204 || status === 304 || length === '0') {
      return this.#sink.head(status, reason, headers);
    }
    if (EVENT_STREAM.test(type) && !isCoded) {
      this.#events = new EventGuard(this.#guard, this.#room, bytes => this.#sink.data(bytes));
      return this.#sink.head(status, reason, headers);
    }
    const isStream = EVENT_STREAM.test(type) || JSON_LINES.test(type);
    // Of a range (206) the beginning of a name may be missing.
    if (!isStream && status !== 206) {
      this.#head = { status, reason, headers };
      this.#isOtherCharset = OTHER_CHARSET.test(type);
      this.#isJson = JSON_TYPE.test(type) ? true : null;
      return;
    }
    const because = isCoded ? 'coded' : 'binary';
    if (this.#guard.uninspectable(because) === 'withhold') this.#withhold();
    else this.#sink.head(status, reason, headers);
  }

  data(chunk: Buffer): boolean {
    if (this.#isOver) return true;
    if (this.#events !== null) return this.#events.push(chunk);
    if (this.#head === null) return this.#sink.data(chunk);
    if (this.#held.length + chunk.length > MOST_INSPECTED_BYTES)
      return this.#letGo('too-large', chunk);
    if (!this.#room.change(chunk.length)) return this.#letGo('no-room', chunk);
    this.#held.add(chunk);
    return this.#isJson === null ? this.#lookAtStart(this.#head) : true;
  }

  end(trailers: readonly string[]): void {
    if (this.#isOver) return;
    this.#events?.end();
    const head = this.#head;
    if (head !== null) this.#whole(head, this.#take());
    if (this.#isOver) return;
    this.#isOver = true;
    this.#sink.end(trailers);
  }

  fail(code: ErrorCode, detail: string): void {
    this.#events?.close();
    this.#take();
    if (this.#isOver) return;
    this.#isOver = true;
    this.#sink.fail(code, detail);
  }

  /** Nothing more comes of it, or for nobody: what waits here gives its room back. */
  close(): void {
    this.#isOver = true;
    this.#events?.close();
    this.#take();
  }

  /** Its first byte that is no blank says whether it may be JSON. */
  #lookAtStart({ headers }: Head): boolean {
    const codings = codingsOf(headers);
    const start = this.#held.view.subarray(0, START_BYTES);
    const plain = decodedStart(start, codings, MOST_INSPECTED_BYTES);
    if (plain === undefined) return this.#letGo('coded');
    const is = beginsAsJson(plain);
    if (is === false) return this.#letGo('binary');
    // What does not tell by then tells when it is whole.
    if (is === true || this.#held.length >= START_BYTES) this.#isJson = true;
    return true;
  }

  /** The whole body of an answer is there. */
  #whole({ status, reason, headers }: Head, body: Buffer): void {
    const codings = codingsOf(headers);
    const plain = decoded(body, codings, MOST_INSPECTED_BYTES);
    const ruling =
      plain === undefined ? this.#guard.uninspectable('coded') : this.#ruling(plain, status);
    if (ruling === 'withhold') return this.#withhold();
    this.#head = null;
    if (ruling === 'pass') this.#sink.head(status, reason, headers);
    else {
      const length = ['Content-Length', String(ruling.length)];
      this.#sink.head(status, reason, [...without(headers, OF_THE_BODY), ...length]);
    }
    const given = ruling === 'pass' ? body : ruling;
    if (given.length > 0) this.#sink.data(given);
  }

  #ruling(plain: Buffer, status: number): Ruling {
    if (plain.length === 0) return 'pass';
    // Where its bytes hold an address as they are, a browser reads it.
    const isUnread = this.#isOtherCharset && this.#guard.isClean(plain);
    if (isUnread || isWide(plain)) return this.#guard.uninspectable('not-utf8');
    return this.#guard.rule(plain, { type: answerType(this.#method, status) });
  }

  /** It can not be held: what there is of it goes on, or none of it. */
  #letGo(because: UninspectedBecause, chunk: Buffer = NOTHING): boolean {
    const head = this.#head as Head;
    const held = this.#take();
    if (this.#guard.uninspectable(because) === 'withhold') {
      this.#withhold();
      return true;
    }
    this.#head = null;
    this.#sink.head(head.status, head.reason, head.headers);
    const all = Buffer.concat([held, chunk]);
    return all.length === 0 || this.#sink.data(all);
  }

  #withhold(): void {
    this.#isOver = true;
    this.#take();
    this.#sink.fail('isolated', 'the answer was withheld');
  }

  #take(): Buffer {
    this.#room.change(-this.#held.length);
    return this.#held.take();
  }
}

/** Null: what there is are blanks, or the beginning of a byte order mark. */
function beginsAsJson(start: Buffer): boolean | null {
  const isMarked = start.subarray(0, MARK.length).equals(MARK.subarray(0, start.length));
  const text = start.toString('latin1', isMarked ? MARK.length : 0);
  const first = /[^ \t\r\n]/.exec(text)?.[0];
  return first === undefined ? null : first === '{' || first === '[';
}
