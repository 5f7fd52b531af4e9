// A request body on its way to one service, as fast as that takes it.
import type { IncomingMessage } from 'node:http';
import type net from 'node:net';

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
  const stop = (): void => {
    incoming.off('data', onData).off('end', onEnd).off('error', onBreak).off('close', onClose);
    socket.off('drain', onDrain);
  };
  const onData = (chunk: Buffer): void => {
    onBytes(chunk.length);
    if (isChunked) {
      socket.cork();
      socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
      socket.write(chunk);
      socket.write('\r\n', 'latin1');
      socket.uncork();
    } else {
      socket.write(chunk);
    }
    if (socket.writableNeedDrain) incoming.pause();
  };
  const onDrain = (): void => {
    incoming.resume();
  };
  const onEnd = (): void => {
    stop();
    if (isChunked) socket.write('0\r\n\r\n', 'latin1');
    onSent();
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
