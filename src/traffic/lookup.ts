// Names of services, each looked up once at a time for all who ask. The process has two threads for
// that: a name that is never answered, asked for by every request to one service, would take both, and
// the other service would be as good as gone.
import dns from 'node:dns';
import type net from 'node:net';

type Ask = Parameters<net.LookupFunction>;

/** Those who wait, by what they asked. */
const underWay = new Map<string, Ask[2][]>();

/** As `dns.lookup`, for `net.connect`. */
export function lookupShared(hostname: Ask[0], options: Ask[1], callback: Ask[2]): void {
  const key = JSON.stringify([hostname, options]);
  const waiting = underWay.get(key);
  if (waiting !== undefined) return void waiting.push(callback);
  const callbacks = [callback];
  underWay.set(key, callbacks);
  dns.lookup(hostname, options, (error, address, family) => {
    underWay.delete(key);
    for (const give of callbacks) give(error, address, family);
  });
}
