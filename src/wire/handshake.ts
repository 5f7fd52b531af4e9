// The opening handshake of a WebSocket (RFC 6455 4), for both of the proxy's ends.
import { createHash } from 'node:crypto';
import { fieldValues, listMembers, lists, type RawHeaders } from './headers.ts';

/** RFC 6455 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
/** 16 bytes in base64. */
const KEY = /^[A-Za-z0-9+/]{22}==$/;

/** `Sec-WebSocket-Accept` for a key. */
export function acceptFor(key: string): string {
  return createHash('sha1')
    .update(key + GUID)
    .digest('base64');
}

/** True if a request asks for a WebSocket, rightly or not; other upgrades are not for this lane. */
export function asksForWebSocket(headers: RawHeaders): boolean {
  return lists(headers, 'upgrade', 'websocket') && lists(headers, 'connection', 'upgrade');
}

/** What is wrong with a client's opening request (RFC 6455 4.2.1), or null. */
export function checkClientHandshake(
  method: string,
  httpVersion: string,
  headers: RawHeaders,
): 'bad-upgrade' | 'upgrade-version' | null {
  if (method !== 'GET' || httpVersion !== '1.1') return 'bad-upgrade';
  const versions = fieldValues(headers, 'sec-websocket-version');
  if (versions.length !== 1 || versions[0] !== '13') return 'upgrade-version';
  const keys = fieldValues(headers, 'sec-websocket-key');
  if (keys.length !== 1 || !KEY.test(keys[0] as string)) return 'bad-upgrade';
  // A request for a WebSocket has no body; one with a body could hide a second request in it.
  if (fieldValues(headers, 'content-length').some(value => value !== '0')) return 'bad-upgrade';
  return fieldValues(headers, 'transfer-encoding').length > 0 ? 'bad-upgrade' : null;
}

/** Subprotocols that a client offers, in its order. */
export function offeredProtocols(headers: RawHeaders): string[] {
  return listMembers(headers, 'sec-websocket-protocol');
}

/**
 * What is wrong with a service's 101 for the request that carried `key` and `offered`
 * (RFC 6455 4.1), or null. No extension was offered, so none may be accepted.
 */
export function checkServerHandshake(
  headers: RawHeaders,
  key: string,
  offered: readonly string[],
): string | null {
  if (!asksForWebSocket(headers)) return 'it does not upgrade to websocket';
  const accepts = fieldValues(headers, 'sec-websocket-accept');
  if (accepts.length !== 1 || accepts[0] !== acceptFor(key))
    return 'Sec-WebSocket-Accept does not fit the key';
  if (fieldValues(headers, 'sec-websocket-extensions').some(value => value !== '')) {
    return 'it accepts an extension that was not offered';
  }
  const protocols = fieldValues(headers, 'sec-websocket-protocol');
  if (protocols.length > 1) return 'it accepts more than one subprotocol';
  return protocols.some(protocol => !offered.includes(protocol))
    ? 'it accepts a subprotocol that was not offered'
    : null;
}

/** Of a refusal: not of one who asks, but of the service: it fails, or is asked too often (RFC 9110 15.6, RFC 6585 4). */
export function saysServiceFails(status: number): boolean {
  return status >= 500 || status === 429;
}

/** Of a refusal: of who asks, by his credential (RFC 9110 15.5.2, 15.5.4). */
export function saysWhoAsksMayNot(status: number): boolean {
  return status === 401 || status === 403;
}
