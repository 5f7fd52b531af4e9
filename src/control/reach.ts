// Whether a service can be connected to: nobody is sent to one that is not there.
import { once } from 'node:events';
import net from 'node:net';
import type { Loaded } from '../config/load.ts';
import type { Side } from '../rules/decide.ts';

/** An operator waits for the answer; a service that needs longer to accept is no place for users. */
const REACH_MS = 2_000;

/** Why it can not be connected to, for a sentence; null if it can. */
export async function unreachable({ config }: Loaded, side: Side): Promise<string | null> {
  const url = new URL(config.upstreams[side].url);
  const port = Number(url.port) || (url.protocol === 'https:' ? 443 : 80);
  const socket = net.connect({ host: url.hostname.replace(/^\[|\]$/g, ''), port });
  try {
    await once(socket, 'connect', { signal: AbortSignal.timeout(REACH_MS) });
    return null;
  } catch (error) {
    const { name, code } = error as NodeJS.ErrnoException;
    return name === 'AbortError' ? `no answer within ${REACH_MS / 1_000} s` : (code ?? name);
  } finally {
    socket.destroy();
  }
}
