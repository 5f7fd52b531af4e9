// What a proxy tells the service about the client in front of it.
import { fieldValues, type RawHeaders } from './headers.ts';

/** Names that only a proxy may set; read with - and _ alike, since many services do. */
const CLAIMS = new Set([
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
  'x-real-ip',
]);

/** Ids are short and plain, so that they can stand in logs and headers as they are. */
const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/;
/** W3C Trace Context 3.2: version 00, ids not all zero. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

export interface Hop {
  /** Address of the peer, without port. */
  readonly peer: string;
  /** True if the peer is a proxy of the operator's: what it claims is passed on and added to. */
  readonly trusted: boolean;
  readonly proto: 'http' | 'https';
  /** The client's own Host; empty if it sent none. */
  readonly host: string;
}

/** True for fields that the proxy writes itself or that no client may set. `name` in lower case. */
export function isProxyField(name: string): boolean {
  const plain = name.replaceAll('_', '-');
  return (
    CLAIMS.has(plain) ||
    plain.startsWith('x-cutover-') ||
    plain === 'x-request-id' ||
    plain === 'traceparent'
  );
}

/** `X-Forwarded-*` for the next hop. A stranger's claims are replaced, a trusted proxy's kept. */
export function forwardingFields(headers: RawHeaders, hop: Hop): string[] {
  const claimed = (name: string) => (hop.trusted ? fieldValues(headers, name).join(', ') : '');
  const before = claimed('x-forwarded-for');
  const forwarded = claimed('forwarded');
  const forHost = claimed('x-forwarded-host') || hop.host;
  // RFC 7239 4: added to where a trusted proxy uses it; services read one form or the other.
  const own = `for=${hop.peer.includes(':') ? `"[${hop.peer}]"` : hop.peer};proto=${hop.proto}`;
  return [
    ...(forwarded === '' ? [] : ['Forwarded', `${forwarded}, ${own}`]),
    'X-Forwarded-For',
    before === '' ? hop.peer : `${before}, ${hop.peer}`,
    'X-Forwarded-Proto',
    claimed('x-forwarded-proto') || hop.proto,
    ...(forHost === '' ? [] : ['X-Forwarded-Host', forHost]),
  ];
}

/** The request's own id and trace, if it came with usable ones, else those given. */
export function traceFields(
  headers: RawHeaders,
  fresh: { requestId: string; traceparent: string },
): { requestId: string; traceparent: string } {
  const [requestId = '', ...moreIds] = fieldValues(headers, 'x-request-id');
  const [traceparent = '', ...moreTraces] = fieldValues(headers, 'traceparent');
  return {
    requestId: moreIds.length === 0 && REQUEST_ID.test(requestId) ? requestId : fresh.requestId,
    traceparent:
      moreTraces.length === 0 && TRACEPARENT.test(traceparent) ? traceparent : fresh.traceparent,
  };
}
