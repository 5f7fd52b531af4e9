// A request that changes state, given to both services. The client gets the primary's answer, as soon
// as that has one; what the other one says is only noted.
import { createHash, randomUUID } from 'node:crypto';
import type { ErrorCode } from '../errors.ts';
import type { AnswerSample, SplitCause, WriteLedger, WriteOutcome } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import { fieldValues } from '../wire/headers.ts';
import { bothSides, NOBODY, sampling } from './answer-sample.ts';
import { type AnswerSink, type Exchange, type ExchangeRequest, exchange } from './exchange.ts';
import type { ServiceConnection } from './service-connection.ts';

/** Second writes under way in the process; beyond that a slow second service only loses its copies. */
const MOST_UNDER_WAY = 1_000;

export interface DoubleWriteOptions {
  readonly route: string;
  readonly primary: ServiceConnection;
  readonly second: ServiceConnection;
  readonly request: Omit<ExchangeRequest, 'body' | 'extra'> & { readonly body: Buffer };
  readonly sink: AnswerSink;
  /** Told what both answered. */
  readonly answered: (samples: Readonly<Record<Side, AnswerSample>>) => void;
}

/** Sends writes to both services and reports to the ledger what only one of them took. */
export class DoubleWriter {
  readonly #ledger: WriteLedger;
  #underWay = 0;

  constructor(ledger: WriteLedger) {
    this.#ledger = ledger;
  }

  /** Second writes that have no answer yet. */
  get underWay(): number {
    return this.#underWay;
  }

  /** Neither exchange ends with its client: what one service took, the other is to get as well. */
  write({ route, primary, second, request, sink, answered }: DoubleWriteOptions): Exchange {
    const key = idempotencyKey(request);
    const both: ExchangeRequest = {
      ...request,
      extra: key.given ? [] : ['Idempotency-Key', key.value],
    };
    const noted = this.#note(route, key.value, request.body, [
      primary.upstream.side,
      second.upstream.side,
    ]);
    const sample = bothSides(answered);
    const first = exchange(
      primary,
      both,
      sampling(
        noting(sink, outcome => noted(primary.upstream.side, outcome)),
        sample(primary.upstream.side),
      ),
    );
    if (this.#underWay >= MOST_UNDER_WAY) {
      second.free();
      noted(second.upstream.side, 'overload');
    } else {
      this.#underWay += 1;
      exchange(
        second,
        both,
        sampling(
          noting(NOBODY, outcome => {
            this.#underWay -= 1;
            noted(second.upstream.side, outcome);
          }),
          sample(second.upstream.side),
        ),
      );
    }
    return { resume: first.resume, abort: () => undefined };
  }

  /** A body that could not be held went to the primary alone. */
  tooLarge(route: string, side: Side): void {
    this.#ledger.split({
      route,
      cause: 'too-large',
      key: null,
      digest: null,
      bytes: null,
      primary: { side, outcome: null },
      second: null,
    });
  }

  /** Waits for both outcomes, then says whether they part. */
  #note(route: string, key: string, body: Buffer, [primary, second]: [Side, Side]) {
    const outcomes = new Map<Side, WriteOutcome>();
    return (side: Side, outcome: WriteOutcome): void => {
      outcomes.set(side, outcome);
      const [a, b] = [outcomes.get(primary), outcomes.get(second)];
      if (a === undefined || b === undefined) return;
      const cause = splitCause(a, b);
      if (cause === null) return this.#ledger.agreed(route);
      this.#ledger.split({
        route,
        cause,
        key,
        digest: createHash('sha256').update(body).digest('hex'),
        bytes: body.length,
        primary: { side: primary, outcome: a },
        second: { side: second, outcome: b },
      });
    };
  }
}

/** Why two outcomes part; null if both services took the write, or neither. */
function splitCause(primary: WriteOutcome, second: WriteOutcome): SplitCause | null {
  if (second === 'overload') return 'overload';
  if (took(primary) === took(second)) return null;
  return took(primary) ? 'second-refused' : 'primary-refused';
}

/** Below 400 a service has taken it (RFC 9110 15). A failure on the way counts as not taken. */
function took(outcome: WriteOutcome): boolean {
  return typeof outcome === 'number' && outcome < 400;
}

/** The client's own key, if it sent one, so that a repeat of his is known as one. */
function idempotencyKey({ request }: Pick<ExchangeRequest, 'request'>): {
  value: string;
  given: boolean;
} {
  const [value = '', ...more] = fieldValues(request.headers, 'idempotency-key');
  return value !== '' && more.length === 0
    ? { value, given: true }
    : { value: randomUUID(), given: false };
}

/** `sink`, with a word about how it went. */
function noting(sink: AnswerSink, note: (outcome: WriteOutcome) => void): AnswerSink {
  let status: number | null = null;
  return {
    interim: (code, headers) => sink.interim(code, headers),
    head(code, reason, headers) {
      status = code;
      sink.head(code, reason, headers);
    },
    data: chunk => sink.data(chunk),
    end(trailers) {
      note(status ?? 'internal');
      sink.end(trailers);
    },
    fail(code: ErrorCode, detail) {
      // With a status the service has decided, even if the rest of its answer was lost.
      note(status ?? code);
      sink.fail(code, detail);
    },
  };
}
