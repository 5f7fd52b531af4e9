// Who may talk to the admin API: whoever holds the token, by an address that is ours.
import { createHash, timingSafeEqual } from 'node:crypto';
import { isIP } from 'node:net';

/**
 * True for requests addressed to this machine. A web page that lets its own name resolve to a
 * loopback address (DNS rebinding) sends that name; an IP address can not be rebound.
 */
export function createHostCheck(configuredHost: string): (host: string | undefined) => boolean {
  const names = new Set(['localhost', configuredHost.toLowerCase()]);
  return host => {
    const name = nameOf(host ?? '');
    return name !== null && (isIP(name) !== 0 || names.has(name) || name.endsWith('.localhost'));
  };
}

/** True for `Bearer <token>`. Hashes are compared, so that neither content nor length shows in time. */
export function createTokenCheck(token: string): (authorization: string | undefined) => boolean {
  const expected = digest(token);
  return authorization => {
    const given = /^bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
    return timingSafeEqual(digest(given ?? ''), expected) && given !== undefined;
  };
}

/** The name without port and brackets; null for what is no host. */
function nameOf(host: string): string | null {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^\s:/@[\]]+))(?::\d{1,5})?$/i.exec(host);
  return (match?.[1] ?? match?.[2])?.toLowerCase() ?? null;
}

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
