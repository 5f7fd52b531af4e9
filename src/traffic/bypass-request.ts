// A request of the bypass: what the library is to make of it, and the head that a service gets.
import type { ClientRequest, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { fieldValues } from '../wire/headers.ts';
import { lookupShared } from './lookup.ts';
import { fieldsFor, type RequestFacts, type Upstream } from './upstream.ts';

/** Without a body they have no length either; any other method has one of 0. */
const BODYLESS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS']);

/** The fields as a service gets them. The body keeps its framing: a length, or it came in chunks. */
export function passedFields(
  upstream: Upstream,
  incoming: IncomingMessage,
  request: RequestFacts,
  extra: readonly string[],
): string[] {
  const { method = '', rawHeaders } = incoming;
  // No trailers are passed on here, so none are announced.
  const drop = (name: string) =>
    name === 'expect' || name === 'trailer' || fieldValues(extra, name).length > 0;
  const fields = [...fieldsFor(upstream, request, drop), ...extra];
  if (fieldValues(rawHeaders, 'transfer-encoding').length > 0) {
    fields.push('Transfer-Encoding', 'chunked');
  } else if (!BODYLESS.has(method) && fieldValues(rawHeaders, 'content-length').length === 0) {
    fields.push('Content-Length', '0');
  }
  return fields;
}

/**
 * Options for the library, which builds those of its request on `ssl`. Fields and path stay as they are
 * here, whatever it sets: it would spell names in lower case, join Cookie fields, give a DELETE whose body
 * comes in chunks the length 0, and resolve the path.
 */
export function libraryOptions(
  { secure, host, port, ca, config }: Upstream,
  { path, fields }: { readonly path: string; readonly fields: readonly string[] },
) {
  const ours = { configurable: false, set: () => undefined };
  const request = Object.defineProperties(
    { lookup: lookupShared },
    {
      path: { ...ours, enumerable: true, get: () => path },
      headers: { ...ours, enumerable: true, get: () => fields },
    },
  );
  return {
    target: { protocol: secure ? 'https:' : 'http:', host, hostname: host, port },
    connectTimeout: config.connectTimeoutMs,
    // It would have the path read as a URL, which not every path is.
    toProxy: true,
    ssl: request,
    ...(ca === undefined ? {} : { ca: ca.toString() }),
  };
}

const NOTHING = Buffer.alloc(0);

/**
 * Has the head of a request go out once the service has taken the connection. node:http keeps it until the first byte
 * of the body, and a client may wait for the answer's head before it sends any. `flushHeaders` would write it as UTF-8
 * (`sendHead`).
 */
export function sendHeadAtOnce(outgoing: ClientRequest, service: Socket): void {
  onceConnected(service, () => {
    if (!outgoing.writableEnded && !outgoing.destroyed) outgoing.write(NOTHING);
  });
}

/** Calls `then` once what is written to `service` reaches it. */
export function onceConnected(service: Socket, then: () => void): void {
  service.once(service instanceof TLSSocket ? 'secureConnect' : 'connect', then);
}
