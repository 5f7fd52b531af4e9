// A request body on its way to one service.
import type { IncomingMessage } from 'node:http';
import { PassThrough, type Readable } from 'node:stream';
import type { LaneCounters } from '../ports.ts';

/**
 * The body as a stream of its own. undici destroys the one that it is given when a service answers
 * before it has read everything; the request itself must stay readable then, or its client, which
 * goes on sending, would be stuck.
 */
export function streamBody(
  incoming: IncomingMessage,
  counters: Pick<LaneCounters, 'bytesToUpstream'>,
): Readable {
  const body = new PassThrough();
  // A client that breaks off breaks the request to the service off as well.
  const onBreak = () => body.destroy(new Error('the client broke off'));
  if (incoming.destroyed) onBreak();
  incoming.on('error', onBreak).on('close', () => {
    if (!incoming.readableEnded) onBreak();
  });
  incoming.pipe(body);
  incoming.on('data', (chunk: Buffer) => {
    counters.bytesToUpstream += chunk.length;
  });
  return body;
}
