// The end of a client's connection in the middle of an answer that its end would complete.
import type net from 'node:net';
import { TLSSocket } from 'node:tls';

/**
 * Closes it so that nobody takes that for the end of the answer: by a reset, or in TLS, which knows none,
 * without the goodbye that a whole answer is followed by (RFC 9112 9.8).
 */
export function cutOff(client: net.Socket): void {
  if (client instanceof TLSSocket) client.destroy();
  else client.resetAndDestroy();
}
