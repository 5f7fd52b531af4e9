// Looks over the shoulder of an answer that may be a stream of events, while it goes where it goes.
import type { AnswerSample, OverheardTap } from '../ports.ts';
import type { Side } from '../rules/decide.ts';
import { codingsOf } from '../wire/content-coding.ts';
import { fieldValues, type RawHeaders } from '../wire/headers.ts';
import type { AnswerSink } from './exchange.ts';
import type { HeldBack } from './held-back.ts';

const EMPTY = Buffer.alloc(0);
const READ = { body: EMPTY, end: 'complete', code: null } as const;
const UNREAD = { body: null, end: 'left', code: null } as const;

/** It is a stream of events, which lasts for as long as its client; anything else is a plain answer. */
export function isEventStream(status: number, headers: RawHeaders): boolean {
  const [type = ''] = fieldValues(headers, 'content-type');
  return status === 200 && type.toLowerCase().startsWith('text/event-stream');
}

/**
 * `sink`, with a stream of events copied for the judge. `begun` is told of one, and gets it as far as it can be
 * compared before the stream: status and fields. Any other answer goes to `plain` in place of `sink`. `onBytes` is told
 * how many come, and `heldBack` when the sink takes no more.
 */
export function streaming(
  sink: AnswerSink,
  {
    tap,
    side,
    plain,
    begun,
    onBytes,
    heldBack = null,
  }: {
    readonly tap: OverheardTap;
    readonly side: Side;
    readonly plain: AnswerSink;
    readonly begun: (sample: AnswerSample) => void;
    readonly onBytes: (bytes: number) => void;
    readonly heldBack?: HeldBack | null;
  },
): AnswerSink {
  const startedAt = performance.now();
  let isRead = false;
  let to = plain;
  return {
    interim: (code, fields) => sink.interim(code, fields),
    head(code, reason, fields) {
      if (isEventStream(code, fields)) {
        to = sink;
        // Compressed although it was asked not to be: its events can not be read, and that is counted.
        isRead = codingsOf(fields).length === 0;
        if (isRead) tap.legOpened(side);
        const ms = performance.now() - startedAt;
        const how = isRead ? READ : UNREAD;
        begun({ status: code, headers: fields, marker: null, ms, ...how });
      }
      to.head(code, reason, fields);
    },
    data(chunk) {
      onBytes(chunk.length);
      if (isRead) tap.bytes(side, chunk);
      const flowing = to.data(chunk);
      if (!flowing) heldBack?.begin();
      return flowing;
    },
    end(trailers) {
      tap.legClosed(side, 'complete');
      to.end(trailers);
    },
    fail(code, detail) {
      tap.legClosed(side, 'by-service');
      to.fail(code, detail);
    },
    left() {
      tap.legClosed(side, 'left');
      to.left?.();
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
