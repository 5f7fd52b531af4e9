// Writes bytes that lie in memory which is about to be read into again.
import type net from 'node:net';
import { TLSSocket } from 'node:tls';

/** A client that does not take a write keeps this much with it. */
const SCRATCH_BYTES = 4_096;

let scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);

/**
 * As `write`; the view may change afterwards. It is copied, as a rule into the same memory as the one
 * before, which the processor still has at hand: when nothing waits behind a write, all of it has gone to
 * the kernel (`bench/README.md`). Otherwise that memory is the write's. What is encrypted always waits.
 */
export function writeView(to: net.Socket, view: Buffer): boolean {
  if (view.length > SCRATCH_BYTES || to.writableLength > 0 || to instanceof TLSSocket) {
    return to.write(Buffer.from(view));
  }
  scratch.set(view);
  const flowing = to.write(scratch.subarray(0, view.length));
  if (to.writableLength > 0) scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  return flowing;
}
