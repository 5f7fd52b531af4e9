// Looks over an answer's shoulder: what it was, for the judge, while it goes where it goes.
import type { ErrorCode } from '../errors.ts';
import type { AnswerSample, StreamTap } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import { fieldValues } from '../wire/headers.ts';
import type { AnswerSink } from './exchange.ts';

/** More of a body is not held for comparing; as much as of a request that is to go twice. */
const MOST_BODY_BYTES = 1_048_576;
const EMPTY = Buffer.alloc(0);

/** `sink`, and the sample of its answer once that is at its end. */
export function sampling(sink: AnswerSink, done: (sample: AnswerSample) => void): AnswerSink {
  const startedAt = performance.now();
  let status = 0;
  let headers: readonly string[] = [];
  let chunks: Buffer[] = [];
  let bytes = 0;
  const finish = (end: AnswerSample['end'], code: ErrorCode | null): void => {
    const body = bytes > MOST_BODY_BYTES ? null : Buffer.concat(chunks);
    chunks = [];
    done({ status, headers, body, end, code, ms: performance.now() - startedAt });
  };
  return {
    interim: (code, fields) => sink.interim(code, fields),
    head(code, reason, fields) {
      status = code;
      headers = fields;
      sink.head(code, reason, fields);
    },
    data(chunk) {
      bytes += chunk.length;
      if (bytes <= MOST_BODY_BYTES) chunks.push(chunk);
      else chunks = [];
      return sink.data(chunk);
    },
    end(trailers) {
      finish('complete', null);
      sink.end(trailers);
    },
    fail(code, detail) {
      finish(status === 0 ? 'failed' : 'cut', code);
      sink.fail(code, detail);
    },
  };
}

/**
 * `sink`, with a stream of events copied for the judge. `head` gets the answer as far as it can be
 * compared before the stream: status and fields.
 */
export function streaming(
  sink: AnswerSink,
  { tap, side, head }: { tap: StreamTap; side: Side; head: (sample: AnswerSample) => void },
): AnswerSink {
  const startedAt = performance.now();
  let begun = false;
  let isStream = false;
  const sample = (status: number, headers: readonly string[], code: ErrorCode | null) => {
    begun = true;
    const ms = performance.now() - startedAt;
    head({ status, headers, body: EMPTY, end: status === 0 ? 'failed' : 'complete', code, ms });
  };
  return {
    interim: (code, fields) => sink.interim(code, fields),
    head(code, reason, fields) {
      const [type = ''] = fieldValues(fields, 'content-type');
      isStream = code === 200 && type.toLowerCase().startsWith('text/event-stream');
      sample(code, fields, null);
      if (isStream) tap.legOpened(side);
      sink.head(code, reason, fields);
    },
    data(chunk) {
      if (isStream) tap.bytes(side, chunk);
      return sink.data(chunk);
    },
    end(trailers) {
      tap.legClosed(side);
      sink.end(trailers);
    },
    fail(code, detail) {
      if (!begun) sample(0, [], code);
      tap.legClosed(side);
      sink.fail(code, detail);
    },
  };
}

/** Takes everything and does nothing with it. */
export const NOBODY: AnswerSink = {
  interim: () => undefined,
  head: () => undefined,
  data: () => true,
  end: () => undefined,
  fail: () => undefined,
};

/** Calls `done` once both sides' samples are there. */
export function bothSides(
  done: (samples: Readonly<Record<Side, AnswerSample>>) => void,
): (side: Side) => (sample: AnswerSample) => void {
  const found: Partial<Record<Side, AnswerSample>> = {};
  return side => sample => {
    found[side] = sample;
    const { legacy, candidate } = found;
    if (legacy !== undefined && candidate !== undefined) done({ legacy, candidate });
  };
}
