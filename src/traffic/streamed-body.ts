// A request body on its way to one service, as fast as that takes it.
import type { IncomingMessage } from 'node:http';
import type net from 'node:net';
import { afterReads } from './after-reads.ts';

export interface StreamedBodyOptions {
  /** The service is told the length chunk by chunk, not beforehand. */
  readonly isChunked: boolean;
  readonly onBytes: (bytes: number) => void;
  /** All of it was handed to the connection. */
  readonly onSent: () => void;
  /** The client broke off. */
  readonly onBroken: () => void;
}

/**
 * Writes the body to a connection. Returns how to stop; the rest, if there is one, is then to be read
 * by somebody else: a client that goes on sending would be stuck.
 */
export function streamBody(
  incoming: IncomingMessage,
  socket: net.Socket,
  { isChunked, onBytes, onSent, onBroken }: StreamedBodyOptions,
): () => void {
  /** What has come in this turn: it goes out in one piece, once the service's answer would have been read. */
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  let isFirst = true;
  let isDue = false;
  let isWhole = false;
  let isOver = false;
  const stop = (): void => {
    isOver = true;
    waiting = [];
    incoming.off('data', onData).off('end', onEnd).off('error', onBreak).off('close', onClose);
    socket.off('drain', onDrain);
  };
  const onData = (chunk: Buffer): void => {
    waiting.push(chunk);
    waitingBytes += chunk.length;
    if (socket.writableLength + waitingBytes >= socket.writableHighWaterMark) incoming.pause();
    // It has just been asked: there is no answer that could be lost.
    if (isFirst) write();
    else writeSoon();
  };
  const writeSoon = (): void => {
    if (!isDue) afterReads(write);
    isDue = true;
  };
  const write = (): void => {
    isDue = false;
    isFirst = false;
    if (isOver) return;
    const [first] = waiting;
    if (first !== undefined) {
      const bytes = waiting.length === 1 ? first : Buffer.concat(waiting, waitingBytes);
      waiting = [];
      waitingBytes = 0;
      onBytes(bytes.length);
      if (isChunked) writeChunk(socket, bytes);
      else socket.write(bytes);
    }
    if (isWhole) finish();
    else if (!socket.writableNeedDrain) incoming.resume();
  };
  const finish = (): void => {
    stop();
    if (isChunked) socket.write('0\r\n\r\n', 'latin1');
    onSent();
  };
  const onDrain = (): void => {
    incoming.resume();
  };
  const onEnd = (): void => {
    isWhole = true;
    // The service has all of it, and may have answered by the next turn.
    if (waiting.length === 0 && !isChunked) finish();
    else writeSoon();
  };
  const onBreak = (): void => {
    stop();
    onBroken();
  };
  const onClose = (): void => {
    if (!incoming.readableEnded) onBreak();
  };
  if (incoming.destroyed) {
    process.nextTick(onBroken);
    return stop;
  }
  incoming.on('data', onData).on('end', onEnd).on('error', onBreak).on('close', onClose);
  socket.on('drain', onDrain);
  // It may have been paused while it was not known where it goes.
  incoming.resume();
  return stop;
}

/** RFC 9112 7.1 */
function writeChunk(socket: net.Socket, bytes: Buffer): void {
  socket.cork();
  socket.write(`${bytes.length.toString(16)}\r\n`, 'latin1');
  socket.write(bytes);
  socket.write('\r\n', 'latin1');
  socket.uncork();
}
