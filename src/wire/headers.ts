// Header fields as they are on the wire: flat lists [name, value, name, value, …], as node:http's
// `rawHeaders`, so that order, spelling and repetition survive.

export type RawHeaders = readonly string[];

/**
 * Fields of one connection, never of the message (RFC 9110 7.6.1, RFC 9112 9; de facto the rest). `Proxy` is
 * none, and nobody's but an attacker's: CGI programs take it for the address of a proxy (CVE-2016-5385).
 */
const HOP_BY_HOP = new Set([
  'connection',
  'keep-alive',
  'proxy',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
]);

/** True for a field of one connection. `name` in lower case. */
export function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name);
}

/** What a `Connection` field may not take away: the message would change its meaning or length. */
const NEVER_NOMINATED = new Set(['host', 'content-length', 'content-type', 'origin']);
/** Nor what opens a WebSocket. */
const OF_A_HANDSHAKE = 'sec-websocket-';

/** All values of a field, in order. `name` in lower case. */
export function fieldValues(headers: RawHeaders, name: string): string[] {
  const values: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const field = headers[i] as string;
    // Most names differ in length already, and need no copy in lower case.
    if (field.length === name.length && field.toLowerCase() === name)
      values.push(headers[i + 1] as string);
  }
  return values;
}

/** Members of a comma-separated list field, trimmed, empty ones left out (RFC 9110 5.6.1). */
export function listMembers(headers: RawHeaders, name: string): string[] {
  return fieldValues(headers, name)
    .flatMap(value => value.split(','))
    .map(trimmed)
    .filter(member => member !== '');
}

/** Blanks in a field's value are spaces and tabs, and nothing else that Unicode knows (RFC 9110 5.6.3). */
export function trimmed(value: string): string {
  return value.replace(/^[\t ]+|[\t ]+$/g, '');
}

/** True if a list field names `member`, letter case aside. */
export function lists(headers: RawHeaders, name: string, member: string): boolean {
  return listMembers(headers, name).some(found => found.toLowerCase() === member);
}

/** All fields but those named (lower case). */
export function without(headers: RawHeaders, names: ReadonlySet<string>): RawHeaders {
  if (names.size === 0) return headers;
  return headers.filter((_, i) => !names.has((headers[i - (i % 2)] as string).toLowerCase()));
}

/**
 * The fields that go on to the next hop: without those of this connection, those that `Connection`
 * nominates, and those for which `drop` (lower case name) says so.
 */
export function endToEnd(
  headers: RawHeaders,
  drop: (name: string) => boolean = () => false,
): string[] {
  const nominated = new Set(listMembers(headers, 'connection').map(name => name.toLowerCase()));
  for (const name of nominated) {
    if (NEVER_NOMINATED.has(name) || name.startsWith(OF_A_HANDSHAKE)) nominated.delete(name);
  }
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    if (isOfConnection(name) || nominated.has(name) || drop(name)) continue;
    kept.push(headers[i] as string, headers[i + 1] as string);
  }
  return kept;
}

/**
 * What a trailer may not say (RFC 9110 6.5.1): where a message ends or goes, how its content is read, who
 * anybody is. Readers that merge trailers into the fields before the body would believe it.
 */
const NEVER_TRAILING = new Set([
  ...['content-length', 'content-encoding', 'content-range', 'content-type', 'host', 'trailer'],
  ...['authorization', 'cookie', 'set-cookie', 'www-authenticate'],
]);

/** The fields behind a body that go on to the next hop. */
export function trailerFields(trailers: RawHeaders): string[] {
  return endToEnd(trailers, name => NEVER_TRAILING.has(name.replaceAll('_', '-')));
}

/** True for fields of the connection, and for what services that take _ for - would take for one. */
function isOfConnection(name: string): boolean {
  if (HOP_BY_HOP.has(name)) return true;
  if (!name.includes('_')) return false;
  const plain = name.replaceAll('_', '-');
  return HOP_BY_HOP.has(plain) || plain === 'content-length';
}
