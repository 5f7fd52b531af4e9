// Looks over the shoulder of an answer that may be a stream of events, while it goes where it goes.
import type { ErrorCode } from '../errors.ts';
import type { AnswerSample, StreamTap } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import { fieldValues } from '../wire/headers.ts';
import type { AnswerSink } from './exchange.ts';
import type { HeldBack } from './held-back.ts';

const EMPTY = Buffer.alloc(0);

/**
 * `sink`, with a stream of events copied for the judge. `head` gets the answer as far as it can be
 * compared before the stream: status and fields. `heldBack` is told when the sink takes no more.
 */
export function streaming(
  sink: AnswerSink,
  {
    tap,
    side,
    head,
    heldBack = null,
  }: {
    readonly tap: StreamTap;
    readonly side: Side;
    readonly head: (sample: AnswerSample) => void;
    readonly heldBack?: HeldBack | null;
  },
): AnswerSink {
  const startedAt = performance.now();
  let begun = false;
  let isStream = false;
  const sample = (status: number, headers: readonly string[], code: ErrorCode | null) => {
    begun = true;
    const ms = performance.now() - startedAt;
    const end = status === 0 ? 'failed' : 'complete';
    head({ status, headers, body: EMPTY, marker: null, end, code, ms });
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
      const flowing = sink.data(chunk);
      if (!flowing) heldBack?.begin();
      return flowing;
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

/** Throws away what it gets, no faster than a client takes its own. */
export function throwingAway(besideClient: HeldBack): AnswerSink {
  return { ...NOBODY, data: () => !besideClient.isHeld };
}

/** Takes everything and does nothing with it. */
export const NOBODY: AnswerSink = {
  interim: () => true,
  head: () => undefined,
  data: () => true,
  end: () => undefined,
  fail: () => undefined,
};
