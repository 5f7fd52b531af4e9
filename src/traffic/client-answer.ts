// A service's answer on its way to the client: streamed, held back where the client is slow, and
// never given an end that the service did not give it.
import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { ErrorCode } from '../errors.ts';
import type { LaneCounters } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import { plainLength } from '../wire/body.ts';
import { endToEnd, fieldValues, trailerFields, without } from '../wire/headers.ts';
import { writeHead } from '../wire/http-head.ts';
import { isQueued, phraseFor, sendHead } from './answer.ts';
import { cutOff } from './cut-off.ts';
import type { AnswerSink, Exchange } from './exchange.ts';
import { Progress } from './progress.ts';
import type { Member } from './roll.ts';
import type { RollbackRun, RolledBackAnswer } from './rollback-run.ts';

/** Bodies up to here go out as text of one character a byte, in one piece with their head. */
const SMALL_BYTES = 16_384;

export interface ClientAnswerOptions {
  readonly route: string;
  readonly side: Side;
  readonly response: ServerResponse;
  /** The fields of the service's answer as the client gets them. */
  readonly fields: (status: number, headers: readonly string[]) => string[];
  readonly counters: Pick<LaneCounters, 'bytesToClient'>;
  /** The exchange failed before an answer had begun. */
  readonly onFailure: (code: ErrorCode, detail: string) => void;
  /** The answer broke off in the middle; the client's connection is cut. */
  readonly onBrokenOff: (code: ErrorCode, detail: string) => void;
}

export class ClientAnswer implements AnswerSink, Member, RolledBackAnswer {
  place = -1;
  readonly route: string;
  /** Whose answer it is. */
  readonly side: Side;
  /** The rollbacks that wait for its end. */
  rollbacks: readonly RollbackRun[] = [];
  /** Its end is not the service's. */
  isCutShort = false;
  readonly #options: ClientAnswerOptions;
  readonly #response: ServerResponse;
  readonly #progress = new Progress(performance.now());
  #exchange: Exchange | null = null;
  /** The head goes out with what comes in the same turn: `#flush`. */
  #isHeld = false;
  #held: Buffer | null = null;
  #end: BodyEnd = 'length';
  /** The client has interim answers to take before there are more. */
  #waitsForInterim = false;

  constructor(options: ClientAnswerOptions) {
    this.#options = options;
    this.route = options.route;
    this.side = options.side;
    this.#response = options.response;
    this.#response.on('drain', () => this.#exchange?.resume());
    this.#response.on('close', () => {
      const how = this.isCutShort ? 'ended' : 'finished';
      for (const run of this.rollbacks) run.answerOver(this, how);
      // What a slow client held back must not wait for one that is gone.
      if (!this.#response.writableFinished) this.#exchange?.abort();
      this.#exchange?.resume();
    });
  }

  get client(): ServerResponse {
    return this.#response;
  }

  /** The exchange that feeds this answer. */
  follow(exchange: Exchange): void {
    this.#exchange = exchange;
    if (this.#response.destroyed) exchange.abort();
  }

  /** Cuts off a client that takes nothing for `limitMs`. */
  sweep(nowMs: number, limitMs: number): void {
    // It waits for the answer before it, not for the client.
    if (isQueued(this.#response)) this.#progress.restart(nowMs);
    else if (this.#progress.isStuck(this.#response, nowMs, limitMs)) this.#response.destroy();
  }

  /** Its end is not waited for any more. */
  cutShort(): void {
    this.isCutShort = true;
    this.#cut();
    this.#response.destroy();
  }

  /** Bytes that are not the service's. */
  ours(bytes: Buffer): void {
    const { rollbacks } = this;
    this.rollbacks = [];
    this.data(bytes);
    this.rollbacks = rollbacks;
  }

  interim(status: number, headers: readonly string[]): boolean {
    const { socket, req, headersSent } = this.#response;
    // Null for one that is queued.
    if (socket === null || headersSent || req.httpVersion !== '1.1') return true;
    this.#handedOver();
    const phrase = STATUS_CODES[status] ?? 'Interim';
    const fields = endToEnd(plainLength(status, headers));
    const flowing = socket.write(writeHead(`HTTP/1.1 ${status} ${phrase}`, fields));
    // node:http tells the response of what it wrote itself alone.
    if (!flowing && !this.#waitsForInterim) {
      this.#waitsForInterim = true;
      socket.once('drain', () => {
        this.#waitsForInterim = false;
        this.#exchange?.resume();
      });
    }
    return flowing;
  }

  head(status: number, reason: string, headers: readonly string[]): void {
    const response = this.#response;
    if (response.destroyed) return;
    this.#handedOver();
    // Only what the service says.
    response.sendDate = false;
    this.#end = bodyEnd(response, status, headers);
    // Trailers are announced only where they can come; node:http refuses the field elsewhere.
    const fields = this.#end === 'chunk' ? headers : without(headers, TRAILER);
    response.writeHead(status, phraseFor(status, reason), this.#options.fields(status, fields));
    this.#isHeld = true;
    process.nextTick(() => this.#flush());
  }

  data(chunk: Buffer): boolean {
    if (this.#response.destroyed) return true;
    this.#options.counters.bytesToClient += chunk.length;
    this.#handedOver();
    if (this.#isHeld && this.#held === null) {
      this.#held = chunk;
      return true;
    }
    this.#flush();
    return this.#response.write(chunk);
  }

  end(sent: readonly string[]): void {
    this.#finish(sent);
    this.#cut();
  }

  #finish(sent: readonly string[]): void {
    const response = this.#response;
    const trailers = trailerFields(sent);
    if (this.#isHeld && trailers.length === 0) {
      // All of a small answer, in one write of one piece: with a length, there is nothing around it.
      const whole = this.#held;
      this.#isHeld = false;
      this.#held = null;
      if (whole === null) response.end();
      else if (this.#end === 'chunk' || whole.length > SMALL_BYTES) response.end(whole);
      else response.end(whole.toString('latin1'), 'latin1');
      return;
    }
    this.#flush();
    if (trailers.length > 0) {
      this.#handedOver();
      response.addTrailers(pairs(trailers));
    }
    response.end();
  }

  fail(code: ErrorCode, detail: string): void {
    if (this.#response.destroyed) return;
    if (!this.#response.headersSent) return this.#options.onFailure(code, detail);
    // Neither a last chunk nor the missing bytes: the client sees that it is not all. Where the end of
    // the connection would be the end of the body, only a reset says so.
    this.#options.onBrokenOff(code, detail);
    this.#flush();
    // What there was of it goes out before.
    process.nextTick(() => this.#cutOff());
  }

  /** Bytes of the service go to the client now, or before anything else happens. */
  #handedOver(): void {
    for (const run of this.rollbacks) run.handedOver();
  }

  /** No byte of the service's follows. */
  #cut(): void {
    for (const run of this.rollbacks) run.cut(this);
  }

  #cutOff(): void {
    this.#cut();
    const { socket } = this.#response;
    if (this.#end === 'close' && socket !== null) cutOff(socket);
    else this.#response.destroy();
  }

  /**
   * Lets the head out. A stream may be silent at first, and its head must not wait for its body; where
   * some of a body came with the head, both go out in one write.
   */
  #flush(): void {
    if (!this.#isHeld) return;
    const held = this.#held;
    this.#isHeld = false;
    this.#held = null;
    if (held === null) sendHead(this.#response);
    else if (!this.#response.destroyed) this.#response.write(held);
  }
}

/** How the client sees where a body ends: its length, a last chunk, or the end of the connection. */
type BodyEnd = 'length' | 'chunk' | 'close';

function bodyEnd(response: ServerResponse, status: number, headers: readonly string[]): BodyEnd {
  const isBodyless = response.req.method === 'HEAD' || status === 204 || status === 304;
  if (isBodyless || fieldValues(headers, 'content-length').length > 0) return 'length';
  // False for a client of HTTP/1.0.
  return response.useChunkedEncodingByDefault ? 'chunk' : 'close';
}

const TRAILER: ReadonlySet<string> = new Set(['trailer']);

function pairs(fields: readonly string[]): [string, string][] {
  const list: [string, string][] = [];
  for (let i = 0; i < fields.length; i += 2)
    list.push([fields[i] as string, fields[i + 1] as string]);
  return list;
}
