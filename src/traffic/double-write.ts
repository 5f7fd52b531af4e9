// A request that changes state, given to both services. The client gets the primary's answer, as soon
// as that has one; what the other one says is only noted.
import { createHash } from 'node:crypto';
import type { RouteScope, Tap, WriteLedger } from '../ports.ts';
import type { Side, Subject } from '../rules/decide.ts';
import { NOBODY } from './answer-sample.ts';
import { type AnswerSink, type Exchange, type ExchangeRequest, exchange } from './exchange.ts';
import { Patience } from './patience.ts';
import type { SamplePair } from './sample-pair.ts';
import type { ServiceConnection } from './service-connection.ts';
import type { Turns } from './turns.ts';
import { idempotencyKey, type Noted, pairOutcomes, took } from './write-outcomes.ts';

/** Second writes under way in the process; beyond that a slow second service only loses its copies. */
const MOST_UNDER_WAY = 1_000;
/** And their bodies together: each may be 1 MiB. */
const MOST_UNDER_WAY_BYTES = 64 * 1_048_576;
/** Of an upload, so much may have its effects before the rest is there. Less has none: one byte is cheap. */
const PART_BYTES = 1_048_576;

export interface DoubleWriteOptions {
  readonly route: string;
  readonly primary: ServiceConnection;
  readonly second: {
    readonly side: Side;
    /** To be asked for when it is the copy's turn: a reload may have put another service there. */
    readonly connection: () => ServiceConnection;
  };
  /** Of this client connection's copies at that service: on whatever connections, they reach it in order. */
  readonly turns: Turns;
  readonly request: Omit<ExchangeRequest, 'body' | 'extra'> & { readonly body: Buffer };
  /** Whose events it causes; null where nobody knows. */
  readonly about: Subject | null;
  readonly sink: AnswerSink;
  /** Takes what both answer. */
  readonly answers: SamplePair;
  /** Told once when the primary has done with the request, whoever still waits for its answer. */
  readonly over: () => void;
  /** Told once when the second service has done with its copy, or will not get it. */
  readonly secondOver: () => void;
}

/** A write that is too large for a copy, on its way to the one service. */
interface LoneWrite {
  /** Where its answer goes. */
  readonly sink: AnswerSink;
  readonly onBytes: (bytes: number) => void;
  readonly onSent: () => void;
  /** Its client has gone, and nothing of its answer is heard any more. */
  readonly left: () => void;
}

/** A copy of which its service has had nothing yet. */
interface UnsentCopy {
  readonly route: string;
  readonly side: Side;
  /** Its service will not get it: its turn and its room are free. */
  letGo(): void;
  /** Once it was let go: the ledger knows why. */
  noted(): void;
}

/** Sends writes to both services and reports to the ledger what only one of them took. */
export class DoubleWriter {
  readonly #ledger: WriteLedger;
  readonly #tap: Tap;
  #underWay = 0;
  #underWayBytes = 0;
  readonly #unsent = new Set<UnsentCopy>();

  constructor({ ledger, tap }: { readonly ledger: WriteLedger; readonly tap: Tap }) {
    this.#ledger = ledger;
    this.#tap = tap;
  }

  /** Second writes that have no answer yet. */
  get underWay(): number {
    return this.#underWay;
  }

  /** Neither exchange ends with its client: what one service took, the other is to get as well. */
  write(options: DoubleWriteOptions): Exchange {
    const { route, primary, request, sink, answers, over } = options;
    const key = idempotencyKey(request.request);
    const both: ExchangeRequest = { ...request, extra: ['Idempotency-Key', key] };
    const { body } = request;
    const noted = pairOutcomes(this.#ledger, {
      route,
      sides: { primary: primary.upstream.side, second: options.second.side },
      facts: () => ({
        key,
        digest: createHash('sha256').update(body).digest('hex'),
        bytes: body.length,
      }),
      answered: this.#tap.write(options.about),
      leftOut: side => this.#tap.writeLeftOut(side),
    });
    const { side } = primary.upstream;
    const toClient = answers.sampling(sink, side);
    const answer = answering(primary, both, toClient, noted.primary, () => {
      // If it was given up.
      answers.found(side, 'none');
      over();
    });
    this.#sendSecond(options, both, noted.second);
    return answer;
  }

  /**
   * `sink`, for a body that could not be held: if its service takes it, the other one lacks it. What it causes comes
   * once it is there whole, or behind a part of it; not for as long as its client takes to send it.
   */
  tooLarge(route: string, side: Side, sink: AnswerSink): LoneWrite {
    const leftOut = () => this.#tap.writeLeftOut(side === 'legacy' ? 'candidate' : 'legacy');
    let isOver = false;
    let answered: (() => void) | null = null;
    let bytesSent = 0;
    let partAt = 0;
    const over = (): void => {
      if (!isOver) (answered ?? leftOut())();
      isOver = true;
    };
    const watched: AnswerSink = {
      interim: (status, headers) => sink.interim(status, headers),
      head: (status, reason, headers) => {
        over();
        if (took(status)) {
          this.#ledger.split({
            ...{ route, cause: 'too-large', key: null, digest: null, bytes: null },
            primary: { side, outcome: status },
            second: null,
          });
        }
        sink.head(status, reason, headers);
      },
      data: chunk => sink.data(chunk),
      end: trailers => sink.end(trailers),
      fail: (code, detail) => sink.fail(code, detail),
    };
    return {
      sink: watched,
      onBytes: bytes => {
        if (bytesSent >= partAt) {
          leftOut()();
          partAt = bytesSent + PART_BYTES;
        }
        bytesSent += bytes;
      },
      onSent: () => {
        answered = leftOut();
        // A service may answer what it has not read yet.
        if (isOver) answered();
      },
      left: () => {
        if (bytesSent > 0) over();
      },
    };
  }

  /** That side gets no copies of those routes' writes any more: what waits still is split. */
  sever(side: Side, routes: RouteScope): void {
    const those = [...this.#unsent].filter(copy => copy.side === side && routes.has(copy.route));
    // The last ones first: nobody has his turn because one before him is let go.
    for (const copy of those.toReversed()) copy.letGo();
    for (const copy of those) copy.noted();
  }

  #sendSecond(
    { route, second, turns, answers, secondOver, request: { body } }: DoubleWriteOptions,
    request: ExchangeRequest,
    noted: Noted,
  ): void {
    const { side } = second;
    const bytes = body.length;
    const isFull =
      this.#underWay >= MOST_UNDER_WAY || this.#underWayBytes + bytes > MOST_UNDER_WAY_BYTES;
    if (isFull || turns.isFull) {
      answers.found(side, 'none');
      secondOver();
      return noted('overload');
    }
    this.#underWay += 1;
    this.#underWayBytes += bytes;
    const over = (): void => {
      this.#unsent.delete(copy);
      this.#underWay -= 1;
      this.#underWayBytes -= bytes;
      secondOver();
    };
    let giveUp = (): void => {
      turns.leave(begin);
      over();
    };
    const begin = (): void => {
      const sent = { ...request, onStart: () => void this.#unsent.delete(copy) };
      giveUp = copying(second.connection(), sent, answers.sampling(NOBODY, side), noted, () => {
        over();
        turns.over();
      });
    };
    const copy: UnsentCopy = {
      ...{ route, side },
      letGo: () => {
        giveUp();
        answers.found(side, 'none');
      },
      noted: () => noted('severed'),
    };
    this.#unsent.add(copy);
    turns.take(begin);
  }
}

/** The exchange whose answer is only noted. `over` is told once. Call the result to give it up. */
function copying(
  connection: ServiceConnection,
  request: ExchangeRequest,
  sink: AnswerSink,
  noted: Noted,
  over: () => void,
): () => void {
  const patience = new Patience(connection.upstream.config.responseTimeoutMs);
  const done = (): void => {
    patience.end();
    over();
  };
  const sent = exchange(connection, request, {
    ...sink,
    head(status, reason, headers) {
      noted(status);
      sink.head(status, reason, headers);
      patience.begin(() => {
        sent.abort();
        done();
        sink.fail('upstream-timeout', 'it says nothing more');
      });
    },
    data(chunk) {
      if (patience.goesOn()) return sink.data(chunk);
      sent.abort();
      done();
      sink.left?.();
      return true;
    },
    end(trailers) {
      done();
      sink.end(trailers);
    },
    fail(code, detail) {
      noted(code);
      done();
      sink.fail(code, detail);
    },
  });
  return () => {
    sent.abort();
    done();
  };
}

/**
 * The exchange whose answer the client gets. With a status the service has decided, even if the rest
 * of its answer is lost; only then may it end with its client.
 */
function answering(
  connection: ServiceConnection,
  request: ExchangeRequest,
  sink: AnswerSink,
  noted: Noted,
  over: () => void,
): Exchange {
  const patience = new Patience(connection.upstream.config.responseTimeoutMs);
  let decided = false;
  let left = false;
  const endSoon = (): void =>
    patience.begin(() => {
      sent.abort();
      over();
    });
  const sent = exchange(connection, request, {
    ...sink,
    head(status, reason, headers) {
      decided = true;
      noted(status);
      sink.head(status, reason, headers);
      if (left) endSoon();
    },
    end(trailers) {
      patience.end();
      sink.end(trailers);
      over();
    },
    fail(code, detail) {
      patience.end();
      noted(code);
      sink.fail(code, detail);
      over();
    },
  });
  return {
    resume: () => sent.resume(),
    abort() {
      left = true;
      if (decided) endSoon();
    },
  };
}
