// What a proxy tells the service about the client in front of it.
import { fieldValues, type RawHeaders } from './headers.ts';

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
  /** HTTP version of the request, `1.1`. */
  readonly version: string;
}

/** A name as services see it that read - and _ alike (CGI and its heirs). `name` in lower case. */
export function plainName(name: string): string {
  return name.replaceAll('_', '-');
}

/** True for fields that the proxy writes itself or that no client may set. `name` in lower case. */
export function isProxyField(name: string): boolean {
  const plain = plainName(name);
  return (
    isClaim(plain) ||
    plain.startsWith('x-cutover-') ||
    plain === 'x-request-id' ||
    plain === 'traceparent'
  );
}

/** What proxies tell of the client before them: where he came from, by which name, who he is. */
function isClaim(name: string): boolean {
  return name === 'forwarded' || name === 'x-real-ip' || name.startsWith('x-forwarded-');
}

const OWN: ReadonlySet<string> = new Set([
  'forwarded',
  'x-forwarded-for',
  'x-forwarded-proto',
  'x-forwarded-host',
]);

/**
 * `Forwarded` and `X-Forwarded-*` for the next hop. A stranger's claims are replaced or dropped; a
 * trusted proxy's are kept, and added to where they are lists.
 */
export function forwardingFields(headers: RawHeaders, hop: Hop): string[] {
  const claimed = (name: string) => (hop.trusted ? fieldValues(headers, name).join(', ') : '');
  const before = claimed('x-forwarded-for');
  const forwarded = claimed('forwarded');
  const forHost = claimed('x-forwarded-host') || hop.host;
  // RFC 7239 4: added to where a trusted proxy uses it; services read one form or the other.
  const own = `for=${hop.peer.includes(':') ? `"[${hop.peer}]"` : hop.peer};proto=${hop.proto}`;
  return [
    ...(hop.trusted ? otherClaims(headers) : []),
    ...(forwarded === '' ? [] : ['Forwarded', `${forwarded}, ${own}`]),
    'X-Forwarded-For',
    before === '' ? hop.peer : `${before}, ${hop.peer}`,
    'X-Forwarded-Proto',
    claimed('x-forwarded-proto') || hop.proto,
    ...(forHost === '' ? [] : ['X-Forwarded-Host', forHost]),
  ];
}

/** `X-Real-IP`, `X-Forwarded-Port` and their like, as they came. */
function otherClaims(headers: RawHeaders): RawHeaders {
  return headers.filter((_, i) => {
    const name = (headers[i - (i % 2)] as string).toLowerCase();
    return isClaim(name) && !OWN.has(name);
  });
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
