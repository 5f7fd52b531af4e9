// Whether a service can be connected to: nobody is sent to one that is not there.
import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import type { Loaded } from '../config/load.ts';
import type { Side } from '../rules/decide.ts';

/** An operator waits for the answer; a service that needs longer to accept is no place for users. */
const REACH_MS = 2_000;

/**
 * Why it can not be connected to, for a sentence; null if it can. Asks no more of it than the lanes do: what it says
 * to a request that nobody made proves nothing. Behind TLS its certificate must be one that they accept.
 */
export async function unreachable(
  { config, secrets }: Pick<Loaded, 'config' | 'secrets'>,
  side: Side,
  mostMs = REACH_MS,
): Promise<string | null> {
  const url = new URL(config.upstreams[side].url);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const secure = url.protocol === 'https:';
  const port = Number(url.port) || (secure ? 443 : 80);
  const ca = secrets.ca[side];
  const socket = secure
    ? tls.connect({
        ...{ host, port, minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] },
        ...(ca === undefined ? {} : { ca }),
        ...(net.isIP(host) === 0 ? { servername: host } : {}),
      })
    : net.connect({ host, port });
  try {
    const signal = AbortSignal.timeout(mostMs);
    await once(socket, secure ? 'secureConnect' : 'connect', { signal });
    return null;
  } catch (error) {
    const { name, code } = error as NodeJS.ErrnoException;
    return name === 'AbortError' ? `no answer within ${mostMs / 1_000} s` : (code ?? name);
  } finally {
    // An error that comes now is no news, and must not end the process.
    socket.on('error', () => undefined);
    socket.destroy();
  }
}
