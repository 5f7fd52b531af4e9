// Looks over the shoulder of an answer that may be a stream of events, while it goes where it goes.
import type { AnswerSample, StreamTap } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import { codingsOf } from '../wire/content-coding.ts';
import { fieldValues } from '../wire/headers.ts';
import type { AnswerSink } from './exchange.ts';
import type { HeldBack } from './held-back.ts';

const EMPTY = Buffer.alloc(0);
const READ = { body: EMPTY, end: 'complete', code: null } as const;
const UNREAD = { body: null, end: 'left', code: null } as const;

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
  const sample = (
    status: number,
    headers: readonly string[],
    how: Pick<AnswerSample, 'body' | 'end' | 'code'>,
  ) => {
    begun = true;
    head({ status, headers, marker: null, ms: performance.now() - startedAt, ...how });
  };
  return {
    interim: (code, fields) => sink.interim(code, fields),
    head(code, reason, fields) {
      const [type = ''] = fieldValues(fields, 'content-type');
      const isEvents = code === 200 && type.toLowerCase().startsWith('text/event-stream');
      // Compressed although it was asked not to be: its events can not be read, and that is counted.
      const isCoded = isEvents && codingsOf(fields).length > 0;
      isStream = isEvents && !isCoded;
      sample(code, fields, isCoded ? UNREAD : READ);
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
      if (!begun) sample(0, [], { body: EMPTY, end: 'failed', code });
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
