// What the lanes read from a client's request, once: target, peer, ids.
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import { requestFraming } from '../wire/body.ts';
import { plainName, traceFields } from '../wire/forwarding.ts';
import { fieldValues, listMembers, type RawHeaders } from '../wire/headers.ts';
import { isHost, parseRequestTarget } from '../wire/request-target.ts';
import type { TrafficContext } from './context.ts';
import { plainAddress } from './peers.ts';
import { type RequestFacts, type RequestIds, VIA_NAME } from './upstream.ts';

/**
 * Asked more than once: by a lane, by the one that it gives the request to, by the log. A field of the
 * request: an entry of a WeakMap took 2 µs (bench/README.md).
 */
const IDS = Symbol('ids');

type Traced = IncomingMessage & { [IDS]?: RequestIds };

/**
 * Facts of a request, or what is wrong with it: `bad-request` if its target, its Host or the end of
 * its body could be read in two ways (RFC 9112 3.2, 6.3), `method` if no lane takes it, `loop` if it
 * has been here before. node:http lets through what is refused here.
 */
export function readRequest(
  request: IncomingMessage,
  context: TrafficContext,
): RequestFacts | 'bad-request' | 'loop' | 'method' {
  const peer = plainAddress(request.socket.remoteAddress ?? '');
  const trusted = context.isTrusted(peer);
  const headers = credible(request.rawHeaders, context.identityFields, trusted);
  const [host = ''] = fieldValues(headers, 'host');
  if (isAmbiguous(request)) return 'bad-request';
  // It would show the fields that proxies add, credentials among them (RFC 9110 9.3.8).
  if (request.method === 'TRACE') return 'method';
  const target = parseRequestTarget(request.url ?? '', host);
  if (target === null) return 'bad-request';
  if (listMembers(headers, 'via').some(hop => hop.endsWith(` ${VIA_NAME}`))) return 'loop';
  const hop = {
    peer,
    trusted,
    proto: (request.socket as TLSSocket).encrypted === true ? 'https' : 'http',
    host,
    version: request.httpVersion,
  } as const;
  return { target, headers, hop, ...idsOf(request) };
}

/**
 * Of more fields than this, Node before 24 drops the last ones without a word, `Content-Length` and credentials among
 * them, and reads the body as they said; later ones refuse the head by themselves.
 */
const MOST_FIELDS = 1_000;

/** True if a head could be read in two ways, its target aside. */
export function isAmbiguous({
  httpVersion,
  rawHeaders,
}: Pick<IncomingMessage, 'httpVersion' | 'rawHeaders'>): boolean {
  if (rawHeaders.length >= 2 * MOST_FIELDS) return true;
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return true;
  const [host = '', ...more] = fieldValues(rawHeaders, 'host');
  // HTTP/1.0 may come without Host (RFC 9112 3.2); 1.1 may not, and nothing may come with two.
  const hasHost = fieldValues(rawHeaders, 'host').length > 0;
  if (hasHost ? more.length > 0 || !isHost(host) : httpVersion === '1.1') return true;
  return requestFraming(httpVersion, rawHeaders) === null;
}

/**
 * A stranger's word for who he is must not reach a service that believes it. Nor may anybody's by
 * another spelling: `X_User_Id` is `X-User-Id` to many services, and passes proxies that only look
 * for the one.
 */
function credible(
  headers: RawHeaders,
  identityFields: ReadonlySet<string>,
  trusted: boolean,
): RawHeaders {
  if (identityFields.size === 0) return headers;
  const names = new Set([...identityFields].map(plainName));
  return headers.filter((_, i) => {
    const name = (headers[i - (i % 2)] as string).toLowerCase();
    return !names.has(plainName(name)) || (trusted && identityFields.has(name));
  });
}

/** The same for every call: of a request that could not be read as well. */
export function idsOf(request: Traced): RequestIds {
  request[IDS] ??= traceFields(request.rawHeaders, freshIds());
  return request[IDS];
}

function freshIds(): RequestIds {
  const id = randomUUID();
  const other = randomUUID();
  // W3C Trace Context 3.2: version, trace id, parent id, flags (not sampled).
  return {
    requestId: id,
    // The last 16 digits of another id, whose variant bits keep them from being all zero. These ids are
    // drawn 128 at a time; `randomBytes` asks the system for every one, 8 µs of a request.
    traceparent: `00-${id.replaceAll('-', '')}-${other.slice(19, 23)}${other.slice(24)}-00`,
  };
}
