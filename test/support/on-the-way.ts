// Bytes between a test and the proxy: what neither of them has, because the kernel does.
import { socketQueues } from './proc.ts';
import type { RawEnd } from './raw.ts';

/** Written by `end` and not read by the other side yet (`out`), or the other way round (`in`). */
export function onTheWay({ socket }: RawEnd, way: 'in' | 'out'): number {
  const { localPort = 0, remotePort = 0 } = socket;
  const [from, to] = way === 'out' ? [localPort, remotePort] : [remotePort, localPort];
  return socketQueues(from, to).unsent + socketQueues(to, from).unread;
}
