// A request body that is needed whole before it is known where it goes.
import type { IncomingMessage } from 'node:http';

/** A body larger than that is not held; it streams to one service only. */
export const MOST_HELD_BYTES = 1_048_576;

/** True if a request has a body at all (RFC 9112 6.3). */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
}

/**
 * The whole body; null if it is larger than `MOST_HELD_BYTES`, and then the request can still be read
 * from its beginning. Rejects if the client breaks off.
 */
export function holdBody(incoming: IncomingMessage): Promise<Buffer | null> {
  if (Number(incoming.headers['content-length'] ?? 0) > MOST_HELD_BYTES)
    return Promise.resolve(null);
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const done = (result: Buffer | null) => {
      incoming.off('data', onData).off('end', onEnd).off('error', reject).off('close', onClose);
      resolve(result);
    };
    const onData = (chunk: Buffer) => {
      chunks.push(chunk);
      size += chunk.length;
      if (size <= MOST_HELD_BYTES) return;
      incoming.pause();
      done(null);
      incoming.unshift(Buffer.concat(chunks));
    };
    const onEnd = () => done(Buffer.concat(chunks));
    const onClose = () => reject(new Error('the client broke off'));
    incoming.on('data', onData).on('end', onEnd).on('error', reject).on('close', onClose);
  });
}
